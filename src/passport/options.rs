//! The words of `--auth-token`: a kind, and options as `name=value`, separated by commas.

use std::time::Duration;

use crate::base::go_duration;

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

/// A duration as Go reads it: `10m`, `1h30m`, `1.5s`. Negative ones are none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text.starts_with('-') { None } else { go_duration(text).ok() }
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
