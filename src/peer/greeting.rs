//! How members greet each other: who is asking, of which cluster and version, and whether that will do.
//!
//! The headers, the texts and the order of the checks are etcd's. Does not know who the members are.

use super::head::Headers;
use crate::base::{ClusterId, MemberId};

/// The oldest cluster this version works with, as etcd's.
pub(super) const MIN_CLUSTER_VERSION: &str = "3.0.0";

pub(super) const CLUSTER_ID: &str = "X-Etcd-Cluster-ID";
pub(super) const SERVER_FROM: &str = "X-Server-From";
pub(super) const SERVER_VERSION: &str = "X-Server-Version";
pub(super) const MIN_VERSION: &str = "X-Min-Cluster-Version";
pub(super) const PEER_URLS: &str = "X-PeerURLs";
pub(super) const RAFT_TO: &str = "X-Raft-To";
/// Which start of the member is talking: ours alone, and absent from others.
pub(super) const LIFE: &str = "X-Quorate-Life";
/// Marks a snapshot in our own form; a body without it is etcd's.
pub(super) const SNAPSHOT: &str = "X-Quorate-Snapshot";

/// etcd's text, word for word: members of both makes look for it.
pub(super) const INCOMPATIBLE_VERSION: &str = "incompatible version";
/// As [`INCOMPATIBLE_VERSION`].
pub(super) const CLUSTER_ID_MISMATCH: &str = "cluster ID mismatch";
/// Why a start is refused while another of the same member is heard.
pub(super) const DOUBLED: &str = "another process is alive under this member id";

/// Major and minor of a version; nothing where it is none. Before versions were sent there was 2.0.
fn major_minor(version: Option<&str>) -> Option<(u32, u32)> {
    let mut parts = version.unwrap_or("2.0.0").split('.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What to do about members of two clusters that speak to each other.
pub(super) const MISMATCH_REMEDY: &str = "a member that was added starts with --initial-cluster-state=existing and an empty data \
    directory; members that found a cluster have one --initial-cluster and one --initial-cluster-token";

/// Who is asking, where it says so.
pub(super) fn from_header(headers: &Headers) -> Option<MemberId> {
    parse_id(headers.get(SERVER_FROM)?)
}

/// Reads an id as it is printed.
pub(super) fn parse_id(text: &str) -> Option<MemberId> {
    let hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(MemberId)
}

/// Whether this request comes from the same cluster and a version that can be worked with; the error is what to answer. `says`
/// tells whether a line of the log with this text is to be written of a peer, and how many were held back.
pub(super) fn check(
    headers: &Headers,
    local: MemberId,
    version: &str,
    cluster: ClusterId,
    says: impl Fn(&'static str, MemberId) -> Option<Option<u64>>,
) -> Result<(), &'static str> {
    let from = from_header(headers).unwrap_or_default();
    let name = headers.get(SERVER_FROM).unwrap_or("");
    let (server, least) = (headers.get(SERVER_VERSION), headers.get(MIN_VERSION));
    let known = major_minor(server).zip(major_minor(least));
    let own = major_minor(Some(version)).zip(major_minor(Some(MIN_CLUSTER_VERSION)));
    let (own_version, own_least) = own.expect("this member's versions are written as versions");
    let too_low = match known {
        None => Some("a version is not readable"),
        Some((server, _)) if server < own_least => Some("remote version is too low"),
        Some((_, least)) if least > own_version => Some("local version is too low"),
        Some(_) => None,
    };
    let theirs = headers.get(CLUSTER_ID).unwrap_or("");
    if let Some(why) = too_low {
        let Some(held_back) = says(INCOMPATIBLE_VERSION, from) else { return Err(INCOMPATIBLE_VERSION) };
        tracing::warn!(
            "local-member-id" = %local,
            "local-member-cluster-id" = %cluster,
            "local-member-server-version" = version,
            "local-member-server-minimum-cluster-version" = MIN_CLUSTER_VERSION,
            "remote-peer-server-name" = name,
            "remote-peer-server-version" = server.unwrap_or("2.0.0"),
            "remote-peer-server-minimum-cluster-version" = least.unwrap_or("2.0.0"),
            error = format!("{why}: remote[{name}]={}, local={version}", server.unwrap_or("2.0.0")),
            "lines-held-back" = held_back,
            "failed version compatibility check"
        );
        return Err(INCOMPATIBLE_VERSION);
    }
    if theirs != cluster.to_string() {
        let Some(held_back) = says(CLUSTER_ID_MISMATCH, from) else { return Err(CLUSTER_ID_MISMATCH) };
        tracing::warn!(
            "local-member-id" = %local,
            "local-member-cluster-id" = %cluster,
            "local-member-server-version" = version,
            "local-member-server-minimum-cluster-version" = MIN_CLUSTER_VERSION,
            "remote-peer-server-name" = name,
            "remote-peer-server-version" = server.unwrap_or("2.0.0"),
            "remote-peer-server-minimum-cluster-version" = least.unwrap_or("2.0.0"),
            "remote-peer-cluster-id" = theirs,
            remedy = MISMATCH_REMEDY,
            "lines-held-back" = held_back,
            "request cluster ID mismatch"
        );
        return Err(CLUSTER_ID_MISMATCH);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::head::parse_request;
    use super::*;

    fn judge(lines: &str) -> Result<(), &'static str> {
        let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let (head, _) = parse_request(text.as_bytes()).expect("well formed").expect("complete");
        check(&head.headers, MemberId(1), "3.7.1", ClusterId(0x2a), |_, _| None)
    }

    #[test]
    fn another_cluster_or_an_incompatible_version_is_refused() {
        let versions = "X-Server-Version: 3.6.4\r\nX-Min-Cluster-Version: 3.0.0\r\n";
        assert_eq!(judge(&format!("{versions}X-Etcd-Cluster-ID: 2a\r\n")), Ok(()));
        assert_eq!(judge(&format!("{versions}X-Etcd-Cluster-ID: 2b\r\n")), Err(CLUSTER_ID_MISMATCH));
        assert_eq!(judge(versions), Err(CLUSTER_ID_MISMATCH));
        let cluster = "X-Etcd-Cluster-ID: 2a\r\n";
        for versions in [
            "",
            "X-Server-Version: 2.3.8\r\nX-Min-Cluster-Version: 2.3.0\r\n",
            "X-Server-Version: 3.9.0\r\nX-Min-Cluster-Version: 3.8.0\r\n",
            "X-Server-Version: three\r\nX-Min-Cluster-Version: 3.0.0\r\n",
        ] {
            assert_eq!(judge(&format!("{versions}{cluster}")), Err(INCOMPATIBLE_VERSION), "{versions}");
        }
        assert_eq!(
            judge(&format!("X-Server-Version: 3.7.0-rc.0\r\nX-Min-Cluster-Version: 3.0.0\r\n{cluster}")),
            Ok(())
        );
    }

    #[test]
    fn ids_are_read_as_printed() {
        assert_eq!(parse_id("8e9e05c52164694d"), Some(MemberId(0x8e9e_05c5_2164_694d)));
        for bad in ["", "+1", "x", "10000000000000000", " 1"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
