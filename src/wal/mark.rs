//! The durable mark: a small file beside the segments that says how far the log was durable and with which
//! segment it begins, so that a log cut short, or one whose files were taken away, is noticed.
//!
//! Invariants: what it says is true (a batch is named only after its sync returned; a segment is dropped from the
//! log here, durably and in both slots, before its file goes); all it says only rises. Slots 0 and 1 are written in turn
//! and synced before the other one is touched, so one of them is always whole. Slot 2 is a hint written after every sync of
//! the log without a sync of its own: it survives the end of the process, and perhaps a power failure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::entry::WalIdentity;
use crate::base::{ClusterId, Corruption, Fault, MemberId, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::{Place, frame};

/// Slots are a page apart: no torn write touches two.
const SLOT_BYTES: u64 = 4096;
const SLOTS: u64 = 3;
const HINT: u64 = 2;
const LOG_MARK: u32 = b'M' as u32;
const KIND_MARK: u8 = 3;
const BODY_BYTES: usize = 48;
/// What is told of a slot that does not verify: each is written by every start, and what a loss of power tears is no damage.
const NO_SLOT: &str = "a slot of the durable mark does not verify: it is damaged, or its last write was cut off";

/// What the mark says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// Whose log it is.
    pub identity: WalIdentity,
    /// Every batch up to this number was durable; 0 for none.
    pub durable: u64,
    /// The segment the log begins with; older files are leftovers.
    pub oldest: u64,
    /// Number of the first batch in that segment.
    pub oldest_batch: u64,
}

/// The open file of the mark.
#[derive(Debug)]
pub(super) struct MarkFile<F> {
    file: F,
    mark: Mark,
    synced_durable: u64,
    serial: u64,
    next_slot: u64,
}

fn path(dir: &str) -> String {
    format!("{dir}/durable")
}

fn path_of_new(dir: &str) -> String {
    format!("{dir}/durable.new")
}

fn encode(mark: &Mark, serial: u64, slot: u64) -> Bytes {
    let mut body = BytesMut::with_capacity(BODY_BYTES);
    for word in [serial, mark.identity.cluster.0, mark.identity.member.0, mark.durable, mark.oldest, mark.oldest_batch]
    {
        body.put_u64_le(word);
    }
    let mut out = BytesMut::new();
    frame::encode(&mut out, place(slot), KIND_MARK, &[&body]);
    out.freeze()
}

fn decode(bytes: &Bytes, slot: u64) -> Option<(u64, Mark)> {
    let framed = frame::decode(place(slot), bytes).ok()?;
    let mut body = framed.body;
    if framed.kind != KIND_MARK || body.len() != BODY_BYTES {
        return None;
    }
    let serial = body.get_u64_le();
    let identity = WalIdentity { cluster: ClusterId(body.get_u64_le()), member: MemberId(body.get_u64_le()) };
    let mark =
        Mark { identity, durable: body.get_u64_le(), oldest: body.get_u64_le(), oldest_batch: body.get_u64_le() };
    Some((serial, mark))
}

fn place(slot: u64) -> Place {
    Place { log: LOG_MARK, segment: 0, offset: slot * SLOT_BYTES }
}

/// Reads the mark in `dir`; `None` if there is none.
pub(super) fn read<D: Disk>(disk: &D, dir: &str) -> Result<Option<Mark>, Wrong> {
    Ok(read_slots(disk, dir)?.map(|found| found.mark))
}

/// What the slots say together.
struct Found {
    mark: Mark,
    /// The highest there is.
    serial: u64,
    /// The newer of the synced slots, and whether the other one is whole.
    newest: u64,
    other_is_whole: bool,
    /// The slots that say nothing: that cannot be read, or do not verify.
    lost: Vec<Corruption>,
}

/// Each slot by itself: what cannot be read is as good as what does not verify, while another slot is whole.
fn read_slots<D: Disk>(disk: &D, dir: &str) -> Result<Option<Found>, Wrong> {
    let path = path(dir);
    if !disk.exists(&path)? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Read)?;
    let (len, max) = (file.len()?, SLOTS * SLOT_BYTES);
    if len > max {
        return Err(Wrong::corrupt(path, max, format!("the file has {len} bytes, more than it can have")));
    }
    let (mut slots, mut fault, mut lost) = (Vec::new(), None, Vec::new());
    for slot in 0..SLOTS {
        let read = read_slot(&file, slot);
        let what = match &read {
            Ok(Some(_)) => None,
            Ok(None) => Some(NO_SLOT.to_string()),
            Err(wrong) => Some(wrong.to_string()),
        };
        lost.extend(what.map(|what| Corruption { file: path.clone(), offset: slot * SLOT_BYTES, what }));
        slots.push(match read {
            Ok(found) => found,
            Err(wrong) if wrong.is_of_device() => {
                fault = Some(wrong);
                None
            }
            Err(wrong) => return Err(wrong.into()),
        });
    }
    let newest = match (slots[0], slots[1]) {
        (Some(zero), Some(one)) => u64::from(one.0 > zero.0),
        (Some(_), None) => 0,
        (None, Some(_)) => 1,
        (None, None) => {
            let neither = || Wrong::corrupt(path, 0, "neither slot of the durable mark verifies");
            return Err(fault.map_or_else(neither, Wrong::Fault));
        }
    };
    let other_is_whole = slots[1 - newest as usize].is_some();
    let merged = slots.into_iter().flatten().reduce(|(serial, a), (other, b)| {
        let (newer, older) = if b.oldest > a.oldest { (b, a) } else { (a, b) };
        (serial.max(other), Mark { durable: newer.durable.max(older.durable), ..newer })
    });
    let (serial, mark) = merged.expect("one slot verified above");
    Ok(Some(Found { mark, serial, newest, other_is_whole, lost }))
}

