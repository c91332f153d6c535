//! Records of consecutive segments, sorted by key: what a batch of the index is folded from. Each may be read and sorted
//! beside the others.
//!
//! Invariants: in a run equal keys stand in order of revision; where runs are given in order of revision, [`Merge`] shows
//! all their records in order of key, those of a key in order of revision. A run says where its keys lie in 32 bits: what
//! would pass that becomes the next run.
//!
//! Does not know of files, nor what becomes of the records.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::counted_tree::{head_of, shared_prefix};
use super::key_index::KeyMeta;
use super::key_sort::{KeyHeap, KeyRef};
use super::record::RecordSlice;
use crate::base::Revision;

/// Bytes of keys after which a run is full: one transaction may hold any number of keys.
const MOST_KEY_BYTES: usize = 1024 * 1024 * 1024;

/// Keys whose memory is called in together.
const CALLED_IN: usize = 32;

/// How many keys of each piece [`cut`] looks at to find where to cut.
const SAMPLES: usize = 64;

/// Some records, sorted.
pub struct IndexRun {
    keys: KeyHeap,
    refs: Vec<KeyRef>,
    has_leases: bool,
}

/// A run while it is gathered; of very many keys it makes several.
pub struct RunBuild {
    most_key_bytes: usize,
    keys: KeyHeap,
    /// In order of revision.
    refs: Vec<KeyRef>,
    has_leases: bool,
    full: Vec<IndexRun>,
}

impl Default for RunBuild {
    fn default() -> Self {
        Self {
            most_key_bytes: MOST_KEY_BYTES,
            keys: KeyHeap::default(),
            refs: Vec::new(),
            has_leases: false,
            full: Vec::new(),
        }
    }
}

impl RunBuild {
    /// About so many bytes of keys and numbers are to come, as far as anybody can tell.
    pub fn expect_bytes(&mut self, bytes: u64) {
        self.keys.reserve(usize::try_from(bytes).unwrap_or(usize::MAX).min(self.most_key_bytes));
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &RecordSlice<'_>) {
        if self.keys.len() + record.key.len() > self.most_key_bytes {
            self.close();
        }
        let (note, len) = note_of(&record.meta);
        self.refs.push(self.keys.push(record.key, &note[..len]));
        self.has_leases |= record.meta.lease != 0;
    }

    /// Records since the last full run.
    pub fn records(&self) -> usize {
        self.refs.len()
    }

    /// Bytes of their keys.
    pub fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// All that was added, sorted, in order of revision; nothing where nothing was.
    pub fn take(&mut self) -> Vec<IndexRun> {
        self.close();
        std::mem::take(&mut self.full)
    }

    fn close(&mut self) {
        if self.refs.is_empty() {
            return;
        }
        let (keys, mut refs) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.refs));
        keys.sort(&mut refs);
        self.full.push(IndexRun { keys, refs, has_leases: std::mem::take(&mut self.has_leases) });
    }
}

impl IndexRun {
    /// Its records.
    pub fn records(&self) -> usize {
        self.refs.len()
    }

    /// Bytes of their keys.
    pub fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of them hangs on a lease.
    pub fn has_leases(&self) -> bool {
        self.has_leases
    }

    /// How many of its records have a key below this one.
    pub fn below(&self, key: &[u8]) -> usize {
        self.refs.partition_point(|held| self.keys.get(*held) < key)
    }
}

/// Up to `pieces - 1` keys, ascending, at which these runs may be cut into pieces of about the same size.
pub fn cut<'a>(runs: &[&'a IndexRun], pieces: usize) -> Vec<&'a [u8]> {
    let records: usize = runs.iter().map(|run| run.records()).sum();
    let stride = (records / (pieces * SAMPLES)).max(1);
    let of_run = |run: &&'a IndexRun| {
        let run = *run;
        run.refs.iter().step_by(stride).map(|key| run.keys.get(*key))
    };
    let mut samples: Vec<&[u8]> = runs.iter().flat_map(of_run).collect();
    samples.sort_unstable();
    let mut ends: Vec<&[u8]> = (1..pieces).filter_map(|i| samples.get(i * samples.len() / pieces).copied()).collect();
    ends.dedup();
    ends
}

