//! What Go's HTTP server does by itself, before those who answer: a `Host` that is one, and paths that are written as they
//! should be.
//!
//! Invariant: texts and codes are Go's. Does not know the endpoints.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;

type Answer = Response<Full<Bytes>>;

/// The refusal of a request of HTTP/1 that does not say once, and well, which host it is for.
pub fn without_host<B>(request: &Request<B>) -> Option<Answer> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let why = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => "",
        (Some(host), None) if !host.as_bytes().iter().all(|byte| may_stand_in_host(*byte)) => ": malformed Host header",
        (None, _) if request.version() >= Version::HTTP_11 && request.method() != Method::CONNECT => {
            ": missing required Host header"
        }
        _ => return None,
    };
    Some(closing(StatusCode::BAD_REQUEST, format!("400 Bad Request{why}")))
}

/// What is said to who is not listened to any more.
fn closing(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The refusal of a request of HTTP/1 that cannot be read: a body in another form than in one go or in chunks, which a proxy
/// before this server may read otherwise, or a path with an escape that is none.
pub fn unreadable<B>(request: &Request<B>) -> Option<Answer> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let is_escape =
        |behind: &str| behind.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_misspelled = request.uri().path().split('%').skip(1).any(|behind| !is_escape(behind));
    if is_misspelled {
        return Some(closing(StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let is_known = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    let refused = !is_known && request.version() >= Version::HTTP_11;
    refused.then(|| closing(StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding"))
}

/// The refusal of what is asked of no place, and is no question whether somebody answers.
pub fn nowhere<B>(request: &Request<B>) -> Option<Answer> {
    if request.uri().path() != "*" {
        return None;
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    if request.version() == Version::HTTP_11 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Some(answer)
}

/// The refusal of a request of HTTP/1 that expects anything but to be told to go on with its body.
pub fn unexpected<B>(request: &Request<B>) -> Option<Answer> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let expected = request.headers().get(header::EXPECT).map(HeaderValue::as_bytes).filter(|text| !text.is_empty())?;
    let mut words = expected.split(|byte| matches!(byte, b' ' | b',' | b'\t'));
    if words.any(|word| word.eq_ignore_ascii_case(b"100-continue")) {
        return None;
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::EXPECTATION_FAILED;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(answer)
}

/// Whether a request is of no place, and asks only whether somebody answers: Go's library does, whoever may ask here.
pub fn of_no_place<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.uri().path() == "*"
}

fn may_stand_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

/// The host that a request names: in its first line where that is whole, else in its field. Over HTTP/2 the other way
/// round: there the first is not kept.
pub fn host_named<B>(request: &Request<B>) -> String {
    let field =
        || request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let line = || request.uri().authority().map(ToString::to_string);
    let named = if request.version() >= Version::HTTP_2 { field().or_else(line) } else { line().or_else(field) };
    named.unwrap_or_default()
}

/// Where a path leads that is not written as it should be, as Go's library sends clients on.
pub fn elsewhere(method: &Method, uri: &Uri, gateway: bool) -> Option<Answer> {
    let path = uri.path();
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if (path.ends_with('/') && clean != "/") || (gateway && clean == "/v3") {
        clean.push('/');
    }
    if clean == path {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = clean + &query;
    // For people, who ask by these.
    let page = match *method {
        Method::GET => format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escaped(&place)),
        _ => String::new(),
    };
    let mut answer = Response::new(Full::from(page));
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    answer.headers_mut().insert(header::LOCATION, HeaderValue::try_from(place).ok()?);
    if matches!(*method, Method::GET | Method::HEAD) {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, html);
    }
    Some(answer)
}

fn escaped(text: &str) -> String {
    let of = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&#34;"), ("'", "&#39;")];
    of.iter().fold(text.to_owned(), |text, (sign, name)| text.replace(sign, name))
}

/// The same place, with what need not be escaped in its path unescaped; `None` where nothing is.
pub fn unescaped(uri: &Uri) -> Option<Uri> {
    let mut path = String::with_capacity(uri.path().len());
    let mut rest = uri.path();
    while let Some((before, behind)) = rest.split_once('%') {
        path.push_str(before);
        let byte = u8::from_str_radix(behind.get(..2)?, 16).ok()?;
        // Nothing that is answered here has anything else in its path; and what is escaped is no way up.
        let is_plain = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
        if !is_plain {
            return None;
        }
        path.push(char::from(byte));
        rest = &behind[2..];
    }
    if path.is_empty() {
        return None;
    }
    path.push_str(rest);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Uri::try_from(path + &query).ok()
}

/// What a part of a query says: `+` is a blank, and any byte may be escaped. `None` where an escape is none, or it is no text.
pub fn of_query(part: &str) -> Option<Cow<'_, str>> {
    if !part.contains(['%', '+']) {
        return Some(Cow::Borrowed(part));
    }
    let mut said = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        said.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(said).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let begun = Request::builder().version(version).uri(uri);
        hosts.iter().fold(begun, |request, host| request.header("host", *host)).body(()).expect("a request")
    }

    async fn text(answer: Answer) -> String {
        let body = answer.into_body().collect().await.expect("it is whole").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn http_1_1_has_one_host() {
        const H1: Version = Version::HTTP_11;
        for (version, hosts, refused) in [
            (H1, &["a"][..], None),
            (H1, &[""], None),
            (H1, &["[::1]:2379"], None),
            (Version::HTTP_10, &[], None),
            (Version::HTTP_2, &[], None),
            (H1, &[], Some("400 Bad Request: missing required Host header")),
            (H1, &["a", "b"], Some("400 Bad Request")),
            (Version::HTTP_10, &["a", "a"], Some("400 Bad Request")),
            (H1, &["a b"], Some("400 Bad Request: malformed Host header")),
        ] {
            match (without_host(&request(version, "/", hosts)), refused) {
                (None, None) => {}
                (Some(answer), Some(why)) => {
                    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
                    assert_eq!(text(answer).await, why);
                }
                (answer, _) => panic!("{hosts:?}: {answer:?}"),
            }
        }
    }

    #[test]
    fn what_a_proxy_may_read_otherwise_is_refused() {
        const H1: Version = Version::HTTP_11;
        for (version, path, codings, refused) in [
            (H1, "/", &[][..], None),
            (H1, "/%41%2f", &["Chunked"], None),
            (H1, "/?%zz", &[], None),
            (Version::HTTP_10, "/", &["gzip"], None),
            (Version::HTTP_2, "/", &["gzip", "chunked"], None),
            (H1, "/", &["gzip, chunked"], Some(501)),
            (H1, "/", &["chunked", "chunked"], Some(501)),
            (H1, "/%", &[], Some(400)),
            (H1, "/%4", &[], Some(400)),
            (H1, "/%zz", &[], Some(400)),
        ] {
            let mut request = request(version, path, &["a"]);
            for coding in codings {
                request.headers_mut().append(header::TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(unreadable(&request).map(|answer| answer.status().as_u16()), refused, "{path} {codings:?}");
        }
    }

    #[test]
    fn no_place_is_nowhere() {
        let of = |version, uri| nowhere(&request(version, uri, &["a"])).map(|answer| answer.headers().len());
        assert_eq!(of(Version::HTTP_11, "*"), Some(1));
        assert_eq!(of(Version::HTTP_10, "*"), Some(0));
        assert_eq!(of(Version::HTTP_11, "/*"), None);
    }

    #[test]
    fn what_is_expected_is_to_go_on_with_the_body() {
        for (version, expected, status) in [
            (Version::HTTP_11, "100-continue", None),
            (Version::HTTP_11, "x, 100-Continue", None),
            (Version::HTTP_10, "100-continue", None),
            (Version::HTTP_11, "", None),
            (Version::HTTP_2, "x", None),
            (Version::HTTP_11, "x", Some(StatusCode::EXPECTATION_FAILED)),
            (Version::HTTP_11, "200-ok", Some(StatusCode::EXPECTATION_FAILED)),
            (Version::HTTP_11, "100-continued", Some(StatusCode::EXPECTATION_FAILED)),
            (Version::HTTP_10, "x", Some(StatusCode::EXPECTATION_FAILED)),
        ] {
            let mut request = request(version, "/", &["a"]);
            request.headers_mut().insert(header::EXPECT, HeaderValue::from_static(expected));
            assert_eq!(unexpected(&request).map(|answer| answer.status()), status, "{expected}");
        }
    }

    #[test]
    fn a_whole_first_line_says_the_host() {
        let named = |version, uri, hosts: &[&str]| host_named(&request(version, uri, hosts));
        assert_eq!(named(Version::HTTP_11, "http://a:1/health", &["b"]), "a:1");
        assert_eq!(named(Version::HTTP_11, "/health", &["b"]), "b");
        assert_eq!(named(Version::HTTP_2, "http://a/health", &["b"]), "b");
        assert_eq!(named(Version::HTTP_2, "http://a/health", &[]), "a");
        assert_eq!(named(Version::HTTP_10, "/health", &[]), "");
    }

    #[tokio::test]
    async fn paths_that_are_not_clean_are_sent_on() {
        let to = |method: Method, path: &'static str, gateway| elsewhere(&method, &Uri::from_static(path), gateway);
        for (path, place) in [
            ("/v3", "/v3/"),
            ("//v3/kv/put", "/v3/kv/put"),
            ("/v3/kv/../kv/./put?a=b", "/v3/kv/put?a=b"),
            ("/../health", "/health"),
        ] {
            let answer = to(Method::POST, path, true).expect("another place");
            assert_eq!(answer.headers()[header::LOCATION], HeaderValue::from_static(place), "{path}");
            assert!(!answer.headers().contains_key(header::CONTENT_TYPE));
            assert_eq!(text(answer).await, "");
        }
        let shown = to(Method::GET, "//health?a=1&b=2", true).expect("another place");
        assert_eq!(shown.headers()[header::CONTENT_TYPE], HeaderValue::from_static("text/html; charset=utf-8"));
        assert_eq!(text(shown).await, "<a href=\"/health?a=1&amp;b=2\">Temporary Redirect</a>.\n\n");
        for path in ["/", "/v3/", "/v3/kv/put", "/health?x"] {
            assert!(to(Method::GET, path, true).is_none(), "{path}");
        }
        assert!(to(Method::GET, "/v3", false).is_none());
    }

    #[test]
    fn parts_of_queries_may_be_escaped() {
        for (part, said) in [("", Some("")), ("a%4e+%2B", Some("aN +")), ("%C3%A9", Some("é"))] {
            assert_eq!(of_query(part).as_deref(), said, "{part}");
        }
        for wrong in ["%", "%4", "%zz", "%+1", "%ff", "a%%41"] {
            assert_eq!(of_query(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_of_no_place_is_told_from_the_rest() {
        let of =
            |method: Method, uri: &str| of_no_place(&Request::builder().method(method).uri(uri).body(()).expect("one"));
        assert!(of(Method::OPTIONS, "*"));
        assert!(!of(Method::GET, "*") && !of(Method::OPTIONS, "/") && !of(Method::OPTIONS, "/*"));
    }

    #[test]
    fn letters_may_be_escaped() {
        let of = |path: &'static str| unescaped(&Uri::from_static(path)).map(|uri| uri.to_string());
        assert_eq!(of("/%68ealth?a=%41"), Some("/health?a=%41".into()));
        assert_eq!(of("/v3/kv/%72an%67e"), Some("/v3/kv/range".into()));
        for path in ["/health", "/%zz", "/%6", "/a%2Fb", "/a%20b", "/%ff", "/%2e%2e/health"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
