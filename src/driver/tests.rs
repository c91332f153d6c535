//! A member in virtual time, without sockets.

use std::time::Duration;

use super::{DriverConfig, Handle, start};
use crate::env::VirtualEnv;
use crate::machine::Command;
use crate::mvcc::StoreOptions;
use crate::node::NodeConfig;

fn config() -> DriverConfig {
    let own = DriverConfig::alone("one", "http://localhost:2380");
    DriverConfig {
        wal_segment_bytes: 64 * 1024,
        store: StoreOptions { segment_bytes: 64 * 1024, ..own.store },
        node: NodeConfig { checkpoint_entries: 1_000, ..own.node },
        ..own
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
