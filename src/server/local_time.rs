//! How far local time is from that of the world, by the system's zone: what `TZ` names, else `/etc/localtime`.
//!
//! Reads zone files (RFC 9636) of any version, with the rule in their footer for what comes behind their table.
//! Invariant: what cannot be read is no reason to stop: then it is the time of the world, as in etcd's language. Does not
//! know what time it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::calendar_day;

/// Where zones are looked for by name.
const PLACES: [&str; 4] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];

/// The system's own.
const SYSTEM: &str = "/etc/localtime";

/// Largest file that is read as a zone.
const MAX_FILE_BYTES: u64 = 1 << 20;

const DAY: i64 = 86_400;

/// Of the year 9999: nobody asks for what is behind.
const LAST_SECOND: i64 = 253_402_300_799;

/// A zone. The default is the time of the world.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    /// From which second on, ascending, local time is ahead by how many.
    changes: Vec<(i64, i64)>,
    /// By how many before.
    first: i64,
    /// What holds behind the last change.
    rule: Option<Rule>,
}

impl Zone {
    /// The one this process is in.
    pub fn of_system() -> Self {
        let named = env::var("TZ").ok();
        let paths = match named.as_deref().map(|name| name.strip_prefix(':').unwrap_or(name)) {
            None => vec![PathBuf::from(SYSTEM)],
            Some("") => Vec::new(),
            Some(path) if path.starts_with('/') => vec![PathBuf::from(path)],
            Some(name) => PLACES.iter().map(|place| Path::new(place).join(name)).collect(),
        };
        paths.iter().find_map(|path| Self::of_file(path)).unwrap_or_default()
    }

    fn of_file(path: &Path) -> Option<Self> {
        let is_small = fs::metadata(path).ok()?.len() <= MAX_FILE_BYTES;
        is_small.then(|| fs::read(path).ok()).flatten().and_then(|bytes| Self::read(&bytes))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, block, rest) = Block::read(bytes, 4)?;
        if version == 0 {
            return block.zone();
        }
        // The first is for old readers.
        let (_, block, rest) = Block::read(rest, 8)?;
        let footer = rest.strip_prefix(b"\n").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
        let rule = footer.and_then(|footer| std::str::from_utf8(footer).ok()).and_then(Rule::read);
        Some(Self { rule, ..block.zone()? })
    }

    /// Seconds that local time is ahead at a second since 1970.
    pub fn ahead(&self, second: u64) -> i64 {
        let second = i64::try_from(second).map_or(LAST_SECOND, |second| second.min(LAST_SECOND));
        let passed = self.changes.partition_point(|(from, _)| *from <= second);
        match (&self.rule, passed.checked_sub(1)) {
            (Some(rule), _) if passed == self.changes.len() => rule.ahead(second),
            (_, Some(last)) => self.changes[last].1,
            (_, None) => self.first,
        }
    }
}

/// A table of a zone file.
struct Block<'a> {
    /// Bytes of a moment in it.
    size: usize,
    times: &'a [u8],
    kinds: &'a [u8],
    offsets: &'a [u8],
}

impl<'a> Block<'a> {
    /// The file's version, a table whose moments have `size` bytes, and what is behind it.
    fn read(bytes: &'a [u8], size: usize) -> Option<(u8, Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(44)?;
        if !head.starts_with(b"TZif") {
            return None;
        }
        let count = |place: usize| usize::try_from(number(&head[20 + 4 * place..24 + 4 * place])).ok();
        let (in_world_time, standard, leaps) = (count(0)?, count(1)?, count(2)?);
        let (times, types, letters) = (count(3)?, count(4)?, count(5)?);
        let (times, rest) = rest.split_at_checked(times.checked_mul(size)?)?;
        let (kinds, rest) = rest.split_at_checked(times.len() / size)?;
        let (offsets, rest) = rest.split_at_checked(types.checked_mul(6)?)?;
        let left =
            leaps.checked_mul(size + 4)?.checked_add(letters)?.checked_add(standard)?.checked_add(in_world_time)?;
        let (_, rest) = rest.split_at_checked(left)?;
        Some((head[4], Self { size, times, kinds, offsets }, rest))
    }

