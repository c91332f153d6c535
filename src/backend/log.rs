//! The raft log of etcd, as it lies in `member/wal`: its entries behind what a database holds.
//!
//! Invariants: nothing is believed that the log's running checksum does not cover; what a crash cut off at the very end is passed
//! over, as etcd does, and anything else that does not hold is an error. Source: etcd 3.7 server/storage/wal.

use bytes::Bytes;
use prost::Message;

use crate::base::{ClusterId, LogIndex, MemberId, Term, Wrong, limits};
use crate::wal::{EntryKind, HardState, LogEntry, WalIdentity};

const METADATA: i64 = 1;
const ENTRY: i64 = 2;
const STATE: i64 = 3;
const CHECKSUM: i64 = 4;
const SNAPSHOT: i64 = 5;

const SECTOR: usize = 512;

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    checksum: u32,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
}

/// A hard state, and of metadata and snapshots the first two fields.
#[derive(Clone, Copy, PartialEq, Message)]
struct Numbers {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    second: u64,
    #[prost(uint64, tag = "3")]
    third: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Pair {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    second: u64,
}

/// What a log says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ForeignLog {
    /// Whose it is; absent where no segment says it.
    pub identity: Option<WalIdentity>,
    /// The newest.
    pub hard_state: HardState,
    /// The entries behind the one that was named, without a gap.
    pub entries: Vec<LogEntry>,
    /// Term of the entry that was named, where the log says it.
    pub term_at: Option<Term>,
    /// The newest snapshot the log names: its index.
    pub snapshot: LogIndex,
    /// Where the log ends: its last entry, or a snapshot behind it.
    pub last: LogIndex,
    /// Bytes at the very end that a crash left half written.
    pub torn_bytes: usize,
    after: LogIndex,
    checksum: u32,
}

/// How the reading of a segment goes on.
enum Step {
    Record(RecordMessage, usize),
    /// Nothing was written behind.
    End,
    /// What is behind was written in part.
    Torn,
}

impl ForeignLog {
    /// Nothing read yet; entries up to `after` are not kept.
    pub fn behind(after: LogIndex) -> Self {
        Self { after, ..Self::default() }
    }

    /// Takes the next segment in order. Only the last may end in the middle of a record.
    pub fn take_segment(&mut self, name: &str, bytes: &Bytes, is_last: bool) -> Result<(), Wrong> {
        let mut at = 0;
        loop {
            match self.step(bytes, at) {
                Ok(Step::Record(record, len)) => {
                    self.take(record).map_err(|what| Wrong::corrupt(name, at as u64, what))?;
                    at += len;
                }
                Ok(Step::End) => return Ok(()),
                Ok(Step::Torn) if is_last => {
                    // Zeros behind it are room that was made before it was needed.
                    let torn = bytes[at..].iter().rposition(|byte| *byte != 0);
                    self.torn_bytes = torn.map_or(0, |last| last + 1);
                    return Ok(());
                }
                Ok(Step::Torn) => return Err(Wrong::corrupt(name, at as u64, "the segment ends inside a record")),
                Err(what) => return Err(Wrong::corrupt(name, at as u64, what)),
            }
        }
    }

    fn step(&self, bytes: &Bytes, at: usize) -> Result<Step, String> {
        let Some(head) = bytes.get(at..at + 8) else {
            return Ok(if at == bytes.len() { Step::End } else { Step::Torn });
        };
        let head = u64::from_le_bytes(head.try_into().expect("eight bytes"));
        if head == 0 {
            return Ok(Step::End);
        }
        let len = head & 0x00ff_ffff_ffff_ffff;
        let pad = if head >> 63 == 1 { head >> 56 & 7 } else { 0 };
        let whole = usize::try_from(len + pad).ok().and_then(|len| (at + 8).checked_add(len));
        let Some(frame) = whole.and_then(|end| bytes.get(at + 8..end)) else { return Ok(Step::Torn) };
        let data = bytes.slice(at + 8..at + 8 + len as usize);
        if data.len() > limits::MAX_RECORD_BYTES {
            return Err(format!("a record of {} bytes", data.len()));
        }
        let record = match RecordMessage::decode(data) {
            Ok(record) => record,
            Err(_) if is_torn(frame, at + 8) => return Ok(Step::Torn),
            Err(error) => return Err(format!("a record cannot be read: {error}")),
        };
        if record.kind != CHECKSUM && crc32c::crc32c_append(self.checksum, &record.data) != record.checksum {
            if is_torn(frame, at + 8) {
                return Ok(Step::Torn);
            }
            return Err("the checksum of a record does not hold".to_string());
        }
        Ok(Step::Record(record, 8 + frame.len()))
    }

