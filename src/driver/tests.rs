//! A member in virtual time, without sockets.

use std::time::Duration;

use super::{DriverConfig, FoundingMember, Handle, start};
use crate::base::limits;
use crate::env::VirtualEnv;
use crate::machine::Command;
use crate::mvcc::StoreOptions;
use crate::node::NodeConfig;

fn config() -> DriverConfig {
    let own = FoundingMember { name: "one".to_string(), peer_urls: vec!["http://localhost:2380".to_string()] };
    DriverConfig {
        rebuild_from_peers: false,
        append_bytes: 1 << 20,
        name: own.name.clone(),
        founding_members: vec![own],
        joins: None,
        strict_reconfig_check: true,
        listen_peers: Vec::new(),
        cluster_token: "token".to_string(),
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: true,
        max_request_bytes: limits::MAX_REQUEST_BYTES,
        wal_segment_bytes: 64 * 1024,
        min_lease_ttl: 2,
        store: StoreOptions { segment_bytes: 64 * 1024, ..StoreOptions::default() },
        node: NodeConfig {
            rebuild_when_diverged: false,
            member: Default::default(),
            name: "one".to_string(),
            client_urls: vec!["http://localhost:2379".to_string()],
            cluster_version: "3.7.0".to_string(),
            request_timeout: Duration::from_secs(7),
            read_retry: Duration::from_millis(500),
            election_timeout: Duration::from_secs(1),
            catch_up_entries: limits::CATCH_UP_ENTRIES,
            quota_bytes: 0,
            checkpoint_entries: 1_000,
            snapshot_chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES,
            progress_ticks: 6_000,
            lease_checkpoint_interval: Duration::from_secs(300),
            auto_compaction: None,
            seed: 1,
            observer: None,
        },
    }
}

async fn member(env: &VirtualEnv) -> Handle<VirtualEnv> {
    let (handle, _) = start(env.clone(), config()).await.expect("an empty disk");
    while !handle.status().ready {
        env.pass(Duration::from_millis(1)).await;
    }
    handle
}

#[test]
fn leases_live_through_a_pause_and_end_after_it() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for id in [1, 2] {
            handle.propose(Command::LeaseGrant { id, ttl: 5 }).await.expect("granted");
        }
        env.pass(Duration::from_secs(3)).await;
        env.leap(Duration::from_secs(8)).await;
        // On one thread, whatever comes first: the tick that is late, or who wants it kept alive.
        env.pass(Duration::from_millis(150)).await;
        assert_eq!(handle.keep_alive(1).await, Ok(Some(5)), "as if it had been said in time");
        env.pass(Duration::from_secs(1)).await;
        assert_eq!(handle.leases().await.map(|ids| ids.len()), Ok(2));
        env.pass(Duration::from_millis(1_500)).await;
        assert_eq!(handle.leases().await, Ok(vec![1]), "the other had two seconds left");
        env.pass(Duration::from_secs(4)).await;
        assert_eq!(handle.leases().await, Ok(Vec::new()));
        handle.stop().await;
    });
}
