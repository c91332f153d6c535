//! What is compacted by itself: `--auto-compaction-mode` and `--auto-compaction-retention`, read as etcd reads them.
//!
//! Invariant: the texts are etcd's. Does not compact anything.

use std::time::Duration;

use crate::node::AutoCompaction;
use crate::server::values;

/// So many hours; no more than a duration of etcd's could be.
fn hours_of(hours: u64) -> Duration {
    const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);
    Duration::from_secs(hours.saturating_mul(3_600)).min(LONGEST)
}

/// Whether a mode is one.
///
/// # Errors
/// It is not.
pub fn check_mode(mode: &str) -> Result<(), String> {
    match mode {
        "periodic" | "revision" => Ok(()),
        "" => Err("undefined auto-compaction-mode".to_owned()),
        _ => Err(format!("unknown auto-compaction-mode {mode:?}")),
    }
}

/// The two flags as one value; `None` is nothing by itself. A bare number is hours or revisions; a duration is, in mode
/// `revision`, a number of revisions by its nanoseconds, as in etcd.
///
/// # Errors
/// The retention cannot be read.
pub fn retention(mode: &str, retention: &str) -> Result<Option<AutoCompaction>, String> {
    let periodic = mode == "periodic";
    let number = retention.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
    let value = match number {
        Some(0) => return Ok(None),
        None if retention.is_empty() => return Ok(None),
        Some(hours) if periodic => AutoCompaction::Periodic(hours_of(hours)),
        Some(revisions) => AutoCompaction::Revisions(revisions),
        None => {
            let text = retention.strip_prefix('+').unwrap_or(retention);
            let span = values::duration(text).map_err(|_| unreadable(retention))?;
            match u64::try_from(span.as_nanos()) {
                Ok(0) => return Ok(None),
                Ok(_) if periodic => AutoCompaction::Periodic(span),
                Ok(nanoseconds) => AutoCompaction::Revisions(nanoseconds),
                Err(_) => return Err(unreadable(retention)),
            }
        }
    };
    Ok(Some(value))
}

fn unreadable(text: &str) -> String {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let why = if !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit() || c == '.') && bare != "." {
        "missing unit in duration"
    } else {
        "invalid duration"
    };
    format!("error parsing CompactionRetention: time: {why} {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn numbers_are_hours_or_revisions_and_durations_are_themselves() {
        for (mode, text, value) in [
            ("periodic", "0", None),
            ("periodic", "10", Some(AutoCompaction::Periodic(HOUR * 10))),
            ("periodic", "5m", Some(AutoCompaction::Periodic(HOUR / 12))),
            ("periodic", "0s", None),
            ("periodic", "", None),
            ("periodic", "9223372036854775807", Some(AutoCompaction::Periodic(Duration::from_nanos(i64::MAX as u64)))),
            ("revision", "1000", Some(AutoCompaction::Revisions(1_000))),
            ("revision", "+5000000000", Some(AutoCompaction::Revisions(5_000_000_000))),
            ("revision", "9223372036854775807", Some(AutoCompaction::Revisions(i64::MAX as u64))),
            ("revision", "5us", Some(AutoCompaction::Revisions(5_000))),
        ] {
            assert_eq!(retention(mode, text), Ok(value), "{mode} {text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_in_etcds_words() {
        assert_eq!(
            retention("periodic", "x"),
            Err("error parsing CompactionRetention: time: invalid duration \"x\"".into())
        );
        let bare = "error parsing CompactionRetention: time: missing unit in duration \"-1\"";
        assert_eq!(retention("periodic", "-1"), Err(bare.into()));
        assert_eq!(check_mode("foo"), Err("unknown auto-compaction-mode \"foo\"".into()));
        assert_eq!(check_mode(""), Err("undefined auto-compaction-mode".into()));
        assert_eq!(check_mode("revision"), Ok(()));
    }
}
