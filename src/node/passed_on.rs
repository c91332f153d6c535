//! What others pass on to be proposed while it would come to nothing: it waits here, as a client's own proposals do.
//!
//! Invariants: nothing waits longer than a request may take, and no more than a bounded number of bytes; what waits has
//! reached no log, so that handing it on later makes it happen once. Does not know who leads.

use std::collections::VecDeque;

use crate::base::limits;
use crate::consensus::PeerMessage;
use crate::env::Instant;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct PassedOn {
    waiting: VecDeque<(Instant, PeerMessage)>,
    bytes: usize,
}

impl PassedOn {
    /// Lets a message wait, or drops it where too much waits: then its sender hears that its time ran out.
    pub(super) fn add(&mut self, message: PeerMessage, now: Instant) {
        let bytes = message.payload_bytes();
        let full = self.waiting.len() >= limits::MAX_PENDING_REQUESTS
            || self.bytes + bytes > limits::MAX_PASSED_ON_BYTES_WAITING;
        if !full {
            self.bytes += bytes;
            self.waiting.push_back((now, message));
        }
    }

    /// The one that waits longest, to be proposed now.
    pub(super) fn pop(&mut self) -> Option<PeerMessage> {
        let (_, message) = self.waiting.pop_front()?;
        self.bytes -= message.payload_bytes();
        Some(message)
    }

    /// Forgets what came at or before `until`: who asked for it has been told that its time ran out.
    pub(super) fn expire(&mut self, until: Instant) {
        while self.waiting.front().is_some_and(|(came, _)| *came <= until) {
            let _ = self.pop();
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
