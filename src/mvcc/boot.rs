//! Opening a store at a position: the history is cut back to it and the index is built by one walk over its records.
//!
//! Invariants: afterwards the store is what it was when the position was taken, with every compaction up to
//! then pruned. A file that neither this position nor one kept beside it names is not ours any more and goes;
//! one that only a kept position names stays, and its number is not used again, so that the next start may still
//! begin there. A file that is missing, short or damaged is a corruption, named with its place; nothing is
//! guessed. The disk is changed only when everything was read and found good. Of a segment with an outline that is
//! read in its place; whether its file is as it was is found out by who reads from it.
//!
//! The only part of the store that waits for the disk; it runs before there are clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::half::Half;
use super::history::{History, holding};
use super::history_write::{HISTORY_DIR, file_name};
use super::index_build::{BatchSizes, FoldedPart, IndexBuild, IndexPart};
use super::index_run::{IndexRun, RunBuild};
use super::key_index::Mark;
use super::outline_file::read_outline;
use super::position::{SegmentMark, StorePosition};
use super::pruning::Pruning;
use super::segment::{Segment, Window};
use super::store::{Store, StoreOptions};
use super::value_cache::ValueCache;
use crate::base::{Corruption, Wrong, limits};
use crate::env::{Disk, DiskFile, OpenMode};

/// A store that is being read. Batch by batch: segments are read in shares, and what a batch holds is folded in parts, both of
/// which may be done side by side.
pub struct Loading<D: Disk> {
    disk: D,
    options: StoreOptions,
    from: StorePosition,
    /// The largest number of a segment that a kept position names.
    used: Option<u64>,
    build: IndexBuild,
    /// Segments that were handed out to be read.
    handed_out: usize,
    segments: Vec<Arc<Segment<D>>>,
    unusable_outlines: Vec<Corruption>,
}

/// Consecutive segments that are to be read, wherever.
pub struct SegmentsToRead<D: Disk> {
    disk: D,
    marks: Vec<SegmentMark>,
}

/// Segments that were read, with their records sorted.
pub struct SegmentsRead<D: Disk> {
    segments: Vec<Arc<Segment<D>>>,
    runs: Vec<IndexRun>,
    unusable_outlines: Vec<Corruption>,
}

impl<D: Disk> Store<D> {
    /// Opens the store at `from`; the default position makes a fresh one. `kept` are the positions of older
    /// checkpoints that a later start may take: their files stay until [`Store::garbage`] names them.
    pub fn open(disk: D, options: StoreOptions, from: &StorePosition, kept: &[&StorePosition]) -> Result<Self, Wrong> {
        Self::open_in_batches(disk, options, from, kept, BatchSizes::default())
    }

    /// [`Self::open`], with the index built in batches and parts of other sizes.
    pub(super) fn open_in_batches(
        disk: D,
        options: StoreOptions,
        from: &StorePosition,
        kept: &[&StorePosition],
        sizes: BatchSizes,
    ) -> Result<Self, Wrong> {
        let mut store = Loading::begin(disk.clone(), options, from, kept, sizes)?.here()?;
        store.tidy_files(&disk, from, kept, None)?;
        Ok(store)
    }

    /// The first half of [`Self::open`]: reads, and changes nothing. All of it for a store that is opened beside one that
    /// still runs: see [`Self::take_place_of`].
    pub fn load(disk: D, options: StoreOptions, from: &StorePosition, kept: &[&StorePosition]) -> Result<Self, Wrong> {
        Self::loading(disk, options, from, kept)?.here()
    }

    /// As [`Self::load`], step by step.
    pub fn loading(
        disk: D,
        options: StoreOptions,
        from: &StorePosition,
        kept: &[&StorePosition],
    ) -> Result<Loading<D>, Wrong> {
        Loading::begin(disk, options, from, kept, BatchSizes::default())
    }

    /// The second half of [`Self::open`], with the same positions, before anything is appended: removes what nobody
    /// names, cuts what grew. A `half` stays, and nothing else is ever built in its generation.
    pub fn tidy_files(
        &mut self,
        disk: &D,
        from: &StorePosition,
        kept: &[&StorePosition],
        half: Option<&Half>,
    ) -> Result<(), Wrong> {
        self.replaced = only_kept(disk, from, kept)?;
        half.iter().for_each(|half| self.history.skip_generation(half.generation()));
        cut_back(disk, from, kept, half)
    }
}

