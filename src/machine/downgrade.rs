//! Downgrades: which version a cluster may go down to, so that members of the version before may join it.
//!
//! Invariant: the rules are etcd's; a target is exactly one minor version below. Does not know of members.

/// A version as a request names it (`3.6` or `3.6.0`), in the form in which it is agreed on: `3.6.0`, whatever the patch.
pub fn target_of(text: &str) -> Option<String> {
    let (major, minor) = parse(text).or_else(|| parse(&format!("{text}.0")))?;
    Some(format!("{major}.{minor}.0"))
}

/// The version a cluster of `version` may go down to; none where it is not known what it is.
pub fn allowed_target(version: &str) -> Option<String> {
    let (major, minor) = parse(version)?;
    Some(format!("{major}.{}.0", minor - 1))
}

/// Major and minor of three numbers between dots, as etcd's library reads them: what follows a dash or a plus is for people.
fn parse(text: &str) -> Option<(i64, i64)> {
    let (rest, metadata) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, release) = rest.split_once('-').unwrap_or((rest, ""));
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if !is_name(metadata) || !is_name(release) {
        return None;
    }
    let numbers: Vec<&str> = numbers.splitn(3, '.').collect();
    let [major, minor, patch] = numbers[..] else { return None };
    patch.parse::<i64>().ok()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_two_numbers_or_three() {
        for (text, target) in [
            ("3.6", Some("3.6.0")),
            ("3.6.9", Some("3.6.0")),
            ("3.6.0-rc.1+linux", Some("3.6.0")),
            ("03.06", Some("3.6.0")),
            ("", None),
            ("3", None),
            ("v3.6", None),
            ("3.6.x", None),
            ("3.6.0.1", None),
            ("3.6-rc", None),
            ("3.6.0-r_c", None),
            ("3.-6", None),
            (" 3.6", None),
        ] {
            assert_eq!(target_of(text).as_deref(), target, "{text:?}");
        }
    }

    #[test]
    fn one_minor_version_below_is_allowed() {
        assert_eq!(allowed_target("3.7.0").as_deref(), Some("3.6.0"));
        assert_eq!(allowed_target("3.0.0").as_deref(), Some("3.-1.0"), "which nobody can ask for");
        assert_eq!(allowed_target("not_decided"), None);
    }
}
