//! Requests that took long: a line of the log, in etcd's words.
//!
//! Invariants: values are never told, but how long they are; of each method a line is written seldom, and the next one says how
//! many were held back; what is told of one is bounded. Does not know when a request begins or ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use crate::api::methods::Rpc;
use crate::api::request_text;
use crate::api::seldom::Seldom;
use crate::base::{limits, show_duration, timestamp};
use crate::wire::etcdserverpb as pb;

/// What is slow, and when that was told last.
pub struct SlowRequests {
    /// `None` is everything.
    beyond: Option<Duration>,
    /// Of each method.
    told: Vec<Seldom>,
}

impl SlowRequests {
    /// What takes longer than this is slow; where it is nothing, everything is.
    pub fn beyond(beyond: Option<Duration>) -> Self {
        Self { beyond, told: Rpc::ALL.iter().map(|_| Seldom::default()).collect() }
    }

    /// Whether what took so long is slow.
    pub fn is_slow(&self, took: Duration) -> bool {
        self.beyond.is_none_or(|beyond| took > beyond)
    }

    /// Whether one more of a method is to be told now: with the number of those that were not, where there are.
    fn one_more(&self, rpc: Rpc, now: Instant) -> Option<Option<u64>> {
        self.told[rpc as usize].one_more(now).map(|times| (times > 1).then(|| times - 1))
    }

    /// Tells a request that took so long and ends now: what it asked, and what it was answered.
    pub fn tell(
        &self,
        rpc: Rpc,
        took: Duration,
        from: Option<SocketAddr>,
        outline: &Outline,
        answered: Option<&Answered>,
    ) {
        let Some(held_back) = self.one_more(rpc, Instant::now()) else { return };
        let told = Told::of(rpc, outline, answered);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        tracing::warn!(
            "start time" = timestamp(since.saturating_sub(took)),
            "time spent" = show_duration(took),
            remote = from.map_or_else(|| "@".to_string(), |from| from.to_string()),
            "response type" = rpc.path(),
            "request count" = told.asked_for,
            "request size" = told.request_bytes,
            "response count" = told.answered_with,
            "response size" = told.response_bytes,
            "request content" = told.content,
            "lines-held-back" = held_back,
            "request stats"
        );
    }
}

/// A request from which it can be told, should it take long: what it came as, of those for keys; of others that it came.
#[derive(Default)]
pub struct Outline {
    frame: Bytes,
}

impl Outline {
    /// Of a request of this method, which came as this.
    pub fn of(rpc: Rpc, frame: &Bytes) -> Self {
        if !is_for_keys(rpc) {
            return Self::default();
        }
        // What is small would hold the whole buffer that it came in.
        let is_small = frame.len() <= limits::COPIED_REQUEST_BYTES;
        Self { frame: if is_small { Bytes::copy_from_slice(frame) } else { frame.clone() } }
    }
}

fn is_for_keys(rpc: Rpc) -> bool {
    matches!(rpc, Rpc::Range | Rpc::Put | Rpc::DeleteRange | Rpc::Txn)
}

/// An answer in short.
#[derive(Debug, Default)]
pub struct Answered {
    /// Bytes of it.
    pub size: usize,
    /// Keys that it tells of, where etcd counts them.
    pub count: i64,
    /// Whether the conditions of a transaction held.
    pub succeeded: bool,
}

/// What a line says, as etcd counts it.
#[derive(PartialEq, Eq, Debug)]
struct Told {
    asked_for: i64,
    request_bytes: i64,
    answered_with: i64,
    response_bytes: i64,
    content: String,
}

impl Told {
    fn of(rpc: Rpc, outline: &Outline, answered: Option<&Answered>) -> Self {
        let (asked_for, request_bytes, content) = match rpc {
            Rpc::Range => told(0, outline, request_text::range),
            Rpc::Put => told(1, outline, |put| request_text::put(put, put.value.len())),
            Rpc::DeleteRange => told(0, outline, request_text::delete_range),
            Rpc::Txn => txn(outline, answered),
            _ => {
                let none = -1;
                return Self {
                    asked_for: none,
                    request_bytes: none,
                    answered_with: none,
                    response_bytes: none,
                    content: String::new(),
                };
            }
        };
        Self {
            asked_for,
            request_bytes: whole(request_bytes),
            answered_with: answered.map_or(0, |answered| answered.count),
            response_bytes: whole(answered.map_or(0, |answered| answered.size)),
            content: cut(content),
        }
    }
}

