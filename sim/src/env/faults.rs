//! What may go wrong with a disk, as data: its moods while the process lives, how a loss of power goes, what damage
//! its surface takes, and the budget that keeps damage within what must be survivable.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// What happens to a dirty sector when the power goes, as weights.
#[derive(Clone, Copy, Debug)]
pub struct SectorFates {
    /// It was written.
    pub keep: u64,
    /// It was not.
    pub drop: u64,
    /// Its first bytes were.
    pub tear: u64,
    /// The bytes being changed come out as anything.
    pub garbage: u64,
}

/// How the disk misbehaves while the process lives. Every "one in" is off at 0.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    /// A sync takes between these, in microseconds.
    pub sync_micros: (u64, u64),
    /// A write holds its task up for between these, in microseconds.
    pub write_micros: (u64, u64),
    /// One sync in so many stalls.
    pub stall_one_in: u64,
    /// A stall takes between these, in milliseconds.
    pub stall_millis: (u64, u64),
    /// After one write in so many the system writes something back by itself.
    pub write_back_one_in: u64,
    /// One such write-back in so many fails: nobody hears of it before the next sync of the file.
    pub write_back_error_one_in: u64,
    /// One read in so many returns fewer bytes than asked.
    pub short_read_one_in: u64,
    /// One read in so many fails, this once.
    pub read_error_one_in: u64,
    /// One sync in so many fails.
    pub sync_error_one_in: u64,
    /// Before one read or write in so many of a file the system drops pages of it that failed to be written from its memory.
    pub evict_one_in: u64,
    /// Bytes the disk holds.
    pub capacity: Option<u64>,
    /// A write for which there is no room is refused whole; else the part that fits is written.
    pub refuses_whole: bool,
    /// Of the pages a sync writes one in so many never reaches the platter, unless the budget forbids it.
    pub lost_write_one_in: u64,
    /// And one in so many lands on another page of the file instead, unless the budget forbids it.
    pub misdirected_write_one_in: u64,
    /// A sync says it is done and does nothing: only to see whether the judges notice.
    pub lies: bool,
}

impl DiskFaults {
    /// A disk without moods: syncs of a tenth of a millisecond.
    pub fn calm() -> Self {
        Self {
            sync_micros: (100, 100),
            write_micros: (0, 0),
            stall_one_in: 0,
            stall_millis: (0, 0),
            write_back_one_in: 0,
            write_back_error_one_in: 0,
            short_read_one_in: 0,
            read_error_one_in: 0,
            sync_error_one_in: 0,
            evict_one_in: 0,
            capacity: None,
            refuses_whole: false,
            lost_write_one_in: 0,
            misdirected_write_one_in: 0,
            lies: false,
        }
    }
}

/// How a loss of power goes.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Nothing that was not synced survives.
    DropAll,
    /// Everything does.
    KeepAll,
    /// Each sector and name is drawn; the weights are for sectors.
    Draw(SectorFates),
}

impl Loss {
    /// Sectors are kept, dropped or torn.
    pub fn torn() -> Self {
        Self::Draw(SectorFates { keep: 4, drop: 4, tear: 2, garbage: 0 })
    }

    /// Sectors may turn to garbage as well.
    pub fn garbage() -> Self {
        Self::Draw(SectorFates { keep: 3, drop: 3, tear: 2, garbage: 2 })
    }

    /// The fates of sectors, and how many of eight names survive.
    pub fn fates(self) -> (SectorFates, u64) {
        match self {
            Self::DropAll => (SectorFates { keep: 0, drop: 1, tear: 0, garbage: 0 }, 0),
            Self::KeepAll => (SectorFates { keep: 1, drop: 0, tear: 0, garbage: 0 }, 8),
            Self::Draw(fates) => (fates, 4),
        }
    }
}

/// What became of the dirty sectors.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Toll {
    /// Sectors that were dirty.
    pub dirty: u64,
    /// Of these, written whole.
    pub kept: u64,
    /// Not written.
    pub dropped: u64,
    /// Written in part.
    pub torn: u64,
    /// Turned to garbage.
    pub garbage: u64,
    /// Files whose length went back or was ahead of the data.
    pub lengths: u64,
}

