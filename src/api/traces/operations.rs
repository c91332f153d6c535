//! What is told of each operation: etcd's names and attributes.
//!
//! Invariant: keys and numbers of a request are told, values never; a text is told up to a bound.

use crate::base::limits;
use crate::wire::etcdserverpb as pb;
use crate::wire::otlp::{AnyValue, KeyValue, any_value::Value};

/// What is told beside the name.
pub type Attributes = Vec<KeyValue>;

/// A request that has a span of its own inside its method's.
pub trait Operation {
    /// The span's name.
    const NAME: &'static str;
    /// What is told of it.
    fn attributes(&self) -> Attributes;
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_string(), value: Some(AnyValue { value: Some(value) }) }
}

/// A text.
pub fn words(name: &str, text: &str) -> KeyValue {
    bytes(name, text.as_bytes())
}

/// A number.
pub fn number(name: &str, number: i64) -> KeyValue {
    attribute(name, Value::IntValue(number))
}

/// Bytes as a text; what is none is replaced: a message of which one is not is refused whole.
fn bytes(name: &str, bytes: &[u8]) -> KeyValue {
    let told = &bytes[..bytes.len().min(limits::SPAN_TEXT_BYTES)];
    attribute(name, Value::StringValue(String::from_utf8_lossy(told).into_owned()))
}

fn truth(name: &str, truth: bool) -> KeyValue {
    attribute(name, Value::BoolValue(truth))
}

fn count<T>(name: &str, items: &[T]) -> KeyValue {
    number(name, i64::try_from(items.len()).unwrap_or(i64::MAX))
}

impl Operation for pb::RangeRequest {
    const NAME: &'static str = "range";

    fn attributes(&self) -> Attributes {
        let mut told = Streamed(self).attributes();
        told.push(truth("keys_only", self.keys_only));
        told
    }
}

/// A range that is answered in chunks.
#[derive(Debug)]
pub struct Streamed<'a>(pub &'a pb::RangeRequest);

impl Operation for Streamed<'_> {
    const NAME: &'static str = "range_streaming";

    fn attributes(&self) -> Attributes {
        vec![
            bytes("range_begin", &self.0.key),
            bytes("range_end", &self.0.range_end),
            number("rev", self.0.revision),
            number("limit", self.0.limit),
            truth("count_only", self.0.count_only),
        ]
    }
}

impl Operation for pb::PutRequest {
    const NAME: &'static str = "put";

    fn attributes(&self) -> Attributes {
        vec![bytes("key", &self.key)]
    }
}

impl Operation for pb::DeleteRangeRequest {
    const NAME: &'static str = "delete_range";

    fn attributes(&self) -> Attributes {
        vec![bytes("range_begin", &self.key), bytes("range_end", &self.range_end)]
    }
}

impl Operation for pb::TxnRequest {
    const NAME: &'static str = "txn";

    fn attributes(&self) -> Attributes {
        use pb::request_op::Request;
        let key_of = |op: &pb::RequestOp| match &op.request {
            Some(Request::RequestPut(put)) => put.key.clone(),
            Some(Request::RequestRange(range)) => range.key.clone(),
            Some(Request::RequestDeleteRange(delete)) => delete.key.clone(),
            _ => Default::default(),
        };
        let first_key = self.success.iter().map(key_of).find(|key| !key.is_empty()).unwrap_or_default();
        let kind = match self.success.iter().find_map(|op| op.request.as_ref()) {
            Some(Request::RequestPut(_)) => "put",
            Some(Request::RequestRange(_)) => "range",
            Some(Request::RequestDeleteRange(_)) => "delete_range",
            Some(Request::RequestTxn(_)) => "txn",
            None => "",
        };
        let lease = self.success.iter().find_map(|op| match &op.request {
            Some(Request::RequestPut(put)) => Some(put.lease),
            _ => None,
        });
        let compared = self.compare.iter().map(|compare| &compare.key).find(|key| !key.is_empty());
        let is_read = |op: &pb::RequestOp| matches!(&op.request, Some(Request::RequestRange(_)));
        vec![
            bytes("compare_first_key", compared.map_or(&[], |key| key)),
            bytes("success_first_key", &first_key),
            words("success_first_type", kind),
            number("success_first_lease", lease.unwrap_or(-1)),
            count("compare_len", &self.compare),
            count("success_len", &self.success),
            count("failure_len", &self.failure),
            truth("read_only", self.success.iter().chain(&self.failure).all(is_read)),
        ]
    }
}

