//! The verdict on each promise of the specification, as the judges of a run came to it.
//!
//! A judge words what it saw broken in its own way; [`promise_of`] says which promise that is. The linearizability search is
//! asked anew, with bounds for someone who waits for a page: its order is what the page draws.

use std::collections::BTreeMap;

use quorate_spec::Model;
use quorate_spec::history::Operation;
use quorate_spec::linear::{Bounds, Judged, Met, Placed, Session, Start, Verdict, check, check_serializable};
use quorate_spec::promises::{self, Promise, WATCH};
use serde::Serialize;

use crate::config::MIN_TTL;
use crate::oracles::Violation;

/// What judges call broken, and the promise that it breaks.
const WORDED: &[(&str, Promise)] = &[
    ("an order explains every answer", promises::LINEARIZABLE),
    ("a client hears what the log decided", promises::LINEARIZABLE),
    ("an entry is answered as the model answers", promises::LINEARIZABLE),
    ("an entry uses the revisions the model uses", promises::LINEARIZABLE),
    ("an entry changes what the model changes", promises::LINEARIZABLE),
    ("a round confirms what was applied before it was asked for", promises::LINEARIZABLE),
    ("a read is what the store held within its window", promises::LINEARIZABLE),
    ("an entry holds what was asked", promises::LINEARIZABLE),
    ("a backup is what the member held", promises::SERIALIZABLE),
    ("the log holds what was asked", promises::LINEARIZABLE),
    ("money is neither made nor lost", promises::LINEARIZABLE),
    ("the accounts are what was put there", promises::LINEARIZABLE),
    ("two looks at one revision see the same", promises::SERIALIZABLE),
    ("what was acknowledged is seen by who asks afterwards", promises::LINEARIZABLE),
    ("a bank opens once", promises::ONCE),
    ("a bank that has opened stays open", promises::DURABLE),
    ("a transfer is done once", promises::ONCE),
    ("a receipt is of a transfer that was tried, and written once", promises::ONCE),
    ("an acknowledged transfer is done", promises::DURABLE),
    ("a transfer that was surely not done is not done", promises::REFUSED),
    ("accounts hold what their receipts add up to", promises::LINEARIZABLE),
    ("a refusal is decided in the log", promises::REFUSED),
    ("the door turns away what etcd turns away", promises::REFUSED),
    ("what was refused before it was tried is never done", promises::REFUSED),
    ("a request id is given once", promises::ONCE),
    ("a request takes effect once", promises::ONCE),
    ("a watcher is told everything, in order, once, revisions whole", WATCH[4]),
    ("a watcher is told everything in the end (reliable)", WATCH[4]),
    ("what watchers are told of a command is what it did", WATCH[4]),
    ("a watcher hears of what it asked for, and of nothing else (filter)", WATCH[0]),
    ("revisions never fall within a watch (ordered)", WATCH[1]),
    ("no event is told twice (unique)", WATCH[2]),
    ("a revision is told whole (atomic)", WATCH[3]),
    ("a watch begins with the first event at or after its start (resumable)", WATCH[5]),
    ("who asks to be told how far it is, is told (bookmarkable)", WATCH[6]),
    ("an event says that its key was created when it was (creation)", WATCH[8]),
    ("no message from the future, none without events", WATCH[1]),
    ("no message from the future", WATCH[1]),
    ("no event before the watcher is created", WATCH[1]),
    ("a message is for a watcher that lives", WATCH[0]),
    ("a watcher is created once", WATCH[2]),
    ("a watcher is refused for its own fault", WATCH[5]),
    ("every watcher asked for is answered", WATCH[5]),
    ("a watcher ends when it is asked to", WATCH[5]),
    ("only a watcher behind a compaction ends by it", WATCH[5]),
    ("progress tells that everything before was told (bookmarkable)", WATCH[6]),
    ("progress never goes back", WATCH[6]),
    ("previous key-values are told when asked for", WATCH[7]),
    ("a previous key-value is right, or compacted", WATCH[7]),
    ("a lease does not end before its time", promises::LEASE_KEPT),
    ("a lease that lives is not called gone", promises::LEASE_KEPT),
    ("a lease does not outlive its time", promises::LEASE_ENDED),
    ("a lease kept alive exists", promises::LEASE_TOLD),
    ("a lease that is told of exists", promises::LEASE_TOLD),
    ("leases are listed by the time they have left", promises::LEASE_TOLD),
    ("a lease has no more time left than it was granted", promises::LEASE_TOLD),
    ("a lease has the time left that it was promised", promises::LEASE_TOLD),
    ("what a lease has left outlives a change of leader", promises::LEASE_ENDED),
    ("what a lease has left is forgotten for a renewal alone", promises::LEASE_ENDED),
    ("what a lease has left is written", promises::LEASE_ENDED),
    ("a lease is ended when what it has left is over", promises::LEASE_ENDED),
    ("the keys told of are the lease's", promises::LEASE_TOLD),
    ("a lease that is listed exists", promises::LEASE_TOLD),
    ("a lease that exists is listed", promises::LEASE_TOLD),
    ("an acknowledged change is applied", promises::DURABLE),
    ("an entry once applied stays (durability)", promises::DURABLE),
    ("what was written can be read", promises::DURABLE),
    ("a member boots from what a crash left", promises::DURABLE),
    ("a member starts with its own data while it can", promises::DURABLE),
    ("a start leaves what the older image needs", promises::DURABLE),
    ("each slot of the mark names a log that is there", promises::DURABLE),
    ("what is acknowledged is on the platter (honesty)", promises::HONEST),
    ("an append is answered when it is durable (honesty)", promises::HONEST),
    ("a vote is durable before it leaves (honesty)", promises::HONEST),
    ("all members do the same with an entry", promises::SAME),
    ("all members keep the same digest of what they applied", promises::SAME),
    ("an entry once applied stays (durability, state machine safety)", promises::COMMITTED),
    ("entries are applied in order", promises::COMMITTED),
    ("who leads holds everything committed (leader completeness)", promises::COMMITTED),
    ("who stands has what is committed and was on its disk", promises::COMMITTED),
    ("what is committed is of the term of who says so first", promises::COMMITTED),
    ("raft counts whom the applied log lets vote", promises::COMMITTED),
    ("what is committed is held by a majority of those who vote", promises::COMMITTED),
    ("who starts remembers what others promised", promises::COMMITTED),
    ("an entry of a term is the same on every log (log matching)", promises::COMMITTED),
    ("one leader a term", promises::ONE_LEADER),
    ("who leads has a majority of the votes", promises::ONE_LEADER),
    ("one leader a term: nobody else sends entries in it", promises::ONE_LEADER),
    ("a term never falls", promises::ONE_LEADER),
    ("a term never falls, a vote is given once a term", promises::ONE_LEADER),
    ("a vote is given once a term, whatever becomes of the disk", promises::ONE_LEADER),
    ("a member boots", promises::LIVE),
    ("a member lives until it is ended", promises::LIVE),
    ("a turn of the node is bounded", promises::LIVE),
    ("a member stops when it is asked to", promises::LIVE),
    ("a calm cluster does what it is asked", promises::LIVE),
    ("a calm cluster answers reads", promises::LIVE),
    ("a calm member answers reads", promises::LIVE),
    ("a calm member gives a backup", promises::LIVE),
    ("a calm quorum does what it is asked", promises::LIVE),
    ("a healed quorum does not go on electing", promises::LIVE),
    ("calm members come to one revision", promises::LIVE),
    ("members at one revision have one digest", promises::SAME),
    ("a change of the members can be read", promises::COMMITTED),
    ("a change of the members once applied stays", promises::COMMITTED),
    ("changes of the members are applied in one order", promises::SAME),
    ("a snapshot is of what was applied", promises::SAME),
    ("a snapshot leads forward", promises::COMMITTED),
    ("no entry is passed over but those a snapshot covers", promises::COMMITTED),
    ("members agree on who they are", promises::SAME),
    ("a request is answered while nothing is wrong", promises::LIVE),
    ("nobody is elected while nothing is wrong", promises::LIVE),
    ("members agree on where they are", promises::SAME),
    ("a member is reached where it was said to be", promises::LIVE),
    ("who belongs to the cluster is not told otherwise", promises::SAME),
    ("who is told to be removed was removed", promises::SAME),
    ("whom the leadership was moved to has led", promises::LIVE),
    ("no history file stays that nobody needs", promises::LIVE),
    ("what a member holds in memory is bounded", promises::LIVE),
    ("who has nothing to do holds nothing", promises::LIVE),
    ("what is held is bounded", promises::LIVE),
    ("who has no room takes nothing in", promises::LIVE),
    ("what waits for the node is bounded", promises::LIVE),
    ("what waits for a peer is bounded", promises::LIVE),
    ("a calm disk does what it is asked", promises::LIVE),
    ("who differs is named within seconds", promises::SAME),
    ("who differs hears of it", promises::SAME),
    ("who differs serves nothing", promises::SAME),
    ("who differs takes the others' state when it is to", promises::SAME),
    ("members agree on users and roles", promises::SAME),
    ("who differs by its data refuses to start", promises::SAME),
    ("nobody is named who does not differ", promises::SAME),
    ("who is sound takes nobody else's state", promises::DURABLE),
    ("who lost its disk is refused", promises::COMMITTED),
    ("who was added and never began may start", promises::LIVE),
    ("who starts with nothing is refused or let in", promises::LIVE),
    ("a cluster on old disks goes on or says why not", promises::LIVE),
    ("nobody is shown what he may not read", promises::RIGHTS),
    ("who is refused for want of a right has none", promises::RIGHTS),
    ("a token names who holds it", promises::RIGHTS),
    ("who has a token proved who he is", promises::RIGHTS),
    ("a watch is made for who may read", promises::RIGHTS),
    ("a watch is cut when the right goes", promises::RIGHTS),
    ("a watch is cut for want of a right alone", promises::RIGHTS),
    ("who refuses for want of room lacks it", promises::LIVE),
    ("writes go on where room was made", promises::LIVE),
    ("a calm member gives space back", promises::LIVE),
    ("a calm world has members", promises::LIVE),
    ("a digest is what the changes come to", promises::SAME),
    ("how a member stands never falls in one life", promises::DURABLE),
    ("what is applied is committed", promises::COMMITTED),
    ("a member stands where it says", promises::COMMITTED),
];