/// What is left of a part of a run.
struct Stream<'a> {
    keys: &'a KeyHeap,
    refs: &'a [KeyRef],
    /// How many of them are called in.
    called_in: usize,
    /// Begins with the note of the key that was shown last.
    note: &'a [u8],
}

impl<'a> Stream<'a> {
    fn next_key(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.refs.split_first()?;
        if self.called_in == 0 {
            self.called_in = self.refs.len().min(CALLED_IN);
            self.keys.call_in(&self.refs[..self.called_in]);
        }
        self.called_in -= 1;
        self.refs = rest;
        let (key, note) = self.keys.entry(*first);
        self.note = note;
        Some(key)
    }
}

/// The key that comes next in a stream. Ordered by key, and by stream where keys are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Next<'a> {
    /// Eight bytes of the key, behind what all keys begin with: mostly they decide.
    head: u64,
    key: &'a [u8],
    stream: usize,
}

/// The records of parts of runs, in order.
pub struct Merge<'a> {
    streams: Vec<Stream<'a>>,
    /// What every key begins with has so many bytes.
    shared: usize,
    next: BinaryHeap<Reverse<Next<'a>>>,
}

impl<'a> Merge<'a> {
    /// Of these runs, in order of revision, each with the records of it that are meant.
    pub fn of(parts: impl Iterator<Item = (&'a IndexRun, std::ops::Range<usize>)>) -> Self {
        let stream = |(run, range): (&'a IndexRun, std::ops::Range<usize>)| Stream {
            keys: &run.keys,
            refs: &run.refs[range],
            called_in: 0,
            note: &[],
        };
        let mut streams: Vec<Stream<'a>> = parts.map(stream).collect();
        let firsts: Vec<(usize, &[u8])> =
            streams.iter_mut().enumerate().filter_map(|(at, stream)| Some((at, stream.next_key()?))).collect();
        let prefixes = streams.iter().map(|stream| stream.keys.shared());
        let shared = prefixes.reduce(|a, b| &a[..shared_prefix(a, b)]).map_or(0, <[u8]>::len);
        let next = firsts.into_iter().map(|(stream, key)| Reverse(Next { head: head_of(key, shared), key, stream }));
        Self { next: next.collect(), streams, shared }
    }
}

impl<'a> Iterator for Merge<'a> {
    type Item = (&'a [u8], KeyMeta);

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = self.next.peek_mut()?;
        let Next { key, stream, .. } = first.0;
        let of_it = &mut self.streams[stream];
        let note = of_it.note;
        match of_it.next_key() {
            Some(key) => first.0 = Next { head: head_of(key, self.shared), key, stream },
            None => drop(PeekMut::pop(first)),
        }
        Some((key, meta_of(note)))
    }
}

/// Most bytes of a note.
const NOTE_BYTES: usize = 8 + 4 + 1 + 8 + 8 + 8;

/// A note of a key's first version without a lease, which says nothing more.
const FIRST: u8 = 0;
const ANY: u8 = 1;

/// What is said beside a key, in its note; how many bytes it has.
fn note_of(meta: &KeyMeta) -> ([u8; NOTE_BYTES], usize) {
    let mut note = [0; NOTE_BYTES];
    note[..8].copy_from_slice(&meta.revision.main.to_le_bytes());
    note[8..12].copy_from_slice(&meta.revision.sub.to_le_bytes());
    let is_first = meta.version == 1 && meta.create_revision == meta.revision.main && meta.lease == 0;
    if is_first {
        note[12] = FIRST;
        return (note, 13);
    }
    note[12] = ANY;
    note[13..21].copy_from_slice(&meta.create_revision.to_le_bytes());
    note[21..29].copy_from_slice(&meta.version.to_le_bytes());
    note[29..37].copy_from_slice(&meta.lease.to_le_bytes());
    (note, NOTE_BYTES)
}

/// What a note says.
fn meta_of(note: &[u8]) -> KeyMeta {
    let number = |at: usize| i64::from_le_bytes(*note[at..].first_chunk().expect("a note has all its bytes"));
    let sub = u32::from_le_bytes(*note[8..].first_chunk().expect("a note has all its bytes"));
    let revision = Revision::new(number(0), sub);
    if note[12] == FIRST {
        return KeyMeta { create_revision: revision.main, revision, version: 1, lease: 0 };
    }
    KeyMeta { create_revision: number(13), revision, version: number(21), lease: number(29) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(main: i64, lease: i64) -> KeyMeta {
        KeyMeta { create_revision: main, revision: Revision::new(main, 0), version: 1, lease }
    }

    fn added(build: &mut RunBuild, key: &str, main: i64) {
        build.add(&RecordSlice { meta: meta(main, i64::from(main == 7)), last: true, key: key.as_bytes(), value: b"" });
    }

    proptest! {
        /// However records are spread over runs, and wherever these are cut.
        #[test]
        fn all_records_come_in_order(
            words in prop::collection::vec("[ab\u{0}]{0,4}|(abcabcabc){1,3}[ab]{0,3}|pods/[0-9]{2}", 0..300),
            runs in 1_usize..6,
            pieces in 1_usize..6,
            most_key_bytes in prop_oneof![Just(MOST_KEY_BYTES), 60_usize..400],
        ) {
            let mut made = Vec::new();
            let mut build = RunBuild { most_key_bytes, ..RunBuild::default() };
            for (at, word) in words.iter().enumerate() {
                added(&mut build, word, at as i64);
                if at % words.len().div_ceil(runs) == 0 {
                    made.extend(build.take());
                }
            }
            made.extend(build.take());
            prop_assert!(made.iter().all(|run| run.records() > 0));
            prop_assert_eq!(made.iter().any(IndexRun::has_leases), words.len() > 7);
            let made: Vec<&IndexRun> = made.iter().collect();
            let ends = cut(&made, pieces);
            prop_assert!(ends.len() < pieces && ends.is_sorted());
            let mut all = Vec::new();
            for at in 0..=ends.len() {
                let from = |run: &IndexRun| if at == 0 { 0 } else { run.below(ends[at - 1]) };
                let to = |run: &IndexRun| ends.get(at).map_or(run.records(), |end| run.below(end));
                let piece: Vec<_> = Merge::of(made.iter().map(|run| (*run, from(run)..to(run)))).collect();
                prop_assert!(piece.iter().all(|(key, _)| at == 0 || *key >= ends[at - 1]));
                prop_assert!(piece.iter().all(|(key, _)| ends.get(at).is_none_or(|end| key < end)));
                all.extend(piece.into_iter().map(|(key, meta)| (key.to_vec(), meta.revision.main)));
            }
            let mut expected: Vec<(Vec<u8>, i64)> =
                words.iter().zip(0..).map(|(word, at)| (word.as_bytes().to_vec(), at)).collect();
            expected.sort();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn a_note_says_what_was_noted(main: i64, sub: u32, create: i64, version: i64, lease: i64, first: bool) {
            let revision = Revision::new(main, sub);
            let any = KeyMeta { create_revision: create, revision, version, lease };
            let meta = if first { KeyMeta { create_revision: main, version: 1, lease: 0, ..any } } else { any };
            let (note, len) = note_of(&meta);
            prop_assert_eq!(meta_of(&note[..len]), meta);
        }
    }

    /// One transaction, or one segment, may hold more keys than lie in one place.
    #[test]
    fn a_run_is_full_before_its_keys_are_too_many() {
        let mut build = RunBuild { most_key_bytes: 200, ..RunBuild::default() };
        for main in 0..500 {
            added(&mut build, &format!("key{:03}", main * 7 % 90), main);
            assert!(build.key_bytes() <= 200 + 6 + 17, "{}", build.key_bytes());
        }
        let runs = build.take();
        assert!(runs.len() > 50);
        assert_eq!(runs.iter().map(IndexRun::records).sum::<usize>(), 500);
    }
}
