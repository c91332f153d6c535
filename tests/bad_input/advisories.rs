//! What etcd's advisories were of, each by its name: what was let through there is refused here.
//!
//! These are held elsewhere:
//!
//! | advisory | what | held by |
//! |---|---|---|
//! | CVE-2018-16886 | a gateway's certificate was a user's name | `api::gate::tests::credentials_are_found_under_etcds_names`, `tests/sealed.rs` |
//! | CVE-2020-15106, CVE-2020-15112 | a crafted log: lengths, indexes | `wal::tests::damage`, `backend::log::tests::any_damage_ends_in_a_log_or_a_typed_error` |
//! | CVE-2020-15113 | directories open to others | `tests/manners/daemon.rs`: `a_directory_open_to_others_is_warned_of` |
//! | GHSA-pm3m-32r3-7mfh | negative retentions and sizes | `tests/manners/start.rs`: `what_cannot_be_served_ends_with_code_1_and_names_the_flag`, `tests/refusals.rs` |
//! | CVE-2021-28235, TOB-012 | passwords in logs and on disk | `tests/manners/daemon.rs`: `no_password_is_kept_and_no_token_is_told` |
//! | JWT of no user or revision | a panic | `passport::jwt::tests::what_a_token_must_say` |
//! | CVE-2023-47108 | labels without number | `api::metrics::registry`'s tests |
//! | CVE-2023-44487, CVE-2023-45288 | resets, CONTINUATION | `guards.rs`, `transport.rs` |
//! | GHSA-3wh4-j44w-pg92 | a list of revoked ones at one port of two | `tests/sealed.rs`: `who_is_revoked_is_let_in_at_no_port` |
//! | GHSA-6vch-q96h-7gc3 | handshakes without end | `tls::tests::a_handshake_has_a_time_and_their_number_a_bound` |
//! | without one, 3.7.1 | bodies at the peer port, heads that do not end | `peer::tests::long_and_slow_requests_are_cut_off`, `peer::body::tests::a_body_has_a_limit_however_it_comes` |
//!
//! Of `etcd gateway` (CVE-2020-15114, CVE-2020-15136), of which there is none here, nothing applies. Passwords may be of any length, as
//! in etcd (CVE-2020-15115).

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::request_op::Request::{RequestDeleteRange, RequestPut, RequestRange, RequestTxn};
use tonic::Code;

use super::rights::{House, INVALID_TOKEN, PERMISSION_DENIED, USER_EMPTY, encoded, path_of, told, txn_of_compare};
use super::street::{Server, bytes};
use super::transport::exchange;
use super::wire::{DATA, END_STREAM, Wire, frame, framed, head};

/// Who asked for what, and was answered.
type Row = (&'static str, &'static str, &'static str, Bytes);

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

fn delete(key: &'static str, end: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv }
}

/// A transaction that does this if nothing is compared, or would otherwise.
fn txn(operation: pb::request_op::Request, otherwise: bool) -> pb::TxnRequest {
    let operations = vec![pb::RequestOp { request: Some(operation) }];
    match otherwise {
        false => pb::TxnRequest { success: operations, ..Default::default() },
        true => pb::TxnRequest { failure: operations, ..Default::default() },
    }
}

/// The same within a transaction within a transaction.
fn nested(operation: pb::request_op::Request) -> pb::TxnRequest {
    txn(RequestTxn(txn(RequestTxn(txn(operation, true)), false)), true)
}

/// Users of [`House`], and: `writer` may write from a to c and read nothing, `single` may do both with the one key s.
async fn house() -> House {
    let mut house = House::new(&[]).await;
    house.done("root", "Auth/RoleAdd", &pb::AuthRoleAddRequest { name: "s".into() }).await;
    house.grant("root", "s", 2, "s", "").await;
    for (user, role) in [("writer", "w"), ("single", "s")] {
        let add = pb::AuthUserAddRequest { name: user.into(), password: user.into(), ..Default::default() };
        house.done("root", "Auth/UserAdd", &add).await;
        house.grant_role("root", user, role).await;
        let token = house.authenticate(user, user).await.unwrap();
        house.tokens.insert(user, token);
    }
    house
}

/// Calls that were open to whoever did not say who he is.
fn of_nobody() -> Vec<Row> {
    let id = "CVE-2026-33413 (GHSA-q8m4-xhhv-38mg)";
    let asked = [
        ("Cluster/MemberList", encoded(&pb::MemberListRequest::default())),
        ("Maintenance/Alarm", encoded(&pb::AlarmRequest::default())),
        ("Maintenance/Alarm", encoded(&pb::AlarmRequest { action: 1, member_id: 0, alarm: 1 })),
        ("Lease/LeaseGrant", encoded(&pb::LeaseGrantRequest { id: 0, ttl: 60 })),
        ("Lease/LeaseRevoke", encoded(&pb::LeaseRevokeRequest { id: 7 })),
        ("Lease/LeaseTimeToLive", encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: true })),
        ("Lease/LeaseLeases", encoded(&pb::LeaseLeasesRequest {})),
        ("KV/Compact", encoded(&pb::CompactionRequest { revision: 1, physical: false })),
    ];
    asked.into_iter().map(|(method, request)| (id, "", method, request)).collect()
}

