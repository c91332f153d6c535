//! Who is asking and on what terms: the request's metadata.
//!
//! Invariant: a request passes the gate before anything of it is looked at.
//! Does not know the methods, nor whom a token names.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use tonic::Code;

use crate::base::Refusal;
use crate::tls::VerifiedClient;

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

/// What a request says of who asks. Nothing of it is believed yet.
#[derive(Clone, Default)]
pub struct Credentials {
    token: Option<HeaderValue>,
    /// By the certificate of the connection, which was verified; where clients must show one.
    pub certified: Option<VerifiedClient>,
}

impl Credentials {
    /// What stands in a request. As in etcd a token goes by two names, and the certificate of a gateway, which asks for
    /// others, says nothing of them.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let token = headers.get("token").or_else(|| headers.get("authorization")).cloned();
        let by_gateway = headers.contains_key("grpcgateway-accept");
        let certified = extensions.get::<VerifiedClient>().filter(|_| !by_gateway).cloned();
        Self { token, certified }
    }

    /// The token, if there is one: an empty text where it is none that could be.
    pub fn token(&self) -> Option<&str> {
        let text = self.token.as_ref()?.to_str().unwrap_or_default();
        Some(text.strip_prefix("Bearer ").unwrap_or(text))
    }
}

/// A client names its version freely and each name becomes a metric: at most this many characters of it.
const MAX_VERSION_CHARS: usize = 32;

fn shortened(version: String) -> String {
    if version.len() <= MAX_VERSION_CHARS { version } else { version.chars().take(MAX_VERSION_CHARS).collect() }
}

/// Whether a content type is gRPC's, as its library reads it: what messages are encoded as may follow.
fn is_grpc(kind: &[u8]) -> bool {
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What etcd's gRPC library refuses before it looks at the method: the HTTP status, gRPC's code and the text.
pub fn malformed(method: &Method, headers: &HeaderMap) -> Option<(StatusCode, Code, String)> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !is_grpc(kind) {
        let text = format!("invalid gRPC request content-type {:?}", String::from_utf8_lossy(kind));
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, text));
    }
    malformed_call(method, headers).map(|(status, text)| (status, Code::Internal, text))
}

/// The same of what is gRPC by its content type.
fn malformed_call(method: &Method, headers: &HeaderMap) -> Option<(StatusCode, String)> {
    let not_base64 =
        headers.iter().find(|(name, value)| name.as_str().ends_with("-bin") && !is_base64(value.as_bytes()));
    if let Some((name, value)) = not_base64 {
        let value = String::from_utf8_lossy(value.as_bytes());
        return Some((
            StatusCode::BAD_REQUEST,
            format!("malformed binary metadata {value:?} in header {:?}", name.as_str()),
        ));
    }
    if method != Method::POST {
        let text = format!("Received a HEADERS frame with :method {:?} which should be POST", method.as_str());
        return Some((StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let patience = headers.get("grpc-timeout")?;
    if patience.to_str().ok().and_then(timeout).is_some() {
        return None;
    }
    let patience = String::from_utf8_lossy(patience.as_bytes());
    Some((StatusCode::BAD_REQUEST, format!("malformed grpc-timeout: {patience:?}")))
}

/// Whether bytes are base64, with padding or without.
pub fn is_base64(bytes: &[u8]) -> bool {
    let digits = match bytes {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] if bytes.len().is_multiple_of(4) => digits,
        digits => digits,
    };
    digits.len() % 4 != 1 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// gRPC's own notation: up to eight digits and a unit. Anything else is no timeout.
pub fn timeout(text: &str) -> Option<Duration> {
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
    fn credentials_are_found_under_etcds_names() {
        let mut headers = HeaderMap::new();
        let mut extensions = Extensions::new();
        let of = Credentials::of;
        assert_eq!(of(&headers, &extensions).token(), None);
        headers.insert("authorization", HeaderValue::from_static("Bearer abc.1"));
        assert_eq!(of(&headers, &extensions).token(), Some("abc.1"));
        headers.insert("token", HeaderValue::from_static("def.2"));
        assert_eq!(of(&headers, &extensions).token(), Some("def.2"));
        headers.insert("token", HeaderValue::from_bytes(b"\xff").expect("a header value"));
        assert_eq!(of(&headers, &extensions).token(), Some(""));
        let anna = VerifiedClient { common_name: "anna".into() };
        extensions.insert(anna.clone());
        assert_eq!(of(&headers, &extensions).certified, Some(anna));
        headers.insert("grpcgateway-accept", HeaderValue::from_static("*/*"));
        assert_eq!(of(&headers, &extensions).certified, None);
    }

    #[test]
    fn what_the_transport_does_not_take_is_refused_before_the_method() {
        let refused = |method, name, value: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("content-type", "application/grpc"), (name, value)] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            malformed(&method, &headers).map(|(code, ..)| code.as_u16())
        };
        let none = malformed(&Method::GET, &HeaderMap::new());
        let text = "invalid gRPC request content-type \"\"".to_string();
        assert_eq!(none, Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, text)), "before the method");
        for bad in ["", "application/json", "application/grpcx", "application/grpc-web", "text/plain"] {
            assert_eq!(refused(Method::POST, "content-type", bad), Some(415), "{bad}");
        }
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert_eq!(refused(Method::POST, "content-type", good), None, "{good}");
        }
        assert_eq!(refused(Method::GET, "te", "trailers"), Some(405));
        for bad in ["10", "xyz", "123456789S", "S", ""] {
            assert_eq!(refused(Method::POST, "grpc-timeout", bad), Some(400), "{bad}");
        }
        assert_eq!(refused(Method::POST, "grpc-timeout", "99999999H"), None);
        for bad in ["!!", "A", "AAA=A", "AAAAA"] {
            assert_eq!(refused(Method::POST, "x-bin", bad), Some(400), "{bad}");
        }
        for good in ["", "AA", "AA==", "AAA=", "+/09"] {
            assert_eq!(refused(Method::POST, "x-bin", good), None, "{good}");
        }
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
