//! The client library against three members that die, pause, are parted and move their leader, by ways that are cut,
//! silent or late: every event and every answer is accounted for at the end of a run.
//!
//! A trouble lasts until everybody has got on in spite of it, and nothing is said of how long that takes; a run ends with
//! what was done and told held against the whole history of the store, as each of the members has it.

#![cfg(all(feature = "server", feature = "client", feature = "tokio-env"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "client_faults/cluster.rs"]
mod cluster;
#[path = "client_faults/ledger.rs"]
mod ledger;
mod ports;
#[path = "client_faults/renewals.rs"]
mod renewals;
#[path = "client_faults/street.rs"]
mod street;
#[path = "client_faults/workers.rs"]
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::wire::etcdserverpb as pb;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use cluster::{Cluster, LIMIT, MEMBERS};
use ledger::{Ledger, Told};
use street::Traffic;
use workers::Site;

/// A cluster at work.
struct Run {
    cluster: Cluster,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    workers: JoinSet<()>,
    watchers: Vec<JoinHandle<Vec<Told>>>,
    observer: JoinHandle<()>,
    /// Everybody who must get on.
    sites: Vec<Site>,
}

impl Run {
    async fn begin() -> Self {
        Self::begin_at(Cluster::start().await).await
    }

    async fn begin_at(cluster: Cluster) -> Self {
        let (ledger, over) = (Arc::new(Ledger::default()), Arc::new(AtomicBool::new(false)));
        let mut sites = Vec::new();
        let names = ["puts a", "puts b", "locks a", "locks b", "stands a", "stands b", "adds a", "adds b", "is here"];
        let watching = ["watches 0", "watches 1", "watches 2", "observes"];
        for (n, name) in names.into_iter().chain(watching).enumerate() {
            let (client, ledger, over) = (cluster.client(n % MEMBERS).await, Arc::clone(&ledger), Arc::clone(&over));
            sites.push(Site { name, client, ledger, over, done: Arc::default(), told: Arc::default() });
        }
        let site = |n: usize| sites[n].clone();
        let mut workers = JoinSet::new();
        for n in 0..2 {
            workers.spawn(workers::puts(site(n)));
            workers.spawn(workers::locks(site(2 + n)));
            workers.spawn(workers::campaigns(site(4 + n)));
            // A transaction's future stays on its thread.
            let adds = site(6 + n);
            workers.spawn_blocking(move || Handle::current().block_on(workers::adds(adds)));
        }
        workers.spawn(workers::is_present(site(8)));
        let watchers = (9..12).map(|n| tokio::spawn(workers::watches(site(n)))).collect();
        let observer = tokio::spawn(workers::observes(site(12)));
        let run = Self { cluster, ledger, over, workers, watchers, observer, sites };
        run.everybody_gets_on("nothing", 2).await;
        run
    }

    /// Waits until each worker has done more, and each watch was told what happened since.
    async fn everybody_gets_on(&self, trouble: &str, pieces: u64) {
        self.these_get_on(|_| true, trouble, pieces).await;
    }

    async fn these_get_on(&self, who: impl Fn(&str) -> bool, trouble: &str, pieces: u64) {
        let begun = Instant::now();
        let (watching, working): (Vec<&Site>, Vec<&Site>) =
            self.sites.iter().filter(|site| who(site.name)).partition(|site| site.name.starts_with("watches"));
        let before: Vec<u64> = working.iter().map(|site| site.done.load(Ordering::SeqCst)).collect();
        let now = self.now().await;
        loop {
            let behind = working
                .iter()
                .zip(&before)
                .filter(|(site, before)| site.done.load(Ordering::SeqCst) < *before + pieces)
                .map(|(site, _)| *site)
                .chain(watching.iter().filter(|site| site.told.load(Ordering::SeqCst) <= now).copied());
            let behind: Vec<&str> = behind.map(|site| site.name).collect();
            if behind.is_empty() {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "under {trouble:?} these do not get on: {behind:?}");
            assert!(self.watchers.iter().all(|watcher| !watcher.is_finished()), "a watch is over");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A revision of now.
    async fn now(&self) -> i64 {
        let client = self.sites[0].client.within(Some(LIMIT));
        client
            .range(pb::RangeRequest { key: "now".into(), ..Default::default() })
            .await
            .unwrap()
            .header
            .unwrap()
            .revision
    }

    /// One trouble, from its beginning until everybody has got on after it.
    async fn through(
        &mut self,
        trouble: &str,
        begin: impl AsyncFnOnce(&mut Cluster),
        end: impl AsyncFnOnce(&mut Cluster),
    ) {
        begin(&mut self.cluster).await;
        self.everybody_gets_on(trouble, 2).await;
        end(&mut self.cluster).await;
        self.everybody_gets_on(&format!("the end of: {trouble}"), 2).await;
    }

    async fn end(mut self) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(worker) = timeout(LIMIT, self.workers.join_next()).await.expect("every worker ends") {
            worker.unwrap();
        }
        workers::says_the_last_word(&self.sites[0]).await;
        timeout(LIMIT, self.observer).await.expect("the last word is heard").unwrap();
        workers::puts_the_last_key(&self.sites[0].client).await;
        let mut histories = Vec::new();
        for n in 0..MEMBERS {
            histories.push(ledger::history(&self.cluster.direct(n).await).await);
        }
        assert!(histories.iter().all(|history| *history == histories[0]), "the members have one history");
        for watcher in self.watchers {
            let told = timeout(LIMIT, watcher).await.expect("every watch is told all").unwrap();
            ledger::check_told(&told, &histories[0]);
        }
        self.ledger.check(&histories[0]);
    }
}

fn in_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work);
}

