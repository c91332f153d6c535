//! Answers in the form in which they are compared: what may differ between two honest servers is taken out, the rest stays.
//!
//! Invariant: every rule that takes something out says why it may differ. Does not know how answers are fetched.

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::mvccpb::KeyValue;
use tonic::Status;

/// One answer, comparable.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Refused: gRPC code and text. Texts are part of the interface: clients match on them.
    Refused { code: i32, text: String },
    /// KV/Range, and KV/RangeStream put together.
    Range(pb::RangeResponse),
    /// KV/Put.
    Put(pb::PutResponse),
    /// KV/DeleteRange.
    Delete(pb::DeleteRangeResponse),
    /// KV/Txn.
    Txn(pb::TxnResponse),
    /// Everything else, written out after the same treatment.
    Other(String),
}

impl Reply {
    /// A refusal as a reply.
    pub fn refused(status: &Status) -> Self {
        Self::Refused { code: status.code() as i32, text: status.message().to_owned() }
    }

    /// True unless refused.
    pub fn is_ok(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// True for what quorate says to a method it does not have yet. Counted and shown in the summary instead of
    /// compared, so that the rest can be held; the count falls to 0 by itself when the methods come.
    pub fn is_unbuilt(&self) -> bool {
        matches!(self, Self::Refused { code: 12, text }
            if text.starts_with("quorate: ") && text.ends_with(" is not implemented yet"))
    }
}

/// Ids differ between two clusters and terms between two histories of elections: only their presence is compared. The
/// revision stays. Returns it, 0 without a header.
pub fn plain_header(header: &mut Option<pb::ResponseHeader>) -> i64 {
    let Some(header) = header else { return 0 };
    header.cluster_id = u64::from(header.cluster_id != 0);
    header.member_id = u64::from(header.member_id != 0);
    header.raft_term = u64::from(header.raft_term != 0);
    header.revision
}

/// Takes the order of ties out of a sorted range: stock etcd sorts with an unstable algorithm, so keys with equal sort
/// values may come in any order, and where a limit cuts through a run of equals any of them may be in the answer.
pub fn plain_range(request: &pb::RangeRequest, response: &mut pb::RangeResponse) {
    let target = request.sort_target;
    if target == pb::range_request::SortTarget::Key as i32 {
        return;
    }
    let kvs = &mut response.kvs;
    let mut from = 0;
    while from < kvs.len() {
        let value = sort_value(target, &kvs[from]);
        let run = kvs[from..].iter().take_while(|kv| sort_value(target, kv) == value).count();
        kvs[from..from + run].sort_by(|a, b| a.key.cmp(&b.key));
        let cut_here = from + run == kvs.len() && response.more;
        if cut_here && run > 0 {
            for kv in &mut kvs[from..] {
                *kv = only_sort_value(target, kv);
            }
        }
        from += run;
    }
}

fn sort_value(target: i32, kv: &KeyValue) -> (i64, Bytes) {
    // Values stripped by keys_only compare as empty, which only makes the run of equals longer.
    match target {
        1 => (kv.version, Bytes::new()),
        2 => (kv.create_revision, Bytes::new()),
        3 => (kv.mod_revision, Bytes::new()),
        4 => (0, kv.value.clone()),
        _ => (0, kv.key.clone()),
    }
}

fn only_sort_value(target: i32, kv: &KeyValue) -> KeyValue {
    let (number, value) = sort_value(target, kv);
    KeyValue { version: number, value, ..Default::default() }
}

/// Applies [`plain_range`] to the ranges of a transaction, nested ones too, and [`plain_header`] to every header.
pub fn plain_txn(request: &pb::TxnRequest, response: &mut pb::TxnResponse) -> i64 {
    use pb::request_op::Request;
    use pb::response_op::Response;
    let revision = plain_header(&mut response.header);
    let taken = if response.succeeded { &request.success } else { &request.failure };
    for (asked, answered) in taken.iter().zip(&mut response.responses) {
        match (&asked.request, &mut answered.response) {
            (Some(Request::RequestRange(asked)), Some(Response::ResponseRange(answered))) => {
                plain_header(&mut answered.header);
                plain_range(asked, answered);
            }
            (Some(Request::RequestTxn(asked)), Some(Response::ResponseTxn(answered))) => {
                plain_txn(asked, answered);
            }
            (_, Some(Response::ResponsePut(answered))) => drop(plain_header(&mut answered.header)),
            (_, Some(Response::ResponseDeleteRange(answered))) => drop(plain_header(&mut answered.header)),
            _ => {}
        }
    }
    revision
}

/// The remaining time of a lease runs with the clock: it is judged against what was granted and then replaced by it.
pub fn plain_time_to_live(response: &mut pb::LeaseTimeToLiveResponse) {
    // Nothing in a run lives longer than ten minutes; a grant that long ago cannot have lost more than that.
    if response.ttl >= 0 && response.ttl <= response.granted_ttl && response.ttl + 600 >= response.granted_ttl {
        response.ttl = response.granted_ttl;
    }
    // Stock etcd walks a Go map here.
    response.keys.sort();
}

/// Status holds sizes, indexes and ids; what two honest servers share is kept. Sizes may be 0 where nothing is stored:
/// only a file of etcd's has pages of its own.
pub fn plain_status(response: &pb::StatusResponse) -> String {
    let minor: Vec<&str> = response.version.split('.').take(2).collect();
    // Alarm texts are Go's text form of protobuf, whose spacing is random by build and whose ids are the members'.
    let mut errors: Vec<String> = response.errors.iter().map(|text| plain_alarm_text(text)).collect();
    errors.sort();
    format!(
        "version {}, leader {}, learner {}, errors {errors:?}, storage known {}, quota {}, downgrade {:?}, sizes {}",
        minor.join("."),
        response.leader != 0,
        response.is_learner,
        // Stock etcd tells an old one in the first seconds of a fresh store, until it has looked at its cluster.
        !response.storage_version.is_empty(),
        response.db_size_quota,
        response.downgrade_info,
        (0..=response.db_size).contains(&response.db_size_in_use),
    )
}

fn plain_alarm_text(text: &str) -> String {
    let parts = text.split_whitespace().filter(|part| !part.starts_with("memberID:"));
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, version: i64) -> KeyValue {
        KeyValue { key: key.to_owned().into(), version, ..Default::default() }
    }

