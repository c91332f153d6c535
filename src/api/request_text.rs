//! Requests for keys as text, as etcd tells them in its log.
//!
//! Invariant: a value is never shown, but how long it is. Does not know why a request is told.
//!
//! Two of etcd's libraries write these texts: one what it makes of puts and of comparisons of values, the other the rest. They quote
//! bytes in different ways, and the first ends with a blank.

use std::fmt::Write as _;

use crate::wire::etcdserverpb as pb;

/// Field by field, those that say nothing left out.
#[derive(Default)]
struct Fields {
    text: String,
    /// How bytes are quoted.
    octal: bool,
}

impl Fields {
    fn octal() -> Self {
        Self { octal: true, ..Self::default() }
    }

    fn field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let blank = if self.text.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(self.text, "{blank}{name}:{value}");
        self
    }

    fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return self;
        }
        let quoted = if self.octal { in_octal(bytes) } else { as_text(bytes) };
        self.field(name, quoted)
    }

    fn number(self, name: &str, number: i64) -> Self {
        if number == 0 { self } else { self.field(name, number) }
    }

    fn flag(self, name: &str, set: bool) -> Self {
        if set { self.field(name, true) } else { self }
    }

    /// One of a few words; a number that stands for none is told as it is.
    fn word(self, name: &str, number: i32, word: Option<&'static str>) -> Self {
        match word {
            _ if number == 0 => self,
            Some(word) => self.field(name, word),
            None => self.field(name, number),
        }
    }

    fn ended_by_blank(mut self) -> String {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text
    }
}

