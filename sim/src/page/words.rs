//! Requests and answers in a line of words, as a person would note them.
//!
//! Bytes are told as text with escapes; what is long is cut, and says so.

use quorate_spec::history::{Call, Outcome};
use quorate_spec::request::{
    Answer, Compare, DeleteRange, KeyValue, Op, OpAnswer, Put, Range, RangeAnswer, Request, Span, Target, Txn,
    TxnAnswer,
};

/// Bytes of a key or a value shown.
const SHORT_VALUE: usize = 24;

/// Key-values of an answer shown.
const SHORT_LIST: usize = 12;

/// Bytes as text; long ones are cut.
pub fn bytes(bytes: &[u8]) -> String {
    let cut = bytes.len().min(SHORT_VALUE);
    let dots = if cut < bytes.len() { "…" } else { "" };
    format!("{}{dots}", bytes[..cut].escape_ascii())
}

/// Lists of bytes in a text as text: `[107, 49]` is `"k1"`; long ones are cut.
pub fn readable(story: &str) -> String {
    let mut told = String::new();
    let mut rest = story;
    while let Some(at) = rest.find('[') {
        told.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let list = rest.find(']').and_then(|end| {
            let numbers: Result<Vec<u8>, _> = rest[..end].split(", ").map(str::parse).collect();
            Some((end, numbers.ok()?))
        });
        match list {
            Some((end, list)) => {
                told.push_str(&format!("\"{}\"", bytes(&list)));
                rest = &rest[end + 1..];
            }
            None => told.push('['),
        }
    }
    told + rest
}

/// What kind of call it is, in a word or two.
pub fn kind(call: &Call) -> &'static str {
    match call {
        Call::Change(request) => request_kind(request),
        Call::Range { serializable: false, .. } => "range",
        Call::Range { serializable: true, .. } => "old range",
        Call::ReadOnlyTxn { .. } => "reading txn",
    }
}

fn request_kind(request: &Request) -> &'static str {
    match request {
        Request::Put(_) => "put",
        Request::DeleteRange(_) => "delete",
        Request::Txn(_) => "txn",
        Request::Compact { .. } => "compact",
        Request::LeaseGrant { .. } => "grant",
        Request::LeaseRevoke { .. } => "revoke",
        Request::Alarm { .. } => "alarm",
        Request::Other => "other",
    }
}

/// What was asked.
pub fn call(call: &Call) -> String {
    match call {
        Call::Change(request) => request_in_words(request),
        Call::Range { query, serializable: false } => range(query),
        Call::Range { query, serializable: true } => format!("{}, may be old", range(query)),
        Call::ReadOnlyTxn { txn: asked, .. } => txn(asked),
    }
}

/// A change.
pub fn request_in_words(request: &Request) -> String {
    match request {
        Request::Put(asked) => put(asked),
        Request::DeleteRange(asked) => delete(asked),
        Request::Txn(asked) => txn(asked),
        Request::Compact { revision } => format!("compact at {revision}"),
        Request::LeaseGrant { id, ttl } => format!("grant lease {id} for {ttl} s"),
        Request::LeaseRevoke { id } => format!("revoke lease {id}"),
        Request::Alarm { on, member, kind } => {
            format!("alarm {kind:?} of {member:x} {}", if *on { "on" } else { "off" })
        }
        Request::Other => "something the store does not see".to_string(),
    }
}

fn span(span: &Span) -> String {
    match &span.end[..] {
        [] => bytes(&span.key),
        [0] if span.key == [0] => "everything".to_string(),
        [0] => format!("from {}", bytes(&span.key)),
        end => format!("{}..{}", bytes(&span.key), bytes(end)),
    }
}

/// The parts that are there, joined by blanks.
fn told(first: String, parts: &[(bool, String)]) -> String {
    let parts = parts.iter().filter(|(there, _)| *there);
    parts.fold(first, |told, (_, part)| format!("{told}, {part}"))
}

