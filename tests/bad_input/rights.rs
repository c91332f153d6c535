//! Who may do what, asked of a running server: every method by every kind of caller, what may not be read, tokens,
//! and watches whose right goes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate::wire::{authpb, etcdserverpb as pb};
use quorate::wire::{v3electionpb as election, v3lockpb as lock};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::street::{Server, bytes};

pub(super) const PERMISSION_DENIED: &str = "etcdserver: permission denied";
pub(super) const USER_EMPTY: &str = "etcdserver: user name is empty";
pub(super) const INVALID_TOKEN: &str = "etcdserver: invalid auth token";

/// What a caller without the right never sees, wherever it stands: in a key, a value, an error.
const SECRETS: [&[u8]; 2] = [b"zsecret", b"classified"];

/// A server that asks who calls, and the tokens of its users: `reader` reads from a to c, `both` writes there, too, and
/// `none` has no role.
pub(super) struct House {
    pub(super) server: Server,
    pub(super) tokens: BTreeMap<&'static str, String>,
}

impl House {
    pub(super) async fn new(flags: &[&str]) -> Self {
        let flags: Vec<&str> = [&["--bcrypt-cost=4"], flags].concat();
        let mut house = Self { server: Server::start_with(&flags).await, tokens: BTreeMap::new() };
        for user in ["root", "reader", "both", "none"] {
            let add = pb::AuthUserAddRequest { name: user.into(), password: user.into(), ..Default::default() };
            house.done("", "Auth/UserAdd", &add).await;
        }
        house.grant_role("", "root", "root").await;
        for (role, kind) in [("r", 0), ("w", 1)] {
            house.done("", "Auth/RoleAdd", &pb::AuthRoleAddRequest { name: role.into() }).await;
            house.grant("", role, kind, "a", "c").await;
        }
        for (user, role) in [("reader", "r"), ("both", "r"), ("both", "w")] {
            house.grant_role("", user, role).await;
        }
        house.done("", "Lease/LeaseGrant", &pb::LeaseGrantRequest { id: 7, ttl: 600 }).await;
        for (key, value, lease) in [("a1", "mine", 0), ("zsecret", "classified", 7)] {
            let put = pb::PutRequest { key: bytes(key), value: bytes(value), lease, ..Default::default() };
            house.done("", "KV/Put", &put).await;
        }
        house.done("", "Auth/AuthEnable", &pb::AuthEnableRequest {}).await;
        for user in ["root", "reader", "both", "none"] {
            let token = house.authenticate(user, user).await.unwrap();
            house.tokens.insert(user, token);
        }
        house
    }

    pub(super) async fn authenticate(&self, name: &str, password: &str) -> Result<String, Status> {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let answer: pb::AuthenticateResponse = self.server.call("/etcdserverpb.Auth/Authenticate", &request).await?;
        Ok(answer.token)
    }

    /// The answer to a method by its short name, for a user by name, nobody (""), or one with a token of his own making.
    pub(super) async fn ask(&self, user: &str, method: &str, request: Bytes) -> Result<Bytes, Status> {
        let token = self.tokens.get(user).map_or(user, String::as_str);
        let path = path_of(method);
        self.server.raw_as(Some(token).filter(|token| !token.is_empty()), path, request).await
    }

    pub(super) async fn done(&self, user: &str, method: &str, request: &impl Message) {
        self.ask(user, method, request.encode_to_vec().into()).await.unwrap_or_else(|why| panic!("{method}: {why}"));
    }

    pub(super) async fn grant_role(&self, by: &str, user: &str, role: &str) {
        let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        self.done(by, "Auth/UserGrantRole", &request).await;
    }

    pub(super) async fn grant(&self, by: &str, role: &str, kind: i32, key: &'static str, end: &'static str) {
        let perm = authpb::Permission { perm_type: kind, key: bytes(key), range_end: bytes(end) };
        let request = pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
        self.done(by, "Auth/RoleGrantPermission", &request).await;
    }

    async fn revoke(&self, by: &str, role: &str, key: &'static str, end: &'static str) {
        let request = pb::AuthRoleRevokePermissionRequest { role: role.into(), key: bytes(key), range_end: bytes(end) };
        self.done(by, "Auth/RoleRevokePermission", &request).await;
    }

