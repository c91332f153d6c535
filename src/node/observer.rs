//! Who is told of what happens inside: the simulator's witness.

use crate::base::{LogIndex, Term};
use crate::consensus::{PeerMessage, Standing};
use crate::machine::{Applied, Command};
use crate::wal::{Batch, LogEntry};

/// Someone who is told of what a node does in the moment it does it. All but [`Observer::applied`] may be left out.
pub trait Observer: Send + Sync {
    /// An ordinary entry was applied. `request` is the id inside it. Both are absent for a leader's first entry.
    fn applied(&self, entry: (LogIndex, Term), request: Option<u64>, command: Option<&Command>, applied: &Applied);

    /// A change of the configuration was applied.
    fn reconfigured(&self, _entry: &LogEntry) {}

    /// Role, term or leader changed.
    fn stands(&self, _standing: &Standing) {}

    /// A batch is handed to the log, under the number by which it is told durable.
    fn appends(&self, _number: u64, _batch: &Batch) {}

    /// The state of another member takes the place of log and state. It is told durable by this number, like a batch; what
    /// comes with it is its hard state.
    fn installs(&self, _number: u64, _at: (LogIndex, Term), _batch: &Batch) {}

    /// The state of another member, up to this entry, has taken the place of what was: entries up to it are not applied here.
    fn installed(&self, _at: (LogIndex, Term)) {}

    /// The batches up to this number are durable, as the node was told.
    fn persisted(&self, _number: u64) {}

    /// Something rare happened that is worth counting.
    fn notes(&self, _what: &'static str) {}

    /// A message leaves for another member.
    fn sends(&self, _message: &PeerMessage) {}
}
