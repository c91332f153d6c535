//! Dates for hyper's HTTP/1 server, which formats one at every request, whether it writes it or not.
//!
//! The crate of this name panics at a time before 1970 or beyond the year 9999, and a panic ends a member: a wrong clock and
//! a health probe were enough. Here such a moment is written as the nearest that can be. Members write their own dates,
//! or none (`http_date` in `src/api/http/endpoints.rs`); what is written here reaches nobody.
//!
//! It has no more than hyper asks for.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last second that HTTP can write: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

const DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment as HTTP writes it, to the second: always 29 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpDate {
    /// Seconds since the beginning of 1970.
    seconds: u64,
}

impl From<SystemTime> for HttpDate {
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { seconds: seconds.min(LAST_SECOND) }
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.seconds / DAY;
        let (year, month, day) = calendar_day(days);
        let (weekday, month) = (WEEKDAYS[(days % 7) as usize], MONTHS[month - 1]);
        let (hour, minute, second) = (self.seconds / 3_600 % 24, self.seconds / 60 % 60, self.seconds % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// Year, month and day of a day since the beginning of 1970. Years are counted from March, so that a leap day is their last.
fn calendar_day(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let in_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month as usize, in_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> String {
        HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn moments_are_written_as_http_does() {
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(at(LAST_SECOND), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn what_cannot_be_written_is_the_nearest_that_can() {
        let before = HttpDate::from(UNIX_EPOCH - Duration::from_secs(104_000_000));
        assert_eq!(before.to_string(), at(0));
        assert_eq!(at(LAST_SECOND + 1), at(LAST_SECOND));
        assert_eq!(at(9_000_000_000_000), at(LAST_SECOND));
        assert!([0, 784_111_777, LAST_SECOND].iter().all(|&seconds| at(seconds).len() == 29));
    }
}
