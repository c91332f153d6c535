//! The chronicle: what befell members and ways, moment by moment, for the page of a run.
//!
//! Off, as in a swarm, it costs a look at an option. It is written and never read during a run, so that a run with it and
//! one without are the same run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate::consensus::Standing;

use crate::env::true_now;
use crate::plan::End;
use crate::wires::Way;

/// Something that befell.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A life of a member begins: it boots.
    Begins(u64),
    /// It serves.
    Serves,
    /// It ends.
    Ends(End),
    /// Role, term or leader of a member changed.
    Stands(Standing),
    /// Every sync of a member's disk waits for so long.
    Stalls(Duration),
    /// A member stands still.
    Pauses,
    /// It goes on.
    GoesOn,
    /// Troubles of a member are over.
    Calms,
    /// It, or the lack of its answer, ended an operation of a client: one for each on record, in the same order.
    Answers,
    /// An entry was applied, and a judge objected.
    Objects(u64),
    /// Ways are cut.
    Cut(Vec<Way>),
    /// Ways are healed.
    Heal(Vec<Way>),
    /// All ways are healed.
    HealAll,
}

/// A happening, its moment, and whom it befell where that is one member.
#[derive(Clone, Debug)]
pub struct Noted {
    /// When, in true time.
    pub at: Duration,
    /// Whom, by number.
    pub member: Option<usize>,
    /// What.
    pub happening: Happening,
}

/// See the module's head.
#[derive(Clone, Default)]
pub struct Chronicle(Option<Arc<Mutex<Vec<Noted>>>>);

impl Chronicle {
    /// One that is written.
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Something befell a member.
    pub fn member(&self, member: usize, happening: impl FnOnce() -> Happening) {
        self.note(Some(member), happening);
    }

    /// Something befell the network.
    pub fn ways(&self, happening: impl FnOnce() -> Happening) {
        self.note(None, happening);
    }

    fn note(&self, member: Option<usize>, happening: impl FnOnce() -> Happening) {
        let Some(noted) = &self.0 else { return };
        let happening = happening();
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(Noted { at: true_now(), member, happening });
    }

    /// All of it, in order of time.
    pub fn take(&self) -> Vec<Noted> {
        let Some(noted) = &self.0 else { return Vec::new() };
        std::mem::take(&mut noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
