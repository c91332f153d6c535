//! The two ends of a watch stream.

use std::sync::Arc;

use super::mailbox::{Mailbox, NotTaken};
use crate::auth::Asker;
use crate::base::{Refusal, WatchId};
use crate::env::Env;
use crate::node::{Input, WatchInput};
use crate::watch::{Question, StreamBuffer, StreamId, WatchMessage, WatchSpec};

/// A stream that is asked for, or open. Dropping it closes the stream.
pub(super) struct StreamPlace<E: Env> {
    stream: StreamId,
    mailbox: Arc<Mailbox<Input<E::Disk>>>,
}

impl<E: Env> StreamPlace<E> {
    pub(super) fn new(stream: StreamId, mailbox: Arc<Mailbox<Input<E::Disk>>>) -> Self {
        Self { stream, mailbox }
    }
}

/// The speaking end. Dropping it closes the stream. What is asked is refused with [`Refusal::TooManyRequests`] while
/// the stream has no room for the answers, or the node none for the question.
pub struct WatchStream<E: Env> {
    place: StreamPlace<E>,
    buffer: Arc<StreamBuffer>,
}

impl<E: Env> WatchStream<E> {
    pub(super) fn new(place: StreamPlace<E>, buffer: Arc<StreamBuffer>) -> Self {
        Self { place, buffer }
    }

    /// Asks for a watcher; the answer arrives at the listening end.
    pub fn create(&self, spec: WatchSpec) -> Result<(), Refusal> {
        self.create_for(Ok(None), spec)
    }

    /// As [`Self::create`], for who says who he is, or of whom it is not known for this reason.
    pub fn create_for(&self, asker: Result<Option<Asker>, Refusal>, spec: WatchSpec) -> Result<(), Refusal> {
        self.ask(|stream, question| WatchInput::Create { stream, asker, spec, question })
    }

    /// Ends a watcher; one that is not there is passed over.
    pub fn cancel(&self, watch_id: WatchId) -> Result<(), Refusal> {
        self.ask(|stream, question| WatchInput::Cancel { stream, watch_id, question })
    }

    /// Asks how far the stream has got.
    pub fn request_progress(&self) -> Result<(), Refusal> {
        self.ask(|stream, question| WatchInput::Progress { stream, question })
    }

    fn ask(&self, input: impl FnOnce(StreamId, Question) -> WatchInput) -> Result<(), Refusal> {
        let question = self.buffer.ask().ok_or(Refusal::TooManyRequests)?;
        let input = Input::Watch(input(self.place.stream, question));
        self.place.mailbox.put(input, 0).map_err(|(why, _)| match why {
            NotTaken::Full => Refusal::TooManyRequests,
            NotTaken::Closed => Refusal::Stopped,
        })
    }
}

impl<E: Env> Drop for StreamPlace<E> {
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