/// Of the list of a transaction that was carried out; of one that was not there is nothing.
fn txn(outline: &Outline, answered: Option<&Answered>) -> (i64, usize, String) {
    let (Some(answered), Some(request)) = (answered, decoded::<pb::TxnRequest>(outline)) else {
        return (0, 0, String::new());
    };
    let ops = if answered.succeeded { &request.success } else { &request.failure };
    let size = ops.iter().map(Message::encoded_len).sum();
    (whole(ops.len()), size, request_text::txn(&request))
}

/// How many it asks for, its size, and its text.
fn told<Q: Message + Default>(asked_for: i64, outline: &Outline, show: impl Fn(&Q) -> String) -> (i64, usize, String) {
    // It was decoded once.
    let request: Q = decoded(outline).unwrap_or_default();
    (asked_for, request.encoded_len(), show(&request))
}

fn decoded<Q: Message + Default>(outline: &Outline) -> Option<Q> {
    Q::decode(outline.frame.clone()).ok()
}

/// The beginning of a text that is long.
fn cut(mut text: String) -> String {
    if text.len() > limits::TOLD_CONTENT_BYTES {
        let end = (0..=limits::TOLD_CONTENT_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::services::txn_pieces::Carried;
    use crate::api::transport::answered::answered;
    use crate::api::transport::pieces::Whole;
    use pb::request_op::Request;

    fn line(asked_for: i64, request_bytes: i64, answered_with: i64, response_bytes: i64, content: &str) -> Told {
        Told { asked_for, request_bytes, answered_with, response_bytes, content: content.to_string() }
    }

    fn header() -> Option<pb::ResponseHeader> {
        let (cluster_id, member_id) = (13_729_937_096_948_265_767, 13_703_646_208_778_057_879);
        Some(pb::ResponseHeader { cluster_id, member_id, revision: 3, raft_term: 2 })
    }

    fn outline(rpc: Rpc, request: &impl Message) -> Outline {
        Outline::of(rpc, &request.encode_to_vec().into())
    }

    fn put(key: &'static str, value: &'static [u8]) -> pb::PutRequest {
        pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
    }

    /// Counts and sizes as stock etcd 3.7.1 told them.
    #[test]
    fn requests_are_counted_as_etcd_counts_them() {
        let one = put("foo", b"123456");
        let asked = outline(Rpc::Put, &one);
        let answer = answered(&Whole::from(pb::PutResponse { header: header(), prev_kv: None }));
        assert_eq!(Told::of(Rpc::Put, &asked, Some(&answer)), line(1, 13, 0, 28, "key:\"foo\" value_size:6 "));
        assert_eq!(Told::of(Rpc::Put, &asked, None), line(1, 13, 0, 0, "key:\"foo\" value_size:6 "), "refused");
        let delete = pb::DeleteRangeRequest { key: "zzz".into(), ..Default::default() };
        let deleted = pb::DeleteRangeResponse { header: header(), deleted: 0, ..Default::default() };
        let deleted = answered(&Carried::from((deleted, None)));
        let asked = outline(Rpc::DeleteRange, &delete);
        assert_eq!(Told::of(Rpc::DeleteRange, &asked, Some(&deleted)), line(0, 5, 0, 28, "key:\"zzz\""));
        let two = pb::DeleteRangeResponse { header: header(), deleted: 2, ..Default::default() };
        let two = answered(&Carried::from((two, None)));
        assert_eq!(Told::of(Rpc::DeleteRange, &asked, Some(&two)), line(0, 5, 2, 30, "key:\"zzz\""));
        let grant = pb::LeaseGrantRequest { ttl: 5, id: 0 };
        let granted = answered(&Whole::from(pb::LeaseGrantResponse::default()));
        let asked = outline(Rpc::LeaseGrant, &grant);
        assert_eq!(Told::of(Rpc::LeaseGrant, &asked, Some(&granted)), line(-1, -1, -1, -1, ""));
    }

    #[test]
    fn of_a_transaction_the_list_is_counted_that_was_carried_out() {
        let op = |request| pb::RequestOp { request: Some(request) };
        let success = vec![op(Request::RequestPut(put("c", b"dddd")))];
        let range =
            |key: &'static str| Request::RequestRange(pb::RangeRequest { key: key.into(), ..Default::default() });
        let delete = Request::RequestDeleteRange(pb::DeleteRangeRequest { key: "e".into(), ..Default::default() });
        let failure = vec![op(range("d")), op(delete), op(Request::RequestPut(put("x", b"yy")))];
        let request = pb::TxnRequest { compare: Vec::new(), success, failure };
        let asked = outline(Rpc::Txn, &request);
        let answer = |succeeded| {
            answered(&Carried::from((pb::TxnResponse { header: header(), succeeded, responses: Vec::new() }, None)))
        };
        let text = request_text::txn(&request);
        assert_eq!(Told::of(Rpc::Txn, &asked, Some(&answer(false))), line(3, 19, 0, 28, &text));
        assert_eq!(Told::of(Rpc::Txn, &asked, Some(&answer(true))), line(1, 11, 0, 30, &text));
        assert_eq!(Told::of(Rpc::Txn, &asked, None), line(0, 0, 0, 0, ""), "as etcd tells one that was refused");
    }

    /// As stock etcd 3.7.1 told it.
    #[test]
    fn of_a_long_transaction_all_is_told_but_its_values() {
        use pb::compare::{CompareTarget, TargetUnion};
        let is_new = pb::Compare {
            target: CompareTarget::Mod.into(),
            key: "k".into(),
            target_union: Some(TargetUnion::ModRevision(0)),
            ..Default::default()
        };
        let value = vec![b'v'; 2_000].into();
        let create = Request::RequestPut(pb::PutRequest { key: "k".into(), value, ..Default::default() });
        let success = vec![pb::RequestOp { request: Some(create) }];
        let request = pb::TxnRequest { compare: vec![is_new], success, failure: Vec::new() };
        let answer = pb::TxnResponse { header: header(), succeeded: true, responses: Vec::new() };
        let told = Told::of(Rpc::Txn, &outline(Rpc::Txn, &request), Some(&answered(&Carried::from((answer, None)))));
        let text = r#"compare:<target:MOD key:"k" mod_revision:0> success:<request_put:<key:"k" value_size:2000 >> failure:<>"#;
        assert_eq!(told, line(1, 2_009, 0, 30, text));
    }

    #[test]
    fn what_is_told_is_bounded_and_what_is_kept_holds_no_large_buffer_for_little() {
        let large = pb::PutRequest { key: "k".into(), value: vec![b'v'; 1 << 20].into(), ..Default::default() };
        let told = Told::of(Rpc::Put, &outline(Rpc::Put, &large), None);
        assert_eq!((told.content.as_str(), told.request_bytes), ("key:\"k\" value_size:1048576 ", (1 << 20) + 7));
        let long =
            pb::RangeRequest { key: [0xc3, 0xa9].repeat(limits::TOLD_CONTENT_BYTES).into(), ..Default::default() };
        let content = Told::of(Rpc::Range, &outline(Rpc::Range, &long), None).content;
        assert!(content.len() <= limits::TOLD_CONTENT_BYTES + 3 && content.ends_with("é..."), "{}", content.len());
        let [small, large] = [limits::COPIED_REQUEST_BYTES, limits::COPIED_REQUEST_BYTES + 1].map(|len| {
            let buffer = Bytes::from(vec![0; 8_192]);
            let frame = buffer.slice(..len);
            let kept = Outline::of(Rpc::Range, &frame).frame;
            assert_eq!(kept, frame);
            kept.as_ptr() == buffer.as_ptr()
        });
        assert!(!small && large);
    }

    #[test]
    fn of_each_method_one_is_told_and_those_behind_it_are_counted() {
        let (slow, start) = (SlowRequests::beyond(None), Instant::now());
        let later = start + Duration::from_millis(limits::SELDOM_MS);
        assert_eq!(slow.one_more(Rpc::Put, start), Some(None));
        assert_eq!([(); 3].map(|()| slow.one_more(Rpc::Put, start)), [None; 3]);
        assert_eq!(slow.one_more(Rpc::Range, start), Some(None), "another method");
        assert_eq!(slow.one_more(Rpc::Put, later), Some(Some(3)));
        assert_eq!(slow.one_more(Rpc::Range, later), Some(None));
    }

    #[test]
    fn what_is_slow_takes_longer_than_the_bound() {
        let bound = Duration::from_millis(300);
        let slow = SlowRequests::beyond(Some(bound));
        assert!(!slow.is_slow(bound) && slow.is_slow(bound + Duration::from_nanos(1)));
        assert!(SlowRequests::beyond(None).is_slow(Duration::ZERO));
    }
}