    fn zone(&self) -> Option<Zone> {
        let ahead = |kind: usize| self.offsets.get(6 * kind..6 * kind + 4).map(number);
        let moments = self.times.chunks_exact(self.size).map(number);
        let changes = moments.zip(self.kinds).map(|(from, kind)| Some((from, ahead(usize::from(*kind))?)));
        Some(Zone { changes: changes.collect::<Option<_>>()?, first: ahead(0)?, rule: None })
    }
}

/// A number with its sign, of four bytes or eight.
fn number(bytes: &[u8]) -> i64 {
    let first = i64::from(bytes.first().copied().unwrap_or_default().cast_signed());
    bytes.iter().skip(1).fold(first, |number, byte| number << 8 | i64::from(*byte))
}

/// What holds every year, as POSIX writes it: `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// Seconds ahead.
    standard: i64,
    /// Seconds ahead in summer, and when that begins and ends.
    summer: Option<(i64, Turn, Turn)>,
}

/// When in a year clocks are turned, by the time that was shown before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Turn {
    day: Day,
    /// Seconds behind the day's beginning.
    time: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Day {
    /// Counted from 1, where 29 February is none.
    WithoutLeap(i64),
    /// Counted from 0.
    OfYear(i64),
    /// A day of the week, from Sunday, in a week of a month; the fifth is the last.
    OfWeek { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    fn read(text: &str) -> Option<Self> {
        let rest = after_name(text)?;
        let (behind, rest) = clock(rest)?;
        let standard = -behind;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let rest = after_name(rest)?;
        let (ahead, rest) = match clock(rest) {
            Some((behind, rest)) => (-behind, rest),
            None => (standard + 3_600, rest),
        };
        let (begin, end) = rest.strip_prefix(',')?.split_once(',')?;
        Some(Self { standard, summer: Some((ahead, Turn::read(begin)?, Turn::read(end)?)) })
    }

    fn ahead(&self, second: i64) -> i64 {
        let Some((ahead, begin, end)) = &self.summer else { return self.standard };
        let (year, ..) = calendar_day(u64::try_from(second.saturating_add(self.standard) / DAY).unwrap_or(0));
        let year = i64::try_from(year).unwrap_or(9_999);
        let (begin, end) = (begin.in_year(year) - self.standard, end.in_year(year) - ahead);
        let is_summer = match begin <= end {
            true => (begin..end).contains(&second),
            false => !(end..begin).contains(&second),
        };
        if is_summer { *ahead } else { self.standard }
    }
}

impl Turn {
    fn read(text: &str) -> Option<Self> {
        let (day, time) = match text.split_once('/') {
            Some((day, time)) => (day, clock(time).filter(|(_, rest)| rest.is_empty())?.0),
            None => (text, 2 * 3_600),
        };
        let day = match day.strip_prefix('M') {
            Some(parts) => {
                let mut parts = parts.split('.').map(|part| part.parse::<i64>().ok());
                let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
                let is_one = (1..=12).contains(&month) && (1..=5).contains(&week) && (0..=6).contains(&weekday);
                is_one.then_some(Day::OfWeek { month, week, weekday })?
            }
            None => match day.strip_prefix('J') {
                Some(day) => Day::WithoutLeap(day.parse().ok().filter(|day| (1..=365).contains(day))?),
                None => Day::OfYear(day.parse().ok().filter(|day| (0..=365).contains(day))?),
            },
        };
        Some(Self { day, time })
    }

    /// Its second of local time in a year.
    fn in_year(&self, year: i64) -> i64 {
        let before = year - 1;
        let first = 365 * before + before / 4 - before / 100 + before / 400 - 719_162;
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let day = match self.day {
            Day::WithoutLeap(day) => first + day - 1 + i64::from(is_leap && day > 59),
            Day::OfYear(day) => first + day,
            Day::OfWeek { month, week, weekday } => {
                let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let months = lengths.iter().take(usize::try_from(month - 1).unwrap_or(0));
                let first = first + months.sum::<i64>();
                let length = lengths[usize::try_from(month - 1).unwrap_or(0)];
                // 1 January 1970 was a Thursday.
                let mut day = (weekday - (first + 4)).rem_euclid(7) + 7 * (week - 1);
                while day >= length {
                    day -= 7;
                }
                first + day
            }
        };
        day * DAY + self.time
    }
}

/// What is behind a zone's short name: letters, or anything in angle brackets.
fn after_name(text: &str) -> Option<&str> {
    match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>').map(|(_, rest)| rest),
        None => {
            let length = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
            (length >= 3).then(|| &text[length..])
        }
    }
}

