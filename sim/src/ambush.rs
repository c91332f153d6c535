//! Ambushes: troubles that wait for a member to do something, so that they strike in the moment that matters.
//!
//! Whoever watches the members tells here what they do; what then befalls is the director's to do, a moment later at the
//! earliest, because it outlives the member that was caught.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use quorate::consensus::{Role, Standing};

use crate::plan::{Action, Moment};

/// A trouble that waits.
struct Waiting {
    moment: Moment,
    left: u64,
    after: Duration,
    then: Action,
}

/// Somebody was caught.
pub struct Caught {
    /// So long after now.
    pub after: Duration,
    /// What befalls.
    pub action: Action,
}

struct Told {
    waiting: Vec<Waiting>,
    /// In which term each member leads, if it does.
    leads: Vec<Option<u64>>,
    caught: UnboundedSender<Caught>,
    to_director: Option<UnboundedReceiver<Caught>>,
}

/// See the module's head.
pub struct Ambushes(Mutex<Told>);

impl Ambushes {
    /// None yet, for so many members.
    pub fn new(members: usize) -> Self {
        let (caught, to_director) = unbounded();
        let (waiting, leads, to_director) = (Vec::new(), vec![None; members], Some(to_director));
        Self(Mutex::new(Told { waiting, leads, caught, to_director }))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("no holder of the ambushes panics")
    }

    /// Where the director hears of who was caught; asked for once.
    pub fn to_director(&self) -> Option<UnboundedReceiver<Caught>> {
        self.told().to_director.take()
    }

    /// Lays one, for the n-th time that somebody does this.
    pub fn lay(&self, (moment, nth): (Moment, u64), after: Duration, then: Action) {
        self.told().waiting.push(Waiting { moment, left: nth.max(1), after, then });
    }

    /// Takes all of them away.
    pub fn clear(&self) {
        self.told().waiting.clear();
    }

    /// A member does something.
    pub fn does(&self, member: usize, moment: Moment) {
        let mut told = self.told();
        let told = &mut *told;
        if moment == Moment::Appends && told.leads[member].is_none() {
            return;
        }
        for waiting in told.waiting.iter_mut().filter(|waiting| waiting.moment == moment) {
            waiting.left -= 1;
        }
        for sprung in told.waiting.extract_if(.., |waiting| waiting.left == 0) {
            let caught = Caught { after: sprung.after, action: sprung.then.upon(member) };
            // Nobody listens any more when the run is over.
            let _ = told.caught.unbounded_send(caught);
        }
    }

    /// A member stands otherwise than before.
    pub fn stands(&self, member: usize, standing: &Standing) {
        let leads = (standing.role == Role::Leader).then_some(standing.term);
        let before = std::mem::replace(&mut self.told().leads[member], leads);
        if leads.is_some() && leads != before {
            self.does(member, Moment::Elected);
        }
    }

    /// A member applies an entry of a term.
    pub fn applies(&self, member: usize, term: u64) {
        let leads = self.told().leads[member];
        if leads.is_some_and(|own| own > term) {
            self.does(member, Moment::AppliesOld);
        }
    }
}
