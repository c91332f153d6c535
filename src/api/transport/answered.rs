//! An answer in short, for who tells of its request. Does not know when that is told.

use crate::api::slow::Answered;
use crate::api::transport::pieces::Pieces;

/// Of an answer of which nothing has left.
pub fn answered<P: Pieces>(answer: &P) -> Answered {
    Answered { size: answer.len(), count: answer.count(), succeeded: answer.succeeded() }
}
