//! Service KV: range, put, delete, transactions, compaction.
//!
//! Invariant: a read-only transaction and a range need no log entry; everything else is one.

use std::time::Instant;

use crate::api::guest::{LongAnswer, LongRead};
use crate::api::services::answers;
use crate::api::session::Session;
use crate::auth::Access;
use crate::base::{Refusal, limits};
use crate::env::{Disk, Env};
use crate::machine::{self, Answer, Command, Op, Txn, codec};
use crate::mvcc::{RangeAnswer, RangeQuery, ReadFailure, View};
use crate::wire::etcdserverpb as pb;

/// A range of more keys than this is read where it may hold up a thread: some hundred microseconds of work. The threads
/// that stand in meanwhile each keep memory of their own, so what is common stays below.
pub(super) const LONG_READ_KEYS: i64 = 1_000;

impl<E: Env> Session<E> {
    /// Reads a range.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
        self.ranged(request, false).await.map(|(answer, _)| answer)
    }

    /// Reads a range for a request that has entered; a long answer comes with its place, to be kept until it has left.
    pub async fn placed_range(
        &self,
        request: pb::RangeRequest,
    ) -> Result<(pb::RangeResponse, Option<LongAnswer>), Refusal> {
        self.ranged(request, true).await
    }

    async fn ranged(
        &self,
        request: pb::RangeRequest,
        entered: bool,
    ) -> Result<(pb::RangeResponse, Option<LongAnswer>), Refusal> {
        if !request.serializable && self.handle.facts().is_learner() {
            return Err(Refusal::NotSupportedForLearner);
        }
        let draft = self.draft(&request);
        let query = codec::range_from_wire(request)?;
        let _span = draft.begin();
        let begun = Instant::now();
        let outcome = self.read_range(&query, entered).await;
        self.metrics.requested("Range", outcome.is_ok(), begun.elapsed());
        outcome
    }

    async fn read_range(
        &self,
        query: &RangeQuery,
        entered: bool,
    ) -> Result<(pb::RangeResponse, Option<LongAnswer>), Refusal> {
        let mut view = self.view_of_range(query, !query.serializable).await?;
        let mut long = None;
        if !is_short(&view, query)? {
            let patron = self.patron();
            long = self.guest().try_long_read(&patron);
            if long.is_none() {
                // Who waits holds no view: what is replaced meanwhile would be kept for him.
                drop(view);
                long = Some(self.guest().long_read(&patron, entered).await);
                view = self.view_of_range(query, !query.serializable).await?;
            }
        }
        let answer = at_leisure(long.is_some(), || view.range(query));
        // Whatever came of it, as etcd counts.
        self.handle.facts().tallies.range();
        let answer = answer.map_err(refusal_of)?;
        Ok((answers::range(self.header(answer.revision), answer), long.map(LongRead::done)))
    }

    /// A view of which the asker may read a range.
    pub(super) async fn view_of_range(&self, query: &RangeQuery, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.view_for(linearizable, |auth, asker| auth.check(asker, &query.range, Access::Read)).await
    }

    /// Writes one key.
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Refusal> {
        let draft = self.draft(&request);
        let command = Command::Put(codec::put_from_wire(request)?);
        let _span = draft.begin();
        let (header, answer) = self.carried_out(command).await?;
        let Answer::Put { prev_kv } = answer else { unreachable_answer("put") };
        Ok(pb::PutResponse { header: Some(header), prev_kv: prev_kv.map(answers::key_value) })
    }

    /// Deletes a range.
    pub async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Refusal> {
        let draft = self.draft(&request);
        let command = Command::DeleteRange(codec::delete_range_from_wire(request)?);
        let _span = draft.begin();
        let (header, answer) = self.carried_out(command).await?;
        let Answer::DeleteRange { deleted, prev_kvs } = answer else { unreachable_answer("delete") };
        Ok(pb::DeleteRangeResponse { header: Some(header), deleted, prev_kvs: answers::key_values(prev_kvs) })
    }

    /// Runs a transaction.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
        let draft = self.draft(&request);
        let txn = codec::txn_from_wire(request, self.terms.max_txn_ops)?;
        let _span = draft.begin();
        if txn.is_read_only() {
            let begun = Instant::now();
            let outcome = self.read_txn(&txn).await;
            self.metrics.requested("ReadonlyTxn", outcome.is_ok(), begun.elapsed());
            return outcome;
        }
        let (header, answer) = self.carried_out(Command::Txn(txn)).await?;
        let Answer::Txn(answer) = answer else { unreachable_answer("txn") };
        Ok(answers::txn(header, answer))
    }

    /// Has a command agreed on, and reads here what its answer left to be read.
    async fn carried_out(&self, command: Command) -> Result<(pb::ResponseHeader, Answer), Refusal> {
        let (header, proposed) = self.propose(command).await?;
        let (answer, room) = (proposed.answer, limits::MAX_TXN_ANSWER_BYTES);
        if !answer.is_put_off() {
            return Ok((header, answer));
        }
        let answer = at_leisure(true, || answer.carry_out(room)).map_err(refusal_of)?;
        Ok((header, answer))
    }

    async fn read_txn(&self, txn: &Txn) -> Result<pb::TxnResponse, Refusal> {
        let view =
            self.view_for(!is_serializable(txn), |auth, asker| machine::check_read_txn(auth, asker, txn)).await?;
        let answer = at_leisure(true, || machine::read_txn(&view, txn)).map_err(refusal_of)?;
        self.handle.facts().tallies.transaction(txn, &answer);
        Ok(answers::txn(self.header(view.revision()), answer))
    }

    /// Forgets history.
    pub async fn compact(&self, request: pb::CompactionRequest) -> Result<pb::CompactionResponse, Refusal> {
        let _span = self.draft(&request).begin();
        let command = Command::Compact { revision: request.revision, physical: request.physical };
        let (header, _) = self.propose(command).await?;
        if request.physical {
            self.handle.compacted(request.revision).await?;
        }
        Ok(pb::CompactionResponse { header: Some(header) })
    }
}