    /// The value of a key, as a user reads it.
    async fn read(&self, user: &str, key: &'static str) -> Result<Option<Bytes>, Status> {
        let request = pb::RangeRequest { key: bytes(key), ..Default::default() };
        let answer = self.ask(user, "KV/Range", request.encode_to_vec().into()).await?;
        Ok(pb::RangeResponse::decode(answer).unwrap().kvs.pop().map(|kv| kv.value))
    }

    /// Opens a watch of a range from the first revision on, as a user; `false` where the server ends it.
    pub(super) async fn watch(&self, user: &str, key: &'static str, end: &'static str) -> tonic::Streaming<Bytes> {
        let create = pb::WatchCreateRequest {
            key: bytes(key),
            range_end: bytes(end),
            start_revision: 1,
            prev_kv: true,
            ..Default::default()
        };
        let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        let wish = Bytes::from(pb::WatchRequest { request_union: union }.encode_to_vec());
        let wishes = tokio_stream::once(wish).chain(tokio_stream::pending());
        let token = self.tokens.get(user).map(String::as_str);
        self.server.stream_as(token, "/etcdserverpb.Watch/Watch", wishes).await.unwrap()
    }
}

pub(super) fn path_of(method: &str) -> &'static str {
    let package = match method.split('/').next().unwrap() {
        "Lock" => "v3lockpb",
        "Election" => "v3electionpb",
        _ => "etcdserverpb",
    };
    format!("/{package}.{method}").leak()
}

/// A message of a watch that came in time.
pub(super) async fn told(stream: &mut tonic::Streaming<Bytes>) -> pb::WatchResponse {
    let message = tokio::time::timeout(Duration::from_secs(120), stream.message()).await.expect("in time");
    pb::WatchResponse::decode(message.unwrap().expect("open")).unwrap()
}

pub(super) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// What each kind of caller may: nobody, one whose token is none, one with a name, and who may do everything.
#[derive(Clone, Copy, PartialEq, Debug)]
enum For {
    Anyone,
    Named,
    Root,
}

