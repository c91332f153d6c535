//! Where a rebuilding stands; its steps are in `rebuild_steps.rs`.

use crate::machine::Image;

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

    /// Whether a state came that the log here is not known to be committed up to.
    pub(super) fn awaits_commit(&self) -> bool {
        matches!(self.stage, Stage::Arrived(_))
    }

    /// Whether another state may come: none did, or one that is not in place yet.
    pub(super) fn takes_another(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Arrived(_))
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
