//! URLs of members, as etcd reads them: what is taken and what is refused, with its texts.
//!
//! The rules and the texts are those of Go's `net/url` and etcd's `types.NewURLs`; a peer URL that one of a
//! cluster's members took and another refused would split what they believe. Invariant: a URL that is taken has the
//! form `http(s)://host:port` without a path, or is of scheme `unix` or `unixs`. No name is ever looked up here.

use super::go_quoted;

/// One URL that was taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Url {
    /// In its canonical form: the scheme in lower case, no space around. First, because lists are sorted by it.
    pub text: String,
    /// `http`, `https`, `unix` or `unixs`.
    pub scheme: String,
    /// The host, without brackets; of a socket, the rest of the text.
    pub host: String,
    /// The port as it was written; empty for a socket, and where nothing follows the colon.
    pub port: String,
}

impl Url {
    /// Reads one URL.
    ///
    /// # Errors
    /// The text that etcd refuses it with.
    pub fn read(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let parts = Parts::read(text)?;
        match parts.scheme.as_str() {
            "http" | "https" => {
                let (host, port) = split_host_port(parts.host)
                    .ok_or_else(|| format!("URL address does not have the form \"host:port\": {text}"))?;
                if !parts.path.is_empty() {
                    return Err(format!("URL must not contain a path: {text}"));
                }
                Ok(Url {
                    host: host.to_owned(),
                    port: port.to_owned(),
                    text: canonical(&parts.scheme, text),
                    scheme: parts.scheme,
                })
            }
            "unix" | "unixs" => {
                let rest = text[parts.scheme.len() + 1..].trim_start_matches("//").to_owned();
                Ok(Url { host: rest, port: String::new(), text: canonical(&parts.scheme, text), scheme: parts.scheme })
            }
            _ => Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
        }
    }

    /// Reads a list of URLs and sorts it.
    ///
    /// # Errors
    /// The list is empty, or the text for the first URL that is refused.
    pub fn read_all<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Vec<Url>, String> {
        let mut urls = texts.into_iter().map(|text| Url::read(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err("no valid URLs given".to_owned());
        }
        urls.sort();
        Ok(urls)
    }
}

/// The scheme is all that a URL without a path may change in being read and written.
fn canonical(scheme: &str, text: &str) -> String {
    format!("{scheme}{}", &text[scheme.len()..])
}

/// The parts of any URL that matter here.
struct Parts<'a> {
    /// In lower case; empty where there is none.
    scheme: String,
    /// With its port and brackets.
    host: &'a str,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Parts<'a>, String> {
        let before_fragment = text.split_once('#').map_or(text, |(before, _)| before);
        Self::split(before_fragment).map_err(|why| format!("parse {}: {why}", go_quoted(before_fragment)))
    }

    fn split(text: &'a str) -> Result<Parts<'a>, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                // Opaque: it has neither host nor path.
                return Ok(Parts { scheme, host: "", path: "" });
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
            None => ("", rest),
            Some(authority) => {
                let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
                (host_of(authority, &scheme)?, path)
            }
        };
        escapes(path, |_| true)?;
        Ok(Parts { scheme, host, path })
    }
}

/// The scheme in lower case, and what follows its colon.
fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

/// The host with its port, without a user before it.
fn host_of<'a>(authority: &'a str, scheme: &str) -> Result<&'a str, String> {
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    check_host(host, scheme)?;
    if let Some(user) = user {
        let may_stand = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !user.chars().all(may_stand) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        escapes(user, |_| true)?;
    }
    Ok(host)
}

fn check_host(host: &str, scheme: &str) -> Result<(), String> {
    match (host.rfind('['), host.find(':')) {
        (Some(1..), _) => return Err("invalid IP-literal".to_owned()),
        (Some(0), _) => return check_bracketed(host),
        (None, None) => {}
        (None, Some(first)) => {
            // One colon alone, where the scheme is one of the web's.
            let at = if matches!(scheme, "http" | "https") { first } else { host.rfind(':').unwrap_or(first) };
            check_port(&host[at..])?;
        }
    }
    check_host_bytes(host)
}

fn check_bracketed(host: &str) -> Result<(), String> {
    let end = host.rfind(']').ok_or("missing ']' in host")?;
    check_port(&host[end + 1..])?;
    let name = &host[1..end];
    // A zone may hold nearly anything; the address before it is what must be one.
    let address = name.split_once("%25").map_or(name, |(address, _)| address);
    check_host_bytes(address)?;
    match address.parse::<core::net::Ipv6Addr>() {
        Ok(_) => Ok(()),
        Err(_) if address.parse::<core::net::Ipv4Addr>().is_ok() => Err("invalid IP-literal".to_owned()),
        Err(_) => Err(format!("invalid host: ParseAddr({}): unable to parse IP", go_quoted(address))),
    }
}