/// Every method that takes one request, with one that does no harm.
fn methods() -> Vec<(&'static str, For, Bytes)> {
    let key = || bytes("zsecret");
    let name = || "late".to_string();
    vec![
        ("KV/Range", For::Root, encoded(&pb::RangeRequest { key: key(), ..Default::default() })),
        (
            "KV/Put",
            For::Root,
            encoded(&pb::PutRequest { key: key(), value: bytes("classified"), lease: 7, ..Default::default() }),
        ),
        ("KV/DeleteRange", For::Root, encoded(&pb::DeleteRangeRequest { key: bytes("y"), ..Default::default() })),
        ("KV/Txn", For::Root, encoded(&txn_of_compare(key()))),
        ("KV/Compact", For::Root, encoded(&pb::CompactionRequest { revision: 1, physical: false })),
        ("Lease/LeaseGrant", For::Named, encoded(&pb::LeaseGrantRequest { id: 0, ttl: 60 })),
        ("Lease/LeaseRevoke", For::Named, encoded(&pb::LeaseRevokeRequest { id: 999 })),
        ("Lease/LeaseTimeToLive", For::Root, encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: true })),
        ("Lease/LeaseTimeToLive", For::Named, encoded(&pb::LeaseTimeToLiveRequest { id: 7, keys: false })),
        ("Lease/LeaseLeases", For::Root, encoded(&pb::LeaseLeasesRequest {})),
        ("Cluster/MemberAdd", For::Root, encoded(&learner())),
        ("Cluster/MemberRemove", For::Root, encoded(&pb::MemberRemoveRequest { id: 1 })),
        ("Cluster/MemberUpdate", For::Root, encoded(&pb::MemberUpdateRequest { id: 1, peer_ur_ls: vec![] })),
        ("Cluster/MemberPromote", For::Root, encoded(&pb::MemberPromoteRequest { id: 1 })),
        ("Cluster/MemberList", For::Named, encoded(&pb::MemberListRequest { linearizable: true })),
        ("Maintenance/Alarm", For::Named, encoded(&pb::AlarmRequest::default())),
        ("Maintenance/Alarm", For::Root, encoded(&pb::AlarmRequest { action: 2, member_id: 5, alarm: 1 })),
        ("Maintenance/Status", For::Named, encoded(&pb::StatusRequest {})),
        ("Maintenance/Defragment", For::Root, encoded(&pb::DefragmentRequest {})),
        ("Maintenance/Hash", For::Root, encoded(&pb::HashRequest {})),
        ("Maintenance/HashKV", For::Root, encoded(&pb::HashKvRequest { revision: 0 })),
        ("Maintenance/MoveLeader", For::Root, encoded(&pb::MoveLeaderRequest { target_id: 5 })),
        ("Auth/AuthStatus", For::Anyone, encoded(&pb::AuthStatusRequest {})),
        ("Auth/AuthEnable", For::Root, encoded(&pb::AuthEnableRequest {})),
        ("Auth/UserAdd", For::Root, encoded(&pb::AuthUserAddRequest { name: name(), ..Default::default() })),
        ("Auth/UserGet", For::Root, encoded(&pb::AuthUserGetRequest { name: "root".to_string() })),
        ("Auth/UserList", For::Root, encoded(&pb::AuthUserListRequest {})),
        ("Auth/UserDelete", For::Root, encoded(&pb::AuthUserDeleteRequest { name: name() })),
        (
            "Auth/UserChangePassword",
            For::Root,
            encoded(&pb::AuthUserChangePasswordRequest { name: name(), ..Default::default() }),
        ),
        ("Auth/UserGrantRole", For::Root, encoded(&pb::AuthUserGrantRoleRequest { user: name(), role: name() })),
        ("Auth/UserRevokeRole", For::Root, encoded(&pb::AuthUserRevokeRoleRequest { name: name(), role: name() })),
        ("Auth/RoleAdd", For::Root, encoded(&pb::AuthRoleAddRequest { name: name() })),
        ("Auth/RoleGet", For::Root, encoded(&pb::AuthRoleGetRequest { role: "root".to_string() })),
        ("Auth/RoleList", For::Root, encoded(&pb::AuthRoleListRequest {})),
        ("Auth/RoleDelete", For::Root, encoded(&pb::AuthRoleDeleteRequest { role: name() })),
        (
            "Auth/RoleGrantPermission",
            For::Root,
            encoded(&pb::AuthRoleGrantPermissionRequest { name: name(), perm: None }),
        ),
        ("Auth/RoleRevokePermission", For::Root, encoded(&pb::AuthRoleRevokePermissionRequest::default())),
        ("Lock/Unlock", For::Root, encoded(&lock::UnlockRequest { key: bytes("y") })),
        ("Lock/Lock", For::Root, encoded(&lock::LockRequest { name: bytes("y"), lease: 7 })),
        ("Election/Leader", For::Root, encoded(&election::LeaderRequest { name: bytes("y") })),
        (
            "Election/Campaign",
            For::Root,
            encoded(&election::CampaignRequest { name: bytes("x"), lease: 7, value: bytes("v") }),
        ),
    ]
}

/// One that is never there, and has no vote.
fn learner() -> pb::MemberAddRequest {
    pb::MemberAddRequest { peer_ur_ls: vec!["http://127.0.0.1:1".to_string()], is_learner: true }
}

pub(super) fn txn_of_compare(key: Bytes) -> pb::TxnRequest {
    let compare = pb::Compare { key, result: 1, target: 0, ..Default::default() };
    pb::TxnRequest { compare: vec![compare], ..Default::default() }
}

