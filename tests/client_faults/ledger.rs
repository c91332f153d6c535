//! What every worker did and was told, and whether that fits what happened: the whole history of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;
use quorate::client::{Client, Error, WatchRange};
use quorate::wire::mvccpb::event::EventType;
use tokio::time::timeout;
use tonic::Code;

use crate::cluster::LIMIT;

/// The last key of a run: whoever watches has seen all.
pub const END: &str = "end";

/// A change, as a watch tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub revision: i64,
    pub key: String,
    /// `None` where it was deleted.
    pub value: Option<String>,
    /// The revision that created the key; 0 where it was deleted.
    pub created: i64,
}

impl Change {
    pub fn read(event: quorate::wire::mvccpb::Event) -> Self {
        let kv = event.kv.unwrap();
        let put = event.r#type == EventType::Put as i32;
        Self {
            revision: kv.mod_revision,
            key: text(&kv.key),
            value: put.then(|| text(&kv.value)),
            created: kv.create_revision,
        }
    }
}

pub fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a worker knows of a value, of which there is only one, that it wanted to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Written with this revision.
    At(i64),
    /// Written.
    Done,
    /// Not written.
    Refused,
    /// Nobody said.
    Open,
}

impl Outcome {
    /// What an error leaves open.
    ///
    /// # Panics
    /// It is none that a trouble of members or streets explains.
    pub fn of_error(error: &Error) -> Self {
        match error {
            Error::Lost(_) => Self::Refused,
            error if error.text() == "etcdserver: requested lease not found" => Self::Refused,
            error if explained(error) => Self::Open,
            error => panic!("no trouble explains: {error:?}"),
        }
    }
}

/// Whether a member that is away, silent or without a leader explains it.
fn explained(error: &Error) -> bool {
    use Code::{Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown};
    matches!(error, Error::StreamEnded)
        || matches!(error.code(), Some(Unavailable | DeadlineExceeded | Unknown | Internal | Cancelled))
}

/// A word that an observer heard.
#[derive(Clone, Debug)]
pub struct Heard {
    pub key: String,
    pub value: String,
    pub created: i64,
    pub revision: i64,
}

/// What one watch told, in its order.
#[derive(Clone, Debug)]
pub enum Told {
    Change(Change),
    /// All up to this revision was told.
    Progress(i64),
}

/// What was done and told.
#[derive(Default)]
pub struct Ledger {
    written: Mutex<Vec<(String, String, Outcome)>>,
    /// Transactions by the key that each writes once.
    added: Mutex<Vec<(String, Result<u64, Outcome>)>>,
    /// What observers heard; another list where one was lost.
    heard: Mutex<Vec<Vec<Heard>>>,
    /// Keys of sessions, and whether each was told to have ended.
    sessions: Mutex<BTreeMap<String, bool>>,
}

impl Ledger {
    pub fn wrote(&self, key: impl Into<String>, value: impl Into<String>, outcome: Outcome) {
        self.written.lock().unwrap().push((key.into(), value.into(), outcome));
    }

    pub fn added(&self, key: String, sum: Result<u64, Outcome>) {
        self.added.lock().unwrap().push((key, sum));
    }

    pub fn observes_anew(&self) {
        self.heard.lock().unwrap().push(Vec::new());
    }

    pub fn heard(&self, word: Heard) {
        self.heard.lock().unwrap().last_mut().unwrap().push(word);
    }

    pub fn session(&self, key: String, ended: bool) {
        self.sessions.lock().unwrap().insert(key, ended);
    }

    /// Holds everything against the history.
    pub fn check(&self, history: &[Change]) {
        self.check_written(history);
        self.check_holders(history);
        self.check_sums(history);
        self.check_heard(history);
        self.check_sessions(history);
    }

    /// What was acknowledged is there once and where it was said to be, what was refused is not, the rest once at most; and
    /// nothing is there that nobody wrote.
    fn check_written(&self, history: &[Change]) {
        let mut places: BTreeMap<(&str, &str), Vec<i64>> = BTreeMap::new();
        for change in history {
            if let Some(value) = &change.value {
                places.entry((&change.key, value)).or_default().push(change.revision);
            }
        }
        let written = self.written.lock().unwrap();
        let mut known = BTreeSet::new();
        for (key, value, outcome) in written.iter() {
            let found = places.get(&(&key[..], &value[..])).map_or(&[][..], |found| found);
            let fits = match outcome {
                Outcome::At(revision) => found == [*revision],
                Outcome::Done => found.len() == 1,
                Outcome::Refused => found.is_empty(),
                Outcome::Open => found.len() <= 1,
            };
            assert!(fits, "{key} = {value}: {outcome:?}, and in the history at {found:?}");
            assert!(known.insert((&key[..], &value[..])), "{key} = {value} is no one value");
        }
        for place in places.keys().filter(|(key, _)| ["p/", "held", "chair/"].iter().any(|own| key.starts_with(own))) {
            assert!(known.contains(place), "nobody wrote {place:?}");
        }
    }