    fn take(&mut self, record: RecordMessage) -> Result<(), String> {
        let text = |error: prost::DecodeError| error.to_string();
        if record.kind != CHECKSUM {
            self.checksum = record.checksum;
        }
        match record.kind {
            METADATA => {
                let Pair { first, second } = Pair::decode(record.data).map_err(text)?;
                let identity = WalIdentity { member: MemberId(first), cluster: ClusterId(second) };
                if self.identity.is_some_and(|known| known != identity) {
                    return Err("its segments are of different members".to_string());
                }
                self.identity = Some(identity);
            }
            ENTRY => self.take_entry(EntryMessage::decode(record.data).map_err(text)?)?,
            STATE => {
                let Numbers { first: term, second: vote, third: commit } =
                    Numbers::decode(record.data).map_err(text)?;
                self.hard_state = HardState { term, vote, commit };
            }
            CHECKSUM => {
                // The first segment that is there goes on from one that is not.
                if self.checksum != 0 && self.checksum != record.checksum {
                    return Err("a segment does not go on where the one before ends".to_string());
                }
                self.checksum = record.checksum;
            }
            SNAPSHOT => {
                let Pair { first: index, second: term } = Pair::decode(record.data).map_err(text)?;
                self.snapshot = self.snapshot.max(index);
                self.last = self.last.max(index);
                if index == self.after {
                    self.term_at = Some(term);
                }
            }
            other => return Err(format!("a record of unknown kind {other}")),
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: EntryMessage) -> Result<(), String> {
        let EntryMessage { kind, term, index, data } = entry;
        self.last = index;
        if index == self.after {
            self.term_at = Some(term);
        }
        if index <= self.after {
            self.entries.clear();
            return Ok(());
        }
        let place = index - self.after - 1;
        if place > self.entries.len() as u64 {
            let last = self.after + self.entries.len() as u64;
            return Err(format!("entry {index} comes behind entry {last}: those between are not there"));
        }
        let kind = match kind {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            2 => EntryKind::ConfChangeV2,
            other => return Err(format!("entry {index} is of unknown kind {other}")),
        };
        // What came before at this place and behind was never committed.
        self.entries.truncate(place as usize);
        self.entries.push(LogEntry { index, term, kind, data });
        Ok(())
    }
}

/// Whether a frame that does not hold was written in part: whole sectors of it are zeroes.
fn is_torn(frame: &[u8], at: usize) -> bool {
    let mut rest = frame;
    let mut within = SECTOR - at % SECTOR;
    while !rest.is_empty() {
        let (sector, behind) = rest.split_at(within.min(rest.len()));
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        (rest, within) = (behind, SECTOR);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment as etcd writes it.
    struct Segment {
        bytes: Vec<u8>,
        checksum: u32,
    }

    impl Segment {
        fn new(checksum: u32) -> Self {
            let mut segment = Self { bytes: Vec::new(), checksum };
            segment.frame(&RecordMessage { kind: CHECKSUM, checksum, data: Bytes::new() });
            segment.record(METADATA, Pair { first: 7, second: 9 }.encode_to_vec());
            segment
        }

        fn record(&mut self, kind: i64, data: Vec<u8>) {
            self.checksum = crc32c::crc32c_append(self.checksum, &data);
            self.frame(&RecordMessage { kind, checksum: self.checksum, data: data.into() });
        }

        fn frame(&mut self, record: &RecordMessage) {
            let bytes = record.encode_to_vec();
            let pad = bytes.len().next_multiple_of(8) - bytes.len();
            let head = bytes.len() as u64 | if pad > 0 { (0x80 | pad as u64) << 56 } else { 0 };
            self.bytes.extend_from_slice(&head.to_le_bytes());
            self.bytes.extend_from_slice(&bytes);
            self.bytes.resize(self.bytes.len() + pad, 0);
        }

        fn entry(&mut self, index: u64, term: u64, data: &[u8]) {
            let entry = EntryMessage { kind: 0, term, index, data: Bytes::copy_from_slice(data) };
            self.record(ENTRY, entry.encode_to_vec());
        }

        fn state(&mut self, term: u64, commit: u64) {
            self.record(STATE, Numbers { first: term, second: 7, third: commit }.encode_to_vec());
        }
    }

    fn two() -> [Bytes; 2] {
        let mut first = Segment::new(0);
        for index in 1..=5 {
            first.entry(index, 2, b"data");
        }
        first.state(2, 4);
        let mut second = Segment::new(first.checksum);
        second.entry(5, 3, b"other");
        second.entry(6, 3, &[7; 3000]);
        second.state(3, 6);
        second.bytes.resize(16 * 1024, 0);
        [first.bytes.into(), second.bytes.into()]
    }

    fn read(segments: &[Bytes; 2], after: u64) -> Result<ForeignLog, Wrong> {
        let mut log = ForeignLog::behind(after);
        log.take_segment("0.wal", &segments[0], false)?;
        log.take_segment("1.wal", &segments[1], true)?;
        Ok(log)
    }

    #[test]
    fn entries_behind_an_index_are_the_last_written_ones() {
        let log = read(&two(), 3).expect("whole");
        let found: Vec<(u64, u64)> = log.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        assert_eq!(found, [(4, 2), (5, 3), (6, 3)]);
        assert_eq!(log.hard_state, HardState { term: 3, vote: 7, commit: 6 });
        assert_eq!((log.term_at, log.torn_bytes, log.last), (Some(2), 0, 6));
        assert_eq!(log.identity, Some(WalIdentity { member: MemberId(7), cluster: ClusterId(9) }));
    }

    #[test]
    fn a_record_that_a_crash_cut_is_passed_over_and_a_changed_one_is_not() {
        let [first, second] = two();
        let at = second.windows(3000).position(|bytes| bytes == [7; 3000]).expect("it is there");
        let mut torn = second.to_vec();
        let sector = (at + SECTOR).next_multiple_of(SECTOR);
        let len = |at: usize| u64::from_le_bytes(second[at..at + 8].try_into().expect("eight bytes")) & 0xff_ffff;
        let record =
            (0..at).rev().find(|at| at.is_multiple_of(8) && (2_900..3_100).contains(&len(*at))).expect("its head");
        torn[sector..].fill(0);
        let log = read(&[first.clone(), torn.into()], 3).expect("torn");
        assert_eq!((log.entries.len(), log.hard_state.commit, log.last), (2, 4, 5));
        assert_eq!(log.torn_bytes, sector - record, "and not the room behind it");
        let mut changed = second.to_vec();
        changed[at + 9] ^= 1;
        let refused = read(&[first.clone(), changed.into()], 3).expect_err("changed").to_string();
        assert!(refused.contains("checksum"), "{refused}");
        let cut = first.slice(..first.len() - 3);
        assert!(read(&[cut, second], 3).is_err(), "only the last segment may be cut");
    }

    #[test]
    fn a_missing_segment_is_noticed() {
        let [_, second] = two();
        let mut log = ForeignLog::behind(3);
        let refused = log.take_segment("1.wal", &second, true).expect_err("entry 4 is missing").to_string();
        assert!(refused.contains("not there"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_damage_ends_in_a_log_or_a_typed_error(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let [first, second] = two();
            let mut second = second.to_vec();
            for (at, byte) in changes {
                let at = at.index(3_600);
                second[at] = byte;
            }
            if let Ok(log) = read(&[first, second.into()], 3) {
                prop_assert!(log.entries.iter().zip(4..).all(|(entry, index)| entry.index == index));
            }
        }
    }
}
