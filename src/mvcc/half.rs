//! The logbook of a half: how far a snapshot has arrived, for a later start to go on with it.
//!
//! Invariants: what a note says was synced before it, names and all; so was whatever stands before the note in the logbook.
//! Each note begins in a sector of its own, which nothing touches that is written later. Every part is one frame, bound to its
//! place and to the generation the half is built in, so that what is left of another half does not verify. A logbook that
//! breaks off is one up to there, and so is one whose segments are not a run of the generation's. The layout stands in
//! `docs/formats.md`.
//!
//! A note is believed only where the history behind it is what it says ([`super::half_reading`]). Does not know what the half
//! is about: whoever builds it says so in bytes of its own.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::history::GENERATION_NUMBERS;
use super::history_write::{HISTORY_DIR, file_name};
use super::position::{SegmentMark, StorePosition};
use super::snapshot::{SnapshotHeader, SnapshotProgress};
use crate::base::limits::{MAX_IMAGE_BYTES, SECTOR_BYTES, SNAPSHOT_CHUNK_BYTES, SYNC_PIECE_BYTES};
use crate::base::{Fault, Revision};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::{LOG_HALF, Place, frame};

const VERSION: u8 = 1;
const KIND_ABOUT: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_NOTE: u8 = 3;

const ABOUT_BYTES: usize = 1 + 8 + SnapshotHeader::BYTES;
const NOTE_BYTES: usize = 3 * 8 + 4 + 8 + 4 + 1 + 4;

/// What is there of a snapshot that has not arrived whole, by the word of its logbook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Half {
    /// It is built in this one.
    pub(super) generation: u64,
    /// The snapshot's.
    pub(super) id: u64,
    pub(super) about: Bytes,
    pub(super) header: SnapshotHeader,
    /// The state that belongs to the data, whole.
    pub(super) state: Bytes,
    /// In order, one at least.
    pub(super) notes: Vec<Note>,
}

/// How far it was at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    pub(super) at: SnapshotProgress,
    /// The record that came last, and whether its transaction ended with it.
    pub(super) last: (Revision, bool),
    /// Segments that were ended since the note before, and the one that was growing.
    pub(super) segments: Vec<SegmentMark>,
    /// Where the note ends in the logbook.
    pub(super) end: u64,
}

impl Note {
    /// The segment that was growing.
    pub(super) fn growing(&self) -> &SegmentMark {
        self.segments.last().expect("a note is made behind a record")
    }
}

/// The file of the logbook of a half in `generation`.
pub(super) fn logbook_name(generation: u64) -> String {
    format!("{HISTORY_DIR}/{:016x}.half", generation * GENERATION_NUMBERS)
}

/// Of a file's name without its directory. Not the last there can be, behind which nothing could be built.
fn generation_of(file: &str) -> Option<u64> {
    let number = u64::from_str_radix(file.strip_suffix(".half")?, 16).ok()?;
    let generation = Some(number / GENERATION_NUMBERS).filter(|it| (1..GENERATION_NUMBERS - 1).contains(it));
    generation.filter(|it| logbook_name(*it).strip_prefix(HISTORY_DIR).is_some_and(|name| name[1..] == *file))
}

impl Half {
    /// The newest there is. What cannot be read, or does not verify, is none: it is only a shorter way.
    pub fn find<D: Disk>(disk: &D) -> Result<Option<Self>, Fault> {
        let newest = disk.list(HISTORY_DIR)?.iter().filter_map(|file| generation_of(file)).max();
        Ok(newest.and_then(|generation| Self::decode(generation, &read(disk, generation).ok()?)))
    }

    /// What its builder said that it is about.
    pub fn about(&self) -> &Bytes {
        &self.about
    }

    /// Which snapshot it is of, as [`super::SnapshotSource::id`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of records that are there at most.
    pub fn bytes(&self) -> u64 {
        self.notes.last().map_or(0, |note| note.at.bytes)
    }

    /// The generation it is built in.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it is none of these histories, and newer than each.
    pub fn is_beside<'a>(&self, histories: impl IntoIterator<Item = &'a StorePosition>) -> bool {
        let generations = histories.into_iter().filter_map(|position| position.last_number());
        generations.map(|number| number / GENERATION_NUMBERS).all(|generation| generation < self.generation)
    }

    /// The numbers of its segments, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.notes.iter().flat_map(|note| &note.segments).map(|segment| segment.number).collect();
        numbers.dedup();
        numbers
    }

    /// Its files: some may be gone.
    pub fn files(&self) -> Vec<String> {
        let segments = self.numbers().into_iter().map(file_name);
        [logbook_name(self.generation)].into_iter().chain(segments).collect()
    }

    /// Removes what there is of it, the logbook first.
    pub fn remove<D: Disk>(&self, disk: &D) -> Result<(), Fault> {
        for file in self.files() {
            if disk.exists(&file)? {
                disk.remove(&file)?;
            }
        }
        Ok(())
    }

    fn decode(generation: u64, bytes: &Bytes) -> Option<Self> {
        let mut reading = Reading { bytes, generation, at: 0, growing: None };
        let mut about = reading.next(KIND_ABOUT)?;
        if about.len() < ABOUT_BYTES || about.get_u8() != VERSION {
            return None;
        }
        let id = about.get_u64_le();
        let header = SnapshotHeader::take(&mut about);
        header.check().ok()?;
        // Copied, as the state is: a part of the logbook would hold all of it in memory.
        let about = Bytes::copy_from_slice(&about);
        let mut state = BytesMut::new();
        while (state.len() as u64) < header.state_bytes {
            state.put_slice(&reading.next(KIND_STATE)?);
        }
        let mut half = Self { generation, id, about, header, state: state.freeze(), notes: Vec::new() };
        while let Some(note) = reading.note() {
            half.notes.push(note);
        }
        let is_whole = half.state.len() as u64 == header.state_bytes && !half.notes.is_empty();
        is_whole.then_some(half)
    }
}

