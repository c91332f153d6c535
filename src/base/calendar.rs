//! Days as the calendar has them. Does not know what time it is.

use std::time::Duration;

/// Year, month and day of a day counted from 1 January 1970 (Hinnant's algorithm: eras of 400 years from 1 March 0000).
pub fn calendar_day(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A moment, by the time since 1970: `2026-01-02T03:04:05.678901Z`.
pub fn timestamp(since: Duration) -> String {
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (year, month, day) = calendar_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_etcds() {
        let table = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_767_225_599_999_999, "2025-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ];
        for (micros, text) in table {
            assert_eq!(timestamp(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn leap_years_are_the_calendars() {
        let table = [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_453, (2025, 12, 31)), (47_541, (2100, 3, 1))];
        for (days, day) in table {
            assert_eq!(calendar_day(days), day);
        }
    }
}
