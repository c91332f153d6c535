//! What a follower is asked of leases: it has the keys itself, however many, and the times of the leader.

use bytes::Bytes;
use quorate::base::Refusal;
use quorate::machine::{Command, Put};

use crate::cluster::Homes;
use crate::granted::granted;

const KEYS: usize = 24;
const KEY_BYTES: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_tells_more_keys_of_a_lease_than_members_carry() {
    let homes = Homes::new(1_000);
    let members = homes.open_all().await;
    let first = &members[0];
    for (id, ttl) in [(7, 5_000), (5, 9_000), (6, 7_000)] {
        // Whose answer was lost is asked for again, and is there.
        granted(async || match first.propose(Command::LeaseGrant { id, ttl }).await {
            Err(Refusal::LeaseExists) => Ok(()),
            outcome => outcome.map(drop),
        })
        .await;
    }
    let key = |n: usize| Bytes::from([format!("{n:03}").into_bytes(), vec![b'k'; KEY_BYTES]].concat());
    for n in 0..KEYS {
        let put = Put { key: key(n), lease: 7, ..Put::default() };
        granted(async || first.propose(Command::Put(put.clone())).await).await;
    }
    let keys: Vec<Bytes> = (0..KEYS).map(key).collect();
    for member in &members {
        let standing = async |id, keys| granted(async || member.time_to_live(id, keys).await).await;
        // A round shows each of them what was acknowledged before: nobody may be behind.
        let told = standing(7, true).await.expect("it lives");
        assert!(told.granted_ttl == 5_000 && (1..=5_000).contains(&told.ttl), "{} of {}", told.ttl, told.granted_ttl);
        assert!(told.keys.iter().eq(&keys), "{} keys", told.keys.len());
        assert!(standing(7, false).await.expect("it lives").keys.is_empty());
        assert!(standing(5, true).await.expect("it lives").keys.is_empty());
        assert_eq!(standing(8, true).await, None);
        let mut leases = granted(async || member.leases().await).await;
        leases.sort_unstable();
        assert_eq!(leases, [5, 6, 7]);
    }
    granted(async || match first.propose(Command::LeaseRevoke { id: 7, expiry: None }).await {
        Err(Refusal::LeaseNotFound) => Ok(()),
        outcome => outcome.map(drop),
    })
    .await;
    for member in &members {
        assert_eq!(granted(async || member.time_to_live(7, true).await).await, None);
        assert_eq!(granted(async || member.leases().await).await.len(), 2);
    }
    for member in members {
        member.stop().await;
    }
}

/// As after a pause of a member, or a change of leader, when all who had waited come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_takes_two_thousand_keep_alives_at_one_moment() {
    let homes = Homes::new(1_000);
    let members = homes.open_all().await;
    granted(async || match members[0].propose(Command::LeaseGrant { id: 7, ttl: 5_000 }).await {
        Err(Refusal::LeaseExists) => Ok(()),
        outcome => outcome.map(drop),
    })
    .await;
    for member in &members {
        let (member, mut asked) = (std::sync::Arc::new(member.clone()), tokio::task::JoinSet::new());
        for _ in 0..2_000 {
            let member = member.clone();
            asked.spawn(async move { member.keep_alive(7).await });
        }
        while let Some(answer) = asked.join_next().await {
            // The leader may change, or a busy machine take too long: but nobody is told that there is no room.
            match answer.expect("it ends") {
                Ok(ttl) => assert_eq!(ttl, Some(5_000)),
                Err(refusal) => assert_ne!(refusal, Refusal::TooManyRequests),
            }
        }
    }
    for member in members {
        member.stop().await;
    }
}
