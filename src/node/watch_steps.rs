//! Feeding watchers that fell behind: what the node does of it in a turn, and what it hands out.
//!
//! Does not know how they are fed.

use super::catch_up::CaughtUp;
use super::node::Node;
use super::output::Output;
use crate::base::Wrong;
use crate::env::Disk;

impl<D: Disk> Node<D> {
    /// A slice for watchers that fell behind; whether there is more to do at once.
    pub(super) fn feed_watchers(&mut self, out: &mut Vec<Output<D>>) -> Result<bool, Wrong> {
        let (now, read) = (self.hub_now(), &mut self.work.catch_up_bytes);
        let (more, beside) = self.watches.catch_up(self.machine.store(), now, read)?;
        out.extend(beside.map(|read| Output::CatchUp(Box::new(read))));
        Ok(more)
    }

    /// History was read for watchers that fell behind.
    pub(super) fn caught_up(&mut self, done: CaughtUp) {
        if let Err(wrong) = self.watches.caught_up(done, self.hub_now())
            && let Err(wrong) = self.outlive(wrong)
        {
            self.wrong.get_or_insert(wrong);
        }
    }

    /// Once a tick: what is kept for slow watchers goes with the last of them.
    pub(super) fn let_go_of_pieces(&mut self, out: &mut Vec<Output<D>>) {
        out.extend(self.watches.let_go().map(|kept| Output::LetGo(Box::new(kept))));
    }
}