/// Every method by every kind of caller is for whom it is in etcd, and tells nobody else anything.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_for_whom_it_is() {
    let house = House::new(&[]).await;
    for (method, for_whom, request) in methods() {
        let is_denied = |status: &Status| {
            status.message() == PERMISSION_DENIED || status.message() == USER_EMPTY || status.message() == INVALID_TOKEN
        };
        for user in ["", "none", "reader", "both", "root"] {
            let answer = house.ask(user, method, request.clone()).await;
            let may = match for_whom {
                For::Anyone => true,
                For::Named => !user.is_empty(),
                For::Root => user == "root",
            };
            let denied = answer.as_ref().err().is_some_and(&is_denied);
            assert_eq!(!denied, may, "{method} by {user:?}: {answer:?}");
            if denied {
                let expected = if user.is_empty() { USER_EMPTY } else { PERMISSION_DENIED };
                assert_eq!(answer.as_ref().err().map(Status::message), Some(expected), "{method} by {user:?}");
            }
            if user != "root" {
                let told: &[u8] = match &answer {
                    Ok(all) => all,
                    Err(why) => why.message().as_bytes(),
                };
                tells_nothing(method, user, told);
            }
        }
        for junk in ["abc", "abc.1", "abcdefghijklmnop.99999", "a.b.c"] {
            let refused = house.ask(junk, method, request.clone()).await.expect_err(method);
            // Lock and Election are a client of their own in etcd, whose errors lose their code.
            let of_client = method.starts_with("Lock") || method.starts_with("Election");
            let code = if of_client { Code::Unknown } else { Code::Unauthenticated };
            assert_eq!((refused.code(), refused.message()), (code, INVALID_TOKEN), "{method} with {junk}");
        }
    }
    // What are no addresses is told before it is asked who calls, as in etcd.
    for user in ["", "none", "root", "abc.1"] {
        let refused =
            house.ask(user, "Cluster/MemberAdd", encoded(&pb::MemberAddRequest::default())).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: given member URLs are invalid", "{user:?}");
    }
    // One may look at oneself.
    house.done("reader", "Auth/UserGet", &pb::AuthUserGetRequest { name: "reader".into() }).await;
    house.done("reader", "Auth/RoleGet", &pb::AuthRoleGetRequest { role: "r".into() }).await;
    let other = encoded(&pb::AuthRoleGetRequest { role: "w".into() });
    assert_eq!(house.ask("reader", "Auth/RoleGet", other).await.unwrap_err().message(), PERMISSION_DENIED);
}

fn tells_nothing(method: &str, user: &str, told: &[u8]) {
    for secret in SECRETS {
        let is_told = told.windows(secret.len()).any(|window| window == secret);
        assert!(!is_told, "{method} tells {user:?} of {:?}", String::from_utf8_lossy(secret));
    }
}

/// Ranges, counts, comparisons and previous values, over what one may read and more.
#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_a_request_reaches_further_than_its_caller() {
    use pb::request_op::Request::{RequestDeleteRange, RequestPut, RequestRange, RequestTxn};
    let house = House::new(&[]).await;
    let range = |key: &'static str, end: &'static str| pb::RangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        ..Default::default()
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let txn = |success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>| pb::TxnRequest {
        success,
        failure,
        ..Default::default()
    };
    let put = |key: &'static str, prev_kv| pb::PutRequest { key: bytes(key), prev_kv, ..Default::default() };
    let delete = |key: &'static str, end: &'static str, prev_kv| pb::DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        prev_kv,
    };
    let too_far = [
        ("KV/Range", encoded(&range("zsecret", ""))),
        ("KV/Range", encoded(&range("a", "d"))),
        ("KV/Range", encoded(&range("a", "\0"))),
        ("KV/Range", encoded(&pb::RangeRequest { count_only: true, ..range("a", "\0") })),
        ("KV/Range", encoded(&pb::RangeRequest { keys_only: true, limit: 1, ..range("b", "z\0") })),
        ("KV/Range", encoded(&pb::RangeRequest { serializable: true, ..range("\0", "\0") })),
        ("KV/Range", encoded(&pb::RangeRequest { revision: 2, ..range("zsecret", "") })),
        ("KV/Txn", encoded(&txn_of_compare(bytes("zsecret")))),
        ("KV/Txn", encoded(&txn(vec![op(RequestRange(range("a", "c")))], vec![op(RequestRange(range("z", "\0")))]))),
        ("KV/Txn", encoded(&txn(vec![], vec![op(RequestTxn(txn_of_compare(bytes("zsecret"))))]))),
        ("KV/Txn", encoded(&txn(vec![op(RequestPut(put("zsecret", true)))], vec![]))),
        ("KV/Txn", encoded(&txn(vec![op(RequestDeleteRange(delete("a", "\0", true)))], vec![]))),
        ("KV/Put", encoded(&put("zsecret", true))),
        ("KV/Put", encoded(&pb::PutRequest { lease: 7, ..put("a2", false) })),
        ("KV/Put", encoded(&pb::PutRequest { ignore_value: true, ..put("zsecret", false) })),
        ("KV/DeleteRange", encoded(&delete("a", "\0", false))),
        ("KV/DeleteRange", encoded(&delete("zsecret", "", true))),
        ("Lease/LeaseRevoke", encoded(&pb::LeaseRevokeRequest { id: 7 })),
    ];
    for (method, request) in too_far {
        for user in ["reader", "both", "none"] {
            let refused = house.ask(user, method, request.clone()).await.expect_err(method);
            assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, PERMISSION_DENIED), "{method}");
        }
    }
    for (method, request) in [
        ("KV/Range", encoded(&range("a", "c"))),
        ("KV/Txn", encoded(&txn(vec![op(RequestRange(range("a", "c")))], vec![op(RequestPut(put("b", true)))]))),
        ("KV/DeleteRange", encoded(&delete("a", "c", true))),
    ] {
        let told = house.ask("both", method, request).await.expect(method);
        tells_nothing(method, "both", &told);
    }
    for user in ["reader", "none"] {
        let request = encoded(&pb::RangeRequest { key: bytes("a"), range_end: bytes("\0"), ..Default::default() });
        let requests = tokio_stream::once(request);
        let token = house.tokens[user].clone();
        let refused = match house.server.stream_as(Some(&token), path_of("KV/RangeStream"), requests).await {
            Err(status) => status,
            Ok(mut stream) => stream.message().await.expect_err("not all of it may be read"),
        };
        assert_eq!(refused.message(), PERMISSION_DENIED);
        let saving = tokio_stream::once(Bytes::new());
        let refused = house.server.stream_as(Some(&token), path_of("Maintenance/Snapshot"), saving).await;
        assert_eq!(refused.expect_err("all keys are in it").message(), PERMISSION_DENIED);
        let id = tokio_stream::once(encoded(&pb::LeaseKeepAliveRequest { id: 7 }));
        let mut renewed = house.server.stream_as(Some(&token), path_of("Lease/LeaseKeepAlive"), id).await.unwrap();
        assert_eq!(renewed.message().await.expect_err("its key is another's").message(), PERMISSION_DENIED);
    }
}

