//! A member that goes silent costs no session its lease, though the connection to it is given up much later than a short
//! lease ends.

use std::time::Duration;

use quorate::client::Session;
use quorate::wire::etcdserverpb as pb;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, MEMBERS};
use crate::street::Traffic;

/// Attempts on a machine that has other things to do.
const ATTEMPTS: u32 = 10;

/// How long the way to each member in turn is silent, in times to live.
const SILENT: u32 = 2;

#[test]
fn a_silent_member_costs_no_short_session_its_lease() {
    crate::in_runtime(async {
        let cluster = Cluster::start().await;
        for seconds in [5, 10] {
            assert!(outlives(&cluster, seconds).await, "a lease of {seconds} s");
        }
    });
}

/// Whether a session lives on while one member after the other is silent. What happens while this machine stands still for
/// a good part of a lease says nothing and is tried again.
async fn outlives(cluster: &Cluster, seconds: u64) -> bool {
    let moment = Duration::from_secs(seconds) / 10;
    for _ in 0..ATTEMPTS {
        let client = cluster.client(0).await;
        let session = client.session(i64::try_from(seconds).unwrap()).await.unwrap();
        let longest_stand = watch_over(cluster, &session, seconds).await;
        (0..MEMBERS).for_each(|n| cluster.order(n, Traffic::Flows));
        if session.is_alive() {
            let request = pb::LeaseTimeToLiveRequest { id: session.lease(), keys: false };
            assert!(client.lease_time_to_live(request).await.unwrap().ttl > 0);
            return true;
        }
        if longest_stand < moment {
            return false;
        }
    }
    panic!("this machine stands still again and again");
}

/// Makes the way to each member silent for more than the lease, while the session lives; the longest time for which nothing
/// moved here.
async fn watch_over(cluster: &Cluster, session: &Session, seconds: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for silent in 0..MEMBERS {
        (0..MEMBERS).for_each(|n| cluster.order(n, if n == silent { Traffic::Swallowed } else { Traffic::Flows }));
        let (begun, mut last) = (Instant::now(), Instant::now());
        while begun.elapsed() < SILENT * Duration::from_secs(seconds) && session.is_alive() {
            sleep(Duration::from_millis(20)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest
}
