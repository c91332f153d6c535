//! An answer in short, for who tells of its request. Does not know when that is told.

use std::any::Any;

use crate::api::slow::Answered;
use crate::api::transport::pieces::{Pieces, Whole};
use crate::wire::etcdserverpb as pb;

/// Of an answer that is still whole.
pub fn answered<P: Pieces>(answer: &P) -> Answered {
    let any: &dyn Any = answer;
    let deleted = any.downcast_ref::<Whole<pb::DeleteRangeResponse>>().and_then(Whole::message);
    let done = any.downcast_ref::<Whole<pb::TxnResponse>>().and_then(Whole::message);
    Answered {
        size: answer.len(),
        count: deleted.map_or_else(|| answer.count(), |answer| answer.deleted),
        succeeded: done.is_some_and(|answer| answer.succeeded),
    }
}