/// How it stands with a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stands {
    /// It was kept.
    Kept,
    /// It was broken.
    Broken,
    /// The search met a bound.
    Undecided,
    /// It was kept until the run stopped; what is judged at the end was not.
    Unfinished,
}

/// The verdict on one promise.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// Whom it serves.
    pub subject: String,
    /// Its name.
    pub name: &'static str,
    /// What is promised.
    pub sentence: &'static str,
    /// How it stands.
    pub stands: Stands,
    /// What says so.
    pub why: String,
}

/// An order of operations, as far as one was found, and where it ends if it does.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Order {
    /// Operations by their place in the history, each with its moment in nanoseconds, in order.
    pub places: Vec<(usize, u64)>,
    /// Leases that expired, each with its moment.
    pub expiries: Vec<(i64, u64)>,
    /// Operations none of which can be next.
    pub stuck: Vec<usize>,
}

/// What the search came to.
pub struct Searched {
    /// The order of changes and linearizable reads.
    pub order: Order,
    /// How it stands with the order, and with the one that holds the old reads, too.
    pub stands: [(Stands, String); 2],
    /// Old reads that no order explains.
    pub stuck_old: Vec<usize>,
}

/// Looks for the order of a history that began with an empty store.
pub fn search(operations: &[Operation]) -> Searched {
    let start = Start { model: Model::new(MIN_TTL), leases_expire: true };
    let judged = check(operations, &start, Bounds::default());
    let (stands, order) = read(&judged);
    let old = check_serializable(operations, &start, Bounds::default(), Session::None);
    let (stands_old, with_old) = read(&old);
    let broken = stands.0 == Stands::Broken;
    let stuck_old = if broken { Vec::new() } else { with_old.stuck };
    let old_is_open = (Stands::Undecided, "there is no order to hold them against".to_string());
    Searched { order, stands: [stands, if broken { old_is_open } else { stands_old }], stuck_old }
}

