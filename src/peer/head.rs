//! Heads of HTTP/1.1 requests and answers: read by `httparse`, written by hand.
//!
//! Invariant: a head longer than its limits is refused before it is complete. Does not know what a header means beyond
//! how long the body is.

use super::wrong::LineWrong;
use crate::base::limits;

/// Header lines; names are compared without regard to case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Headers(Vec<(String, String)>);

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyLength {
    /// After so many bytes.
    Bytes(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// With the connection.
    ToEnd,
}

/// The head of a request.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct RequestHead {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    pub(super) headers: Headers,
    pub(super) body: BodyLength,
    /// Whether another request may follow on the connection.
    pub(super) keeps: bool,
}

/// The head of an answer.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: BodyLength,
    /// Whether another request may follow on the connection.
    pub(super) keeps: bool,
}

impl Headers {
    /// The value of the first line of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn read(lines: &[httparse::Header<'_>]) -> Result<Self, LineWrong> {
        let line = |line: &httparse::Header<'_>| {
            let value = std::str::from_utf8(line.value).map_err(|_| LineWrong::malformed("a header is no text"))?;
            Ok((line.name.to_string(), value.trim().to_string()))
        };
        Ok(Self(lines.iter().map(line).collect::<Result<_, LineWrong>>()?))
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.0
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .any(|(_, value)| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    fn keeps(&self, version: u8) -> bool {
        if version == 0 { self.has_token("connection", "keep-alive") } else { !self.has_token("connection", "close") }
    }

    /// How long the body is; `none` where no header says it. Two answers to the question are none.
    fn body_length(&self, none: BodyLength) -> Result<BodyLength, LineWrong> {
        let all = |name: &str| {
            let name = name.to_string();
            self.0.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(&name)).map(|(_, value)| value.as_str())
        };
        let mut lengths = all("content-length");
        let mut encodings = all("transfer-encoding");
        match (lengths.next(), encodings.next()) {
            (None, None) => Ok(none),
            (None, Some(encoding)) if encoding.eq_ignore_ascii_case("chunked") && encodings.next().is_none() => {
                Ok(BodyLength::Chunked)
            }
            (Some(length), None) if lengths.all(|other| other == length) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let length = digits.then(|| length.parse().ok()).flatten();
                length.map(BodyLength::Bytes).ok_or_else(|| LineWrong::malformed("the length of a body is no number"))
            }
            _ => Err(LineWrong::malformed("the length of a body is not clear")),
        }
    }
}

