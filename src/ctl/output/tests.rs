//! Replies in each format against what the stock tool printed for them (`testdata/recorded.txt`).
//!
//! The one change made to the record: stock builds separate the parts of an alarm by one space or two.

use super::*;
use crate::ctl::commands::endpoint::Answered;
use crate::ctl::commands::lease::Remaining;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::mvccpb::{Event, KeyValue};

const RECORDED: &[u8] = include_bytes!("../testdata/recorded.txt");
const CLUSTER: u64 = 4_647_250_493_846_162_990;
const MEMBER: u64 = 2_908_439_535_060_005_921;

/// The text recorded under a heading.
fn recorded(heading: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let mut inside = false;
    for line in RECORDED.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_prefix(b"## ") {
            Some(name) => inside = name.trim_ascii_end() == heading.as_bytes(),
            None if inside => text.extend_from_slice(line),
            None => {}
        }
    }
    assert!(RECORDED.windows(heading.len()).any(|window| window == heading.as_bytes()), "nothing under {heading}");
    text
}

fn check_format(name: &str, format_name: &str, reply: &dyn Reply, look: Look) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (_, print) = format(format_name).expect("built");
    print(reply, look, &mut Streams { out: &mut out, err: &mut err }).expect("memory takes all");
    let expected = recorded(&format!("{name} {format_name}"));
    assert_eq!(out, expected, "{}\n{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
    assert!(err.is_empty());
}

fn check(name: &str, reply: &dyn Reply) {
    check_format(name, "simple", reply, Look::default());
    check_format(name, "json", reply, Look::default());
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: CLUSTER, member_id: MEMBER, revision, raft_term: 2 })
}

fn kv(key: &'static str, create_revision: i64, mod_revision: i64, version: i64, value: &'static [u8]) -> KeyValue {
    KeyValue { key: key.into(), create_revision, mod_revision, version, value: value.into(), lease: 0 }
}

#[test]
fn keys_read_written_and_deleted() {
    // The two formats were recorded one write apart; `simple` shows no revisions.
    check("put_prev", &pb::PutResponse { header: header(4), prev_kv: Some(kv("a", 2, 3, 2, b"1")) });
    let get = pb::RangeResponse { header: header(4), kvs: vec![kv("a", 2, 4, 3, b"1")], more: false, count: 1 };
    check("get", &get);
    check_format("get_hex", "simple", &get, Look { hex: true, values_only: false });
    check("get_none", &pb::RangeResponse { header: header(4), ..Default::default() });
    check(
        "get_two",
        &pb::RangeResponse { header: header(7), kvs: vec![kv("b", 6, 6, 1, b"\xff<")], more: true, count: 2 },
    );
    let deleted = pb::DeleteRangeResponse { header: header(5), deleted: 1, prev_kvs: vec![kv("a", 2, 4, 3, b"1")] };
    check_format("del_prev", "simple", &deleted, Look::default());
    let nothing = pb::DeleteRangeResponse { header: header(5), ..Default::default() };
    check_format("del_prev", "json", &nothing, Look::default());
}

#[test]
fn a_transaction() {
    let within = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    let txn = |prev_kv| {
        let responses = [
            Response::ResponseRange(pb::RangeResponse {
                header: within(8),
                kvs: vec![kv("b", 6, 6, 1, b"\xff<")],
                more: false,
                count: 1,
            }),
            Response::ResponsePut(pb::PutResponse { header: within(9), prev_kv: Some(prev_kv) }),
            Response::ResponseDeleteRange(pb::DeleteRangeResponse { header: within(9), ..Default::default() }),
        ];
        let responses = responses.into_iter().map(|response| pb::ResponseOp { response: Some(response) }).collect();
        pb::TxnResponse { header: header(9), succeeded: true, responses }
    };
    check_format("txn", "simple", &txn(kv("c", 7, 7, 1, b"3")), Look::default());
    check_format("txn", "json", &txn(kv("c", 7, 8, 2, b"4")), Look::default());
}

