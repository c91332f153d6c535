//! Backups: a database file in etcd's form holds what the member held at one applied entry, no more and no less.
//!
//! The file is taken apart by the product's own reader, which is held against files of etcd elsewhere; what it must say comes
//! from the model alone: every change from the compact revision on, and of what lies before it what is alive there; and the leases.

use std::collections::BTreeMap;

use quorate::backend::{Foreign, Records};
use quorate::base::Wrong;
use quorate::bbolt::{Database, Memory};
use quorate::mvcc::Record;
use quorate_spec::request::Event;
use quorate_spec::{Model, Vantage};

use super::ledger::Ledger;
use super::{Verdict, require};

/// What the judge calls the file.
const NAME: &str = "backup";

/// Bytes behind the file: its digest.
const DIGEST: usize = 32;

/// A change as a record tells it: whether it deletes, key, value, create revision, version, lease.
type Change = (bool, Vec<u8>, Vec<u8>, i64, i64, i64);

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The entry it is of.
    applied: u64,
    compacted: i64,
    /// What each revision changed, in order.
    changes: BTreeMap<i64, Vec<Change>>,
    /// Granted seconds, by lease. What granted them a file of etcd's does not say.
    leases: BTreeMap<i64, i64>,
}

impl Told {
    /// Takes a whole stream apart, the digest at its end with it.
    pub fn of(mut stream: Vec<u8>) -> Result<Self, Wrong> {
        stream.truncate(stream.len().saturating_sub(DIGEST));
        let database = Database::open(Memory(stream), NAME)?;
        let foreign = Foreign::read(&database, NAME, &mut database.unseen())?;
        let lease = |lease: &quorate::machine::LeaseImage| (lease.id, lease.ttl);
        let leases = foreign.leases.iter().map(lease).collect();
        let mut told = Self { applied: foreign.applied.0, compacted: foreign.compacted, leases, ..Self::default() };
        let mut seen = database.unseen();
        let mut records = Records::of(&database, &mut seen);
        while let Some((record, ..)) = records.next_record()? {
            told.changes.entry(record.meta.revision.main).or_default().push(of_record(&record));
        }
        Ok(told)
    }
}

fn of_record(Record { meta, key, value, .. }: &Record) -> Change {
    let deleted = meta.version == 0;
    let (created, lease) = if deleted { (0, 0) } else { (meta.create_revision, meta.lease) };
    (deleted, key.to_vec(), value.to_vec(), created, meta.version, lease)
}

fn of_event(Event { deleted, kv, .. }: &Event) -> Change {
    if *deleted {
        return (true, kv.key.clone(), Vec::new(), 0, 0, 0);
    }
    (false, kv.key.clone(), kv.value.clone(), kv.create_revision, kv.version, kv.lease)
}

/// What a file of this moment has to say of the data.
fn changes_at(model: &Model, Vantage { revision, compacted }: Vantage) -> BTreeMap<i64, Vec<Change>> {
    let mut changes: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    let alive = model.state_at(compacted).into_iter().flat_map(|state| state.keys.values());
    for kv in alive.filter(|kv| kv.mod_revision < compacted) {
        // Of the changes of its revision the last one of this key: in the order in which they were made.
        changes.entry(kv.mod_revision).or_default();
    }
    for (main, kept) in &mut changes {
        let lives = |event: &&Event| {
            let state = model.state_at(compacted).and_then(|state| state.keys.get(&event.kv.key));
            !event.deleted && state.is_some_and(|kv| **kv == event.kv)
        };
        kept.extend(model.events_of(*main).iter().filter(lives).map(of_event));
    }
    for (main, events) in model.events_from(compacted.max(0)).take_while(|(main, _)| *main <= revision) {
        changes.insert(main, events.iter().map(of_event).collect());
    }
    changes
}

