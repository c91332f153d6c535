//! The raft log of etcd, as it lies in `member/wal`: its entries behind what a database holds.
//!
//! Invariants: nothing is believed that the log's running checksum does not cover; what a crash cut off at the very end is passed
//! over, as etcd does, and anything else that does not hold is an error; terms do not go back from entry to entry. Source: etcd 3.7
//! server/storage/wal.

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
    /// Where the log ends: its last entry, or the entry that was named, where a snapshot stands for it.
    pub last: LogIndex,
    /// Bytes at the very end that a crash left half written.
    pub torn_bytes: usize,
    after: LogIndex,
    checksum: u32,
    /// The snapshots it names of states behind the entry that was named: the last entry in each.
    snapshots: Vec<(LogIndex, Term)>,
    /// The one that entries went on from although those before are not there.
    gap_behind: Option<LogIndex>,
}

/// How the reading of a segment goes on.
enum Step {
    Record(RecordMessage, usize),
    /// Nothing was written behind.
    End,
    /// What is behind was written in part.
    Torn,
}

/// What stands at a place of a segment.
enum Framed<'a> {
    /// A record, and the same with what fills it up.
    Whole(Bytes, &'a [u8]),
    Nothing,
    Part,
}

fn framed(bytes: &Bytes, at: usize) -> Framed<'_> {
    let Some(head) = bytes.get(at..at + 8) else {
        return if at == bytes.len() { Framed::Nothing } else { Framed::Part };
    };
    let head = u64::from_le_bytes(head.try_into().expect("eight bytes"));
    if head == 0 {
        return Framed::Nothing;
    }
    let len = head & 0x00ff_ffff_ffff_ffff;
    let pad = if head >> 63 == 1 { head >> 56 & 7 } else { 0 };
    let whole = usize::try_from(len + pad).ok().and_then(|len| (at + 8).checked_add(len));
    let Some(frame) = whole.and_then(|end| bytes.get(at + 8..end)) else { return Framed::Part };
    Framed::Whole(bytes.slice(at + 8..at + 8 + len as usize), frame)
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
                Ok(Step::End | Step::Torn) if is_last => {
                    // Zeros behind it are room that was made before it was needed.
                    let written = bytes[at..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    if let Some(behind) = self.entry_behind(&bytes.slice(at..), written) {
                        let what = format!(
                            "no whole record is here, and {behind}, which etcd cuts off: where that is right start etcd \
                             once, and stop it"
                        );
                        return Err(Wrong::corrupt(name, at as u64, what));
                    }
                    self.torn_bytes = written;
                    return Ok(());
                }
                // What the next one goes on from is not this.
                Ok(Step::End) => return Ok(()),
                Ok(Step::Torn) => return Err(Wrong::corrupt(name, at as u64, "the segment ends inside a record")),
                Err(what) => return Err(Wrong::corrupt(name, at as u64, what)),
            }
        }
    }

    /// What is behind the place where a log ends, which is its end no more, if that is an entry that can be read whole: what it holds may
    /// have been acknowledged. Nothing but zeros is behind what is `written`.
    fn entry_behind(&self, rest: &Bytes, written: usize) -> Option<String> {
        // Bytes that were chosen for it would be read as a record at each of their places.
        let mut room = written.saturating_mul(4);
        for at in (8..written).step_by(8) {
            let Framed::Whole(data, _) = framed(rest, at) else { continue };
            let Some(left) = room.checked_sub(data.len()) else {
                return Some("more is behind than can be looked through".to_string());
            };
            room = left;
            let Some(record) = RecordMessage::decode(data).ok().filter(|record| record.kind == ENTRY) else { continue };
            match EntryMessage::decode(record.data) {
                Ok(entry) if entry.index > self.after => return Some(format!("entry {} is behind", entry.index)),
                _ => {}
            }
        }
        None
    }

    fn step(&self, bytes: &Bytes, at: usize) -> Result<Step, String> {
        let (data, frame) = match framed(bytes, at) {
            Framed::Whole(data, frame) => (data, frame),
            Framed::Nothing => return Ok(Step::End),
            Framed::Part => return Ok(Step::Torn),
        };
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

    /// The last entry there is: in what was named, or behind it in the log.
    pub fn end(&self) -> LogIndex {
        self.after + self.entries.len() as u64
    }

    /// A snapshot that this member was sent and whose state it does not have: neither is it in what was named, nor does the log lead
    /// there. One that was not committed here counts for nothing, as in etcd.
    pub fn missing_snapshot(&self) -> Option<LogIndex> {
        let leads_to = |index: LogIndex, term| {
            let place = usize::try_from(index - self.after - 1);
            place.is_ok_and(|place| self.entries.get(place).is_some_and(|entry| entry.term == term))
        };
        let missing = |(index, term): &(LogIndex, Term)| *index <= self.hard_state.commit && !leads_to(*index, *term);
        self.snapshots.iter().copied().filter(missing).map(|(index, _)| index).max()
    }

    /// Where reading ended at entries whose predecessors are not there: the snapshot they go on from, if the log names one. The member was
    /// sent it, and took more entries before it was put in place.
    pub fn gap_behind(&self) -> Option<LogIndex> {
        self.gap_behind
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
                if index > self.after {
                    self.snapshots.push((index, term));
                } else {
                    self.last = self.last.max(index);
                }
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
            let last = self.end();
            let leads_here = |snapshot: &LogIndex| (last..index).contains(snapshot);
            self.gap_behind = self.snapshots.iter().map(|(index, _)| *index).filter(leads_here).max();
            return Err(format!("entry {index} comes behind entry {last}: those between are not there"));
        }
        let kind = match kind {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            2 => EntryKind::ConfChangeV2,
            other => return Err(format!("entry {index} is of unknown kind {other}")),
        };
        let before = place.checked_sub(1).map_or(self.term_at, |before| Some(self.entries[before as usize].term));
        if let Some(before) = before.filter(|before| *before > term) {
            return Err(format!(
                "entry {index} is of term {term}, and the one before it of term {before}: terms never go back"
            ));
        }
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

        fn snapshot(&mut self, index: u64, term: u64) {
            self.record(SNAPSHOT, Pair { first: index, second: term }.encode_to_vec());
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

    /// Where the log ends an entry may have been acknowledged that stands behind: who dropped it would forget it.
    #[test]
    fn a_hole_with_an_entry_behind_it_is_no_end() {
        let [first, second] = two();
        let mut heads = vec![0];
        while let Framed::Whole(_, frame) = framed(&second, heads[heads.len() - 1]) {
            heads.push(heads[heads.len() - 1] + 8 + frame.len());
        }
        let without = |from: usize, len: usize| {
            let mut hole = second.to_vec();
            hole[from..from + len].fill(0);
            read(&[first.clone(), hole.into()], 3)
        };
        let [_, _, five, six, state, _] = heads[..] else { panic!("{heads:?}") };
        let refused = without(five, 8).expect_err("entry 6 is behind it").to_string();
        assert!(refused.contains("entry 6 is behind") && refused.contains("start etcd once"), "{refused}");
        // Behind this one is the state alone: it was written in part.
        for (from, len) in [(six, 8), (six.next_multiple_of(SECTOR), SECTOR)] {
            let log = without(from, len).expect("torn");
            assert_eq!((log.last, log.hard_state.commit), (5, 4));
            assert!(log.torn_bytes > state - six, "what is left out is told: {}", log.torn_bytes);
        }
        // The same in the middle of a record.
        let mut long = Segment::new(0);
        long.entry(4, 2, &[7; 3000]);
        long.entry(5, 2, b"data");
        long.bytes[SECTOR..2 * SECTOR].fill(0);
        let refused = ForeignLog::behind(3).take_segment("0.wal", &long.bytes.into(), true).expect_err("a hole");
        assert!(refused.to_string().contains("entry 5 is behind"), "{refused}");
    }

    #[test]
    fn bytes_that_are_a_record_at_each_place_are_looked_through_in_bounds() {
        let len = 8 << 20;
        let mut bytes = Vec::new();
        for at in 0..len / 8 {
            // A head that spans half of it, which is a field of six bytes as well.
            let head = if at == 0 { [1, 0, 0, 0, 0, 0, 1, 0] } else { [0x1a, 0x06, 0x40, 0, 0, 0, 0, 0] };
            bytes.extend_from_slice(&head);
        }
        let refused = ForeignLog::behind(3).take_segment("0.wal", &bytes.into(), true);
        assert!(refused.expect_err("crafted").to_string().contains("than can be looked through"));
    }

    #[test]
    fn terms_never_go_back() {
        for (index, term) in [(4, 1), (6, 2)] {
            let mut log = ForeignLog::behind(3);
            let mut segment = Segment::new(0);
            for known in 3..index {
                segment.entry(known, term + 1, b"data");
            }
            segment.entry(index, term, b"data");
            let refused = log.take_segment("0.wal", &segment.bytes.into(), true).expect_err("it goes back").to_string();
            assert!(refused.contains("terms never go back"), "{refused}");
        }
    }

    /// A follower that was sent a snapshot, and killed before it was in its place: what was in its log before leads nowhere.
    #[test]
    fn a_snapshot_that_the_entries_do_not_lead_to_is_missing() {
        for (index, term, commit, missing) in
            [(100, 3, 100, Some(100)), (100, 3, 6, None), (6, 3, 6, None), (6, 4, 6, Some(6)), (3, 2, 6, None)]
        {
            let mut segment = Segment::new(0);
            (3..=6).for_each(|known| segment.entry(known, 2 + known / 5, b"data"));
            segment.snapshot(index, term);
            segment.state(4, commit);
            let mut log = ForeignLog::behind(3);
            log.take_segment("0.wal", &segment.bytes.into(), true).expect("whole");
            assert_eq!((log.missing_snapshot(), log.last, log.end()), (missing, 6, 6), "{index} {term} {commit}");
        }
    }

    #[test]
    fn entries_behind_a_snapshot_that_is_not_in_place_are_told_from_lost_ones() {
        for (snapshot, gap_behind) in [(None, None), (Some(100), Some(100)), (Some(102), None)] {
            let mut segment = Segment::new(0);
            segment.entry(4, 2, b"data");
            snapshot.into_iter().for_each(|snapshot| segment.snapshot(snapshot, 2));
            segment.entry(101, 2, b"data");
            let mut log = ForeignLog::behind(3);
            let refused = log.take_segment("0.wal", &segment.bytes.into(), true).expect_err("a gap").to_string();
            assert!(refused.contains("those between are not there"), "{refused}");
            assert_eq!(log.gap_behind(), gap_behind, "{snapshot:?}");
        }
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
