//! What a follower is asked of leases: it has the keys itself, however many, and the times of the leader.

use bytes::Bytes;
use quorate::machine::{Command, Put};

use crate::cluster::{Homes, until};

const KEYS: usize = 24;
const KEY_BYTES: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_tells_more_keys_of_a_lease_than_members_carry() {
    let homes = Homes::new(1_000);
    let members = homes.open_all().await;
    let all = || members.iter();
    until("there is a leader", || all().any(|member| member.status().is_leader)).await;
    let first = &members[0];
    for (id, ttl) in [(7, 5_000), (5, 9_000), (6, 7_000)] {
        first.propose(Command::LeaseGrant { id, ttl }).await.unwrap();
    }
    let key = |n: usize| Bytes::from([format!("{n:03}").into_bytes(), vec![b'k'; KEY_BYTES]].concat());
    for n in 0..KEYS {
        first.propose(Command::Put(Put { key: key(n), lease: 7, ..Put::default() })).await.unwrap();
    }
    let keys: Vec<Bytes> = (0..KEYS).map(key).collect();
    for member in &members {
        let told = member.time_to_live(7, true).await.unwrap().expect("it lives");
        assert!(told.granted_ttl == 5_000 && (1..=5_000).contains(&told.ttl), "{} of {}", told.ttl, told.granted_ttl);
        assert!(told.keys == keys, "{} keys", told.keys.len());
        assert_eq!(member.time_to_live(7, false).await.unwrap().expect("it lives").keys, Vec::<Bytes>::new());
        assert_eq!(member.time_to_live(5, true).await.unwrap().expect("it lives").keys, Vec::<Bytes>::new());
        assert_eq!(member.time_to_live(8, true).await.unwrap(), None);
        let mut leases = member.leases().await.unwrap();
        leases.sort_unstable();
        assert_eq!(leases, [5, 6, 7]);
    }
    first.propose(Command::LeaseRevoke { id: 7, expiry: None }).await.unwrap();
    for member in &members {
        assert_eq!(member.time_to_live(7, true).await.unwrap(), None);
        assert_eq!(member.leases().await.unwrap().len(), 2);
    }
    for member in members {
        member.stop().await;
    }
}
