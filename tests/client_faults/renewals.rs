//! A member that goes silent costs no session its lease, though the connection to it is given up much later than a short
//! lease ends.

use std::time::Duration;

use quorate::client::Session;
use quorate::wire::etcdserverpb as pb;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, LIMIT, MEMBERS};
use crate::street::Traffic;

/// Attempts on a machine that has other things to do.
const ATTEMPTS: u32 = 10;

/// A stand that may cost the shortest lease: a tenth of it.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// How long the way to each member in turn is silent: longer than the longest lease.
const SILENT: Duration = Duration::from_secs(12);

/// The times to live that are tried, in seconds.
const LEASES: [i64; 2] = [5, 10];

/// One member after the other is silent, and every session lives on. What happens while this machine stands still for a
/// good part of the shortest lease says nothing and is tried again.
#[test]
fn a_silent_member_costs_no_short_session_its_lease() {
    crate::in_runtime(async {
        let cluster = Cluster::start().await;
        for _ in 0..ATTEMPTS {
            let client = cluster.client(0).await;
            let mut sessions = Vec::new();
            for seconds in LEASES {
                sessions.push(client.session(seconds).await.unwrap());
            }
            let longest_stand = silence_each(&cluster, &sessions).await;
            (0..MEMBERS).for_each(|n| cluster.order(n, Traffic::Flows));
            let alive: Vec<bool> = sessions.iter().map(Session::is_alive).collect();
            if alive == [true; LEASES.len()] {
                for session in &sessions {
                    let request = pb::LeaseTimeToLiveRequest { id: session.lease(), keys: false };
                    assert!(client.within(Some(LIMIT)).lease_time_to_live(request).await.unwrap().ttl > 0);
                }
                return;
            }
            assert!(longest_stand > STOOD_STILL, "of leases of {LEASES:?} s these live: {alive:?}");
        }
        panic!("this machine stands still again and again");
    });
}

/// Makes the way to each member silent, while the sessions live; the longest time for which nothing moved here.
async fn silence_each(cluster: &Cluster, sessions: &[Session]) -> Duration {
    let mut longest = Duration::ZERO;
    for silent in 0..MEMBERS {
        (0..MEMBERS).for_each(|n| cluster.order(n, if n == silent { Traffic::Swallowed } else { Traffic::Flows }));
        let (begun, mut last) = (Instant::now(), Instant::now());
        while begun.elapsed() < SILENT && sessions.iter().all(Session::is_alive) {
            sleep(Duration::from_millis(20)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest
}