fn range(query: &Range) -> String {
    let targets = ["key", "version", "create", "mod", "value"];
    let target = usize::try_from(query.sort_target).ok().and_then(|target| targets.get(target)).unwrap_or(&"?");
    let order = if query.sort_order == 2 { "falling" } else { "rising" };
    let bounds = [
        ("mod ≥", query.min_mod_revision),
        ("mod ≤", query.max_mod_revision),
        ("create ≥", query.min_create_revision),
        ("create ≤", query.max_create_revision),
    ];
    let mut parts = vec![
        (query.revision != 0, format!("at revision {}", query.revision)),
        (query.limit != 0, format!("limit {}", query.limit)),
        (query.sort_order != 0, format!("by {target} {order}")),
        (query.keys_only, "keys only".to_string()),
        (query.count_only, "count only".to_string()),
    ];
    parts.extend(bounds.map(|(word, bound)| (bound != 0, format!("{word} {bound}"))));
    told(format!("get {}", span(&query.span)), &parts)
}

fn put(put: &Put) -> String {
    let value = if put.ignore_value { "(value kept)".to_string() } else { format!("\"{}\"", bytes(&put.value)) };
    let parts = [
        (put.lease != 0, format!("lease {}", put.lease)),
        (put.ignore_lease, "lease kept".to_string()),
        (put.prev_kv, "tell previous".to_string()),
    ];
    told(format!("put {} = {value}", bytes(&put.key)), &parts)
}

fn delete(delete: &DeleteRange) -> String {
    told(format!("delete {}", span(&delete.span)), &[(delete.prev_kv, "tell previous".to_string())])
}

fn txn(txn: &Txn) -> String {
    let list = |ops: &[Op]| {
        let ops: Vec<String> = ops.iter().map(op).collect();
        if ops.is_empty() { "nothing".to_string() } else { ops.join("; ") }
    };
    let compares: Vec<String> = txn.compares.iter().map(compare).collect();
    let condition = if compares.is_empty() { "always".to_string() } else { compares.join(" and ") };
    format!("if {condition}\nthen {}\nelse {}", list(&txn.success), list(&txn.failure))
}

fn op(op: &Op) -> String {
    match op {
        Op::Range(asked) => range(asked),
        Op::Put(asked) => put(asked),
        Op::DeleteRange(asked) => delete(asked),
        Op::Txn(nested) => format!("({})", txn(nested).replace('\n', " ")),
    }
}

fn compare(compare: &Compare) -> String {
    let signs = ["=", ">", "<", "≠"];
    let sign = usize::try_from(compare.result).ok().and_then(|result| signs.get(result)).unwrap_or(&"?");
    let (field, operand) = match &compare.target {
        Target::Version(version) => ("version", version.to_string()),
        Target::Create(revision) => ("create", revision.to_string()),
        Target::Mod(revision) => ("mod", revision.to_string()),
        Target::Value(value) => ("value", format!("\"{}\"", bytes(value))),
        Target::Lease(lease) => ("lease", lease.to_string()),
        Target::Unknown(target) => ("field", target.to_string()),
    };
    format!("{field} of {} {sign} {operand}", span(&compare.span))
}

/// How it ended: the class for its colour, and the words.
pub fn outcome(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Done { answer, .. } => ("done", answer_in_words(answer)),
        Outcome::Refused(text) => ("refused", text.clone()),
        Outcome::SurelyNot(text) => ("not", format!("not done: {text}")),
        Outcome::Unknown(text) => ("open", format!("open: {text}")),
    }
}

/// An answer.
pub fn answer_in_words(answer: &Answer) -> String {
    match answer {
        Answer::Put { prev_kv } => previous("put", prev_kv.iter()),
        Answer::DeleteRange { deleted, prev_kvs } => previous(&format!("deleted {deleted}"), prev_kvs.iter()),
        Answer::Txn(answer) => txn_answer(answer),
        Answer::Range(answer) => range_answer(answer),
        Answer::Compact => "compacted".to_string(),
        Answer::LeaseGrant { id, ttl } => format!("lease {id} for {ttl} s"),
        Answer::LeaseRevoke => "revoked".to_string(),
        Answer::Alarm(alarms) => {
            let alarms: Vec<String> = alarms.iter().map(|(member, kind)| format!("{kind:?} of {member:x}")).collect();
            format!("alarms: {}", if alarms.is_empty() { "none".to_string() } else { alarms.join(", ") })
        }
        Answer::Done => "done".to_string(),
    }
}

