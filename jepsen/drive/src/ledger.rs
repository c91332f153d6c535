//! The external ledger of acknowledged writes: what a server must still hold after it was killed.
//!
//! Each writer owns its keys and has at most one write in flight, so that after a crash every key of a writer has exactly
//! one allowed state, except the keys of the one write whose outcome is unknown: those have two, and all of them must
//! agree on which. Does not know servers; it is told what was acknowledged and what is there now.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::wire::mvccpb::KeyValue;

/// What a key holds: value and the revision of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The value, unique among all writes ever made.
    pub value: Bytes,
    /// The revision that wrote it.
    pub revision: i64,
    /// How often it was put since it was created: a put that was applied twice shows here.
    pub version: i64,
}

impl Held {
    /// What an answer says of a key.
    pub fn of(entry: &KeyValue) -> Self {
        Self { value: entry.value.clone(), revision: entry.mod_revision, version: entry.version }
    }
}

/// One write: new values, or deletes, of several keys at one revision.
pub type Write = Vec<(String, Option<Bytes>)>;

/// The ledger of one writer.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    held: BTreeMap<String, Held>,
    unknown: Option<Write>,
    /// The highest revision this writer was told.
    pub revision: i64,
}

impl Ledger {
    /// Notes a write as sent: until [`Ledger::acknowledge`] its outcome is unknown.
    pub fn send(&mut self, write: Write) {
        assert!(self.unknown.is_none(), "a writer has one write in flight");
        self.unknown = Some(write);
    }

    /// The write in flight was acknowledged at `revision`.
    pub fn acknowledge(&mut self, revision: i64) {
        let write = self.unknown.take().expect("only a sent write is acknowledged");
        self.revision = self.revision.max(revision);
        for (key, value) in write {
            match value {
                Some(value) => {
                    let version = self.next_version(&key);
                    self.held.insert(key, Held { value, revision, version })
                }
                None => self.held.remove(&key),
            };
        }
    }

    fn next_version(&self, key: &str) -> i64 {
        self.held.get(key).map_or(0, |held| held.version) + 1
    }

    /// Whether the key is there, as far as acknowledged writes say.
    pub fn holds(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    /// True while a write is in flight or its outcome was never learned.
    pub fn is_unsure(&self) -> bool {
        self.unknown.is_some()
    }

    /// Judges what is there now (`there` holds the keys of this writer only) and takes it over as the truth from here on.
    ///
    /// # Errors
    /// Every broken promise, in words.
    pub fn judge(&mut self, there: &BTreeMap<String, Held>) -> Vec<String> {
        let mut broken = Vec::new();
        let unknown = self.unknown.take().unwrap_or_default();
        let touched = |key: &String| unknown.iter().any(|(other, _)| other == key);
        for (key, held) in &self.held {
            match there.get(key) {
                _ if touched(key) => {}
                Some(now) if now == held => {}
                Some(now) => broken.push(format!("{key}: acknowledged {held:?}, found {now:?}")),
                None => broken.push(format!("{key}: acknowledged {held:?}, found nothing")),
            }
        }
        for (key, now) in there {
            if !self.held.contains_key(key) && !touched(key) {
                broken.push(format!("{key}: found {now:?}, nothing was acknowledged"));
            }
        }
        let old = unknown.iter().all(|(key, _)| there.get(key) == self.held.get(key));
        if !old && !self.is_applied(&unknown, there) {
            let found: Vec<_> = unknown.iter().map(|(key, _)| (key, self.held.get(key), there.get(key))).collect();
            broken.push(format!(
                "neither before nor after the unknown write {unknown:?}: (key, before, found) {found:?}"
            ));
        }
        self.held = there.clone();
        broken
    }

    /// Whole and at one new revision.
    fn is_applied(&self, write: &Write, there: &BTreeMap<String, Held>) -> bool {
        let mut revisions = Vec::new();
        let matches = write.iter().all(|(key, value)| match (value, there.get(key)) {
            (None, None) => true,
            (Some(value), Some(now)) => {
                revisions.push(now.revision);
                now.value == *value && now.version == self.next_version(key)
            }
            _ => false,
        });
        revisions.dedup();
        matches && revisions.len() <= 1 && revisions.iter().all(|revision| *revision > self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(value: &str, revision: i64) -> Held {
        version(1, value, revision)
    }

    fn version(version: i64, value: &str, revision: i64) -> Held {
        Held { value: value.to_owned().into(), revision, version }
    }

    fn there(pairs: &[(&str, Held)]) -> BTreeMap<String, Held> {
        pairs.iter().map(|(key, held)| ((*key).to_owned(), held.clone())).collect()
    }

    fn put(key: &str, value: &str) -> (String, Option<Bytes>) {
        (key.to_owned(), Some(value.to_owned().into()))
    }

    fn two_acknowledged() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.send(vec![put("a", "1"), put("b", "2")]);
        ledger.acknowledge(5);
        ledger
    }

    #[test]
    fn a_lost_changed_moved_or_invented_key_is_broken() {
        let good = [("a", held("1", 5)), ("b", held("2", 5))];
        assert!(two_acknowledged().judge(&there(&good)).is_empty());
        assert_eq!(two_acknowledged().judge(&there(&good[..1])).len(), 1);
        assert_eq!(two_acknowledged().judge(&there(&[good[0].clone(), ("b", held("x", 5))])).len(), 1);
        assert_eq!(two_acknowledged().judge(&there(&[good[0].clone(), ("b", held("2", 4))])).len(), 1);
        assert_eq!(two_acknowledged().judge(&there(&[good[0].clone(), good[1].clone(), ("c", held("3", 6))])).len(), 1);
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not_but_never_half() {
        let unsure = || {
            let mut ledger = two_acknowledged();
            ledger.send(vec![put("a", "3"), ("b".to_owned(), None), put("c", "4")]);
            ledger
        };
        assert!(unsure().judge(&there(&[("a", held("1", 5)), ("b", held("2", 5))])).is_empty());
        let a = |revision| ("a", version(2, "3", revision));
        assert!(unsure().judge(&there(&[a(6), ("c", held("4", 6))])).is_empty());
        assert_eq!(unsure().judge(&there(&[a(6), ("b", held("2", 5))])).len(), 1);
        assert_eq!(unsure().judge(&there(&[a(6), ("c", held("4", 7))])).len(), 1);
        assert_eq!(unsure().judge(&there(&[a(5), ("c", held("4", 5))])).len(), 1);
    }

    #[test]
    fn a_write_that_was_applied_twice_is_broken() {
        let twice = [("a", version(2, "1", 5)), ("b", held("2", 5))];
        assert_eq!(two_acknowledged().judge(&there(&twice)).len(), 1);
        let mut unsure = two_acknowledged();
        unsure.send(vec![put("a", "3")]);
        assert_eq!(unsure.judge(&there(&[("a", version(3, "3", 7)), ("b", held("2", 5))])).len(), 1);
    }
}
