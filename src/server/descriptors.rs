//! File descriptors: how many this process may have, and how they are shared out.
//!
//! Invariants: the soft limit is raised to the hard one, as every Go program does at its start; clients are given what is
//! left when the member's own files, its peers and the metrics listeners have theirs, so that no number of connections
//! keeps it from opening a file. Does not know who listens.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits;

/// Peers that are asked many questions at once: who leads, and who led before.
const LEADERS_ASKED: u64 = 2;

/// How the descriptors are shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// What the process may have.
    pub limit: u64,
    /// Connections of clients, over all listeners.
    pub clients: usize,
    /// Connections to the metrics listeners.
    pub metrics: usize,
    /// Connections that others open to the peer port.
    pub peers: usize,
    /// Connections that carry questions to one peer: to the leader, and for a while to the one before.
    pub question_lines: usize,
}

/// Raises the soft limit as far as this user may, and tells what it is then; the largest number is no limit.
pub fn raise() -> u64 {
    let given = getrlimit(Resource::Nofile);
    if given.current != given.maximum {
        // Refused only where the limit was changed meanwhile; then what is read below counts.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, maximum: given.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that the process was begun with: whoever began it left them open, and they stay.
pub fn inherited() -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
    open.saturating_sub(limits::DESCRIPTORS_AT_START)
}

/// Shares `limit` out, but for those that were `inherited`. `quota` bounds the history, each segment of which has a file open.
///
/// # Errors
/// There are too few to work with.
pub fn share(given: u64, inherited: u64, quota: Option<u64>) -> Result<Share, String> {
    let limit = given.saturating_sub(inherited);
    // A quarter beyond the quota: it bounds what is there, and what was deleted may wait to be given back.
    let history = quota.map_or(limit / 4, |bytes| bytes / limits::HISTORY_SEGMENT_BYTES * 5 / 4).min(limit / 4);
    let peers = (limits::PEER_CONNECTIONS as u64).min(limit / 8);
    let metrics = (limits::METRICS_CONNECTIONS as u64).min(limit / 16);
    let most_lines = limits::PEER_QUESTION_LINES as u64;
    let question_lines = (limit / 64).clamp(limits::LEAST_QUESTION_LINES as u64, most_lines);
    let own = limits::OWN_DESCRIPTORS + history + peers + metrics + LEADERS_ASKED * question_lines;
    let clients = limit.saturating_sub(own).min(limits::MAX_CONNECTIONS as u64);
    if clients < limits::LEAST_CONNECTIONS {
        return Err(format!(
            "the limit of open files is {given}{}: too few for the member's own and any clients; raise it (ulimit -n, \
             LimitNOFILE=)",
            if inherited > 0 { format!(", of which {inherited} were open when it began") } else { String::new() }
        ));
    }
    let number = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
    Ok(Share {
        limit: given,
        clients: number(clients),
        metrics: number(metrics),
        peers: number(peers),
        question_lines: number(question_lines),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Option<u64> = Some(limits::DEFAULT_QUOTA_BYTES);

    #[test]
    fn files_and_peers_come_before_clients() {
        for limit in [256, 1_024, 4_096, 65_536, u64::MAX] {
            for quota in [QUOTA, None, Some(64 << 30)] {
                let share = share(limit, 0, quota).expect("enough");
                let lines = LEADERS_ASKED as usize * share.question_lines;
                let given = (share.clients + share.metrics + share.peers + lines) as u64;
                assert!(given + limits::OWN_DESCRIPTORS <= limit, "{share:?}");
            }
        }
        let usual = share(1_024, 0, QUOTA).expect("enough");
        assert_eq!((usual.clients, usual.metrics, usual.peers, usual.question_lines), (696, 64, 128, 16));
        // All that four others may ask with find a place.
        assert!(4 * (usual.question_lines + 4) <= usual.peers);
        assert_eq!(share(u64::MAX, 0, QUOTA).expect("enough").clients, limits::MAX_CONNECTIONS);
    }

    #[test]
    fn too_few_are_refused_with_what_helps() {
        let refused = share(64, 0, QUOTA).expect_err("too few");
        assert!(refused.contains("limit of open files is 64") && refused.contains("ulimit -n"), "{refused}");
        let refused = share(1_024, 900, QUOTA).expect_err("too few are left");
        assert!(refused.contains("is 1024, of which 900 were open"), "{refused}");
    }

    #[test]
    fn what_was_inherited_is_nobodys() {
        let (all, some) = (share(1_024, 0, QUOTA).expect("enough"), share(1_024, 300, QUOTA).expect("enough"));
        assert_eq!(share(724, 0, QUOTA).expect("enough").clients, some.clients);
        assert!(some.clients < all.clients && some.limit == 1_024, "{some:?}");
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let limit = raise();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert!(limit > 0);
    }
}
