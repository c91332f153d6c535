//! The promises by name: what a report lists, kept or broken, each with a sentence for people.
//!
//! A judge that finds one broken names it by its constant, so that reports, pages and track record say the same
//! word. The names of the watch's nine are etcd's.

/// Who is served by a promise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// Changes and reads of keys.
    Store,
    /// Watches.
    Watch,
    /// Leases.
    Lease,
    /// What is on the disks.
    Durability,
    /// What members agree on.
    Agreement,
    /// That something happens at all.
    Progress,
}

/// One promise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Promise {
    /// Whom it serves.
    pub subject: Subject,
    /// Its name, in a word or two.
    pub name: &'static str,
    /// What is promised.
    pub sentence: &'static str,
}

const fn promise(subject: Subject, name: &'static str, sentence: &'static str) -> Promise {
    Promise { subject, name, sentence }
}

/// One order explains every answer.
pub const LINEARIZABLE: Promise = promise(
    Subject::Store,
    "linearizable",
    "There is one order of all changes and linearizable reads, each between its call and its answer, that gives every answer that was heard.",
);
/// Old reads are of some moment.
pub const SERIALIZABLE: Promise = promise(
    Subject::Store,
    "serializable",
    "A serializable read shows the whole store as it was at one moment before the answer.",
);
/// Surely not is surely not.
pub const REFUSED: Promise = promise(
    Subject::Store,
    "refused",
    "A change that was turned away took no effect; one that the store refused was refused for a reason that held between call and answer.",
);
/// At most once.
pub const ONCE: Promise =
    promise(Subject::Store, "once", "A request takes effect once at most, whatever became of its answer.");
/// Nobody reaches beyond his rights.
pub const RIGHTS: Promise = promise(
    Subject::Store,
    "rights",
    "While users are asked for, nobody changes, reads or is told of a key that he may not at that moment, and who is refused lacked the right.",
);

/// The nine of the watch.
pub const WATCH: [Promise; 9] = [
    promise(Subject::Watch, "filter", "A watcher hears only of events on its keys and of the kinds it asked for."),
    promise(Subject::Watch, "ordered", "Revisions never fall within a watch."),
    promise(Subject::Watch, "unique", "No event is told twice to one watcher."),
    promise(
        Subject::Watch,
        "atomic",
        "All events of one revision come in one message, or in fragments of it when they were asked for.",
    ),
    promise(Subject::Watch, "reliable", "Between the first and the last event told none is left out."),
    promise(
        Subject::Watch,
        "resumable",
        "A watch from revision R begins with the first event on its keys at or after R.",
    ),
    promise(
        Subject::Watch,
        "bookmarkable",
        "A notice of progress at revision R says that everything up to R has been told, and never falls.",
    ),
    promise(
        Subject::Watch,
        "previous value",
        "The value before an event, when asked for, is the right one, or missing because it was compacted.",
    ),
    promise(Subject::Watch, "creation", "An event says that its key was created exactly when it was."),
];

/// Not too early.
pub const LEASE_KEPT: Promise = promise(
    Subject::Lease,
    "kept",
    "A lease does not end before its seconds have passed since the last renewal that was answered, counted from the call.",
);
/// Not too late.
pub const LEASE_ENDED: Promise =
    promise(Subject::Lease, "ended", "A lease that is not renewed ends within a bound once its seconds have passed.");
/// All at once.
pub const LEASE_WHOLE: Promise =
    promise(Subject::Lease, "whole", "A lease takes all its keys along in one revision, and no key of another lease.");
/// What is said is so.
pub const LEASE_TOLD: Promise =
    promise(Subject::Lease, "told", "What is told of a lease was so at a moment between call and answer.");

/// Acknowledged is there.
pub const DURABLE: Promise = promise(
    Subject::Durability,
    "durable",
    "What was acknowledged is there after every loss of power that the cluster must survive.",
);
/// Durable before told.
pub const HONEST: Promise =
    promise(Subject::Durability, "honest", "A promise leaves a member only when what it promises is on the platter.");

/// Same entries, same results.
pub const SAME: Promise = promise(
    Subject::Agreement,
    "same",
    "Members that applied the same entry hold the same keys, leases and alarms, and answered it alike.",
);
/// Committed stays.
pub const COMMITTED: Promise = promise(
    Subject::Agreement,
    "committed",
    "An entry once committed is never another, on no member and in no later life.",
);
/// One leader a term.
pub const ONE_LEADER: Promise = promise(Subject::Agreement, "one leader", "A term has one leader at most.");

/// Goes on when it can.
pub const LIVE: Promise = promise(
    Subject::Progress,
    "live",
    "When a quorum is healthy and connected, requests are answered within a bound, and watchers catch up.",
);

/// Every promise, by subject.
pub fn all() -> impl Iterator<Item = Promise> {
    let store = [LINEARIZABLE, SERIALIZABLE, REFUSED, ONCE, RIGHTS];
    let rest = [LEASE_KEPT, LEASE_ENDED, LEASE_WHOLE, LEASE_TOLD, DURABLE, HONEST, SAME, COMMITTED, ONE_LEADER, LIVE];
    store.into_iter().chain(WATCH).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_listed_by_subject() {
        let listed: Vec<Promise> = all().collect();
        let mut names: Vec<_> = listed.iter().map(|promise| (promise.subject, promise.name)).collect();
        assert!(names.is_sorted_by_key(|(subject, _)| *subject));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed.len());
        assert!(listed.iter().all(|promise| promise.sentence.ends_with('.')));
    }
}
