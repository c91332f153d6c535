//! What a node wants done.

use bytes::Bytes;

use super::catch_up::CatchUpRead;
use crate::base::{Corruption, LogIndex};
use crate::consensus::PeerMessage;
use crate::env::Disk;
use crate::machine::{Image, Member};
use crate::mvcc::{DigestJob, HistoryWrite, OutlineJob, ReclaimJob, SnapshotSource, WriteMark};
use crate::wal::Batch;

/// One thing a node wants done. Answers to requests do not pass here: they leave by their
/// [`super::Reply`], which the node only uses when the promise they carry is kept.
pub enum Output<D: Disk> {
    /// To the log's keeper: append, sync, then say [`super::Input::Persisted`]. In the order given.
    Persist {
        /// The round's number.
        number: u64,
        /// What to write; where it is empty nothing needs a sync.
        batch: Batch,
    },
    /// To another member, at once.
    Send(PeerMessage),
    /// To another member: a snapshot, then say [`super::Input::SnapshotSent`].
    SendSnapshot {
        /// Its head.
        message: PeerMessage,
        /// The state.
        source: Box<SnapshotSource<D>>,
    },
    /// To archive and keeper: make the image durable, cut the log behind it, append the batch, then say
    /// [`super::Input::Persisted`]; read the state, then say [`super::Input::Installed`].
    Install {
        /// The round's number.
        number: u64,
        /// The image of the snapshot; its history is durable.
        image: Box<Image>,
        /// What is to be durable behind the cut.
        batch: Batch,
    },
    /// To the archive: make the image durable in place of all others; read the state, then say [`super::Input::Rebuilt`].
    Rebuild {
        /// The image of another member's state; its history is durable, and the log reaches it.
        image: Box<Image>,
    },
    /// To the reader: carry it out, then say [`super::Input::CaughtUp`]. One at a time.
    CatchUp(Box<CatchUpRead<D>>),
    /// To the transport: the members are others now, or reached elsewhere.
    Members(Vec<Member>),
    /// To the log's keeper: segments that hold nothing above this index may be used again.
    ReleaseLog {
        /// Covered by two durable checkpoints.
        up_to: LogIndex,
    },
    /// To the archive: write, then say [`super::Input::HistoryWritten`]. No sync is asked for.
    WriteHistory {
        /// What goes where.
        writes: Vec<HistoryWrite>,
        /// What to say.
        mark: WriteMark,
    },
    /// To the archive: sync the history written so far, write the image beside it, make both durable, then
    /// say [`super::Input::Checkpointed`].
    Checkpoint {
        /// The applied index the image holds.
        applied: LogIndex,
        /// The file's bytes.
        image: Bytes,
    },
    /// To the archive: rewrite a segment, then say [`super::Input::Reclaimed`].
    Reclaim(ReclaimJob<D>),
    /// To the archive: make the outline of a segment, then say [`super::Input::Outlined`].
    Outline(OutlineJob<D>),
    /// To the archive: sync what was written of the history, in which this was met, and end the member where that fails; then
    /// say [`super::Input::HistorySynced`].
    SyncHistory(Corruption),
    /// To whoever reads the log of the process: the history is damaged here.
    Damaged(Corruption),
    /// To the archive: say by [`super::Input::Room`] whether what had no room has it now.
    LookForRoom,
    /// To the log's keeper: what it does not use is to go, others need the room; say [`super::Input::RoomGiven`] then.
    GiveRoom,
    /// To the log's keeper: it may take room for its next segment again; say by [`super::Input::Room`] whether there is some.
    ReadyLog,
    /// To the archive: make the digest of a compaction, then say [`super::Input::Digested`].
    Digest(DigestJob<D>),
    /// To the archive: to be dropped, which may take long and which nobody waits for.
    LetGo(Box<dyn Send>),
    /// To the archive: these files no checkpoint that is kept names any more; then say [`super::Input::Removed`].
    Remove(Vec<String>),
    /// To the archive: the state of a snapshot that arrived is of no use: as [`Self::Remove`], with the room held for its image.
    Discard(Box<Image>),
}
