//! Messages in JSON, as their descriptors say.
//!
//! Invariants: names are the protocol's own and both kinds are understood; numbers of 64 bits are strings, bytes are base64,
//! what is unset is left out, what is unknown is passed over. Does not know of HTTP.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Number, Value};

use crate::api::gateway::strict::{bytes, check, whole_number};
use crate::api::gateway::strings::check_strings;
use crate::api::methods::Rpc;
use crate::base::{go_quoted, limits};
use crate::wire::DESCRIPTORS;

/// The messages of a method.
pub struct Kinds {
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
}

/// By the method's number; none for those that have no path in the gateway.
static KINDS: LazyLock<Vec<Option<Kinds>>> = LazyLock::new(|| {
    let pool =
        DescriptorPool::decode(DESCRIPTORS).expect("the descriptors are written by the generator of the messages");
    let kinds = |rpc: &Rpc| {
        let service = pool.get_service_by_name(rpc.service())?;
        let method = service.methods().find(|method| method.name() == rpc.method())?;
        Some(Kinds { input: method.input(), output: method.output() })
    };
    Rpc::ALL.iter().map(kinds).collect()
});

/// The messages of a method that has a path in the gateway.
pub fn kinds(rpc: Rpc) -> &'static Kinds {
    KINDS[rpc as usize].as_ref().expect("every method with a path in the gateway has descriptors, as a test holds")
}

/// A message in protobuf; the reason where the JSON does not make one.
pub fn to_protobuf(kind: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, String> {
    const OPTIONS: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_slice(json);
    check_strings(json)?;
    check(kind, json).map_err(|error| reason(json, &error))?;
    let error = match DynamicMessage::deserialize_with_options(kind.clone(), &mut reader, &OPTIONS) {
        Ok(message) => return Ok(message.encode_to_vec()),
        Err(error) => error,
    };
    // Seldom: what Go's library takes and this one does not.
    let mut value: Value = serde_json::from_slice(json).map_err(|_| reason(json, &error))?;
    mend(kind, &mut value);
    let mended = DynamicMessage::deserialize_with_options(kind.clone(), value, &OPTIONS);
    mended.map(|message| message.encode_to_vec()).map_err(|_| reason(json, &error))
}

/// Writes a message as the library here reads it, where Go's reads more: base64 in lines, whole numbers with a point or an
/// exponent.
fn mend(kind: &MessageDescriptor, message: &mut Value) {
    let Value::Object(fields) = message else { return };
    for (name, value) in fields {
        let Some(field) = kind.get_field_by_json_name(name).or_else(|| kind.get_field_by_name(name)) else { continue };
        let values = match value {
            Value::Array(values) => values.iter_mut(),
            value => std::slice::from_mut(value).iter_mut(),
        };
        values.for_each(|value| mend_value(&field.kind(), value));
    }
}

fn mend_value(kind: &Kind, value: &mut Value) {
    match (kind, value) {
        (Kind::Message(kind), value) => mend(kind, value),
        (Kind::Bytes, Value::String(text)) => {
            if let Some(bytes) = bytes(text) {
                *text = STANDARD.encode(bytes);
            }
        }
        (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64, Value::String(text)) => {
            if let Some(number) = whole_number(text) {
                *text = number;
            }
        }
        (Kind::Enum(_), Value::Number(number)) => *number = whole(number).map_or(number.clone(), Into::into),
        _ => {}
    }
}

/// The whole number that one with a point or an exponent is, where a float holds it exactly.
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = (1_i64 << 53) as f64;
    number.as_f64().filter(|float| !number.is_i64() && float.fract() == 0.0 && float.abs() <= EXACT).map(|f| f as i64)
}

/// What is wrong, as far as it is easy in the words of Go's libraries.
fn reason(json: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".into();
    }
    let first = json.first().filter(|first| !br#"{["-tfn0123456789"#.contains(first));
    if let Some(first) = first {
        return format!("invalid character {} looking for beginning of value", quoted(*first));
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    format!("proto: (line {}:{}): {what}", error.line(), error.column())
}

/// A byte as Go's library shows it, which takes each for a character.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => "'\"'".to_string(),
        byte => format!("'{}'", go_quoted(char::from(byte).to_string()).trim_matches('"')),
    }
}