/// A watch tells what its owner may read, for as long as he may, and ends when he may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_right_to_it() {
    let house = House::new(&[]).await;
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    for (user, reason) in [
        ("none", denied),
        ("reader", denied),
        ("", "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"),
    ] {
        let mut refused = house.watch(user, "a", "\0").await;
        let answer = told(&mut refused).await;
        assert_eq!((answer.created, answer.canceled, answer.watch_id), (true, true, -1), "{user}");
        assert_eq!(answer.cancel_reason, reason);
    }
    let (mut of_reader, mut of_root) = (house.watch("reader", "a", "c").await, house.watch("root", "\0", "\0").await);
    for stream in [&mut of_reader, &mut of_root] {
        assert!(told(stream).await.created);
    }
    assert_eq!(told(&mut of_reader).await.events.len(), 1, "what was before");
    assert_eq!(told(&mut of_root).await.events.len(), 2);
    // A right more changes nothing, a right less ends it.
    house.grant("root", "r", 0, "x", "y").await;
    house.done("root", "KV/Put", &pb::PutRequest { key: bytes("a1"), ..Default::default() }).await;
    assert_eq!(told(&mut of_reader).await.events.len(), 1);
    house.revoke("root", "r", "a", "c").await;
    house.done("root", "KV/Put", &pb::PutRequest { key: bytes("a1"), ..Default::default() }).await;
    let last = told(&mut of_reader).await;
    assert_eq!((last.canceled, &last.cancel_reason[..], last.events.len()), (true, denied, 0));
    for _ in 0..2 {
        assert_eq!(told(&mut of_root).await.events.len(), 1);
    }
    let after = tokio::time::timeout(Duration::from_millis(300), of_reader.message()).await;
    assert!(after.is_err(), "nothing more is told: {after:?}");
}