fn read(judged: &Judged) -> ((Stands, String), Order) {
    let mut order = Order::default();
    let places = match &judged.verdict {
        Verdict::Linearizable(places) => &places[..],
        Verdict::NotLinearizable(failure) => {
            order.stuck.clone_from(&failure.stuck);
            &failure.prefix[..]
        }
        Verdict::Undecided(_) => &[],
    };
    for place in places {
        match place.placed {
            Placed::Operation(at) => order.places.push((at, place.at)),
            Placed::Expiry(lease) => order.expiries.push((lease, place.at)),
        }
    }
    let (count, expiries, states) = (order.places.len(), order.expiries.len(), judged.states);
    let stands = match &judged.verdict {
        Verdict::Linearizable(_) => (
            Stands::Kept,
            format!(
                "one order of {count} operations gives every answer (leases that expire in it: {expiries}; states looked at: {states})"
            ),
        ),
        Verdict::NotLinearizable(failure) => (
            Stands::Broken,
            format!(
                "{count} operations have an order, up to revision {}; one of {} would have to be next, and none can (states looked at: {states})",
                failure.revision,
                failure.stuck.len()
            ),
        ),
        Verdict::Undecided(met) => (Stands::Undecided, format!("not decided: {}", bound(*met))),
    };
    (stands, order)
}