impl Operation for pb::CompactionRequest {
    const NAME: &'static str = "compact";

    fn attributes(&self) -> Attributes {
        vec![truth("is_physical", self.physical), number("rev", self.revision)]
    }
}

impl Operation for pb::LeaseGrantRequest {
    const NAME: &'static str = "lease_grant";

    fn attributes(&self) -> Attributes {
        vec![number("id", self.id), number("ttl", self.ttl)]
    }
}

impl Operation for pb::LeaseRevokeRequest {
    const NAME: &'static str = "lease_revoke";

    fn attributes(&self) -> Attributes {
        vec![number("id", self.id)]
    }
}

impl Operation for pb::LeaseKeepAliveRequest {
    const NAME: &'static str = "lease_renew";

    fn attributes(&self) -> Attributes {
        vec![number("id", self.id)]
    }
}

impl Operation for pb::WatchCreateRequest {
    const NAME: &'static str = "watch";

    fn attributes(&self) -> Attributes {
        let begin: &[u8] = if self.key.is_empty() { b"\0" } else { &self.key };
        let end: &[u8] = if self.range_end[..] == [0] { b"" } else { &self.range_end };
        vec![
            bytes("key", begin),
            bytes("range_end", end),
            number("start_rev", self.start_revision),
            truth("progress_notify", self.progress_notify),
            truth("prev_kv", self.prev_kv),
            truth("fragment", self.fragment),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `name=value`.
    fn told(operation: &impl Operation) -> Vec<String> {
        let value = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::BoolValue(truth)) => truth.to_string(),
            Some(Value::IntValue(number)) => number.to_string(),
            None => "nothing".to_string(),
        };
        operation.attributes().iter().map(|pair| format!("{}={}", pair.key, value(pair))).collect()
    }

    #[test]
    fn a_transaction_is_told_by_its_first_parts() {
        use pb::request_op::Request;
        let op = |request| pb::RequestOp { request: Some(request) };
        let put = pb::PutRequest { key: "k".into(), value: "secret".into(), lease: 7, ..Default::default() };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare { key: "c".into(), ..Default::default() }],
            success: vec![op(Request::RequestTxn(pb::TxnRequest::default())), op(Request::RequestPut(put))],
            failure: vec![],
        };
        let expected = [
            "compare_first_key=c",
            "success_first_key=k",
            "success_first_type=txn",
            "success_first_lease=7",
            "compare_len=1",
            "success_len=2",
            "failure_len=0",
            "read_only=false",
        ];
        assert_eq!(told(&txn), expected);
        let empty = told(&pb::TxnRequest::default());
        assert_eq!((empty[3].as_str(), empty[7].as_str()), ("success_first_lease=-1", "read_only=true"));
    }

    #[test]
    fn texts_are_texts_and_bounded() {
        let put = pb::PutRequest { key: vec![0xff; limits::SPAN_TEXT_BYTES + 9].into(), ..Default::default() };
        assert_eq!(told(&put), [format!("key={}", "\u{fffd}".repeat(limits::SPAN_TEXT_BYTES))]);
    }

    #[test]
    fn a_watch_is_told_as_the_hub_has_it() {
        let all = pb::WatchCreateRequest { range_end: vec![0].into(), prev_kv: true, ..Default::default() };
        let expected =
            ["key=\0", "range_end=", "start_rev=0", "progress_notify=false", "prev_kv=true", "fragment=false"];
        assert_eq!(told(&all), expected);
    }
}