impl<D: Disk> Loading<D> {
    fn begin(
        disk: D,
        options: StoreOptions,
        from: &StorePosition,
        kept: &[&StorePosition],
        sizes: BatchSizes,
    ) -> Result<Self, Wrong> {
        disk.create_dir(HISTORY_DIR)?;
        check_files(&disk, from)?;
        Ok(Self {
            disk,
            options,
            from: from.clone(),
            used: kept.iter().filter_map(|position| position.last_number()).max(),
            build: IndexBuild::new(from.compact_revision, sizes),
            handed_out: 0,
            segments: Vec::with_capacity(from.segments.len()),
            unusable_outlines: Vec::new(),
        })
    }

    /// The segments that come next in the batch, in shares: each to be read, wherever, and all to be brought back by
    /// [`Self::have_read`]. Nothing where the batch is full, or there are no more.
    pub fn next_reads(&mut self) -> Vec<SegmentsToRead<D>> {
        let mut shares: Vec<SegmentsToRead<D>> = Vec::new();
        if self.build.is_full() {
            return shares;
        }
        let (most, least) = self.build.sizes().read_bytes;
        let mut bytes = 0;
        let rest = self.from.segments[self.handed_out..].iter().enumerate();
        let taken = rest.take_while(|(at, mark)| {
            bytes += key_bytes(mark);
            *at == 0 || bytes <= most
        });
        let taken: Vec<SegmentMark> = taken.map(|(_, mark)| *mark).collect();
        self.handed_out += taken.len();
        let all: u64 = taken.iter().map(key_bytes).sum();
        let (share, mut held) = (all.div_ceil(limits::INDEX_PARTS as u64).max(least), 0);
        for mark in taken {
            match shares.last_mut() {
                Some(last) if held < share => last.marks.push(mark),
                _ => {
                    shares.push(SegmentsToRead { disk: self.disk.clone(), marks: vec![mark] });
                    held = 0;
                }
            }
            held += key_bytes(&mark);
        }
        shares
    }

    /// Takes the shares back, in their order.
    pub fn have_read(&mut self, shares: Vec<SegmentsRead<D>>) {
        for share in shares {
            self.segments.extend(share.segments);
            self.build.add_runs(share.runs);
            self.unusable_outlines.extend(share.unusable_outlines);
        }
    }

    /// The parts of the batch, once there is nothing more to read for it: each to be folded, wherever, and to be brought back;
    /// nothing at the end.
    pub fn next_batch(&mut self) -> Vec<IndexPart> {
        if self.build.is_folded() { Vec::new() } else { self.build.take_parts() }
    }

    /// Takes the parts of the batch back, in their order.
    pub fn folded(&mut self, parts: Vec<FoldedPart>) {
        self.build.put_back(parts);
    }

    /// The store, once there is no batch any more.
    pub fn finish(mut self) -> Store<D> {
        assert_eq!(self.segments.len(), self.from.segments.len(), "a store is made of all its segments");
        bury(&self.segments, self.build.take_dead());
        let has_leases = self.build.has_leases();
        Store {
            index: self.build.finish(),
            history: History::new(self.disk, self.segments, self.options.segment_bytes, self.used),
            cache: Arc::new(ValueCache::new(self.options.cache_bytes)),
            watermark: Arc::new(AtomicI64::new(self.from.compact_revision)),
            digests: Arc::default(),
            keeps_digests: true,
            revision: self.from.revision,
            pruning: Pruning::new(self.from.compact_revision),
            replaced: Vec::new(),
            unusable_outlines: self.unusable_outlines,
            reclaim_given_up: Arc::default(),
            shown: None,
            outdated: Vec::new(),
            torn: false,
            has_leases,
        }
    }

