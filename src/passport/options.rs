//! The words of `--auth-token`: a kind, and options as `name=value`, separated by commas.

use std::time::Duration;

/// A kind with its options.
pub(super) struct Options<'a> {
    pub(super) kind: &'a str,
    given: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Reads a value of the flag; nothing where it is malformed, or names an option twice.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut given: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').filter(|(_, value)| !value.contains('='))?;
            if given.iter().any(|(have, _)| *have == name) {
                return None;
            }
            given.push((name, value));
        }
        Some(Self { kind, given })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.given.iter().find(|(have, _)| *have == name).map(|(_, value)| *value)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.given.iter().map(|(name, _)| *name)
    }
}

/// A duration as Go writes it: `10m`, `1h30m`, `1.5s`. Negative ones are none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, scale) = UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
        seconds += value * scale;
        rest = &rest[end..];
        if rest.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(duration("1h1.5s"), Some(Duration::from_millis(3_601_500)));
        for bad in ["", "10", "m", "-1s", "1x", "1s2"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
