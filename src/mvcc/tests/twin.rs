//! The store, said naively: every change ever made in a list, and every answer worked out from it.

use bytes::Bytes;

use crate::base::{Event, EventKind, KeyRange, KeyValue, Refusal};
use crate::mvcc::{RangeAnswer, RangeQuery, SortOrder, SortTarget};

#[derive(Clone, Default)]
pub struct Twin {
    pub revision: i64,
    pub compacted: i64,
    /// In order; a tombstone has version 0.
    pub changes: Vec<KeyValue>,
}

impl Twin {
    pub fn new() -> Self {
        Self { revision: 1, compacted: -1, changes: Vec::new() }
    }

    pub fn at(&self, key: &[u8], main: i64) -> Option<&KeyValue> {
        let newest = self.changes.iter().rev().find(|kv| kv.key == key && kv.mod_revision <= main);
        newest.filter(|kv| kv.version > 0)
    }

    /// Keys alive at `main`, in order.
    pub fn alive(&self, range: &KeyRange, main: i64) -> Vec<KeyValue> {
        let mut keys: Vec<Bytes> = self.changes.iter().map(|kv| kv.key.clone()).filter(|k| range.contains(k)).collect();
        keys.sort();
        keys.dedup();
        keys.iter().filter_map(|key| self.at(key, main).cloned()).collect()
    }

    pub fn put(&mut self, main: i64, key: Bytes, value: Bytes, lease: i64) -> Option<KeyValue> {
        let prev = self.at(&key, main).cloned();
        let create_revision = prev.as_ref().map_or(main, |prev| prev.create_revision);
        let version = prev.as_ref().map_or(0, |prev| prev.version) + 1;
        self.changes.push(KeyValue { key, value, create_revision, mod_revision: main, version, lease });
        prev
    }

    pub fn delete(&mut self, main: i64, range: &KeyRange) -> Vec<KeyValue> {
        let prevs = self.alive(range, main);
        for prev in &prevs {
            self.changes.push(KeyValue { key: prev.key.clone(), mod_revision: main, ..KeyValue::default() });
        }
        prevs
    }

    /// etcd's steps, one after the other.
    pub fn range(&self, q: &RangeQuery, current: i64) -> Result<RangeAnswer, Refusal> {
        let at = if q.revision <= 0 { current } else { q.revision };
        if at > current {
            return Err(Refusal::FutureRevision);
        }
        if q.revision > 0 && at < self.compacted {
            return Err(Refusal::Compacted);
        }
        let all = self.alive(&q.range, at);
        let mut answer = RangeAnswer { kvs: vec![], more: false, count: all.len() as i64, revision: current };
        if q.count_only {
            return Ok(answer);
        }
        let filters = [q.min_mod_revision, q.max_mod_revision, q.min_create_revision, q.max_create_revision];
        let fetch_all = q.limit <= 0 || q.order != SortOrder::None || filters.iter().any(|f| *f != 0);
        let mut kvs = all;
        if !fetch_all {
            kvs.truncate(q.limit as usize + 1);
        }
        if q.keys_only && q.target != SortTarget::Value {
            kvs.iter_mut().for_each(|kv| (kv.value, kv.lease) = (Bytes::new(), 0));
        }
        kvs.retain(|kv| q.max_mod_revision == 0 || kv.mod_revision <= q.max_mod_revision);
        kvs.retain(|kv| q.min_mod_revision == 0 || kv.mod_revision >= q.min_mod_revision);
        kvs.retain(|kv| q.max_create_revision == 0 || kv.create_revision <= q.max_create_revision);
        kvs.retain(|kv| q.min_create_revision == 0 || kv.create_revision >= q.min_create_revision);
        match q.target {
            SortTarget::Key => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        }
        if q.order == SortOrder::Descend {
            // Equal ones stay in key order, as a stable sort leaves them.
            let mut reversed = Vec::new();
            while let Some(last) = kvs.last().cloned() {
                let same = |kv: &KeyValue| match q.target {
                    SortTarget::Key => kv.key == last.key,
                    SortTarget::Version => kv.version == last.version,
                    SortTarget::Create => kv.create_revision == last.create_revision,
                    SortTarget::Mod => kv.mod_revision == last.mod_revision,
                    SortTarget::Value => kv.value == last.value,
                };
                let at = kvs.iter().position(same).unwrap();
                reversed.extend(kvs.drain(at..));
            }
            kvs = reversed;
        }
        if q.limit > 0 && kvs.len() > q.limit as usize {
            kvs.truncate(q.limit as usize);
            answer.more = true;
        }
        if q.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        answer.kvs = kvs;
        Ok(answer)
    }

    pub fn events(&self, from: i64, to: i64, wanted: impl Fn(&[u8]) -> bool, with_prev: bool) -> Vec<Event> {
        let between = |kv: &&KeyValue| (from..=to).contains(&kv.mod_revision) && wanted(&kv.key);
        let event = |kv: &KeyValue| {
            let known = with_prev && kv.version != 1 && kv.mod_revision > self.compacted;
            Event {
                kind: if kv.version == 0 { EventKind::Delete } else { EventKind::Put },
                kv: kv.clone(),
                prev_kv: known.then(|| self.at(&kv.key, kv.mod_revision - 1).cloned()).flatten(),
            }
        };
        self.changes.iter().filter(between).map(event).collect()
    }
}