/// Requests that reached further than their callers.
fn too_far() -> Vec<Row> {
    let with_prev = || pb::PutRequest { prev_kv: true, ..put("a1") };
    let leased = || pb::PutRequest { lease: 7, ..put("a2") };
    let (keys, deep) = ("CVE-2023-32082 (GHSA-3p4g-rcw5-8298)", "CVE-2026-33343 (GHSA-rfx7-8w68-q57q)");
    let (within, open) = ("CVE-2026-44283 (GHSA-x35m-3gp4-4fh5)", "GHSA-xg4h-6gfc-h4m8");
    vec![
        (keys, "none", "Lease/LeaseTimeToLive", encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: true })),
        (keys, "both", "Lease/LeaseTimeToLive", encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: true })),
        (deep, "both", "KV/Txn", encoded(&nested(RequestRange(range("zsecret", ""))))),
        (deep, "both", "KV/Txn", encoded(&nested(RequestPut(put("zsecret"))))),
        (deep, "both", "KV/Txn", encoded(&nested(RequestDeleteRange(delete("zsecret", "", false))))),
        (deep, "both", "KV/Txn", encoded(&nested(RequestTxn(txn_of_compare(bytes("zsecret")))))),
        (deep, "reader", "KV/Txn", encoded(&nested(RequestPut(put("a1"))))),
        (within, "writer", "KV/Put", encoded(&with_prev())),
        (within, "writer", "KV/Txn", encoded(&txn(RequestPut(with_prev()), false))),
        (within, "writer", "KV/Txn", encoded(&txn(RequestPut(with_prev()), true))),
        (within, "writer", "KV/Txn", encoded(&nested(RequestPut(with_prev())))),
        (within, "writer", "KV/DeleteRange", encoded(&delete("a1", "", true))),
        (within, "writer", "KV/Txn", encoded(&txn(RequestDeleteRange(delete("a1", "", true)), false))),
        (within, "writer", "KV/Txn", encoded(&nested(RequestDeleteRange(delete("a1", "", true))))),
        (within, "both", "KV/Put", encoded(&leased())),
        (within, "both", "KV/Txn", encoded(&txn(RequestPut(leased()), false))),
        (within, "both", "KV/Txn", encoded(&txn(RequestPut(leased()), true))),
        (within, "both", "KV/Txn", encoded(&nested(RequestPut(leased())))),
        (open, "single", "KV/Range", encoded(&range("s", "\0"))),
        (open, "single", "KV/Range", encoded(&range("s", "t"))),
        (open, "single", "KV/DeleteRange", encoded(&delete("s", "\0", false))),
        (open, "single", "KV/Txn", encoded(&txn(RequestRange(range("s", "\0")), false))),
        (open, "single", "KV/Txn", encoded(&nested(RequestDeleteRange(delete("s", "\0", false))))),
    ]
}

/// What the same callers may.
fn near_enough() -> Vec<Row> {
    let with_prev = pb::PutRequest { prev_kv: true, ..put("a1") };
    vec![
        (
            "CVE-2023-32082",
            "none",
            "Lease/LeaseTimeToLive",
            encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: false }),
        ),
        ("CVE-2026-33343", "both", "KV/Txn", encoded(&nested(RequestPut(put("a1"))))),
        ("CVE-2026-44283", "writer", "KV/Txn", encoded(&nested(RequestPut(put("a1"))))),
        ("CVE-2026-44283", "both", "KV/Txn", encoded(&nested(RequestPut(with_prev)))),
        ("CVE-2026-44283", "writer", "KV/DeleteRange", encoded(&delete("a2", "", false))),
        ("GHSA-xg4h-6gfc-h4m8", "single", "KV/Range", encoded(&range("s", ""))),
        ("GHSA-xg4h-6gfc-h4m8", "single", "KV/Range", encoded(&range("s", "s\0"))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reached_further_than_its_caller_is_denied() {
    let house = house().await;
    for (id, user, method, request) in of_nobody() {
        let refused = house.ask(user, method, request).await.expect_err(id);
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, USER_EMPTY), "{id}: {method}");
    }
    for (row, (id, user, method, request)) in too_far().into_iter().enumerate() {
        let refused = house.ask(user, method, request).await.expect_err(id);
        let told = (refused.code(), refused.message());
        assert_eq!(told, (Code::PermissionDenied, PERMISSION_DENIED), "{id}: {method} by {user}, row {row}");
    }
    for (id, user, method, request) in near_enough() {
        house.ask(user, method, request).await.unwrap_or_else(|why| panic!("{id}: {method} by {user}: {why}"));
    }
}

