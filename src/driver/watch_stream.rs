//! The two ends of a watch stream.

use std::sync::Arc;

use super::mailbox::{Mailbox, NotTaken};
use crate::base::{Refusal, WatchId};
use crate::env::Env;
use crate::node::{Input, WatchInput};
use crate::watch::{StreamBuffer, StreamId, WatchMessage, WatchSpec};

/// The speaking end. Dropping it closes the stream.
pub struct WatchStream<E: Env> {
    stream: StreamId,
    mailbox: Arc<Mailbox<Input<E::Disk>>>,
}

impl<E: Env> WatchStream<E> {
    pub(super) fn new(stream: StreamId, mailbox: Arc<Mailbox<Input<E::Disk>>>) -> Self {
        Self { stream, mailbox }
    }

    /// Asks for a watcher; the answer arrives at the listening end.
    pub fn create(&self, spec: WatchSpec) -> Result<(), Refusal> {
        self.say(WatchInput::Create { stream: self.stream, spec })
    }

    /// Ends a watcher; one that is not there is passed over.
    pub fn cancel(&self, watch_id: WatchId) -> Result<(), Refusal> {
        self.say(WatchInput::Cancel { stream: self.stream, watch_id })
    }

    /// Asks how far the stream has got.
    pub fn request_progress(&self) -> Result<(), Refusal> {
        self.say(WatchInput::Progress { stream: self.stream })
    }

    fn say(&self, input: WatchInput) -> Result<(), Refusal> {
        self.mailbox.put(Input::Watch(input), 0).map_err(|(why, _)| match why {
            NotTaken::Full => Refusal::TooManyRequests,
            NotTaken::Closed => Refusal::Stopped,
        })
    }
}

impl<E: Env> Drop for WatchStream<E> {
    fn drop(&mut self) {
        self.mailbox.put_completion(Input::Watch(WatchInput::Close { stream: self.stream }));
    }
}

/// The listening end. One clone listens; another may wait for room.
#[derive(Clone)]
pub struct WatchReader {
    buffer: Arc<StreamBuffer>,
}

impl WatchReader {
    pub(super) fn new(buffer: Arc<StreamBuffer>) -> Self {
        Self { buffer }
    }

    /// Waits until the listener has taken enough for another answer: to be awaited before the client's next
    /// question is taken, so that one who asks and never reads cannot fill the memory.
    pub async fn room(&self) {
        self.buffer.room().await;
    }

    /// Everything that has come since, at least one message; nothing more when the stream is closed.
    pub async fn next_batch(&self) -> Option<Vec<WatchMessage>> {
        std::future::poll_fn(|cx| self.buffer.poll_batch(cx)).await
    }
}