/// What was allowed when it was asked is not shown once it is not: the key holds a secret only while nobody may read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_comes_later_shows_nothing_of_before() {
    let house = std::sync::Arc::new(House::new(&[]).await);
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let reading: Vec<_> = (0..4)
        .map(|_| {
            let (house, is_done) = (house.clone(), is_done.clone());
            tokio::spawn(async move {
                let (mut read, mut denied) = (0, 0);
                while !*is_done.borrow() {
                    match house.read("reader", "k").await {
                        Ok(value) => {
                            assert_ne!(value.as_deref(), Some(&b"classified"[..]));
                            read += 1;
                        }
                        Err(_) => denied += 1,
                    }
                }
                (read, denied)
            })
        })
        .collect();
    for _ in 0..60 {
        for value in ["classified", "open"] {
            let put = pb::PutRequest { key: bytes("k"), value: bytes(value), ..Default::default() };
            house.done("root", "KV/Put", &put).await;
        }
        house.grant("root", "r", 0, "k", "").await;
        house.revoke("root", "r", "k", "").await;
    }
    done.send(true).unwrap();
    is_done.changed().await.unwrap();
    for reader in reading {
        let (read, denied) = reader.await.unwrap();
        assert!(denied > 0, "{read} read, {denied} denied");
    }
}

/// Tokens go with their user and password; an older right is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_name_someone_until_they_do_not() {
    let mut house = House::new(&["--auth-token-ttl=10"]).await;
    let wrong = house.authenticate("reader", "wrong").await.unwrap_err();
    let text = "etcdserver: authentication failed, invalid user ID or password";
    assert_eq!((wrong.code(), wrong.message()), (Code::InvalidArgument, text));
    assert_eq!(house.authenticate("nobody", "x").await.unwrap_err().message(), text);
    assert!(house.read("reader", "a1").await.is_ok());
    let change =
        pb::AuthUserChangePasswordRequest { name: "reader".into(), password: "new".into(), ..Default::default() };
    house.done("root", "Auth/UserChangePassword", &change).await;
    assert_eq!(house.read("reader", "a1").await.unwrap_err().message(), INVALID_TOKEN);
    assert_eq!(house.authenticate("reader", "reader").await.unwrap_err().message(), text);
    let token = house.authenticate("reader", "new").await.unwrap();
    house.tokens.insert("reader", token);
    assert_eq!(house.read("reader", "a1").await.unwrap().as_deref(), Some(&b"mine"[..]));
    // One that is used lives on, one that is not does not.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(house.read("reader", "a1").await.is_ok());
    }
    assert_eq!(house.read("both", "a1").await.unwrap_err().message(), INVALID_TOKEN);
    let root = house.authenticate("root", "root").await.unwrap();
    house.tokens.insert("root", root);
    house.done("root", "Auth/UserDelete", &pb::AuthUserDeleteRequest { name: "reader".into() }).await;
    assert_eq!(house.read("reader", "a1").await.unwrap_err().message(), INVALID_TOKEN);
    house.done("root", "Auth/AuthDisable", &pb::AuthDisableRequest {}).await;
    assert!(house.read("", "zsecret").await.unwrap().is_some(), "nobody is asked any more");
    let off = house.authenticate("root", "root").await.unwrap_err();
    assert_eq!(off.message(), "etcdserver: authentication is not enabled");
}

/// A signed token says at which revision it was given; after a change of users another is needed, as in etcd.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_is_as_old_as_it_says() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/src/passport/testdata/p256.sec1.pem");
    let option = format!("--auth-token=jwt,sign-method=ES256,priv-key={key}");
    let mut house = House::new(&[&option]).await;
    assert!(house.tokens["reader"].split('.').count() == 3);
    assert_eq!(house.read("reader", "a1").await.unwrap().as_deref(), Some(&b"mine"[..]));
    assert_eq!(house.read("reader", "zsecret").await.unwrap_err().message(), PERMISSION_DENIED);
    house.grant("root", "w", 1, "m", "").await;
    let old = house.read("reader", "a1").await.unwrap_err();
    assert_eq!((old.code(), old.message()), (Code::InvalidArgument, "etcdserver: revision of auth store is old"));
    let token = house.authenticate("reader", "reader").await.unwrap();
    house.tokens.insert("reader", token);
    assert!(house.read("reader", "a1").await.is_ok());
    // What `root` may do is looked up where it is done, whatever the token's revision.
    house.grant("root", "w", 1, "n", "").await;
}