/// GHSA-xg4h-6gfc-h4m8: a right to one key was one to all behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_one_key_opens_no_stream_of_all_behind_it() {
    let house = house().await;
    for (key, end, may) in [("s", "", true), ("s", "\0", false), ("s", "t", false), ("\0", "\0", false)] {
        let mut watch = house.watch("single", key, end).await;
        let answer = told(&mut watch).await;
        assert_eq!((answer.created, answer.canceled), (true, !may), "{key:?} {end:?}: {}", answer.cancel_reason);
        let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert_eq!(answer.cancel_reason, if may { "" } else { denied });
    }
    let asked = tokio_stream::once(encoded(&range("s", "\0")));
    let token = house.tokens["single"].clone();
    let refused = match house.server.stream_as(Some(&token), path_of("KV/RangeStream"), asked).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.expect_err("not all of it may be read"),
    };
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, PERMISSION_DENIED));
}

/// GHSA-vjg6-93fv-qv64: who has a certificate and no password is told so, and is let in by none.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_password_is_let_in_by_none() {
    let house = house().await;
    let options = Some(quorate::wire::authpb::UserAddOptions { no_password: true });
    let add = pb::AuthUserAddRequest { name: "sealed".into(), options, ..Default::default() };
    house.done("root", "Auth/UserAdd", &add).await;
    for password in ["", "sealed", "\0"] {
        let refused = house.authenticate("sealed", password).await.expect_err(password);
        let text = "auth: authentication failed, password was given for no password user";
        assert_eq!((refused.code(), refused.message()), (Code::Unknown, text), "{password:?}");
    }
}

/// CVE-2025-30204: a token of dots alone was cut into as many pieces. As long as a head may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_many_parts_is_none() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/src/passport/testdata/p256.sec1.pem");
    let house = House::new(&[&format!("--auth-token=jwt,sign-method=ES256,priv-key={key}")]).await;
    let good = house.tokens["root"].clone();
    for bad in
        [".".repeat(60_000), "Bearer ".to_string() + &".".repeat(60_000), good.clone() + ".", ".".to_string() + &good]
    {
        let refused = house.ask(&bad, "KV/Range", encoded(&range("a1", ""))).await.expect_err("it is none");
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, INVALID_TOKEN), "{:.20}", bad);
    }
    house.done("root", "KV/Put", &put("a1")).await;
}

/// CVE-2026-33186: a path without its slash passed by who looks at paths.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_its_slash_names_nothing() {
    let server = Server::start().await;
    for path in ["etcdserverpb.KV/Put", "KV/Put", "*", "//etcdserverpb.KV/Put", "/etcdserverpb.KV/Put/", "/"] {
        let mut wire = Wire::open(&server).await;
        let call = [head(1, path, "x", &[]), frame(DATA, END_STREAM, 1, &framed(&put("k")))].concat();
        wire.try_send(&call).await;
        assert!(wire.ended(1, std::time::Duration::from_secs(120)).await.is_some(), "{path} is answered");
    }
    server.must_be_well_at(1).await;
}

/// CVE-2018-1098, CVE-2018-1099: pages of other places wrote through a browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_place_neither_writes_nor_reads() {
    let server = Server::start_with(&["--host-whitelist=a.example", "--cors=https://a.example:443"]).await;
    let body = r#"{"key":"aw==","value":"dg=="}"#;
    let ask = |host: &str, origin: &str| {
        format!(
            "POST /v3/kv/put HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for host in ["evil.example", "evil.example:2379", "a.example.evil.example", "127.0.0.1.evil.example"] {
        let answer = exchange(&server, ask(host, "https://evil.example").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("CVE-2018-5702"), "{host}: {answer}");
    }
    let other = exchange(&server, ask("a.example", "https://evil.example").as_bytes()).await;
    assert!(other.starts_with("HTTP/1.1 200 ") && !other.contains("access-control-allow-origin"), "{other}");
    let own = exchange(&server, ask("a.example:2379", "https://a.example:443").as_bytes()).await;
    assert!(own.contains("access-control-allow-origin: https://a.example:443"), "{own}");
    server.must_be_well_at(3).await;
}