    /// What the lock guards was written by one holder after the other: who came later had the greater number.
    fn check_holders(&self, history: &[Change]) {
        let held = history.iter().filter(|change| change.key == "held");
        let numbers: Vec<i64> =
            held.map(|change| change.value.as_ref().unwrap().split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert!(numbers.first() < numbers.last(), "the lock went from hand to hand: {numbers:?}");
    }

    /// Every transaction added one, at one revision with the key that says whose it was, and none twice.
    fn check_sums(&self, history: &[Change]) {
        let by = |change: &&Change| change.key.starts_with("by/");
        let mut keys = BTreeMap::new();
        for change in history.iter().filter(by) {
            let sum: u64 = change.value.as_ref().unwrap().parse().unwrap();
            assert!(keys.insert(&change.key[..], (change.revision, sum)).is_none(), "{} was done twice", change.key);
        }
        let sums: Vec<(i64, u64)> = history
            .iter()
            .filter(|change| change.key == "sum")
            .map(|change| (change.revision, change.value.as_ref().unwrap().parse().unwrap()))
            .collect();
        assert!(sums.iter().map(|(_, sum)| *sum).eq(1..=sums.len() as u64), "{sums:?}");
        let mut done: Vec<(i64, u64)> = keys.values().copied().collect();
        done.sort_unstable();
        assert_eq!(sums, done);
        for (key, told) in self.added.lock().unwrap().iter() {
            let found = keys.get(&key[..]).map(|(_, sum)| *sum);
            match told {
                Ok(sum) => assert_eq!(found, Some(*sum), "{key}"),
                Err(Outcome::Refused) => assert_eq!(found, None, "{key}"),
                Err(_) => {}
            }
        }
    }

    /// Whom an observer heard led then, in the order of leading, and of each it heard it heard every later word, once.
    fn check_heard(&self, history: &[Change]) {
        let chair: Vec<&Change> = history.iter().filter(|change| change.key.starts_with("chair/")).collect();
        let mut leaders: BTreeSet<(&str, i64)> = BTreeSet::new();
        let mut standing: BTreeMap<i64, &str> = BTreeMap::new();
        for change in &chair {
            match &change.value {
                Some(_) => drop(standing.insert(change.created, &change.key)),
                None => standing.retain(|_, key| *key != change.key),
            }
            leaders.extend(standing.first_key_value().map(|(created, key)| (*key, *created)));
        }
        let heard = self.heard.lock().unwrap();
        for (n, words) in heard.iter().enumerate() {
            assert!(words.is_sorted_by_key(|word| (word.created, word.revision)), "{words:?}");
            for (at, word) in words.iter().enumerate() {
                assert!(leaders.contains(&(&word.key[..], word.created)), "{word:?} never led");
                let said = |change: &&&Change| change.key == word.key && change.created == word.created;
                let mut from = chair.iter().filter(said).skip_while(|change| change.revision < word.revision);
                let own = from.next().expect("a word that was heard was said");
                assert_eq!((own.revision, own.value.as_ref()), (word.revision, Some(&word.value)));
                let next = words.get(at + 1);
                match (from.next(), next) {
                    (Some(said), Some(next)) => assert_eq!(said.revision, next.revision, "after {word:?}"),
                    (None, Some(next)) => assert_ne!((&next.key, next.created), (&word.key, word.created)),
                    // The rest is lost with the observer, or was said after it had heard what it waited for.
                    (_, None) => assert!(n + 1 < heard.len() || word.value == END, "{word:?} is not the last"),
                }
            }
        }
        assert!(heard.iter().map(Vec::len).sum::<usize>() > 2, "{heard:?}");
    }

    /// The key of a session is there until it was told that the session ended, and not for ever after.
    fn check_sessions(&self, history: &[Change]) {
        for (key, ended) in self.sessions.lock().unwrap().iter() {
            let gone = history.iter().filter(|change| change.key == *key).any(|change| change.value.is_none());
            assert_eq!(gone, *ended, "{key}");
        }
    }
}

/// What one watch told is the history, each change once and in its place; and no progress was told before its time.
pub fn check_told(told: &[Told], history: &[Change]) {
    let mut progress = 0;
    let mut changes = Vec::new();
    for told in told {
        match told {
            Told::Progress(revision) => progress = progress.max(*revision),
            Told::Change(change) => {
                assert!(change.revision > progress, "{change:?} after a progress of {progress}");
                changes.push(change.clone());
            }
        }
    }
    let differs = changes.iter().zip(history).position(|(told, happened)| told != happened);
    assert_eq!(differs, None, "{:?} and {:?}", differs.map(|at| &changes[at]), differs.map(|at| &history[at]));
    assert_eq!(changes.len(), history.len());
}

/// All that happened, as one member has it.
pub async fn history(member: &Client) -> Vec<Change> {
    let all = WatchRange { key: "\0".into(), range_end: "\0".into(), start_revision: 1, ..WatchRange::default() };
    let mut watcher = member.watch(all);
    let mut changes: Vec<Change> = Vec::new();
    while changes.last().is_none_or(|change| change.key != END) {
        let response = timeout(LIMIT, watcher.next()).await.expect("in time").unwrap().unwrap();
        assert!(!response.canceled, "{response:?}");
        changes.extend(response.events.into_iter().map(Change::read));
    }
    changes
}
