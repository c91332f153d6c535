//! Who is asking and on what terms: the request's metadata.
//!
//! Invariant: a request passes the gate before anything of it is looked at.
//! Does not know the methods. Users and tokens come with the auth room.

use std::time::Duration;

use http::HeaderMap;

use crate::base::Refusal;

/// The terms of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Refuse at once when there is no leader (`hasleader: true`).
    pub require_leader: bool,
    /// What the client's library calls itself (`client-api-version`); for the metrics.
    pub client_api_version: String,
    /// How long the client waits (`grpc-timeout`).
    pub patience: Option<Duration>,
}

impl Caller {
    /// The terms the headers name.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let client_api_version = match headers.get("client-api-version") {
            None => "unknown".to_string(),
            Some(value) => {
                std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::InvalidClientApiVersion)?.to_string()
            }
        };
        Ok(Self {
            require_leader: headers.get("hasleader").is_some_and(|value| value == "true"),
            client_api_version: shortened(client_api_version),
            patience: headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout),
        })
    }

    /// Refuses a caller who insists on a leader when there is none.
    pub fn admit(&self, has_leader: bool) -> Result<(), Refusal> {
        if self.require_leader && !has_leader { Err(Refusal::NoLeader) } else { Ok(()) }
    }
}

/// A client names its version freely and each name becomes a metric: at most this many characters of it.
const MAX_VERSION_CHARS: usize = 32;

fn shortened(version: String) -> String {
    if version.len() <= MAX_VERSION_CHARS { version } else { version.chars().take(MAX_VERSION_CHARS).collect() }
}

/// gRPC's own notation: up to eight digits and a unit. Anything else is no timeout.
fn timeout(text: &str) -> Option<Duration> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match text.as_bytes().last()? {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn terms_are_read_from_the_headers() {
        let mut headers = HeaderMap::new();
        let plain = Caller::from_headers(&headers).expect("no headers are fine");
        assert_eq!((plain.require_leader, plain.client_api_version.as_str()), (false, "unknown"));
        assert_eq!(plain.admit(false), Ok(()));

        headers.insert("hasleader", HeaderValue::from_static("true"));
        headers.insert("client-api-version", HeaderValue::from_static("3.7.1"));
        let strict = Caller::from_headers(&headers).expect("good headers");
        assert_eq!(strict.client_api_version, "3.7.1");
        assert_eq!(strict.admit(false), Err(Refusal::NoLeader));
        assert_eq!(strict.admit(true), Ok(()));

        headers.insert("client-api-version", HeaderValue::from_bytes(b"\xff").expect("a header value"));
        assert_eq!(Caller::from_headers(&headers), Err(Refusal::InvalidClientApiVersion));
    }

    #[test]
    fn timeouts_follow_grpcs_notation() {
        assert_eq!(timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(timeout("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        for garbage in ["", "S", "1", "1x", "-1S", "123456789S", "é"] {
            assert_eq!(timeout(garbage), None, "{garbage}");
        }
    }
}
