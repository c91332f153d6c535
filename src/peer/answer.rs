//! Answers of the peer port, in the forms that Go's and etcd's servers give them.

use super::head::{reason, write_head};

/// An answer.
pub(super) struct Answer {
    status: u16,
    lines: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Nothing more is answered on the connection.
    pub(super) ends: bool,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, lines: vec![("Content-Type", content_type.to_string())], body, ends: false }
    }

    /// A line of text, as Go's `http.Error` writes it.
    pub(super) fn text(status: u16, text: &str) -> Self {
        let body = format!("{text}\n").into_bytes();
        Self::new(status, "text/plain; charset=utf-8", body).with("X-Content-Type-Options", "nosniff")
    }

    /// A message, as etcd's `HTTPError` writes it. The text needs no escapes.
    pub(super) fn message(status: u16, text: &str) -> Self {
        Self::new(status, "application/json", format!("{{\"message\":\"{text}\"}}").into_bytes())
    }

    pub(super) fn json(body: &[u8]) -> Self {
        Self::new(200, "application/json", body.to_vec())
    }

    pub(super) fn bytes_of(body: &[u8]) -> Self {
        Self::new(200, "application/octet-stream", body.to_vec())
    }

    pub(super) fn protobuf(body: &[u8]) -> Self {
        Self::new(200, "application/protobuf", body.to_vec())
    }

    /// A word, without an end of line.
    pub(super) fn plain(word: &str) -> Self {
        Self::new(200, "text/plain; charset=utf-8", word.as_bytes().to_vec())
    }

    /// A word, of whose letters nothing is said.
    pub(super) fn word(word: &str) -> Self {
        Self::new(200, "text/plain", word.as_bytes().to_vec())
    }

    /// It is to be found at another path.
    pub(super) fn elsewhere(path: &str) -> Self {
        Self { status: 307, lines: vec![("Location", path.to_string())], body: Vec::new(), ends: false }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status == 200
    }

    /// Nothing more is answered on the connection.
    pub(super) fn ending(mut self) -> Self {
        self.ends = true;
        self
    }

    /// It is done, and there is nothing to say.
    pub(super) fn nothing() -> Self {
        Self { status: 204, lines: Vec::new(), body: Vec::new(), ends: false }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.lines.push((name, value.to_string()));
        self
    }

    /// As it is written. `keeps`: another request may follow.
    pub(super) fn bytes(&self, keeps: bool) -> Vec<u8> {
        let length = self.body.len().to_string();
        let mut lines: Vec<(&str, &str)> = self.lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if self.status != 204 {
            lines.push(("Content-Length", &length));
        }
        if !keeps || self.ends {
            lines.push(("Connection", "close"));
        }
        let mut bytes = write_head(&format!("HTTP/1.1 {} {}", self.status, reason(self.status)), &lines);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What etcd's prober wants to hear: that all is well, and the time, from which it judges the clocks.
pub(super) fn probing(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{{\"OK\":true,\"Now\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\"}}\n")
}

/// Year, month and day of a day since 1970, after Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_and_go_read_them() {
        assert_eq!(probing(0), "{\"OK\":true,\"Now\":\"1970-01-01T00:00:00.000Z\"}\n");
        assert_eq!(probing(951_782_400_001), "{\"OK\":true,\"Now\":\"2000-02-29T00:00:00.001Z\"}\n");
        assert_eq!(probing(1_798_761_599_999), "{\"OK\":true,\"Now\":\"2026-12-31T23:59:59.999Z\"}\n");
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let text = String::from_utf8(Answer::text(404, "invalid from").bytes(true)).expect("text");
        assert!(
            text.starts_with("HTTP/1.1 404 Not Found\r\n")
                && text.ends_with("Content-Length: 13\r\n\r\ninvalid from\n")
        );
        let nothing = String::from_utf8(Answer::nothing().bytes(false)).expect("text");
        assert_eq!(nothing, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}
