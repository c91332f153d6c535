//! Peer URLs.

use crate::env::{IN_FILE, SEALED};

/// Where a peer URL leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PeerUrl {
    /// `host:port`, as the header says it; of a socket in the file system its name's end.
    pub(super) address: String,
    /// The same as the seam wants it, which says whether the connection is encrypted.
    pub(super) target: String,
}

impl PeerUrl {
    /// Reads `http://host:port`, `https://host:port` or `unix://file`. Says what does not hold.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("{url} is no URL")) };
        let seal = match scheme {
            "http" => "",
            "https" => SEALED,
            "unix" => return Self::in_file(url, rest),
            _ => return Err(format!("{url}: peers are reached by http, https or unix")),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let port = address.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
        match port {
            Some((true, Ok(_))) if !address.contains(['/', '?', '#', '@', ' ']) => {
                Ok(Self { address: address.to_string(), target: format!("{seal}{address}") })
            }
            _ => Err(format!("{url} names no host and port")),
        }
    }

    fn in_file(url: &str, name: &str) -> Result<Self, String> {
        let end = name.rsplit('/').next().unwrap_or(name);
        if end.is_empty() || name.contains(['?', '#', ' ']) || !name.is_ascii() {
            return Err(format!("{url} names no file for the socket"));
        }
        Ok(Self { address: end.to_string(), target: format!("{IN_FILE}{name}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_a_port() {
        assert_eq!(PeerUrl::parse("http://127.0.0.1:2380").map(|url| url.address), Ok("127.0.0.1:2380".to_string()));
        assert_eq!(PeerUrl::parse("http://[::1]:2380/").map(|url| url.address), Ok("[::1]:2380".to_string()));
        let sealed = PeerUrl::parse("https://a:1").expect("a URL");
        assert_eq!((sealed.address.as_str(), sealed.target.as_str()), ("a:1", "tls://a:1"));
        for (url, target) in [("unix://a:1", "unix:a:1"), ("unix:///run/peer", "unix:/run/peer")] {
            assert_eq!(PeerUrl::parse(url).map(|url| url.target), Ok(target.to_string()));
        }
        for bad in [
            "",
            "http://",
            "unix://",
            "unix:///run/",
            "unixs://a:1",
            "http://a",
            "http://a:b",
            "http://:1",
            "http://a:1/x",
            "a:1",
            "http://a:99999",
        ] {
            assert!(PeerUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
