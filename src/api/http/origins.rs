//! Whose pages may speak by WebSockets.
//!
//! Any page may open one to anywhere and read what it is told, whatever CORS says, and a browser adds the cookies and the
//! certificate that its user has for the place. Invariants: a page of another origin than the server's own is let in only
//! where `--cors` names its origin, or names any and the page brings nothing but what it knows itself. Who sends no origin
//! is no page. Does not know what is said.

use http::Request;
use http::header::{self, HeaderValue};

use crate::api::gateway::websocket;
use crate::api::http::manners::host_named;
use crate::tls::{CameSealed, VerifiedClient};

/// Whether who asks for a WebSocket is no page of an origin that may not, where `--cors` is `origins`.
pub fn may_speak<B>(origins: &[String], request: &Request<B>) -> bool {
    let mut named = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = named.next() else { return true };
    if named.next().is_some() {
        return false;
    }
    if is_own(origin, request) || origins.iter().any(|have| have.as_bytes() == origin.as_bytes()) {
        return true;
    }
    let is_any = origins.is_empty() || origins.iter().any(|have| have == "*");
    let brings_what_the_browser_has =
        websocket::token_cookie(request.headers()).is_some() || request.extensions().get::<VerifiedClient>().is_some();
    is_any && !brings_what_the_browser_has
}

/// Whether a page came from where it speaks to, and as safely: who is on the way may put what he likes into one that came in
/// the clear. Whoever speaks TLS in front of this server may speak plainly to it.
fn is_own<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let Some((scheme, host)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
    let is_sealed = request.extensions().get::<CameSealed>().is_some();
    let is_as_safe = scheme == "https" || (scheme == "http" && !is_sealed);
    is_as_safe && !host.is_empty() && host.eq_ignore_ascii_case(&host_named(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://etcd.example:2379";
    const OWN_SEALED: &str = "https://etcd.example:2379";
    const LISTED: &str = "https://console.example";
    const FOREIGN: &str = "https://evil.example";

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Brings {
        Nothing,
        Token,
        OtherCookie,
        Certificate,
    }

    fn asked(origins: &[&str], is_sealed: bool, brings: Brings) -> Request<()> {
        let request = Request::builder().uri("/v3/kv/range").header("host", "etcd.example:2379");
        let request = origins.iter().fold(request, |request, origin| request.header("origin", *origin));
        let request = match brings {
            Brings::Token => request.header("cookie", "a=b; token=\"root.1\""),
            Brings::OtherCookie => request.header("cookie", "tokens=a"),
            Brings::Nothing | Brings::Certificate => request,
        };
        let mut request = request.body(()).expect("a request");
        if is_sealed {
            request.extensions_mut().insert(CameSealed);
        }
        if brings == Brings::Certificate {
            request.extensions_mut().insert(VerifiedClient { common_name: "".into() });
        }
        request
    }

    #[test]
    fn pages_speak_from_here_or_from_where_they_are_named_or_with_what_they_know() {
        use Brings::{Certificate, Nothing, OtherCookie, Token};
        let (any, one, both): (&[&str], &[&str], &[&str]) = (&["*"], &[LISTED], &["*", LISTED]);
        let none: &[&str] = &[];
        for brings in [Nothing, OtherCookie, Token, Certificate] {
            let knows_itself = matches!(brings, Nothing | OtherCookie);
            for (cors, origin, is_sealed, expected) in [
                // No page.
                (one, None, false, true),
                (any, None, true, true),
                // Its own.
                (one, Some(OWN), false, true),
                (one, Some("http://ETCD.example:2379"), false, true),
                (one, Some(OWN_SEALED), true, true),
                (one, Some(OWN_SEALED), false, true),
                (one, Some(OWN), true, false),
                (one, Some("http://etcd.example"), false, false),
                (one, Some("http://etcd.example:2380"), false, false),
                (one, Some("ftp://etcd.example:2379"), false, false),
                (one, Some("etcd.example:2379"), false, false),
                // Named.
                (one, Some(LISTED), true, true),
                (both, Some(LISTED), true, true),
                (one, Some("http://console.example"), true, false),
                // Others.
                (one, Some(FOREIGN), true, false),
                (one, Some("null"), false, false),
                (one, Some(""), false, false),
                (any, Some(FOREIGN), true, knows_itself),
                (both, Some(FOREIGN), true, knows_itself),
                (none, Some(FOREIGN), true, knows_itself),
                (any, Some("null"), false, knows_itself),
                (any, Some(OWN), true, knows_itself),
            ] {
                let cors: Vec<String> = cors.iter().map(ToString::to_string).collect();
                let request = asked(origin.as_slice(), is_sealed, brings);
                assert_eq!(may_speak(&cors, &request), expected, "{cors:?} {origin:?} {is_sealed} {brings:?}");
            }
        }
        assert!(!may_speak(&["*".into()], &asked(&[OWN, FOREIGN], false, Nothing)), "no browser names two");
    }

    #[test]
    fn a_page_without_a_host_to_speak_to_has_none_of_its_own() {
        let request = Request::builder().uri("/v3/watch").header("origin", "https://").body(()).expect("a request");
        assert!(!may_speak(&[LISTED.into()], &request));
    }
}
