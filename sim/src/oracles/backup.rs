//! Backups: a database file in etcd's form holds what the member held at one applied entry, no more and no less.
//!
//! The file is taken apart by the product's own reader, which is held against files of etcd elsewhere; what it must say comes
//! from models alone: every change from the compact revision on, and of what lies before it what is alive there; the leases; users and
//! roles; alarms and versions; and who belongs to the cluster and who was removed. What a member calls itself counts once it has told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use quorate::backend::{Foreign, Records};
use quorate::base::{MemberId, Wrong};
use quorate::bbolt::{Database, Memory};
use quorate::machine::Member;
use quorate::mvcc::Record;
use quorate_spec::request::{AlarmKind, Event};
use quorate_spec::{Model, Vantage};

use super::commons::Commons;
use super::ledger::Ledger;
use super::roster::{Circle, Roster};
use super::users::Table;
use super::{Verdict, require};
use crate::convert;

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
    users: Table,
    alarms: BTreeSet<(u64, AlarmKind)>,
    members: Vec<Member>,
    removed: BTreeSet<MemberId>,
    version: Option<String>,
    downgrade: Option<String>,
}

impl Told {
    /// Takes a whole stream apart, the digest at its end with it.
    pub fn of(mut stream: Vec<u8>) -> Result<Self, Wrong> {
        stream.truncate(stream.len().saturating_sub(DIGEST));
        let database = Database::open(Memory(stream), NAME)?;
        let foreign = Foreign::read(&database, NAME, &mut database.unseen())?;
        let lease = |lease: &quorate::machine::LeaseImage| (lease.id, lease.ttl);
        let leases = foreign.leases.iter().map(lease).collect();
        let alarm = |(member, kind): &(MemberId, _)| (member.0, convert::alarm_kind(*kind));
        let mut told = Self {
            applied: foreign.applied.0,
            compacted: foreign.compacted,
            changes: BTreeMap::new(),
            leases,
            users: Table::of(&foreign.auth),
            alarms: foreign.alarms.iter().map(alarm).collect(),
            members: foreign.members,
            removed: foreign.removed.into_iter().collect(),
            version: foreign.cluster_version,
            downgrade: foreign.downgrade,
        };
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

const WORDS: &str = "a backup is what the member held";

/// A member gave this file. It stood at the place `stood` when it was asked.
pub fn holds((ledger, roster): (&Ledger, &Roster), member: usize, stood: usize, told: &Told) -> Verdict {
    let place = ledger.place_of(told.applied);
    require(place >= stood, WORDS, || {
        format!("member {member} stood at {stood} when it was asked; the file is of entry {}", told.applied)
    })?;
    holds_data(ledger, member, place, told)?;
    let of = (member, told.applied);
    let lives = ledger.leases().filter_map(|id| {
        let life = ledger.lives_of(id).iter().find(|life| life.from <= place && life.to.is_none_or(|to| place < to))?;
        Some((id, life.ttl))
    });
    same(of, "leases", &told.leases, &lives.collect())?;
    let users = ledger.users();
    same(of, "users and roles", &told.users, users.numbered(users.number_at(place)))?;
    let commons = ledger.commons_at(place);
    same(of, "alarms", &told.alarms, &commons.alarms)?;
    same(of, "versions", &(&told.version, &told.downgrade), &(&commons.version, &commons.downgrade))?;
    let circle = roster.at(told.applied).cloned().unwrap_or_default();
    same(of, "members that were removed", &told.removed, &circle.removed)?;
    let members: BTreeMap<_, _> = told.members.iter().map(|member| described(member, commons)).collect();
    same(of, "members", &members, &expected_members(&circle, commons))
}

fn same<T: PartialEq + Debug>((member, applied): (usize, u64), what: &str, told: &T, expected: &T) -> Verdict {
    require(told == expected, WORDS, || {
        format!("member {member}, entry {applied}: {what}: {told:?}\nby the log {expected:?}")
    })
}

/// Whether a member only learns, where its peers reach it, and, once it has told that, what it is called and where clients reach it.
type Described = (bool, Vec<String>, Option<(String, Vec<String>)>);

fn described(member: &Member, commons: &Commons) -> (MemberId, Described) {
    let has_told = commons.told.contains_key(&member.id);
    let says = has_told.then(|| (member.name.clone(), member.client_urls.clone()));
    (member.id, (member.is_learner, member.peer_urls.clone(), says))
}

fn expected_members(circle: &Circle, commons: &Commons) -> BTreeMap<MemberId, Described> {
    let all = circle.voters.iter().map(|id| (id, false)).chain(circle.learners.iter().map(|id| (id, true)));
    let described = |(id, learns): (&MemberId, bool)| {
        let urls = circle.urls.get(id).cloned().unwrap_or_default();
        (*id, (learns, urls, commons.told.get(id).cloned()))
    };
    all.map(described).collect()
}

/// Of the file's data.
fn holds_data(ledger: &Ledger, member: usize, place: usize, told: &Told) -> Verdict {
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
        let (ledger, roster) = (Ledger::new(1, 1), Roster::default());
        let holds = |stood, told: &Told| holds((&ledger, &roster), 0, stood, told);
        let told = Told { compacted: -1, ..Told::default() };
        assert!(holds(0, &told).is_ok(), "an empty store");
        assert!(holds(1, &told).is_err(), "older than when it was asked");
        let change: Change = (false, b"k".to_vec(), b"v".to_vec(), 2, 1, 0);
        for wrong in [
            Told { compacted: 3, ..told.clone() },
            Told { changes: BTreeMap::from([(2, vec![change])]), ..told.clone() },
            Told { leases: BTreeMap::from([(7, 5)]), ..told.clone() },
            Told { users: Table { revision: 2, ..Table::default() }, ..told.clone() },
            Told { alarms: BTreeSet::from([(7, AlarmKind::Corrupt)]), ..told.clone() },
            Told { version: Some("3.7.0".to_string()), ..told.clone() },
            Told { downgrade: Some("3.6.0".to_string()), ..told.clone() },
            Told { removed: BTreeSet::from([MemberId(7)]), ..told.clone() },
            Told { members: vec![Member::default()], ..told.clone() },
        ] {
            assert!(holds(0, &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_member_is_what_the_log_says_and_called_what_it_told() {
        let (one, two) = (MemberId(1), MemberId(2));
        let url = |host: &str| vec![format!("http://{host}:1")];
        let urls = BTreeMap::from([(one, url("a")), (two, url("b"))]);
        let circle = Circle { voters: vec![one], learners: vec![two], urls, ..Circle::default() };
        let commons =
            Commons { told: BTreeMap::from([(two, ("two".to_string(), url("clients")))]), ..Commons::default() };
        let first = Member { id: one, name: "as it was founded".into(), peer_urls: url("a"), ..Member::default() };
        let second =
            Member { id: two, name: "two".into(), peer_urls: url("b"), client_urls: url("clients"), is_learner: true };
        let agrees = |members: [&Member; 2]| {
            let told: BTreeMap<_, _> = members.into_iter().map(|member| described(member, &commons)).collect();
            told == expected_members(&circle, &commons)
        };
        assert!(agrees([&first, &second]));
        assert!(!agrees([&first, &first]));
        for wrong in [
            Member { is_learner: false, ..second.clone() },
            Member { name: "three".into(), ..second.clone() },
            Member { client_urls: Vec::new(), ..second.clone() },
            Member { peer_urls: url("c"), ..second.clone() },
        ] {
            assert!(!agrees([&first, &wrong]), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_database_is_told() {
        assert!(Told::of(Vec::new()).is_err());
        assert!(Told::of(vec![7; 9_000]).is_err());
    }
}
