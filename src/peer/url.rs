//! Peer URLs.

/// Where a peer URL leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PeerUrl {
    /// `host:port`, as the seam wants it and as the header says it.
    pub(super) address: String,
}

impl PeerUrl {
    /// Reads `http://host:port`. Says what does not hold; encrypted connections are not spoken yet.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("{url} is no URL")) };
        if scheme != "http" {
            return Err(format!("{url}: peers are reached by http alone"));
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let port = address.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
        match port {
            Some((true, Ok(_))) if !address.contains(['/', '?', '#', '@', ' ']) => {
                Ok(Self { address: address.to_string() })
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
        for bad in [
            "",
            "http://",
            "https://a:1",
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