    #[test]
    fn ties_are_put_in_key_order_and_a_cut_run_keeps_only_its_sort_value() {
        let request = pb::RangeRequest { sort_target: 1, sort_order: 1, limit: 3, ..Default::default() };
        let answer = |kvs: Vec<KeyValue>| pb::RangeResponse { kvs, more: true, count: 5, header: None };
        let mut one = answer(vec![kv("b", 1), kv("a", 1), kv("c", 2)]);
        let mut two = answer(vec![kv("a", 1), kv("b", 1), kv("d", 2)]);
        plain_range(&request, &mut one);
        plain_range(&request, &mut two);
        assert_eq!(one, two);
        let mut wrong = answer(vec![kv("a", 1), kv("b", 1), kv("d", 3)]);
        plain_range(&request, &mut wrong);
        assert_ne!(one, wrong);
    }

    #[test]
    fn a_lease_that_lost_or_gained_time_is_not_hidden() {
        let mut lease = pb::LeaseTimeToLiveResponse { ttl: 2_000, granted_ttl: 1_000, ..Default::default() };
        plain_time_to_live(&mut lease);
        assert_eq!(lease.ttl, 2_000);
        let mut lease = pb::LeaseTimeToLiveResponse { ttl: 999, granted_ttl: 1_000, ..Default::default() };
        plain_time_to_live(&mut lease);
        assert_eq!(lease.ttl, 1_000);
    }
}
