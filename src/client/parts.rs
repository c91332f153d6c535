//! An answer that comes in parts.
//!
//! Invariant: it has begun: the first part is here, or there is none. A server that refuses one who asks for parts may say so where the first
//! would stand, as a Go server does, so only then it is known that it was no refusal. Does not know what the parts are of.

use tonic::{Response, Status, Streaming};

use super::error::Error;

/// The parts of one answer, in their order. Dropping it ends the stream.
#[derive(Debug)]
pub struct Parts<T> {
    first: Option<T>,
    /// None behind the end.
    rest: Option<Streaming<T>>,
}

impl<T> Parts<T> {
    /// Waits for the first part.
    pub(super) async fn begun(answer: Response<Streaming<T>>) -> Result<Self, Status> {
        let mut rest = answer.into_inner();
        let first = rest.message().await?;
        let rest = first.is_some().then_some(rest);
        Ok(Self { first, rest })
    }

    /// The next part; `None` behind the last.
    ///
    /// # Errors
    /// The server's reason to end it before, or that the connection broke. No part comes any more.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let part = self.rest.as_mut()?.message().await.map_err(Error::from).transpose();
        if !matches!(part, Some(Ok(_))) {
            self.rest = None;
        }
        part
    }
}