/// A read at `view`.
pub(super) fn read<D: Disk>(view: &View<D>, query: &RangeQuery) -> Result<RangeAnswer, Refusal> {
    at_leisure(!is_short(view, query)?, || view.range(query)).map_err(refusal_of)
}

/// Whether a range has few keys, as far as that is cheap to know.
fn is_short<D: Disk>(view: &View<D>, query: &RangeQuery) -> Result<bool, Refusal> {
    let limited = (1..=LONG_READ_KEYS).contains(&query.limit) && query.stops_at_limit();
    let named = query.range.as_single().is_some() || query.count_only || limited;
    if named || query.revision > 0 {
        return Ok(named);
    }
    // At the current revision the tree knows the number.
    let count = RangeQuery { count_only: true, ..query.clone() };
    Ok(view.range(&count).map_err(refusal_of)?.count <= LONG_READ_KEYS)
}

/// What a client is told of a read that failed. Damage is told with its place, to the client and to the log.
pub(super) fn refusal_of(failure: ReadFailure) -> Refusal {
    match failure {
        ReadFailure::Refused(refusal) => refusal,
        ReadFailure::Wrong(wrong) => {
            tracing::error!(error = %wrong, "a read met a fault");
            Refusal::Damaged(wrong.to_string())
        }
    }
}

/// Runs a read on this thread; a `long` one after the thread's other work was handed on.
pub(super) fn at_leisure<T>(long: bool, read: impl FnOnce() -> T) -> T {
    if long { tokio::task::block_in_place(read) } else { read() }
}

/// Whether every read of a read-only transaction may be answered from this member's state.
fn is_serializable(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range(query) if query.serializable))
}

/// The machine answers a command with that command's answer; anything else is a bug.
#[cold]
fn unreachable_answer(command: &str) -> ! {
    unreachable!("the machine answers a {command} with the answer of a {command}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::KeyRange;
    use crate::mvcc::RangeQuery;

    #[test]
    fn a_transaction_is_serializable_when_every_read_is() {
        let read = |serializable| Op::Range(RangeQuery { serializable, ..RangeQuery::plain(KeyRange::all()) });
        assert!(is_serializable(&Txn::default()), "an empty one asks nothing");
        let mut txn = Txn { success: vec![read(true)], failure: vec![read(true)], ..Default::default() };
        assert!(is_serializable(&txn));
        txn.failure.push(read(false));
        assert!(!is_serializable(&txn));
    }
}
