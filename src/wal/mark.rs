//! The durable mark: a small file beside the segments that says how far the log was durable and with which
//! segment it begins, so that a log cut short, or one whose files were taken away, is noticed.
//!
//! Invariants: what it says is true (a batch is named only after its sync returned; a segment is dropped from the
//! log here, durably, before its file goes); all it says only rises. Slots 0 and 1 are written in turn and synced
//! before the other one is touched, so one of them is always whole. Slot 2 is a hint written after every sync of
//! the log without a sync of its own: it survives the end of the process, and perhaps a power failure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::entry::WalIdentity;
use crate::base::{ClusterId, Fault, MemberId, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::{Place, frame, segment};

/// Slots are a page apart: no torn write touches two.
const SLOT_BYTES: u64 = 4096;
const SLOTS: u64 = 3;
const HINT: u64 = 2;
const LOG_MARK: u32 = b'M' as u32;
const KIND_MARK: u8 = 3;

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
    let mut body = BytesMut::with_capacity(48);
    for word in [serial, mark.identity.cluster.0, mark.identity.member.0, mark.durable, mark.oldest, mark.oldest_batch]
    {
        body.put_u64_le(word);
    }
    let mut out = BytesMut::new();
    frame::encode(&mut out, place(slot), KIND_MARK, &[&body]);
    out.freeze()
}

fn decode(bytes: &Bytes, slot: u64) -> Option<(u64, Mark)> {
    let bytes = bytes.slice((slot * SLOT_BYTES).min(bytes.len() as u64) as usize..);
    let framed = frame::decode(place(slot), &bytes).ok()?;
    let mut body = framed.body;
    if framed.kind != KIND_MARK || body.len() != 48 {
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
    Ok(read_slots(disk, dir)?.map(|(mark, ..)| mark))
}

/// The mark, the highest serial, and the slot that may be written next.
fn read_slots<D: Disk>(disk: &D, dir: &str) -> Result<Option<(Mark, u64, u64)>, Wrong> {
    if !disk.exists(&path(dir))? {
        return Ok(None);
    }
    let bytes = segment::read_whole(disk, &path(dir), SLOTS * SLOT_BYTES)?;
    let synced = [decode(&bytes, 0), decode(&bytes, 1)];
    let newest = match synced {
        [Some(zero), Some(one)] => usize::from(one.0 > zero.0),
        [Some(_), None] => 0,
        [None, Some(_)] => 1,
        [None, None] => return Err(Wrong::corrupt(path(dir), 0, "neither slot of the durable mark verifies")),
    };
    let slots = synced.into_iter().flatten().chain(decode(&bytes, HINT));
    let merged = slots.reduce(|(serial, a), (other, b)| {
        let (newer, older) = if b.oldest > a.oldest { (b, a) } else { (a, b) };
        (serial.max(other), Mark { durable: newer.durable.max(older.durable), ..newer })
    });
    let (serial, mark) = merged.expect("one slot verified above");
    Ok(Some((mark, serial, 1 - newest as u64)))
}

impl<F: DiskFile> MarkFile<F> {
    /// Makes the mark of an empty log that begins with segment 1, durably. Repeats what a crash interrupted.
    pub async fn create<D: Disk<File = F>>(disk: &D, dir: &str, identity: WalIdentity) -> Result<Self, Fault> {
        Self::begin(disk, dir, Mark { identity, durable: 0, oldest: 1, oldest_batch: 1 }).await
    }

    /// Says the same in a new file, which takes the old one's place: to be asked for after a failed sync. The newest
    /// slot may then be in memory only and yet count as written, so that a sync of it does nothing; the other one
    /// would be written over while it is the only one the disk holds, and both could be lost. Nor are the old slots
    /// written again in place: a crash could harm what the failure had not.
    pub async fn renew<D: Disk<File = F>>(self, disk: &D, dir: &str) -> Result<Self, Fault> {
        Self::begin(disk, dir, self.mark).await
    }

    async fn begin<D: Disk<File = F>>(disk: &D, dir: &str, mark: Mark) -> Result<Self, Fault> {
        let new = path_of_new(dir);
        if disk.exists(&new)? {
            // Gone for good before the name is used again: a crash may keep a rename and lose what came before it.
            disk.remove(&new)?;
            disk.sync_dir(dir).await?;
        }
        let file = disk.open(&new, OpenMode::Create)?;
        file.set_len(SLOTS * SLOT_BYTES)?;
        for slot in 0..SLOTS {
            file.write_at(slot * SLOT_BYTES, &encode(&mark, slot, slot))?;
        }
        file.sync().await?;
        disk.rename(&new, &path(dir))?;
        disk.sync_dir(dir).await?;
        Ok(Self { file, mark, synced_durable: 0, serial: SLOTS, next_slot: 0 })
    }

    /// Opens the mark that [`read`] found, and makes what it read durable: a process that ended between write and
    /// sync left one slot unsynced, and then neither may be written.
    pub async fn open<D: Disk<File = F>>(disk: &D, dir: &str) -> Result<Self, Wrong> {
        let found = read_slots(disk, dir)?;
        let (mark, serial, next_slot) =
            found.ok_or_else(|| Wrong::corrupt(path(dir), 0, "the durable mark is missing beside a log"))?;
        let file = disk.open(&path(dir), OpenMode::Write)?;
        file.sync().await?;
        Ok(Self { file, mark, synced_durable: 0, serial: serial + 1, next_slot })
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
        self.write(self.next_slot)?;
        self.file.sync().await?;
        self.next_slot = 1 - self.next_slot;
        self.synced_durable = mark.durable;
        Ok(())
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
}
