//! Answers of the peer port, in the forms that Go's and etcd's servers give them.

use super::head::{RequestHead, reason, write_head};
use crate::base::calendar_day;

/// An answer.
pub(super) struct Answer {
    status: u16,
    lines: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Nothing more is answered on the connection.
    pub(super) ends: bool,
    /// Only its head is asked for.
    bare: bool,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, lines: vec![("Content-Type", content_type.to_string())], body, ends: false, bare: false }
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
        let lines = vec![("Location", path.to_string())];
        Self { status: 307, lines, body: Vec::new(), ends: false, bare: false }
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
        Self { status: 204, lines: Vec::new(), body: Vec::new(), ends: false, bare: false }
    }

    /// With a line more, or with another value of it.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.lines.retain(|(said, _)| *said != name);
        self.lines.push((name, value.to_string()));
        self
    }

    /// To this request: who asks for the head alone takes what follows it for the next answer.
    pub(super) fn to(mut self, head: &RequestHead) -> Self {
        self.bare = head.method == "HEAD";
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
        if !self.bare {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// What etcd's prober wants to hear: that all is well, and the time, from which it judges the clocks.
pub(super) fn probing(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let (year, month, day) = calendar_day(days);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{{\"OK\":true,\"Now\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\"}}\n")
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
        let twice = Answer::nothing().with("X-Etcd-Cluster-ID", "1").with("X-Etcd-Cluster-ID", "2").bytes(true);
        assert_eq!(String::from_utf8(twice).expect("text"), "HTTP/1.1 204 No Content\r\nX-Etcd-Cluster-ID: 2\r\n\r\n");
        assert_eq!(nothing, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}