impl Toll {
    /// Adds another file's.
    pub fn add(&mut self, other: Self) {
        self.dirty += other.dirty;
        self.kept += other.kept;
        self.dropped += other.dropped;
        self.torn += other.torn;
        self.garbage += other.garbage;
        self.lengths += other.lengths;
    }
}

/// What a file is to the product, by its name: what its loss means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum FileClass {
    /// A segment of the raft log, or a file being filled to become one.
    Log,
    /// The durable mark of the log, in slots, or its draft.
    Mark,
    /// A segment of the history.
    History,
    /// An outline of the history: derived, so it may be lost at any time.
    Outline,
    /// A checkpoint image, of which there are two, or the draft of one.
    Image,
    /// A file that means nothing: spares, notes.
    Aside,
}

impl FileClass {
    /// The class of a file, by its path in the data directory.
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('/') {
            Some(("wal", "durable" | "durable.new")) => Self::Mark,
            Some(("wal", name)) if name.ends_with(".seg") || name.ends_with(".fill") => Self::Log,
            Some(("history", name)) if name.ends_with(".seg") => Self::History,
            Some(("history", name)) if name.ends_with(".outline") => Self::Outline,
            Some(("checkpoint", name)) if name.ends_with(".image") || name == "draft" => Self::Image,
            _ => Self::Aside,
        }
    }

    /// Whether the file is one that is being made and has not its name yet.
    pub fn is_draft(path: &str) -> bool {
        matches!(path, "checkpoint/draft" | "wal/durable.new")
    }
}

/// Damage to a sector at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Damage {
    /// So many of its bits flip.
    Flip(u32),
    /// It reads as zeroes.
    Zero,
    /// It reads as anything.
    Garbage,
    /// It cannot be read until it is written again.
    Unreadable,
}

/// A change to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Create,
    Write,
    SetLen,
    Rename,
    Remove,
    CreateDir,
    /// A sync begins, is about to have an effect, or has had it: each counts.
    Sync,
    /// Likewise.
    SyncDir,
}

/// Which changes a trap counts. The default counts all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Aim {
    /// Of this kind alone.
    pub change: Option<Change>,
    /// Of files of this class alone; a rename is of the class of its new name.
    pub class: Option<FileClass>,
}

impl Aim {
    /// Whether it counts a change to a path.
    pub fn counts(&self, change: Change, path: &str) -> bool {
        self.change.is_none_or(|wanted| wanted == change)
            && self.class.is_none_or(|wanted| wanted == FileClass::of(path))
    }
}

/// How much damage the disks of a cluster may take. Of what a member has twice (images, slots of the mark) one at a
/// time, without asking; of what it needs (its log, its history, the other image or slot), a minority of the members. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct DamageBudget {
    /// Members that may lose what they cannot restore by themselves; nothing where damage has no bounds.
    allowed: Option<usize>,
    /// Those that have.
    members: Arc<Mutex<BTreeSet<String>>>,
}

impl DamageBudget {
    /// Nothing may be damaged that a member needs.
    pub fn none() -> Self {
        Self { allowed: Some(0), members: Arc::default() }
    }

    /// For a cluster of so many voters: a minority of them.
    pub fn minority_of(voters: usize) -> Self {
        Self { allowed: Some(voters.saturating_sub(1) / 2), members: Arc::default() }
    }

    /// Anything goes: such a run must fail loudly or not at all.
    pub fn boundless() -> Self {
        Self { allowed: None, members: Arc::default() }
    }

    /// Whether a member may lose what it cannot restore; if so it counts as one that has.
    pub fn admits(&self, member: &str) -> bool {
        let mut members = self.members.lock().expect("no holder of the budget panics");
        if self.allowed.is_some_and(|allowed| !members.contains(member) && members.len() >= allowed) {
            return false;
        }
        members.insert(member.to_string());
        true
    }

    /// Whether it admits anybody at all.
    pub fn is_open(&self) -> bool {
        self.allowed != Some(0)
    }

    /// A member has been rebuilt from the others: it counts no more.
    #[cfg(test)]
    pub fn restored(&self, member: &str) {
        self.members.lock().expect("no holder of the budget panics").remove(member);
    }

    /// Who has lost what it cannot restore by itself.
    pub fn spent_on(&self) -> Vec<String> {
        self.members.lock().expect("no holder of the budget panics").iter().cloned().collect()
    }
}
