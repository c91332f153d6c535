//! The newest view, left where readers find it without asking the node.
//!
//! A view costs the writer a copied path in the index, so none is taken for the cell alone: it holds the one
//! that was last taken for a read. It may be used while nothing was applied since, which the reader sees from
//! the revision on the noticeboard: that one is raised before any answer leaves, so a view of that revision
//! holds every write acknowledged so far. Whether that makes a read linearizable is not decided here: it does
//! only where this member alone decides ([`super::Facts::reads_alone`]).

use crate::base::sync::Mutex;
use crate::env::Disk;
use crate::mvcc::View;

/// Holds the view last taken.
pub struct ViewCell<D: Disk>(Mutex<Option<View<D>>>);

impl<D: Disk> ViewCell<D> {
    pub(super) fn put(&self, view: View<D>) {
        let old = self.0.lock().expect("no holder of this lock panics").replace(view);
        // Dropping a view may free a whole index: not under the lock.
        drop(old);
    }

    /// The writer would copy what the view shares: it is given up when it cannot serve any more.
    pub(super) fn clear(&self) {
        let old = self.0.lock().expect("no holder of this lock panics").take();
        drop(old);
    }

    /// The view, if it is of this revision.
    pub fn of(&self, revision: i64) -> Option<View<D>> {
        let cell = self.0.lock().expect("no holder of this lock panics");
        cell.as_ref().filter(|view| view.revision() == revision).cloned()
    }
}

impl<D: Disk> Default for ViewCell<D> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}
