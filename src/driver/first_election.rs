//! The first election of a start comes sooner, where the flag `--initial-election-tick-advance` allows it: once the others
//! are there, this member has waited for a leader's word long enough but for two ticks, as in etcd.
//!
//! Does not shorten anything while the others are not reached: an election would come to nothing.

use std::time::Duration;

use super::comparison::ended_while;
use super::config::DriverConfig;
use super::handle::Handle;
use crate::base::limits;
use crate::env::{Env, Tasks};
use crate::node::Input;

/// Begins to look for the others.
pub(super) fn begin<E: Env>(handle: &Handle<E>, config: &DriverConfig) {
    if config.advances_first_election {
        let ticks = config.election_ticks.saturating_sub(limits::FIRST_ELECTION_TICKS);
        handle.env().tasks().spawn_light("first election", advance(handle.clone(), ticks));
    }
}

async fn advance<E: Env>(handle: Handle<E>, ticks: usize) {
    for _ in 0..limits::PEER_READ_TIMEOUT_MS / limits::FIRST_ELECTION_LOOK_MS {
        if ended_while(&handle, Duration::from_millis(limits::FIRST_ELECTION_LOOK_MS)).await {
            return;
        }
        let status = handle.status();
        if status.leader.is_some() {
            return;
        }
        let own = handle.identity().member;
        let others = status.members.iter().map(|member| member.id).filter(|member| *member != own);
        let active = others.filter(|member| handle.connected_for(*member).is_some()).count();
        if active > 1 {
            tracing::info!(
                "local-member-id" = %own,
                "forward-ticks" = ticks as u64,
                "active-remote-members" = active as u64,
                "initialized peer connections; fast-forwarding election ticks"
            );
            let _ = handle.ask(|reply| Input::AdvanceElection { ticks, reply }).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{FoundingMember, start};
    use crate::env::VirtualEnv;

    /// How long three members that start at once have no leader.
    async fn leaderless(env: VirtualEnv, advances: bool) -> Duration {
        let hosts = ["a", "b", "c"];
        let named =
            |host: &&str| FoundingMember { name: host.to_string(), peer_urls: vec![format!("http://{host}:2380")] };
        let began = env.now();
        let mut handles = Vec::new();
        for host in hosts {
            let config = DriverConfig {
                advances_first_election: advances,
                listen_peers: vec![format!("{host}:2380")],
                ..DriverConfig::new(host, hosts.iter().map(named).collect())
            };
            let world = if host == "a" { env.clone() } else { env.at(host) };
            handles.push(start(world, config).await.expect("an empty disk").0);
        }
        while !handles.iter().any(|handle| handle.facts().leads()) {
            env.pass(Duration::from_millis(1)).await;
        }
        env.now().since(began)
    }

    #[test]
    fn members_that_are_all_there_elect_before_a_timeout_has_passed() {
        let with = VirtualEnv::run(async |env| leaderless(env, true).await);
        let without = VirtualEnv::run(async |env| leaderless(env, false).await);
        let timeout = Duration::from_secs(1);
        assert!(with < timeout && without >= timeout, "{with:?} with, {without:?} without");
    }
}