/// A member gave this file. It stood at the place `stood` when it was asked.
pub fn holds(ledger: &Ledger, member: usize, stood: usize, told: &Told) -> Verdict {
    const WORDS: &str = "a backup is what the member held";
    let place = ledger.place_of(told.applied);
    require(place >= stood, WORDS, || {
        format!("member {member} stood at {stood} when it was asked; the file is of entry {}", told.applied)
    })?;
    let vantage = ledger.vantages()[place];
    // A compaction at 0 forgets nothing, and the file says nothing of it.
    require(told.compacted.max(0) == vantage.compacted.max(0), WORDS, || {
        format!("member {member}, entry {}: compacted at {}, by the log {vantage:?}", told.applied, told.compacted)
    })?;
    let expected = changes_at(ledger.model(), vantage);
    let mains = expected.keys().chain(told.changes.keys());
    let differs = mains.copied().find(|main| expected.get(main) != told.changes.get(main));
    require(differs.is_none(), WORDS, || {
        let at = differs.unwrap_or_default();
        format!(
            "member {member}, entry {}, {vantage:?}: revision {at} is {:?}\nby the log {:?}",
            told.applied,
            told.changes.get(&at),
            expected.get(&at)
        )
    })?;
    let lives = ledger.leases().filter_map(|id| {
        let life = ledger.lives_of(id).iter().find(|life| life.from <= place && life.to.is_none_or(|to| place < to))?;
        Some((id, life.ttl))
    });
    let expected: BTreeMap<i64, i64> = lives.collect();
    require(told.leases == expected, WORDS, || {
        format!("member {member}, entry {}: leases {:?}, by the log {expected:?}", told.applied, told.leases)
    })
}

#[cfg(test)]
mod tests {
    use quorate_spec::request::{DeleteRange, Put, Request, Span};

    use super::*;

    fn put(key: &str, value: &str) -> Request {
        Request::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
    }

    /// A store with a past: a at 2 and 4, b at 3 and gone at 5, c at 6.
    fn model() -> Model {
        let mut model = Model::new(1);
        let gone = Request::DeleteRange(DeleteRange { span: Span::one("b"), prev_kv: false });
        for request in [put("a", "1"), put("b", "1"), put("a", "2"), gone, put("c", "1")] {
            model.apply(&request);
        }
        model
    }

    #[test]
    fn behind_a_compaction_what_is_alive_there_is_kept_and_nothing_else() {
        let model = model();
        let keys = |compacted, revision| {
            let changes = changes_at(&model, Vantage { revision, compacted });
            let told = |(main, changes): (&i64, &Vec<Change>)| (*main, changes.iter().map(|change| change.0).collect());
            changes.iter().map(told).collect::<Vec<(i64, Vec<bool>)>>()
        };
        let (put, gone) = (vec![false], vec![true]);
        let all = [(2, put.clone()), (3, put.clone()), (4, put.clone()), (5, gone.clone()), (6, put.clone())];
        assert_eq!(keys(-1, 6), all);
        assert_eq!(keys(-1, 4), all[..3]);
        assert_eq!(keys(4, 6), all[1..], "b is alive at 4, the a of before is not");
        assert_eq!(keys(5, 6), [(4, put.clone()), (5, gone), (6, put.clone())], "what 5 deleted is told of");
        assert_eq!(keys(6, 6), [(4, put.clone()), (6, put)]);
    }

    #[test]
    fn what_is_left_out_altered_or_of_another_moment_is_noticed() {
        let ledger = Ledger::new(1, 1);
        let told = Told { compacted: -1, ..Told::default() };
        assert!(holds(&ledger, 0, 0, &told).is_ok(), "an empty store");
        assert!(holds(&ledger, 0, 1, &told).is_err(), "older than when it was asked");
        assert!(holds(&ledger, 0, 0, &Told { compacted: 3, ..told.clone() }).is_err());
        let change: Change = (false, b"k".to_vec(), b"v".to_vec(), 2, 1, 0);
        assert!(holds(&ledger, 0, 0, &Told { changes: BTreeMap::from([(2, vec![change])]), ..told.clone() }).is_err());
        assert!(holds(&ledger, 0, 0, &Told { leases: BTreeMap::from([(7, 5)]), ..told }).is_err());
    }

    #[test]
    fn what_is_no_database_is_told() {
        assert!(Told::of(Vec::new()).is_err());
        assert!(Told::of(vec![7; 9_000]).is_err());
    }
}
