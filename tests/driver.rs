//! The driver on the real disk and the real clock: what is acknowledged is there after a restart.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::Bytes;
use quorate::base::{KeyRange, limits};
use quorate::driver::{DriverConfig, FoundingMember, Handle, start};
use quorate::env::TokioEnv;
use quorate::machine::{Command, MachineOptions, Put};
use quorate::mvcc::{RangeQuery, StoreOptions};
use quorate::node::NodeConfig;

fn config() -> DriverConfig {
    DriverConfig {
        name: "one".to_string(),
        founding_members: vec![FoundingMember {
            name: "one".to_string(),
            peer_urls: vec!["http://localhost:2380".to_string()],
        }],
        cluster_token: "etcd-cluster".to_string(),
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: true,
        max_request_bytes: 1_572_864,
        wal_segment_bytes: limits::WAL_SEGMENT_BYTES,
        machine: MachineOptions { min_lease_ttl: 2, store: StoreOptions::default() },
        node: NodeConfig {
            member: Default::default(),
            name: "one".to_string(),
            client_urls: vec!["http://localhost:2379".to_string()],
            cluster_version: "3.7.0".to_string(),
            request_timeout: Duration::from_secs(7),
            read_retry: Duration::from_millis(500),
            election_timeout: Duration::from_secs(1),
            quota_bytes: 0,
            checkpoint_entries: 50,
            progress_ticks: 6000,
            seed: 1,
            observer: None,
        },
    }
}

async fn open(dir: &std::path::Path) -> (TokioEnv, Handle<TokioEnv>) {
    let env = TokioEnv::new(dir.to_path_buf(), 1).unwrap();
    let (handle, _) = start(env.clone(), config()).await.unwrap();
    (env, handle)
}

#[tokio::test]
async fn writes_survive_restarts_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for round in 0..5 {
        let (_env, handle) = open(dir.path()).await;
        assert_eq!(handle.identity().member.to_string(), "8e9e05c52164694d");
        let view = handle.view(true).await.unwrap();
        let found = view.range(&RangeQuery::plain(KeyRange::all())).unwrap();
        assert_eq!(found.count, written, "round {round}");
        for n in 0..70 {
            let key = Bytes::from(format!("key-{round}-{n}"));
            let put = Put { key, value: Bytes::from_static(b"value"), ..Put::default() };
            handle.propose(Command::Put(put)).await.unwrap();
            written += 1;
        }
        handle.stop().await;
    }
}
