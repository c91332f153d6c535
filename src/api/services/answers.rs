//! Answers of the machine and of views as wire messages.
//!
//! Invariant: values are moved, never copied: a response holds the very bytes the store holds.
//! Does not know how a response travels.

use crate::base::{self, KeyValue};
use crate::machine::{AlarmKind, OpAnswer, TxnAnswer};
use crate::mvcc::RangeAnswer;
use crate::wire::{etcdserverpb as pb, mvccpb};
use pb::response_op::Response;

/// A key-value as it travels.
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// Key-values as they travel.
pub fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

/// The answer of a range read under `header`.
pub fn range(header: pb::ResponseHeader, answer: RangeAnswer) -> pb::RangeResponse {
    pb::RangeResponse { header: Some(header), kvs: key_values(answer.kvs), more: answer.more, count: answer.count }
}

/// The answer of a transaction under `header`. Inside, ranges, puts and deletes carry a header with nothing
/// but the revision, and a nested transaction an empty one, as in etcd.
pub fn txn(header: pb::ResponseHeader, answer: TxnAnswer) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: answer.succeeded,
        responses: answer.answers.into_iter().map(op).collect(),
    }
}

/// Key-values that an answer has, of all its operations.
pub fn rows(answer: &pb::TxnResponse) -> usize {
    let rows = answer.responses.iter().map(|op| match &op.response {
        Some(Response::ResponseRange(range)) => range.kvs.len(),
        Some(Response::ResponsePut(put)) => usize::from(put.prev_kv.is_some()),
        Some(Response::ResponseDeleteRange(deleted)) => deleted.prev_kvs.len(),
        Some(Response::ResponseTxn(txn)) => rows(txn),
        None => 0,
    });
    rows.sum()
}

fn op(answer: OpAnswer) -> pb::ResponseOp {
    let response = match answer {
        OpAnswer::Range(answer) => Response::ResponseRange(range(revision_only(answer.revision), answer)),
        OpAnswer::Put { prev_kv, revision } => Response::ResponsePut(pb::PutResponse {
            header: Some(revision_only(revision)),
            prev_kv: prev_kv.map(key_value),
        }),
        OpAnswer::DeleteRange { deleted, prev_kvs, revision } => {
            Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header: Some(revision_only(revision)),
                deleted,
                prev_kvs: key_values(prev_kvs),
            })
        }
        OpAnswer::Txn(answer) => Response::ResponseTxn(txn(pb::ResponseHeader::default(), answer)),
        OpAnswer::Later(..) => unreachable!("what was put off is carried out before it is answered"),
    };
    pb::ResponseOp { response: Some(response) }
}

fn revision_only(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader { revision, ..Default::default() }
}

/// An alarm as it travels.
pub fn alarm((member, kind): (base::MemberId, AlarmKind)) -> pb::AlarmMember {
    let alarm = match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: member.0, alarm: alarm as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_inside_a_transaction_are_etcds() {
        let answer = TxnAnswer {
            succeeded: true,
            answers: vec![
                OpAnswer::Put { prev_kv: None, revision: 7 },
                OpAnswer::Txn(TxnAnswer { succeeded: false, answers: vec![] }),
            ],
        };
        let response = txn(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 7, raft_term: 3 }, answer);
        assert!(response.succeeded);
        let Some(Response::ResponsePut(put)) = &response.responses[0].response else { panic!("a put") };
        assert_eq!(put.header, Some(revision_only(7)));
        let Some(Response::ResponseTxn(nested)) = &response.responses[1].response else { panic!("a txn") };
        assert_eq!(nested.header, Some(pb::ResponseHeader::default()));
        assert!(!nested.succeeded);
    }
}
