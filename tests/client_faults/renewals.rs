//! A member that goes silent costs no session its lease, though the connection to it is given up much later than a short
//! lease ends.

use std::time::Duration;

use quorate::client::{Client, Session};
use quorate::wire::etcdserverpb as pb;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, LIMIT, MEMBERS};
use crate::street::Traffic;

/// Attempts on a machine that has other things to do: the members are processes, and one of them may stand still, too. Before
/// others were asked the shortest lease was lost in each.
const ATTEMPTS: u32 = 5;

/// How long the way to each member in turn is silent: longer than the longest lease.
const SILENT: Duration = Duration::from_secs(12);

/// The times to live that are tried, in seconds.
const LEASES: [i64; 2] = [5, 10];

/// One member after the other is silent, and every session lives on.
#[test]
fn a_silent_member_costs_no_short_session_its_lease() {
    crate::in_runtime(async {
        let cluster = Cluster::start().await;
        for _ in 0..ATTEMPTS {
            let client = cluster.client(0).await.within(Some(LIMIT));
            let mut sessions = Vec::new();
            for seconds in LEASES {
                sessions.push(granted(&client, seconds).await);
            }
            silence_each(&cluster, &sessions).await;
            (0..MEMBERS).for_each(|n| cluster.order(n, Traffic::Flows));
            let mut lives = sessions.iter().all(Session::is_alive);
            for session in &sessions {
                let request = pb::LeaseTimeToLiveRequest { id: session.lease(), keys: false };
                lives &= client.lease_time_to_live(request).await.is_ok_and(|left| left.ttl > 0);
            }
            if lives {
                return;
            }
        }
        panic!("leases are lost again and again");
    });
}

/// A session, asked for again where there is an election.
async fn granted(client: &Client, seconds: i64) -> Session {
    let begun = Instant::now();
    loop {
        match client.session(seconds).await {
            Ok(session) => return session,
            Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Makes the way to each member silent, while the sessions live.
async fn silence_each(cluster: &Cluster, sessions: &[Session]) {
    for silent in 0..MEMBERS {
        (0..MEMBERS).for_each(|n| cluster.order(n, if n == silent { Traffic::Swallowed } else { Traffic::Flows }));
        let begun = Instant::now();
        while begun.elapsed() < SILENT && sessions.iter().all(Session::is_alive) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