/// What is no letter of ASCII stands in octal numbers.
fn in_octal(bytes: &[u8]) -> String {
    let mut quoted = String::from('"');
    for byte in bytes {
        match byte {
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            b'"' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            0x20..0x7f => quoted.push(char::from(*byte)),
            _ => drop(write!(quoted, "\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted
}

/// What is text stands as it is, the rest in hexadecimal numbers.
fn as_text(bytes: &[u8]) -> String {
    let mut quoted = String::from('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '"' | '\\' => quoted.extend(['\\', c]),
                '\0'..' ' | '\x7f' => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
                '\u{80}'..='\u{9f}' => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// A range.
pub fn range(request: &pb::RangeRequest) -> String {
    use pb::range_request::{SortOrder, SortTarget};
    let order = SortOrder::try_from(request.sort_order).ok().map(|order| order.as_str_name());
    let target = SortTarget::try_from(request.sort_target).ok().map(|target| target.as_str_name());
    let fields = Fields::default()
        .bytes("key", &request.key)
        .bytes("range_end", &request.range_end)
        .number("limit", request.limit)
        .number("revision", request.revision)
        .word("sort_order", request.sort_order, order)
        .word("sort_target", request.sort_target, target)
        .flag("serializable", request.serializable)
        .flag("keys_only", request.keys_only)
        .flag("count_only", request.count_only)
        .number("min_mod_revision", request.min_mod_revision)
        .number("max_mod_revision", request.max_mod_revision)
        .number("min_create_revision", request.min_create_revision)
        .number("max_create_revision", request.max_create_revision);
    fields.text
}

/// A put whose value has so many bytes; what stands in the request in its place is not looked at.
pub fn put(request: &pb::PutRequest, value_size: usize) -> String {
    let fields = Fields::octal()
        .bytes("key", &request.key)
        .number("value_size", i64::try_from(value_size).unwrap_or(i64::MAX))
        .number("lease", request.lease)
        .flag("prev_kv", request.prev_kv)
        .flag("ignore_value", request.ignore_value)
        .flag("ignore_lease", request.ignore_lease);
    fields.ended_by_blank()
}

/// A deletion.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> String {
    let fields = Fields::default()
        .bytes("key", &request.key)
        .bytes("range_end", &request.range_end)
        .flag("prev_kv", request.prev_kv);
    fields.text
}

/// A transaction. As deep as one that was decoded.
pub fn txn(request: &pb::TxnRequest) -> String {
    let joined = |ops: &[pb::RequestOp]| ops.iter().map(op).collect::<Vec<_>>().join(" ");
    let compare = request.compare.iter().map(compare).collect::<Vec<_>>().join(" ");
    format!("compare:<{compare}> success:<{}> failure:<{}>", joined(&request.success), joined(&request.failure))
}

fn op(op: &pb::RequestOp) -> String {
    use pb::request_op::Request;
    match &op.request {
        None => String::new(),
        Some(Request::RequestRange(request)) => format!("request_range:{{{}}}", range(request)),
        Some(Request::RequestPut(request)) => format!("request_put:<{}>", put(request, request.value.len())),
        Some(Request::RequestDeleteRange(request)) => format!("request_delete_range:{{{}}}", delete_range(request)),
        Some(Request::RequestTxn(request)) => format!("request_txn:<{}>", txn(request)),
    }
}

fn compare(compare: &pb::Compare) -> String {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = CompareResult::try_from(compare.result).ok().map(|result| result.as_str_name());
    let target = CompareTarget::try_from(compare.target).ok().map(|target| target.as_str_name());
    let is_of_value = matches!(compare.target_union, Some(TargetUnion::Value(_)));
    let fields = Fields { octal: is_of_value, ..Fields::default() }
        .word("result", compare.result, result)
        .word("target", compare.target, target)
        .bytes("key", &compare.key);
    let fields = match &compare.target_union {
        None => fields,
        Some(TargetUnion::Value(value)) => fields.number("value_size", i64::try_from(value.len()).unwrap_or(i64::MAX)),
        // What it is compared with is told, though it be nothing.
        Some(TargetUnion::Version(version)) => fields.field("version", version),
        Some(TargetUnion::CreateRevision(revision)) => fields.field("create_revision", revision),
        Some(TargetUnion::ModRevision(revision)) => fields.field("mod_revision", revision),
        Some(TargetUnion::Lease(lease)) => fields.field("lease", lease),
    };
    let fields = fields.bytes("range_end", &compare.range_end);
    if is_of_value { fields.ended_by_blank() } else { fields.text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request;

    const ODD: &[u8] = b"a\0\x7f\xc3\xa9\xc2\x85\xff\"\\\n\t\r";

    fn ops(requests: impl IntoIterator<Item = Request>) -> Vec<pb::RequestOp> {
        requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
    }

    fn compared(result: CompareResult, target: CompareTarget, with: TargetUnion, key: &'static [u8]) -> pb::Compare {
        let end: &[u8] = if key == b"q" { b"" } else { b"c\0" };
        pb::Compare {
            result: result.into(),
            target: target.into(),
            key: key.into(),
            range_end: end.into(),
            target_union: Some(with),
        }
    }

    /// Each as stock etcd 3.7.1 told it.
    #[test]
    fn requests_are_told_as_etcd_tells_them() {
        let all = pb::RangeRequest {
            key: ODD.into(),
            range_end: b"\0"[..].into(),
            limit: 3,
            revision: 1,
            sort_order: 1,
            sort_target: 4,
            serializable: true,
            keys_only: true,
            count_only: true,
            min_mod_revision: 1,
            max_mod_revision: 2,
            min_create_revision: 3,
            max_create_revision: 4,
        };
        assert_eq!(
            range(&all),
            r#"key:"a\x00\x7fé\u0085\xff\"\\\n\t\r" range_end:"\x00" limit:3 revision:1 sort_order:ASCEND sort_target:VALUE serializable:true keys_only:true count_only:true min_mod_revision:1 max_mod_revision:2 min_create_revision:3 max_create_revision:4"#
        );
        assert_eq!(range(&pb::RangeRequest::default()), "");
        let odd = pb::PutRequest { key: ODD.into(), prev_kv: true, ..Default::default() };
        assert_eq!(put(&odd, 6), r#"key:"a\000\177\303\251\302\205\377\"\\\n\t\r" value_size:6 prev_kv:true "#);
        let bare = pb::PutRequest {
            key: b"a"[..].into(),
            lease: -5,
            prev_kv: true,
            ignore_value: true,
            ignore_lease: true,
            ..Default::default()
        };
        assert_eq!(put(&bare, 0), r#"key:"a" lease:-5 prev_kv:true ignore_value:true ignore_lease:true "#);
        let delete = pb::DeleteRangeRequest { key: b"a"[..].into(), range_end: b"b"[..].into(), prev_kv: true };
        assert_eq!(delete_range(&delete), r#"key:"a" range_end:"b" prev_kv:true"#);
    }

    /// As stock etcd 3.7.1 told it.
    #[test]
    fn transactions_are_told_with_all_that_is_in_them_but_values() {
        let secret = || b"secret"[..].into();
        let inner = pb::TxnRequest {
            success: ops([
                Request::RequestPut(pb::PutRequest { key: b"x"[..].into(), value: secret(), ..Default::default() }),
                Request::RequestRange(pb::RangeRequest { key: b"x"[..].into(), limit: 2, ..Default::default() }),
            ]),
            ..Default::default()
        };
        let whole = pb::TxnRequest {
            compare: vec![
                compared(CompareResult::NotEqual, CompareTarget::Value, TargetUnion::Value(secret()), b"a"),
                compared(CompareResult::Less, CompareTarget::Lease, TargetUnion::Lease(7), b"a\0"),
                compared(CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0), b"q"),
                compared(CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(0), b"q"),
            ],
            success: ops([Request::RequestTxn(inner)]),
            failure: ops([Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: b"z"[..].into(),
                ..Default::default()
            })]),
        };
        assert_eq!(
            txn(&whole),
            r#"compare:<result:NOT_EQUAL target:VALUE key:"a" value_size:6 range_end:"c\000"  result:LESS target:LEASE key:"a\x00" lease:7 range_end:"c\x00" key:"q" version:0 target:CREATE key:"q" create_revision:0> success:<request_txn:<compare:<> success:<request_put:<key:"x" value_size:6 > request_range:{key:"x" limit:2}> failure:<>>> failure:<request_delete_range:{key:"z"}>"#
        );
        assert_eq!(txn(&pb::TxnRequest::default()), "compare:<> success:<> failure:<>");
    }
}