fn bound(met: Met) -> &'static str {
    match met {
        Met::Operations => "too many operations",
        Met::Open => "too many operations of open outcome",
        Met::States => "too many states to look at",
    }
}

/// The promise that was broken, by the words of the judge who saw it.
pub fn promise_of(words: &str) -> Option<Promise> {
    WORDED.iter().find(|(known, _)| *known == words).map(|(_, promise)| *promise)
}

/// The verdict on each promise. `finished` says that the run came to its end.
pub fn judgements(
    searched: &Searched,
    violation: Option<&Violation>,
    finished: bool,
    marks: &BTreeMap<&'static str, u64>,
) -> Vec<Judgement> {
    let broken = violation.and_then(|violation| promise_of(violation.promise));
    let judged = |promise: Promise| {
        let (mut stands, mut why) = match promise {
            promises::LINEARIZABLE => searched.stands[0].clone(),
            promises::SERIALIZABLE => searched.stands[1].clone(),
            _ if finished => (Stands::Kept, evidence(promise, marks)),
            _ => (Stands::Unfinished, "not broken until the run stopped".to_string()),
        };
        if let Some(violation) = violation.filter(|_| broken == Some(promise)) {
            let seen = format!("seen broken: {}", violation.promise);
            why = if stands == Stands::Broken { format!("{seen}; {why}") } else { seen };
            stands = Stands::Broken;
        }
        let Promise { subject, name, sentence } = promise;
        Judgement { subject: format!("{subject:?}"), name, sentence, stands, why }
    };
    promises::all().map(judged).collect()
}

/// What happened in the run that put a promise to the test.
fn evidence(promise: Promise, marks: &BTreeMap<&'static str, u64>) -> String {
    let counted: &[&'static str] = match promise {
        promises::REFUSED => &["change refused by the state machine", "change refused before it was tried"],
        promises::ONCE => &["a client asked again", "change of open outcome"],
        promises::LEASE_KEPT | promises::LEASE_ENDED | promises::LEASE_WHOLE => &["leases expired"],
        promises::LEASE_TOLD => &["keep-alive of a lease that is gone"],
        promises::DURABLE => &["lives", "power lost", "power lost, and everything unsynced"],
        promises::HONEST => &[
            "honesty: a copy of the log held the entry",
            "honesty: a copy of the log held the vote",
            "honesty: a copy of the platter held its promise",
        ],
        promises::ONE_LEADER | promises::LIVE => &["leaders elected"],
        promises::SAME => &["digests of members compared"],
        promises::COMMITTED => &["log replayed at boot", "torn tail of the log cut"],
        _ => &["watcher fell behind", "watcher ended by a compaction", "watcher resumed on another stream"],
    };
    let told: Vec<String> =
        counted.iter().filter_map(|name| marks.get(name).map(|count| format!("{name}: {count}"))).collect();
    if told.is_empty() { "not broken".to_string() } else { format!("not broken; {}", told.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first string in each call of `callee` in a source, above its tests.
    fn words_after<'a>(source: &'a str, callee: &str) -> Vec<&'a str> {
        let product = source.split("#[cfg(test)]").next().unwrap_or("");
        // A constant in place of the words is not looked at here.
        let constant = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_uppercase());
        let calls = product.split(callee).skip(1).filter(|rest| !constant(rest));
        calls.filter_map(|rest| rest.split('"').nth(1)).collect()
    }

    #[test]
    fn whatever_a_judge_calls_broken_is_a_promise() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut seen, mut unknown) = (0, Vec::new());
        for dir in [root.clone(), root.join("oracles")] {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                let inline = ["require(", "Violation::now("].map(|callee| words_after(&source, callee)).concat();
                for words in inline.into_iter().filter(|words| words.contains(' ') && !words.contains(['{', ':', '\n']))
                {
                    seen += 1;
                    if promise_of(words).is_none() {
                        unknown.push(format!("{}: {words:?}", path.display()));
                    }
                }
            }
        }
        assert!(seen > 40, "{seen} found");
        assert!(unknown.is_empty(), "no promise's: {unknown:#?}");
    }
}
