//! Peer URLs.

use crate::env::SEALED;

/// Where a peer URL leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PeerUrl {
    /// `host:port`, as the header says it.
    pub(super) address: String,
    /// The same as the seam wants it, which says whether the connection is encrypted.
    pub(super) target: String,
}

impl PeerUrl {
    /// Reads `http://host:port` or `https://host:port`. Says what does not hold.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("{url} is no URL")) };
        let seal = match scheme {
            "http" => "",
            "https" => SEALED,
            _ => return Err(format!("{url}: peers are reached by http or https")),
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
        for bad in [
            "",
            "http://",
            "unix://a:1",
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