#[test]
fn members_that_are_killed_and_leaders_that_move() {
    in_runtime(async {
        let mut run = Run::begin().await;
        for _ in 0..3 {
            run.cluster.move_leader().await;
            run.everybody_gets_on("a leader that moves", 1).await;
        }
        let leader = run.cluster.leader().await;
        for n in [leader, (leader + 1) % MEMBERS] {
            run.through(
                "a member that is killed",
                async |cluster| cluster.kill(n),
                async |cluster| {
                    cluster.start_one(n);
                    cluster.status_in_time(n).await;
                },
            )
            .await;
        }
        run.cluster.move_leader().await;
        run.end().await;
    });
}

/// Who only watches has a token that ended, and two of three are away when its stream breaks: nobody can give another for a while.
#[test]
fn members_that_are_killed_while_tokens_end() {
    in_runtime(async {
        let mut run = Run::begin_at(Cluster::start_guarded().await).await;
        let leader = run.cluster.leader().await;
        let [other, last] = [1, 2].map(|step| (leader + step) % MEMBERS);
        for (first, second) in [(leader, other), (last, other)] {
            run.cluster.kill(first);
            run.cluster.kill(second);
            // Longer than a token lives, and than a request is waited for.
            sleep(Duration::from_secs(6)).await;
            run.cluster.start_one(first);
            run.cluster.start_one(second);
            run.everybody_gets_on("two that were killed, and tokens that ended", 2).await;
        }
        run.end().await;
    });
}

#[test]
fn ways_that_are_cut_silent_and_late() {
    in_runtime(async {
        let mut run = Run::begin().await;
        let late = Traffic::Late(Duration::from_millis(50));
        for (n, traffic) in [Traffic::Cut, Traffic::Swallowed, late, Traffic::Stalled].into_iter().enumerate() {
            let n = n % MEMBERS;
            let end = async |cluster: &mut Cluster| cluster.order(n, Traffic::Flows);
            run.through(&format!("{traffic:?}"), async |cluster| cluster.order(n, traffic), end).await;
        }
        // Two at once, while the leader moves.
        let begin = async |cluster: &mut Cluster| {
            cluster.order(0, Traffic::Swallowed);
            cluster.order(1, Traffic::Cut);
            cluster.move_leader().await;
        };
        let end = async |cluster: &mut Cluster| (0..MEMBERS).for_each(|n| cluster.order(n, Traffic::Flows));
        run.through("two ways at once", begin, end).await;
        run.end().await;
    });
}

#[test]
fn members_that_pause_and_are_parted() {
    in_runtime(async {
        let mut run = Run::begin().await;
        let leader = run.cluster.leader().await;
        let go_on = async |cluster: &mut Cluster| cluster.signal(leader, "CONT");
        run.through("a leader that pauses", async |cluster| cluster.signal(leader, "STOP"), go_on).await;
        let leader = run.cluster.leader().await;
        for (trouble, n) in [("a leader that is parted", leader), ("a follower that is parted", (leader + 1) % MEMBERS)]
        {
            let end = async |cluster: &mut Cluster| cluster.part(n, Traffic::Flows);
            run.through(trouble, async |cluster| cluster.part(n, Traffic::Swallowed), end).await;
        }
        // It follows the next leader, who does not hear that it does and soon tells it nothing new: it is behind without
        // knowing. A watch there is told the rest in the end; whoever only asks gets on.
        let leader = run.cluster.leader().await;
        run.cluster.part_one_way(leader, Traffic::Swallowed);
        let ask = |name: &str| ["puts", "adds", "is here"].iter().any(|asking| name.starts_with(asking));
        run.these_get_on(ask, "a leader that nobody hears", 2).await;
        run.cluster.part_one_way(leader, Traffic::Flows);
        run.everybody_gets_on("the end of: a leader that nobody hears", 2).await;
        run.end().await;
    });
}