fn previous<'a>(word: &str, previous: impl Iterator<Item = &'a KeyValue>) -> String {
    let kvs = list(previous);
    if kvs.is_empty() { word.to_string() } else { format!("{word}; before: {kvs}") }
}

fn list<'a>(kvs: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut all: Vec<String> = kvs.map(key_value).collect();
    let more = all.len().saturating_sub(SHORT_LIST);
    all.truncate(SHORT_LIST);
    let more = if more > 0 { format!("\n… and {more} more") } else { String::new() };
    format!("{}{more}", all.join("\n"))
}

fn key_value(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(", lease {}", kv.lease) };
    let KeyValue { create_revision, mod_revision, version, .. } = kv;
    format!(
        "{} = \"{}\" (create {create_revision}, mod {mod_revision}, version {version}{lease})",
        bytes(&kv.key),
        bytes(&kv.value)
    )
}

fn range_answer(answer: &RangeAnswer) -> String {
    let more = if answer.more { ", and more" } else { "" };
    let kvs = list(answer.kvs.iter());
    format!("{} of {} keys{more}\n{kvs}", answer.kvs.len(), answer.count).trim_end().to_string()
}

fn txn_answer(answer: &TxnAnswer) -> String {
    let taken = if answer.succeeded { "then" } else { "else" };
    let answers = answer.answers.iter().map(|answer| match answer {
        OpAnswer::Range(answer) => range_answer(answer),
        OpAnswer::Put { prev_kv, .. } => previous("put", prev_kv.iter()),
        OpAnswer::DeleteRange { deleted, prev_kvs, .. } => previous(&format!("deleted {deleted}"), prev_kvs.iter()),
        OpAnswer::Txn(nested) => format!("({})", txn_answer(nested)),
    });
    let answers: Vec<String> = answers.collect();
    format!("{taken}: {}", answers.join(";\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_told_in_words() {
        let put = Put { key: b"k1".to_vec(), value: b"a\n".to_vec(), lease: 7, ..Put::default() };
        assert_eq!(request_in_words(&Request::Put(put.clone())), "put k1 = \"a\\n\", lease 7");
        let query = Range { span: Span::between("a", "c"), revision: 3, limit: 2, sort_order: 2, ..Range::default() };
        let asked = Call::Range { query, serializable: true };
        assert_eq!(call(&asked), "get a..c, at revision 3, limit 2, by key falling, may be old");
        let compare = Compare { span: Span::one("k1"), target: Target::Mod(4), result: 1 };
        let txn = Txn { compares: vec![compare], success: vec![Op::Put(put)], failure: Vec::new() };
        let told = request_in_words(&Request::Txn(txn));
        assert_eq!(told, "if mod of k1 > 4\nthen put k1 = \"a\\n\", lease 7\nelse nothing");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(bytes(&[b'x'; 30]), format!("{}…", "x".repeat(24)));
        let kv =
            KeyValue { key: b"k".to_vec(), mod_revision: 4, create_revision: 4, version: 1, ..KeyValue::default() };
        let answer = RangeAnswer { kvs: vec![kv; 15], more: true, count: 20, revision: 9 };
        let told = answer_in_words(&Answer::Range(answer));
        assert!(told.starts_with("15 of 20 keys, and more\nk = \"\" (create 4, mod 4, version 1)\n"), "{told}");
        assert!(told.ends_with("… and 3 more"), "{told}");
        assert_eq!(readable("key: [107, 49], list: [a, b]"), "key: \"k1\", list: [a, b]");
    }
}