/// Nothing, or a colon and digits.
fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':');
    if port.is_empty() || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        Ok(())
    } else {
        Err(format!("invalid port {} after host", go_quoted(port)))
    }
}

fn check_host_bytes(host: &str) -> Result<(), String> {
    // In a host, only bytes beyond ASCII (and the percent sign itself) may be written as an escape.
    escapes(host, |escape| escape == "%25" || escape.as_bytes()[1] >= b'8')?;
    let may_stand = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    match host.chars().find(|c| !may_stand(*c)) {
        None => Ok(()),
        Some(c) => Err(format!("invalid character {} in host name", go_quoted(c.encode_utf8(&mut [0; 4])))),
    }
}

/// Every `%` must begin an escape of two hex digits that `may_stand` here.
fn escapes(text: &str, may_stand: impl Fn(&str) -> bool) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let escape = text.get(at..at + 3);
        let good = |escape: &&str| escape[1..].bytes().all(|byte| byte.is_ascii_hexdigit()) && may_stand(escape);
        if escape.filter(good).is_none() {
            let shown: String = text[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", go_quoted(&shown)));
        }
    }
    Ok(())
}

/// Host and port of `host:port` or `[host]:port`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!bare.contains(['[', ']'])).then_some((bare, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_takes() {
        for (text, host, port) in [
            ("http://10.0.0.1:2380", "10.0.0.1", "2380"),
            (" http://b:1 ", "b", "1"),
            ("HTTP://a:1", "a", "1"),
            ("https://a:99999", "a", "99999"),
            ("http://a:", "a", ""),
            ("http://:1", "", "1"),
            ("http://[::1]:1", "::1", "1"),
            ("http://[fe80::1%25en0]:1", "fe80::1%25en0", "1"),
            ("http://u:p@a:1", "a", "1"),
            ("http://u$@a:1", "a", "1"),
            ("http://a:1?x", "a", "1"),
            ("http://a:1#f", "a", "1"),
            ("http://é:1", "é", "1"),
            ("http://a<b:1", "a<b", "1"),
            ("unix:///tmp/x", "/tmp/x", ""),
            ("unix:foo", "foo", ""),
        ] {
            let url = Url::read(text).expect(text);
            assert_eq!((url.host.as_str(), url.port.as_str()), (host, port), "{text}");
        }
        assert_eq!(Url::read(" HTTP://A:1 ").map(|url| url.text), Ok("http://A:1".to_owned()));
    }

    /// Each text was recorded from etcdctl 3.7.1.
    #[test]
    fn what_etcd_refuses_in_its_words() {
        for (text, why) in [
            ("127.0.0.1:2380", "parse \"127.0.0.1:2380\": first path segment in URL cannot contain colon"),
            (":foo", "parse \":foo\": missing protocol scheme"),
            ("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"),
            ("http://a\\b:1", "parse \"http://a\\\\b:1\": invalid character \"\\\\\" in host name"),
            ("http://a:1x", "parse \"http://a:1x\": invalid port \":1x\" after host"),
            ("http://::1:1", "parse \"http://::1:1\": invalid port \"::1:1\" after host"),
            ("http://[::1:1", "parse \"http://[::1:1\": missing ']' in host"),
            ("http://[::1]", "URL address does not have the form \"host:port\": http://[::1]"),
            ("http://", "URL address does not have the form \"host:port\": http://"),
            ("http:a:1", "URL address does not have the form \"host:port\": http:a:1"),
            ("http:/a", "URL address does not have the form \"host:port\": http:/a"),
            ("http://%zz:1", "parse \"http://%zz:1\": invalid URL escape \"%zz\""),
            ("http://%41:1", "parse \"http://%41:1\": invalid URL escape \"%41\""),
            ("http://a:1/%zz", "parse \"http://a:1/%zz\": invalid URL escape \"%zz\""),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
            ("1http://a:1", "parse \"1http://a:1\": first path segment in URL cannot contain colon"),
            ("a_b://x", "parse \"a_b://x\": first path segment in URL cannot contain colon"),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("//a:1", "URL scheme must be http, https, unix, or unixs: //a:1"),
            ("http://u<@a:1", "parse \"http://u<@a:1\": net/url: invalid userinfo"),
            ("http://a\u{1}:1", "parse \"http://a\\x01:1\": net/url: invalid control character in URL"),
            ("%zz", "parse \"%zz\": invalid URL escape \"%zz\""),
        ] {
            assert_eq!(Url::read(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_list_is_sorted_and_not_empty() {
        let urls = Url::read_all(["http://b:1", " http://a:1"]).expect("two");
        assert_eq!(urls.iter().map(|url| url.text.as_str()).collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
        assert_eq!(Url::read_all::<&str>([]), Err("no valid URLs given".to_owned()));
    }
}