/// What a slot says; `None` where it does not verify. Asked twice: what fails once may be a hiccup, and what comes in pieces is of
/// two times where the system drops, between them, what it could not write; the newest slot is not passed over for that.
fn read_slot(file: &impl DiskFile, slot: u64) -> Result<Option<(u64, Mark)>, Fault> {
    let once = || {
        let mut bytes = BytesMut::zeroed(frame::total_len(BODY_BYTES));
        let n = file.read_full_at(slot * SLOT_BYTES, &mut bytes)?;
        bytes.truncate(n);
        Ok(decode(&bytes.freeze(), slot))
    };
    match once() {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) | Err(_) => once(),
    }
}

/// Makes the mark of an empty log that begins with segment 1, durably. Repeats what a crash interrupted.
pub(super) async fn create<D: Disk>(disk: &D, dir: &str, identity: WalIdentity) -> Result<Mark, Fault> {
    let mark = Mark { identity, durable: 0, oldest: 1, oldest_batch: 1 };
    let new = path_of_new(dir);
    if disk.exists(&new)? {
        // Gone for good before the name is used again: a crash may keep a rename and lose what came before it.
        disk.remove(&new)?;
        disk.sync_dir(dir).await?;
    }
    let file = disk.open(&new, OpenMode::Create)?;
    let mut made = MarkFile { file, mark, synced_durable: 0, serial: 0, next_slot: 0 };
    for slot in 0..SLOTS {
        made.write_page(slot)?;
    }
    made.file.sync().await?;
    // Once more, for a device may have written the second one there: then neither would be whole.
    made.write_page(0)?;
    made.file.sync().await?;
    disk.rename(&new, &path(dir))?;
    disk.sync_dir(dir).await?;
    Ok(mark)
}

impl<F: DiskFile> MarkFile<F> {
    /// Opens the mark that [`read`] found and says it anew in every slot; also tells which said nothing. What was read may
    /// be in the system's memory alone and yet count as written there, after an error that nobody heard of: then a
    /// sync of it does nothing, and the other slot is the only one the disk holds. So the hint's slot takes it first, which nothing
    /// rests on; then a slot that is lost anyway, or the one that said it; the other one last.
    pub async fn open<D: Disk<File = F>>(disk: &D, dir: &str) -> Result<(Self, Vec<Corruption>), Wrong> {
        let found = read_slots(disk, dir)?;
        let Some(Found { mark, serial, newest, other_is_whole, lost }) = found else {
            return Err(Wrong::corrupt(path(dir), 0, "the durable mark is missing beside a log"));
        };
        let file = disk.open(&path(dir), OpenMode::Write)?;
        let next_slot = if other_is_whole { newest } else { 1 - newest };
        let mut opened = Self { file, mark, synced_durable: 0, serial, next_slot };
        opened.write_page(HINT)?;
        opened.file.sync().await?;
        opened.set_in_turn(mark).await?;
        Ok((opened, lost))
    }

    /// What it says.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The newest batch that a synced slot names, as far as this process knows.
    pub fn synced_durable(&self) -> u64 {
        self.synced_durable
    }

    /// Says that every batch up to `durable` was synced; as a hint, without a sync.
    pub fn hint(&mut self, durable: u64) -> Result<(), Fault> {
        self.raise(Mark { durable, ..self.mark });
        self.write(HINT)
    }

    /// Says `mark`, durably when this returns.
    pub async fn set(&mut self, mark: Mark) -> Result<(), Fault> {
        self.raise(mark);
        self.write_page(self.next_slot)?;
        self.file.sync().await?;
        self.next_slot = 1 - self.next_slot;
        self.synced_durable = mark.durable;
        Ok(())
    }

    /// Says `mark` in both slots, durably when this returns: as is wanted before a segment goes. A slot that says less
    /// names segments that are gone, and would be no good alone. In the first one twice: a device may have written the
    /// second one there.
    pub async fn set_in_turn(&mut self, mark: Mark) -> Result<(), Fault> {
        self.set(mark).await?;
        self.set(mark).await?;
        self.set(mark).await
    }

    fn raise(&mut self, mark: Mark) {
        let rises = mark.durable >= self.mark.durable
            && mark.oldest >= self.mark.oldest
            && mark.oldest_batch >= self.mark.oldest_batch;
        assert!(rises, "the durable mark only rises: {:?} to {mark:?}", self.mark);
        self.mark = mark;
    }

    fn write(&mut self, slot: u64) -> Result<(), Fault> {
        self.serial += 1;
        self.file.write_at(slot * SLOT_BYTES, &encode(&self.mark, self.serial, slot))
    }

    /// As [`Self::write`], with all of its page: no system has to read first what it cannot.
    fn write_page(&mut self, slot: u64) -> Result<(), Fault> {
        self.serial += 1;
        let mut page = BytesMut::from(encode(&self.mark, self.serial, slot));
        page.resize(SLOT_BYTES as usize, 0);
        self.file.write_at(slot * SLOT_BYTES, &page)
    }
}