    /// All of it, one after the other.
    fn here(mut self) -> Result<Store<D>, Wrong> {
        loop {
            let shares = self.next_reads();
            if !shares.is_empty() {
                let read = shares.into_iter().map(SegmentsToRead::read).collect::<Result<_, _>>()?;
                self.have_read(read);
                continue;
            }
            let parts = self.next_batch();
            if parts.is_empty() {
                return Ok(self.finish());
            }
            self.folded(parts.into_iter().map(IndexPart::fold).collect());
        }
    }
}

impl<D: Disk> SegmentsToRead<D> {
    /// Reads them, by their outlines where they have some that can be used, and sorts what they hold.
    pub fn read(self) -> Result<SegmentsRead<D>, Wrong> {
        let Self { disk, marks } = self;
        let mut run = RunBuild::default();
        run.expect_bytes(marks.iter().map(key_bytes).sum());
        let (mut segments, mut unusable_outlines) = (Vec::with_capacity(marks.len()), Vec::new());
        let (mut window, mut bytes) = (Window::default(), Vec::new());
        for mark in &marks {
            let outline = match read_outline(&disk, mark, &mut bytes)? {
                Some(Err(unusable)) => {
                    unusable_outlines.push(unusable);
                    None
                }
                Some(Ok(outline)) => Some(outline),
                None => None,
            };
            segments.push(match outline {
                Some(outline) => Segment::load_outlined(&disk, mark, outline, |record| run.add(record))?,
                None => Segment::load(&disk, mark, &mut window, |record| run.add(record))?,
            });
        }
        Ok(SegmentsRead { segments, runs: run.take(), unusable_outlines })
    }
}

/// About how many bytes the keys and numbers of a segment take: half of one that is read whole, and somewhat more than an
/// outline has.
fn key_bytes(mark: &SegmentMark) -> u64 {
    mark.outline.map_or(mark.len / 2, |outline| outline.len + outline.len / 4)
}

/// Counts what is dead in the segments that hold it.
fn bury<D: Disk>(segments: &[Arc<Segment<D>>], dead: Vec<Mark>) {
    for mark in dead {
        holding(segments, mark.revision.main).expect("it was just read").bury(mark);
    }
}

/// Holds the files `from` names to be there, and long enough.
fn check_files<D: Disk>(disk: &D, from: &StorePosition) -> Result<(), Wrong> {
    for (name, len) in from.files() {
        if !disk.exists(&name)? {
            return Err(Wrong::corrupt(name, 0, "the checkpoint names it, but it is not there"));
        }
        let found = disk.open(&name, OpenMode::Read)?.len()?;
        if found < len {
            return Err(Wrong::corrupt(name, found, format!("the checkpoint says {len} bytes, the file ends here")));
        }
    }
    Ok(())
}

/// The files that only a kept position names: reclaim replaced them since. One that is not there is no reason to
/// refuse, because nothing at `from` needs it.
fn only_kept<D: Disk>(disk: &D, from: &StorePosition, kept: &[&StorePosition]) -> Result<Vec<Arc<Segment<D>>>, Wrong> {
    let mut found = BTreeMap::new();
    for mark in kept.iter().flat_map(|position| &position.segments) {
        if !from.names(mark.number) && disk.exists(&file_name(mark.number))? {
            found.insert(mark.number, Arc::new(Segment::replaced(disk.clone(), mark)));
        }
    }
    Ok(found.into_values().collect())
}

/// Removes the files no position names, and cuts what grew after `from`.
fn cut_back<D: Disk>(
    disk: &D,
    from: &StorePosition,
    kept: &[&StorePosition],
    half: Option<&Half>,
) -> Result<(), Wrong> {
    let positions = kept.iter().copied().chain([from]);
    let named = |position: &StorePosition| -> Vec<String> {
        position.files().map(|(name, _)| name).chain(position.outline_files()).collect()
    };
    let names: BTreeSet<String> = positions.flat_map(named).chain(half.into_iter().flat_map(Half::files)).collect();
    for name in disk.list(HISTORY_DIR)? {
        let path = format!("{HISTORY_DIR}/{name}");
        if !names.contains(&path) {
            disk.remove(&path)?;
        }
    }
    for (name, len) in from.files() {
        let file = disk.open(&name, OpenMode::Write)?;
        if file.len()? > len {
            file.set_len(len)?;
        }
    }
    Ok(())
}