fn read<D: Disk>(disk: &D, generation: u64) -> Result<Bytes, Fault> {
    let file = disk.open(&logbook_name(generation), OpenMode::Read)?;
    let mut bytes = vec![0; file.len()?.min(MAX_IMAGE_BYTES) as usize];
    let got = file.read_full_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes.into())
}

/// Goes through a logbook.
struct Reading<'a> {
    bytes: &'a Bytes,
    generation: u64,
    at: usize,
    /// The number of the segment that was growing at the note before.
    growing: Option<u64>,
}

impl Reading<'_> {
    /// The body of the frame that comes next.
    fn next(&mut self, kind: u8) -> Option<Bytes> {
        let place = Place { log: LOG_HALF, segment: self.generation, offset: self.at as u64 };
        let framed = frame::decode(place, &self.bytes.slice(self.at.min(self.bytes.len())..)).ok()?;
        self.at += framed.total;
        (framed.kind == kind).then_some(framed.body)
    }

    fn note(&mut self) -> Option<Note> {
        self.at = self.at.next_multiple_of(SECTOR_BYTES);
        let mut body = self.next(KIND_NOTE)?;
        if body.len() < NOTE_BYTES {
            return None;
        }
        let (chunk, records, bytes, digest) =
            (body.get_u64_le(), body.get_u64_le(), body.get_u64_le(), body.get_u32_le());
        let last = (Revision::new(body.get_i64_le(), body.get_u32_le()), body.get_u8() == 1);
        let count = body.get_u32_le() as usize;
        if count == 0 || body.len() != count.saturating_mul(SegmentMark::PLAIN_BYTES) {
            return None;
        }
        let segments: Vec<SegmentMark> = (0..count).map(|_| SegmentMark::take_plain(&mut body)).collect();
        let is_run = segments.iter().all(|segment| segment.number / GENERATION_NUMBERS == self.generation)
            && segments.is_sorted_by(|one, next| one.number < next.number)
            && self.growing.is_none_or(|growing| segments[0].number == growing);
        if !is_run {
            return None;
        }
        self.growing = segments.last().map(|segment| segment.number);
        let next = Revision::new(last.0.main, last.0.sub.checked_add(1)?);
        let at = SnapshotProgress { chunk, next, records, bytes, digest };
        Some(Note { at, last, segments, end: self.at as u64 })
    }
}

/// A logbook that is being written.
pub(super) struct Logbook<F> {
    file: F,
    generation: u64,
    len: u64,
}

impl<F: DiskFile> Logbook<F> {
    /// Of a half whose state is there. Synced in pieces, because whoever else waits for a disk waits for the whole of what is
    /// synced at once.
    pub(super) async fn begin<D: Disk<File = F>>(
        disk: &D,
        (generation, id): (u64, u64),
        about: &[u8],
        header: &SnapshotHeader,
        state: &[u8],
    ) -> Result<Self, Fault> {
        let file = disk.open(&logbook_name(generation), OpenMode::Create)?;
        let mut logbook = Self { file, generation, len: 0 };
        let mut body = BytesMut::with_capacity(ABOUT_BYTES);
        body.put_u8(VERSION);
        body.put_u64_le(id);
        header.put(&mut body);
        logbook.put(KIND_ABOUT, &[&body, about])?;
        let mut synced = 0;
        for piece in state.chunks(SNAPSHOT_CHUNK_BYTES) {
            logbook.put(KIND_STATE, &[piece])?;
            if logbook.len - synced >= SYNC_PIECE_BYTES as u64 {
                logbook.file.sync().await?;
                synced = logbook.len;
            }
        }
        Ok(logbook)
    }

    /// One that goes on behind this note of it.
    pub(super) fn go_on<D: Disk<File = F>>(disk: &D, half: &Half, note: &Note) -> Result<Self, Fault> {
        let file = disk.open(&logbook_name(half.generation), OpenMode::Write)?;
        file.set_len(note.end)?;
        Ok(Self { file, generation: half.generation, len: note.end })
    }

    fn put(&mut self, kind: u8, body: &[&[u8]]) -> Result<(), Fault> {
        let mut out = BytesMut::new();
        let place = Place { log: LOG_HALF, segment: self.generation, offset: self.len };
        let total = frame::encode(&mut out, place, kind, body) as u64;
        self.file.write_at(self.len, &out)?;
        self.len += total;
        Ok(())
    }

    /// Writes a note, whose end is not looked at, and makes it durable.
    pub(super) async fn note(&mut self, note: &Note) -> Result<(), Fault> {
        let mut body = BytesMut::with_capacity(NOTE_BYTES + note.segments.len() * SegmentMark::PLAIN_BYTES);
        let SnapshotProgress { chunk, records, bytes, digest, .. } = note.at;
        body.put_u64_le(chunk);
        body.put_u64_le(records);
        body.put_u64_le(bytes);
        body.put_u32_le(digest);
        let (last, ended) = note.last;
        body.put_i64_le(last.main);
        body.put_u32_le(last.sub);
        body.put_u8(u8::from(ended));
        body.put_u32_le(u32::try_from(note.segments.len()).expect("segments are large, so they are few"));
        note.segments.iter().for_each(|segment| segment.put_plain(&mut body));
        self.len = self.len.next_multiple_of(SECTOR_BYTES as u64);
        self.put(KIND_NOTE, &[&body])?;
        self.file.sync().await
    }
}