#[test]
fn leases() {
    let grant = |id| pb::LeaseGrantResponse { header: header(9), id, ttl: 100, error: String::new() };
    check_format("grant", "simple", &grant(0x3421_a203_1ac1_7714), Look::default());
    check_format("grant", "json", &grant(3_756_461_698_421_192_470), Look::default());
    let id = 0x3421_a203_1ac1_7718;
    let keys = vec!["l1".into(), "l2".into()];
    let response = pb::LeaseTimeToLiveResponse { header: header(11), id, ttl: 99, granted_ttl: 100, keys };
    check("ttl_keys", &Remaining { response, keys: true });
    let response = pb::LeaseTimeToLiveResponse { header: header(11), id: 0x123, ttl: -1, ..Default::default() };
    check("ttl_gone", &Remaining { response, keys: false });
    let leases = [id - 4, id - 2, id].map(|id| pb::LeaseStatus { id }).to_vec();
    check("leases", &pb::LeaseLeasesResponse { header: header(11), leases });
    check("keep_alive", &pb::LeaseKeepAliveResponse { header: header(11), id, ttl: 100 });
    let deed = format!("lease {:x} revoked", id + 4);
    check_format("revoke", "simple", &Done { deed, header: header(11) }, Look::default());
}

#[test]
fn members_and_alarms() {
    let member = pb::Member {
        id: MEMBER,
        name: "default".to_owned(),
        peer_ur_ls: vec!["http://127.0.0.1:42480".to_owned()],
        client_ur_ls: vec!["http://127.0.0.1:42479".to_owned()],
        is_learner: false,
    };
    let list = pb::MemberListResponse { header: header(0), members: vec![member] };
    check("member_list", &list);
    check_format("member_list_hex", "json", &list, Look { hex: true, values_only: false });
    let alarms = vec![pb::AlarmMember { member_id: MEMBER, alarm: 1 }];
    check("alarm_list", &pb::AlarmResponse { header: header(22), alarms });
    check_format("alarm_disarm", "json", &pb::AlarmResponse::default(), Look::default());
}

#[test]
fn endpoints() {
    let endpoint = "127.0.0.1:42479".to_owned();
    let status = pb::StatusResponse {
        header: header(11),
        version: "3.7.1".to_owned(),
        db_size: 20_480,
        leader: MEMBER,
        raft_index: 21,
        raft_term: 2,
        raft_applied_index: 21,
        db_size_in_use: 16_384,
        storage_version: "3.7.0".to_owned(),
        db_size_quota: 65_536,
        downgrade_info: Some(pb::DowngradeInfo::default()),
        ..Default::default()
    };
    let status: Answered<pb::StatusResponse> = vec![(endpoint.clone(), status)];
    check("status", &status);
    let hash = pb::HashKvResponse { header: header(11), hash: 4_034_900_391, compact_revision: -1, hash_revision: 11 };
    let hash: Answered<pb::HashKvResponse> = vec![(endpoint, hash)];
    check("hashkv", &hash);
}

#[test]
fn watched_events() {
    let put = |mod_revision, version, prev_kv| Event {
        r#type: 0,
        kv: Some(kv("a", 2, mod_revision, version, b"1")),
        prev_kv,
    };
    let deleted = Event { r#type: 1, kv: Some(kv("a", 0, 5, 0, b"")), prev_kv: Some(kv("a", 2, 4, 3, b"1")) };
    let events = vec![
        put(2, 1, None),
        put(3, 2, Some(kv("a", 2, 2, 1, b"1"))),
        put(4, 3, Some(kv("a", 2, 3, 2, b"1"))),
        deleted,
    ];
    check("watch", &pb::WatchResponse { header: header(11), events, ..Default::default() });
    let progress = pb::WatchResponse { header: header(11), ..Default::default() };
    check_format("progress", "json", &progress, Look::default());
    let compacted = pb::WatchResponse { header: header(0), canceled: true, compact_revision: 6, ..Default::default() };
    check_format("watch_compacted", "json", &compacted, Look::default());
}

#[test]
fn a_format_is_unknown_or_not_this_replys() {
    assert_eq!(format("json").expect("built").0, "json");
    let unknown = format("xml").expect_err("unknown");
    assert_eq!((unknown.exit, unknown.text.as_str()), (Exit::BadFeature, "unsupported output format"));
    let (_, table) = format("table").expect("built");
    let mut streams = Streams { out: &mut Vec::new(), err: &mut Vec::new() };
    let refused = table(&pb::PutResponse::default(), Look::default(), &mut streams).expect_err("a put has no table");
    assert_eq!((refused.exit, refused.text.as_str()), (Exit::BadFeature, "table not supported as output format"));
}
