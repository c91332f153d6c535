//! Service KV: range, put, delete, transactions, compaction.
//!
//! Invariant: a read-only transaction and a range need no log entry; everything else is one.

use std::time::Instant;

use crate::api::guest::{LongAnswer, LongRead};
use crate::api::services::answers;
use crate::api::session::Session;
use crate::auth::{Access, Asker, Auth};
use crate::base::{Refusal, limits};
use crate::env::{Disk, Env};
use crate::machine::{self, Answer, Command, Op, Txn, codec};
use crate::mvcc::{RangeAnswer, RangeQuery, ReadFailure, View, Weight};
use crate::wire::etcdserverpb as pb;

/// A range of more keys than this is read where it may hold up a thread: some hundred microseconds of work. The threads
/// that stand in meanwhile each keep memory of their own, so what is common stays below.
pub(super) const LONG_READ_KEYS: u64 = 1_000;

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
        let view = || self.view_of_range(query, !query.serializable);
        let (view, long) = self.placed(view, |view| view.weight(query), entered).await?;
        let answer = at_leisure(long.is_some(), || view.range(query));
        // Whatever came of it, as etcd counts.
        self.handle.facts().tallies.range();
        let answer = answer.map_err(refusal_of)?;
        let long = long.map(|long| long.done(answer.kvs.len()));
        Ok((answers::range(self.header(answer.revision), answer), long))
    }

    /// A view, and the places among long answers that what `weigh` says of it needs.
    async fn placed<V>(
        &self,
        take: impl Fn() -> V,
        weigh: impl Fn(&View<E::Disk>) -> Weight,
        entered: bool,
    ) -> Result<(View<E::Disk>, Option<LongRead>), Refusal>
    where
        V: Future<Output = Result<View<E::Disk>, Refusal>>,
    {
        let view = take().await?;
        let weight = weigh(&view);
        if !weight.may_exceed(LONG_READ_KEYS) {
            return Ok((view, None));
        }
        let rows = weight.rows;
        let patron = self.patron();
        if let Some(long) = self.guest().try_long_read(&patron, rows) {
            return Ok((view, Some(long)));
        }
        // Who waits holds no view: what is replaced meanwhile would be kept for him.
        drop(view);
        let long = self.guest().long_read(&patron, rows, entered).await;
        Ok((take().await?, Some(long)))
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
        let (header, answer, _) = self.carried_out(command, false).await?;
        let Answer::Put { prev_kv } = answer else { unreachable_answer("put") };
        Ok(pb::PutResponse { header: Some(header), prev_kv: prev_kv.map(answers::key_value) })
    }

    /// Deletes a range.
    pub async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Refusal> {
        self.deleted(request, false).await.map(|(answer, _)| answer)
    }

    /// Deletes a range for a request that has entered; a long answer comes with its place, to be kept until it has left.
    pub async fn placed_delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<(pb::DeleteRangeResponse, Option<LongAnswer>), Refusal> {
        self.deleted(request, true).await
    }

    async fn deleted(
        &self,
        request: pb::DeleteRangeRequest,
        entered: bool,
    ) -> Result<(pb::DeleteRangeResponse, Option<LongAnswer>), Refusal> {
        let draft = self.draft(&request);
        let command = Command::DeleteRange(codec::delete_range_from_wire(request)?);
        let _span = draft.begin();
        let (header, answer, long) = self.carried_out(command, entered).await?;
        let Answer::DeleteRange { deleted, prev_kvs } = answer else { unreachable_answer("delete") };
        let make =
            || pb::DeleteRangeResponse { header: Some(header), deleted, prev_kvs: answers::key_values(prev_kvs) };
        Ok(made(long, make, |answer| answer.prev_kvs.len()))
    }

    /// Runs a transaction.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
        self.transacted(request, false).await.map(|(answer, _)| answer)
    }

    /// Runs a transaction for a request that has entered; a long answer comes with its place, to be kept until it has left.
    pub async fn placed_txn(&self, request: pb::TxnRequest) -> Result<(pb::TxnResponse, Option<LongAnswer>), Refusal> {
        self.transacted(request, true).await
    }

    async fn transacted(
        &self,
        request: pb::TxnRequest,
        entered: bool,
    ) -> Result<(pb::TxnResponse, Option<LongAnswer>), Refusal> {
        let draft = self.draft(&request);
        let txn = codec::txn_from_wire(request, self.terms.max_txn_ops)?;
        let _span = draft.begin();
        if txn.is_read_only() {
            let begun = Instant::now();
            let outcome = self.read_txn(&txn, entered).await;
            self.metrics.requested("ReadonlyTxn", outcome.is_ok(), begun.elapsed());
            return outcome;
        }
        let (header, answer, long) = self.carried_out(Command::Txn(txn), entered).await?;
        let Answer::Txn(answer) = answer else { unreachable_answer("txn") };
        Ok(made(long, || answers::txn(header, answer), answers::rows))
    }

    /// Has a command agreed on, and reads here what its answer left to be read: a long answer in its turn.
    async fn carried_out(
        &self,
        command: Command,
        entered: bool,
    ) -> Result<(pb::ResponseHeader, Answer, Option<LongRead>), Refusal> {
        let (patron, header, proposed) = self.propose_charged(command).await?;
        let (answer, room) = (proposed.answer, limits::MAX_TXN_ANSWER_BYTES);
        if !answer.is_put_off() {
            return Ok((header, answer, None));
        }
        let weight = answer.weight();
        if !weight.may_fit(room) {
            // Nobody waits for what there will not be.
            return Err(Refusal::AnswerTooLarge);
        }
        let long = match weight.may_exceed(LONG_READ_KEYS) {
            false => None,
            true => Some(self.guest().long_read(&patron, weight.rows, entered).await),
        };
        let answer = at_leisure(true, || answer.carry_out(room)).map_err(refusal_of)?;
        Ok((header, answer, long))
    }

    async fn read_txn(&self, txn: &Txn, entered: bool) -> Result<(pb::TxnResponse, Option<LongAnswer>), Refusal> {
        let check = |auth: &Auth, asker: Option<&Asker>| machine::check_read_txn(auth, asker, txn);
        let view = || self.view_for(!is_serializable(txn), check);
        let (view, long) = self.placed(view, |view| machine::weigh_read_txn(view, txn), entered).await?;
        let read = || {
            let answer = machine::read_txn(&view, txn).map_err(refusal_of)?;
            self.handle.facts().tallies.transaction(txn, &answer);
            Ok(answers::txn(self.header(view.revision()), answer))
        };
        let made = at_leisure(true, read)?;
        let long = long.map(|long| long.done(answers::rows(&made)));
        Ok((made, long))
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
    at_leisure(view.weight(query).may_exceed(LONG_READ_KEYS), || view.range(query)).map_err(refusal_of)
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

/// An answer that is made now, and its places, where it is a long one: those that its rows do not take are given back.
fn made<T>(
    long: Option<LongRead>,
    make: impl FnOnce() -> T,
    rows: impl FnOnce(&T) -> usize,
) -> (T, Option<LongAnswer>) {
    let made = at_leisure(long.is_some(), make);
    let long = long.map(|long| long.done(rows(&made)));
    (made, long)
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
