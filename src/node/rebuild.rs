//! Where a rebuilding stands; its steps are in `rebuild_steps.rs`.

use crate::base::limits;
use crate::consensus::{MessageKind, PeerMessage};
use crate::machine::Image;
use crate::wal::LogEntry;

/// How far it is.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Nothing is to be rebuilt.
    #[default]
    Sound,
    /// To be begun, once another leads.
    Wanted,
    /// Another member's state is awaited.
    Waiting,
    /// It came, and the log here is not committed that far yet.
    Arrived(Box<Image>),
    /// It is made durable and read.
    Installing,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    pub(super) stage: Stage,
    /// The alarm that named this member is to be cleared.
    pub(super) clears_alarm: bool,
    /// A proposal to clear it is under way.
    pub(super) clearing: bool,
    /// Bytes committed and not applied meanwhile.
    pub(super) backlog: usize,
}

impl Rebuild {
    /// Whether nothing is applied, and no work is done on the files of the state that goes.
    pub(super) fn under_way(&self) -> bool {
        !matches!(self.stage, Stage::Sound | Stage::Wanted)
    }

    /// Whether the state here may be wrong.
    pub(super) fn is_needed(&self) -> bool {
        !matches!(self.stage, Stage::Sound)
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting)
    }

    /// Whether a state is on its way into place, so that no other can be.
    pub(super) fn is_installing(&self) -> bool {
        matches!(self.stage, Stage::Installing)
    }

    /// Whether another state may come: none did, or one that the log here does not reach, and may never.
    pub(super) fn takes_another(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Arrived(_))
    }

    /// Whether an append finds no room: what is committed meanwhile waits in memory.
    pub(super) fn has_no_room(&self, message: &PeerMessage) -> bool {
        self.backlog > limits::REBUILD_BACKLOG_BYTES && message.kind() == MessageKind::Append
    }

    /// These were committed, and wait.
    pub(super) fn committed(&mut self, entries: &[LogEntry]) {
        if self.under_way() {
            self.backlog +=
                entries.iter().map(|entry| entry.data.len() + std::mem::size_of::<LogEntry>()).sum::<usize>();
        }
    }

    /// The proposal to clear the alarm came to nothing.
    pub(super) fn clearing_came_to_nothing(&mut self) {
        self.clearing = false;
    }

    /// The alarm was raised: for a state that is in place now, if there was another before.
    pub(super) fn named(&mut self) {
        self.clears_alarm = false;
    }
}
