//! Requests that took long: a line of the log for each, in etcd's words.
//!
//! Invariants: values are never told, but how long they are; of each method a line is written seldom, and the next one says how
//! many were held back; what is kept of a request until it is answered is bounded. Does not know when a request begins or ends.

use std::any::Any;
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

/// A request in short, from which it can be told: of those for keys alone there is more than that it came.
#[derive(Debug, Default)]
pub struct Outline {
    size: usize,
    value_size: usize,
    /// Encoded, a put without its value; nothing where that is too long.
    message: Vec<u8>,
}

impl Outline {
    /// Of a request of this method.
    pub fn of<Q: Message + 'static>(rpc: Rpc, request: &Q) -> Self {
        if !is_for_keys(rpc) {
            return Self::default();
        }
        let size = request.encoded_len();
        let any: &dyn Any = request;
        match any.downcast_ref::<pb::PutRequest>() {
            None => Self { size, value_size: 0, message: kept(request, size) },
            Some(put) => {
                let bare = pb::PutRequest { value: Bytes::new(), ..put.clone() };
                Self { size, value_size: put.value.len(), message: kept(&bare, bare.encoded_len()) }
            }
        }
    }
}

fn is_for_keys(rpc: Rpc) -> bool {
    matches!(rpc, Rpc::Range | Rpc::Put | Rpc::DeleteRange | Rpc::Txn)
}

fn kept(request: &impl Message, size: usize) -> Vec<u8> {
    if size > limits::TOLD_REQUEST_BYTES {
        return Vec::new();
    }
    let mut message = Vec::with_capacity(size);
    request.encode_raw(&mut message);
    message
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
            Rpc::Range => (0, outline.size, shown(outline, request_text::range)),
            Rpc::Put => (1, outline.size, shown(outline, |put| request_text::put(put, outline.value_size))),
            Rpc::DeleteRange => (0, outline.size, shown(outline, request_text::delete_range)),
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
            content,
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

fn shown<Q: Message + Default>(outline: &Outline, show: impl Fn(&Q) -> String) -> String {
    decoded(outline).map_or_else(String::new, |request| show(&request))
}

fn decoded<Q: Message + Default>(outline: &Outline) -> Option<Q> {
    Q::decode(&outline.message[..]).ok()
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::transport::answered::answered;
    use crate::api::transport::pieces::Whole;
    use pb::request_op::Request;

    fn told(asked_for: i64, request_bytes: i64, answered_with: i64, response_bytes: i64, content: &str) -> Told {
        Told { asked_for, request_bytes, answered_with, response_bytes, content: content.to_string() }
    }

    fn header() -> Option<pb::ResponseHeader> {
        let (cluster_id, member_id) = (13_729_937_096_948_265_767, 13_703_646_208_778_057_879);
        Some(pb::ResponseHeader { cluster_id, member_id, revision: 3, raft_term: 2 })
    }

    fn put(key: &'static str, value: &'static [u8]) -> pb::PutRequest {
        pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
    }

    /// Counts and sizes as stock etcd 3.7.1 told them.
    #[test]
    fn requests_are_counted_as_etcd_counts_them() {
        let one = put("foo", b"123456");
        let outline = Outline::of(Rpc::Put, &one);
        let answer = answered(&Whole::from(pb::PutResponse { header: header(), prev_kv: None }));
        assert_eq!(Told::of(Rpc::Put, &outline, Some(&answer)), told(1, 13, 0, 28, "key:\"foo\" value_size:6 "));
        assert_eq!(Told::of(Rpc::Put, &outline, None), told(1, 13, 0, 0, "key:\"foo\" value_size:6 "), "refused");
        let delete = pb::DeleteRangeRequest { key: "zzz".into(), ..Default::default() };
        let deleted = pb::DeleteRangeResponse { header: header(), deleted: 0, ..Default::default() };
        let deleted = answered(&Whole::from(deleted));
        let outline = Outline::of(Rpc::DeleteRange, &delete);
        assert_eq!(Told::of(Rpc::DeleteRange, &outline, Some(&deleted)), told(0, 5, 0, 28, "key:\"zzz\""));
        let two = pb::DeleteRangeResponse { header: header(), deleted: 2, ..Default::default() };
        let two = answered(&Whole::from(two));
        assert_eq!(Told::of(Rpc::DeleteRange, &outline, Some(&two)), told(0, 5, 2, 30, "key:\"zzz\""));
        let grant = pb::LeaseGrantRequest { ttl: 5, id: 0 };
        let granted = answered(&Whole::from(pb::LeaseGrantResponse::default()));
        let outline = Outline::of(Rpc::LeaseGrant, &grant);
        assert_eq!(Told::of(Rpc::LeaseGrant, &outline, Some(&granted)), told(-1, -1, -1, -1, ""));
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
        let outline = Outline::of(Rpc::Txn, &request);
        let answer =
            |succeeded| answered(&Whole::from(pb::TxnResponse { header: header(), succeeded, responses: Vec::new() }));
        let text = request_text::txn(&request);
        assert_eq!(Told::of(Rpc::Txn, &outline, Some(&answer(false))), told(3, 19, 0, 28, &text));
        assert_eq!(Told::of(Rpc::Txn, &outline, Some(&answer(true))), told(1, 11, 0, 30, &text));
        assert_eq!(Told::of(Rpc::Txn, &outline, None), told(0, 0, 0, 0, ""), "as etcd tells one that was refused");
    }

    #[test]
    fn what_is_kept_is_bounded_and_has_no_value_of_a_put() {
        let large = vec![b'v'; 1 << 20];
        let outline = Outline::of(Rpc::Put, &pb::PutRequest { key: "k".into(), value: large.into(), ..put("", b"") });
        assert!(outline.message.len() < 10, "{}", outline.message.len());
        let shown = Told::of(Rpc::Put, &outline, None);
        assert_eq!((shown.content.as_str(), shown.request_bytes), ("key:\"k\" value_size:1048576 ", (1 << 20) + 7));
        let long = pb::RangeRequest { key: vec![b'k'; limits::TOLD_REQUEST_BYTES].into(), ..Default::default() };
        let outline = Outline::of(Rpc::Range, &long);
        assert_eq!((outline.message.len(), outline.size), (0, limits::TOLD_REQUEST_BYTES + 3));
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
