//! What Go's library refuses in a message in JSON, and the one here takes: whole numbers and bytes that are written otherwise
//! than they may be, and a field that is there twice.
//!
//! Invariant: what is refused here is refused by Go's library. What both refuse is left to the library here.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Looks through a message.
///
/// # Errors
/// Something in it is not to be taken, or it is no JSON.
pub fn check(kind: &MessageDescriptor, json: &[u8]) -> Result<(), serde_json::Error> {
    Place::Message(kind).deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// What stands at a place of a message.
#[derive(Clone, Copy)]
enum Place<'a> {
    Message(&'a MessageDescriptor),
    Field(&'a FieldDescriptor, &'a Kind),
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (Place::Message(kind) | Place::Field(_, Kind::Message(kind))) = self else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut seen = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let field = kind.get_field_by_json_name(&name).or_else(|| kind.get_field_by_name(&name));
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&field.number()) {
                return Err(A::Error::custom(format!("duplicate field {name:?}")));
            }
            seen.push(field.number());
            map.next_value_seed(Place::Field(&field, &field.kind()))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Place::Field(field, kind) = self else { return Ok(()) };
        let (holds, name) = match kind {
            Kind::Int32 => (whole_number(text).is_some(), "int32"),
            Kind::Int64 => (whole_number(text).is_some(), "int64"),
            Kind::Uint32 => (whole_number(text).is_some(), "uint32"),
            Kind::Uint64 => (whole_number(text).is_some(), "uint64"),
            Kind::Bytes => (bytes(text).is_some(), "bytes"),
            _ => (true, ""),
        };
        let wrong = || E::custom(format!("invalid value for {name} field {}: {text:?}", field.json_name()));
        if holds { Ok(()) } else { Err(wrong()) }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        // The least whole number is read as one; what lies below it is a float as large, which the library cuts off.
        let Place::Field(field, Kind::Int32 | Kind::Int64) = self else { return Ok(()) };
        let wrong = || E::custom(format!("invalid value for field {}: {number}", field.json_name()));
        if number > i64::MIN as f64 { Ok(()) } else { Err(wrong()) }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The whole number that a text is, in digits: as in JSON, so that it may have a point and an exponent. What follows it
/// behind a sign that belongs to no number is not looked at, as by Go's library.
pub fn whole_number(text: &str) -> Option<String> {
    if text.trim().len() != text.len() {
        return None;
    }
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = rest.split_at(digits(rest));
    if whole.is_empty() || (whole.starts_with('0') && whole.len() > 1) {
        return None;
    }
    let mut fraction = "";
    if let Some(behind) = rest.strip_prefix('.') {
        (fraction, rest) = behind.split_at(digits(behind));
        if fraction.is_empty() {
            return None;
        }
    }
    let mut exponent = String::new();
    if let Some(behind) = rest.strip_prefix(['e', 'E']) {
        let (sign, behind) = match behind.strip_prefix(['+', '-']) {
            Some(unsigned) => (&behind[..1], unsigned),
            None => ("", behind),
        };
        let (power, behind) = behind.split_at(digits(behind));
        if power.is_empty() {
            return None;
        }
        exponent = format!("{sign}{power}");
        rest = behind;
    }
    if rest.starts_with(|next: char| next.is_ascii_alphanumeric() || "+-._".contains(next)) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.is_empty() && fraction.is_empty() {
        return Some("0".into());
    }
    let power = if exponent.is_empty() { 0 } else { exponent.parse::<i32>().ok()? };
    let number = shifted(whole, fraction, power)?;
    Some(if is_negative { format!("-{number}") } else { number })
}

/// The digits with their point moved by so many places, where nothing is left behind it.
fn shifted(whole: &str, fraction: &str, power: i32) -> Option<String> {
    /// Of the largest number of 64 bits.
    const MOST_DIGITS: usize = 20;
    let places = usize::try_from(power.unsigned_abs()).ok()?;
    if power < 0 {
        let kept = whole.len().checked_sub(places).filter(|_| fraction.is_empty())?;
        let (number, behind) = whole.split_at(kept);
        return (!number.is_empty() && behind.bytes().all(|digit| digit == b'0')).then(|| number.to_owned());
    }
    let zeros = places.checked_sub(fraction.len())?;
    (whole.len().saturating_add(places) <= MOST_DIGITS).then(|| format!("{whole}{fraction}{}", "0".repeat(zeros)))
}

/// The bytes that a text is in base64: of either alphabet, with padding where its length, ends of lines and all, is a multiple of
/// four, and without where not.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let is_url_safe = text.contains(['-', '_']);
    let alphabet = if is_url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let is_padded = text.len().is_multiple_of(4);
    let padding = if is_padded { DecodePaddingMode::RequireCanonical } else { DecodePaddingMode::RequireNone };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(padding).with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(alphabet, config);
    if text.contains(['\r', '\n']) {
        return engine.decode(text.replace(['\r', '\n'], "")).ok();
    }
    engine.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was asked of stock etcd.
    #[test]
    fn numbers_in_texts_are_those_of_json() {
        for (text, number) in [
            ("0", "0"),
            ("-0", "0"),
            ("0e99999999999", "0"),
            ("1.0", "1"),
            ("1e1", "10"),
            ("-1.5E+1", "-15"),
            ("10e-1", "1"),
            ("9223372036854775807.0", "9223372036854775807"),
            ("92233720368547758070e-1", "9223372036854775807"),
            ("1,2", "1"),
            ("1 2", "1"),
            ("1#", "1"),
            ("1\0", "1"),
        ] {
            assert_eq!(whole_number(text).as_deref(), Some(number), "{text}");
        }
        for text in [
            "+1",
            "01",
            "",
            "-",
            " 1",
            "1 ",
            "5\n",
            "0x1",
            "1.",
            ".5",
            "1_0",
            "\"5\"",
            "null",
            "1.5",
            "15e-1",
            "1e-1",
            "1e400",
            "1e99999999999",
            "1e",
            "1e+",
            "٥",
        ] {
            assert_eq!(whole_number(text), None, "{text:?}");
        }
    }

    /// Each was asked of stock etcd.
    #[test]
    fn base64_is_padded_as_its_length_says() {
        for (text, value) in [
            ("YQ==", &b"a"[..]),
            ("YQ", b"a"),
            ("YR==", b"a"),
            ("YR", b"a"),
            ("Zm9v\n", b"foo"),
            ("YQ==\r\n\r\n", b"a"),
            ("\n\n\n\nYQ==", b"a"),
            ("YQ\n", b"a"),
            ("", b""),
            ("\n", b""),
            ("-_-_", &[0xfb, 0xff, 0xbf]),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(bytes(text).as_deref(), Some(value), "{text:?}");
        }
        for text in [
            "YQ==\n", "YQ=\n=", "Y\nQ==", "YQ=", "YQ===", "====", "Y", "+_-/", "-/AA", "Y Q=", "YQ\t", "YQ==YQ==",
            "YQ==Y",
        ] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}