/// A message in JSON; the reason where the bytes are no such message.
pub fn from_protobuf(kind: &MessageDescriptor, protobuf: &[u8]) -> Result<Vec<u8>, String> {
    const OPTIONS: SerializeOptions = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
    let message = DynamicMessage::decode(kind.clone(), protobuf).map_err(|error| error.to_string())?;
    let mut json = Vec::with_capacity(protobuf.len() * 2);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &OPTIONS)
        .map_err(|error| error.to_string())?;
    Ok(json)
}

/// Finds the end of a JSON value in bytes that come piece by piece; each is looked at once.
#[derive(Default)]
pub struct Splitter {
    looked: usize,
    depth: usize,
    /// What stood one level too deep.
    too_deep: Option<char>,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Splitter {
    /// Where the first value of `buf` ends, which begins as it did when it was last shown here.
    pub fn end(&mut self, buf: &[u8]) -> Option<usize> {
        while let Some(&byte) = buf.get(self.looked) {
            self.looked += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.depth > limits::JSON_DEPTH {
                        self.too_deep.get_or_insert(char::from(byte));
                    }
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.begun = true;
            if self.depth == 0 {
                // No message is a word, a number or a string: whoever reads it says so.
                let rest = if matches!(byte, b'}' | b']') { 0 } else { word(&buf[self.looked..]) };
                return Some(self.looked + rest);
            }
        }
        None
    }

    /// That values do not stand in each other without end.
    ///
    /// # Errors
    /// They stand deeper than Go's library goes, in its words.
    pub fn check_depth(&self) -> Result<(), String> {
        match self.too_deep {
            Some(deep) => Err(format!("invalid character '{deep}' exceeded max depth")),
            None => Ok(()),
        }
    }

    /// Whether anything but space was seen.
    pub fn has_begun(&self) -> bool {
        self.begun
    }
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_with_a_path_has_descriptors() {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
        let methods: usize = pool.services().map(|service| service.methods().len()).sum();
        let with_kinds = KINDS.iter().flatten().count();
        // Of the methods of the table those of health are of another package.
        assert_eq!((methods, with_kinds), (Rpc::ALL.len() - 3, Rpc::ALL.len() - 3));
        assert_eq!(kinds(Rpc::Range).input.full_name(), "etcdserverpb.RangeRequest");
        assert_eq!(kinds(Rpc::Observe).output.full_name(), "v3electionpb.LeaderResponse");
    }

    #[test]
    fn the_mapping_is_grpc_gateways() {
        let back = |rpc: Rpc, json: &str| {
            let bytes = to_protobuf(&kinds(rpc).input, json.as_bytes())?;
            from_protobuf(&kinds(rpc).input, &bytes).map(|json| String::from_utf8(json).expect("text"))
        };
        let table = [
            (
                Rpc::Range,
                r#"{"key":"Zm9v","rangeEnd":"_w","limit":"9223372036854775807"}"#,
                r#"{"key":"Zm9v","range_end":"/w==","limit":"9223372036854775807"}"#,
            ),
            (
                Rpc::Range,
                r#"{"sort_order":"DESCEND","sort_target":3,"serializable":true,"unknown":[{}]}"#,
                r#"{"sort_order":"DESCEND","sort_target":"MOD","serializable":true}"#,
            ),
            (
                Rpc::Range,
                r#"{"sort_order":"NOBODY","sort_target":77,"limit":5.0,"key":null}"#,
                r#"{"limit":"5","sort_target":77}"#,
            ),
            (Rpc::Range, "{\"key\":\"Zm9v\\r\\nZm9v\\n\"}", r#"{"key":"Zm9vZm9v"}"#),
            (
                Rpc::Range,
                r#"{"key":"Zm9v\n","limit":"1e1","sort_target":1.0,"minModRevision":"9223372036854775807"}"#,
                r#"{"key":"Zm9v","limit":"10","sort_target":"VERSION","min_mod_revision":"9223372036854775807"}"#,
            ),
            (
                Rpc::Txn,
                r#"{"compare":[{"key":"YQ==\n\n\n\n","target":3.0}],"success":[{"requestPut":{"key":"YQ\n","lease":"5.0"}}]}"#,
                r#"{"compare":[{"target":"VALUE","key":"YQ=="}],"success":[{"request_put":{"key":"YQ==","lease":"5"}}]}"#,
            ),
            (Rpc::LeaseGrant, r#"{"TTL":"-1","ID":7}"#, r#"{"TTL":"-1","ID":"7"}"#),
            (Rpc::MemberAdd, r#"{"peerURLs":["<a>"],"isLearner":true}"#, r#"{"peerURLs":["<a>"],"isLearner":true}"#),
            (
                Rpc::Txn,
                r#"{"success":[{"requestPut":{"key":"YQ=="}},{"request_range":{}}]}"#,
                r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_range":{}}]}"#,
            ),
            (Rpc::Watch, r#"{"progress_request":{}}"#, r#"{"progress_request":{}}"#),
        ];
        for (rpc, json, expected) in table {
            assert_eq!(back(rpc, json).as_deref(), Ok(expected), "{json}");
        }
        for (json, why) in [
            (r#"{"key":"#, "unexpected EOF"),
            ("xx", "invalid character 'x' looking for beginning of value"),
            ("\x1f", r"invalid character '\x1f' looking for beginning of value"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            ("'a'", r"invalid character '\'' looking for beginning of value"),
            (r#"{"key":"!!"}"#, "proto: (line 1:11): invalid value for bytes field key: \"!!\""),
        ] {
            assert_eq!(back(Rpc::Range, json), Err(why.into()), "{json}");
        }
        for bad in [
            r#"{"limit":"1.5"}"#,
            r#"{"limit":"+1"}"#,
            r#"{"limit":-9223372036854775809}"#,
            r#"{"key":"YQ==\n"}"#,
            r#"{"key":"YQ==","key":null}"#,
            r#"{"range_end":"YQ==","rangeEnd":"YQ=="}"#,
            r#"{"limit":" 5.0"}"#,
            r#"{"sort_target":1.5}"#,
            r#"{"key":"a b\n"}"#,
            "[]",
            "null",
            r#"{"limit":"x"}"#,
            r#"{"limit":1e30}"#,
            r#"{"key":5}"#,
            r#"{"key":"YQ==",}"#,
        ] {
            assert!(back(Rpc::Range, bad).is_err_and(|why| why.starts_with("proto: ")), "{bad}");
        }
        let two = r#"{"success":[{"request_put":{},"request_range":{}}]}"#;
        assert!(back(Rpc::Txn, two).is_err(), "one of them");
        let deep = format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(200), "}]}".repeat(200));
        assert!(back(Rpc::Txn, &deep).is_err(), "depth has an end");
        let inner = r#"{"success":[{"request_put":{"lease":"01"}}]}"#;
        assert!(back(Rpc::Txn, inner).is_err(), "inner messages are looked through");
    }

    #[test]
    fn depth_ends_where_gos_does() {
        for (depth, refused) in [(9_999, None), (10_000, Some("invalid character '[' exceeded max depth".to_owned()))] {
            let json = format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let mut splitter = Splitter::default();
            assert_eq!(splitter.end(json.as_bytes()), Some(json.len()));
            assert_eq!(splitter.check_depth().err(), refused);
        }
    }

    #[test]
    fn values_are_found_wherever_they_are_cut() {
        let text = br#" {"a":"}\"]{","b":[1,{}]}  {} [3] "#;
        for piece in 1..text.len() {
            let (mut buf, mut splitter, mut found) = (Vec::new(), Splitter::default(), Vec::new());
            for bytes in text.chunks(piece) {
                buf.extend_from_slice(bytes);
                while let Some(end) = splitter.end(&buf) {
                    found.push(String::from_utf8(buf.drain(..end).collect()).expect("text").trim().to_string());
                    splitter = Splitter::default();
                }
            }
            assert_eq!(found, [r#"{"a":"}\"]{","b":[1,{}]}"#, "{}", "[3]"], "{piece}");
            assert!(!splitter.has_begun());
        }
        assert_eq!(Splitter::default().end(b" null x"), Some(5));
        assert_eq!(Splitter::default().end(b"}"), Some(1));
    }
}