/// Reads the head of a request and says how many bytes it took; nothing while it is not complete.
pub(super) fn parse_request(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, LineWrong> {
    let mut lines = [httparse::EMPTY_HEADER; limits::PEER_HEAD_LINES];
    let mut head = httparse::Request::new(&mut lines);
    let Some(taken) = complete(head.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::read(head.headers)?;
    let target = head.path.unwrap_or_default();
    let request = RequestHead {
        method: head.method.unwrap_or_default().to_string(),
        path: target.split('?').next().unwrap_or_default().to_string(),
        body: headers.body_length(BodyLength::Bytes(0))?,
        keeps: headers.keeps(head.version.unwrap_or(0)),
        headers,
    };
    Ok(Some((request, taken)))
}

/// Reads the head of an answer, as [`parse_request`].
pub(super) fn parse_response(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, LineWrong> {
    let mut lines = [httparse::EMPTY_HEADER; limits::PEER_HEAD_LINES];
    let mut head = httparse::Response::new(&mut lines);
    let Some(taken) = complete(head.parse(bytes), bytes)? else { return Ok(None) };
    let headers = Headers::read(head.headers)?;
    let status = head.code.unwrap_or(0);
    let bodiless = status < 200 || status == 204 || status == 304;
    let body = if bodiless { BodyLength::Bytes(0) } else { headers.body_length(BodyLength::ToEnd)? };
    let keeps = headers.keeps(head.version.unwrap_or(0)) && body != BodyLength::ToEnd;
    Ok(Some((ResponseHead { status, headers, body, keeps }, taken)))
}

fn complete(parsed: httparse::Result<usize>, bytes: &[u8]) -> Result<Option<usize>, LineWrong> {
    let limit = limits::PEER_HEAD_BYTES;
    let too_long = |bytes: usize| LineWrong::TooLong { what: "a head", bytes: bytes as u64, limit };
    match parsed {
        Ok(httparse::Status::Complete(taken)) if taken > limit => Err(too_long(taken)),
        Ok(httparse::Status::Complete(taken)) => Ok(Some(taken)),
        Ok(httparse::Status::Partial) if bytes.len() > limit => Err(too_long(bytes.len())),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(LineWrong::malformed(format!("malformed HTTP: {error}"))),
    }
}

/// Writes a head: its first line, header lines, and the empty one.
pub(super) fn write_head(first: &str, lines: &[(&str, &str)]) -> Vec<u8> {
    let mut head = String::with_capacity(512);
    head.push_str(first);
    head.push_str("\r\n");
    for (name, value) in lines {
        // What stands in a header is this member's own configuration; a line break in it must not make another line.
        let one_line = !value.contains(['\r', '\n']);
        head.push_str(name);
        head.push_str(": ");
        head.push_str(if one_line { value } else { "" });
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The words for a status.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> RequestHead {
        parse_request(text.as_bytes()).expect("well formed").expect("complete").0
    }

    #[test]
    fn heads_are_read() {
        let head = request("GET /raft/stream/message/1f?x=1 HTTP/1.1\r\nHost: a:1\r\nx-raft-to:  2a \r\n\r\n");
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "/raft/stream/message/1f"));
        assert_eq!(head.headers.get("X-Raft-To"), Some("2a"));
        assert_eq!((head.body, head.keeps), (BodyLength::Bytes(0), true));
        let head = request("POST /raft HTTP/1.1\r\nContent-Length: 12\r\nConnection: Close\r\n\r\n");
        assert_eq!((head.body, head.keeps), (BodyLength::Bytes(12), false));
        let head = request("POST /raft/snapshot HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!((head.body, head.keeps), (BodyLength::Chunked, false));
        let (head, taken) = parse_response(b"HTTP/1.1 200 OK\r\n\r\nrest").expect("well formed").expect("complete");
        assert_eq!((head.status, head.body, head.keeps, taken), (200, BodyLength::ToEnd, false, 19));
        let (head, _) = parse_response(b"HTTP/1.1 204 No Content\r\n\r\n").expect("well formed").expect("complete");
        assert_eq!((head.body, head.keeps), (BodyLength::Bytes(0), true));
    }

    #[test]
    fn lengths_that_are_not_clear_are_refused() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            let text = format!("POST /raft HTTP/1.1\r\n{lines}\r\n");
            assert!(matches!(parse_request(text.as_bytes()), Err(LineWrong::Malformed(_))), "{lines}");
        }
    }

    #[test]
    fn a_head_has_limits() {
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(limits::PEER_HEAD_BYTES));
        assert!(matches!(parse_request(endless.as_bytes()), Err(LineWrong::TooLong { .. })));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(limits::PEER_HEAD_LINES + 1));
        assert!(matches!(parse_request(many.as_bytes()), Err(LineWrong::Malformed(_))));
        assert!(matches!(parse_request(b"\x16\x03\x01\x02\x00\x01\x00"), Err(LineWrong::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_request(&bytes);
            let _ = parse_response(&bytes);
        }

        #[test]
        fn what_is_written_is_read(status in 200..600_u16, values in proptest::collection::vec("[a-z0-9.:/,]{0,40}", 0..8)) {
            let names: Vec<String> = (0..values.len()).map(|number| format!("X-{number}")).collect();
            let lines: Vec<(&str, &str)> =
                names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            let bytes = write_head(&format!("HTTP/1.1 {status} {}", reason(status)), &lines);
            let (head, taken) = parse_response(&bytes).expect("well formed").expect("complete");
            prop_assert_eq!((head.status, taken), (status, bytes.len()));
            for (name, value) in lines {
                prop_assert_eq!(head.headers.get(name), Some(value));
            }
            for cut in 0..bytes.len() {
                prop_assert!(matches!(parse_response(&bytes[..cut]), Ok(None)));
            }
        }
    }
}