/// A time as `[+-]hours[:minutes[:seconds]]`, in seconds, and what is behind it.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let length = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
    let (shown, rest) = rest.split_at(length);
    let mut seconds = 0;
    let mut weight = 3_600;
    for part in shown.split(':') {
        // 167 hours are the most that may be said.
        seconds += weight * part.parse::<i64>().ok().filter(|part| (0..=167).contains(part))?;
        weight /= 60;
    }
    Some((sign * seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 2 with these changes, each to so many seconds ahead, and this footer.
    fn file(changes: &[(i64, i32)], footer: &str) -> Vec<u8> {
        let head = |times: usize, types: usize| {
            let counts = [0, 0, 0, times, types, 4].map(|count| u32::try_from(count).expect("few").to_be_bytes());
            [b"TZif2".as_slice(), &[0; 15], counts.concat().as_slice()].concat()
        };
        let mut bytes = head(0, 1);
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(b"LMT\0");
        bytes.extend(head(changes.len(), changes.len() + 1));
        changes.iter().for_each(|(from, _)| bytes.extend(from.to_be_bytes()));
        bytes.extend((1..=changes.len()).map(|kind| u8::try_from(kind).expect("few")));
        for ahead in std::iter::once(&77).chain(changes.iter().map(|(_, ahead)| ahead)) {
            bytes.extend(ahead.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend_from_slice(format!("LMT\0\n{footer}\n").as_bytes());
        bytes
    }

    #[test]
    fn the_table_holds_until_its_end_and_the_rule_behind_it() {
        let zone = Zone::read(&file(&[(1_000, 3_600), (2_000, 7_200)], "CET-1CEST,M3.5.0,M10.5.0/3")).expect("a zone");
        assert_eq!([0, 999, 1_000, 1_999].map(|second| zone.ahead(second)), [77, 77, 3_600, 3_600]);
        // 1770000000 is in February of 2026, 1780000000 in May.
        assert_eq!([1_770_000_000, 1_780_000_000].map(|second| zone.ahead(second)), [3_600, 7_200]);
        let fixed = Zone::read(&file(&[(1_000, 19_800)], "")).expect("a zone");
        assert_eq!([0, 5_000].map(|second| fixed.ahead(second)), [77, 19_800], "the last change holds on");
        let alone = Zone::read(&file(&[], "<+0530>-5:30")).expect("a zone");
        assert_eq!(alone.ahead(1_780_000_000), 19_800);
        assert_eq!(Zone::default().ahead(1_780_000_000), 0);
    }

    #[test]
    fn what_is_no_zone_is_none_and_nothing_is_read_beyond_its_end() {
        let whole = file(&[(1_000, 3_600)], "CET-1CEST,M3.5.0,M10.5.0/3");
        for length in 0..whole.len() {
            let cut = Zone::read(&whole[..length]);
            assert!(cut.is_none_or(|zone| zone.ahead(1_500) == 3_600), "{length}");
        }
        assert_eq!(Zone::read(b"not a zone file at all, but long enough to be one"), None);
        let mut wrong = whole;
        wrong[44 + 10 + 32..44 + 10 + 36].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Zone::read(&wrong), None, "more changes than there are bytes");
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        // The second before clocks are turned, and that second; then the same in autumn.
        for (rule, summer, winter, ahead) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_746_000, 1_792_890_000, (3_600, 7_200)),
            ("EST5EDT,M3.2.0,M11.1.0", 1_772_953_200, 1_793_512_800, (-18_000, -14_400)),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1_774_746_000, 1_792_890_000, (-7_200, -3_600)),
            ("XST-1XDT-3:30,J60/0,300/0", 1_772_319_600, 1_793_133_000, (3_600, 12_600)),
        ] {
            let read = Rule::read(rule).expect(rule);
            let around = |second| (read.ahead(second - 1), read.ahead(second));
            assert_eq!((around(summer), around(winter)), (ahead, (ahead.1, ahead.0)), "{rule}");
        }
        let south = Rule::read("AEST-10AEDT,M10.1.0,M4.1.0/3").expect("a rule");
        assert_eq!([1_767_225_600, 1_780_000_000].map(|second| south.ahead(second)), [39_600, 36_000]);
        for wrong in ["", "CE", "CET", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "A<B", "CET-200"] {
            assert_eq!(Rule::read(wrong), None, "{wrong}");
        }
    }
}
