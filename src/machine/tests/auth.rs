//! Users and roles in the log, the image and the digest; and that no answer tells of what may not be read.

use super::*;
use crate::auth::{Asker, AuthCommand, PasswordHash, Permission, PermissionKind};

fn auth(command: AuthCommand) -> Command {
    Command::Auth(command)
}

fn add_user(name: &str) -> Command {
    let password = PasswordHash(bytes("$2a$04$hash of no password"));
    auth(AuthCommand::UserAdd { name: name.to_string(), password, no_password: false })
}

fn grant_role(user: &str, role: &str) -> Command {
    auth(AuthCommand::UserGrantRole { user: user.to_string(), role: role.to_string() })
}

fn grant(role: &str, kind: PermissionKind, key: &str, end: &str) -> Command {
    let permission = Some(Permission { kind, range: KeyRange::from_wire(bytes(key), bytes(end)) });
    auth(AuthCommand::RoleGrantPermission { role: role.to_string(), permission })
}

/// `root`; `reader` reads a to c; `writer` writes b to d; `both` has both roles. Authentication is on.
fn with_users() -> Bench {
    let mut bench = Bench::new();
    bench.apply(add_user("root"));
    bench.apply(grant_role("root", "root"));
    for (role, kind, key, end) in [("r", PermissionKind::Read, "a", "c"), ("w", PermissionKind::Write, "b", "d")] {
        bench.apply(auth(AuthCommand::RoleAdd { name: role.to_string() }));
        bench.apply(grant(role, kind, key, end));
    }
    for (user, roles) in [("reader", &["r"][..]), ("writer", &["w"]), ("both", &["r", "w"]), ("none", &[])] {
        bench.apply(add_user(user));
        roles.iter().for_each(|role| drop(bench.apply(grant_role(user, role))));
    }
    bench.apply(auth(AuthCommand::Enable));
    bench
}

impl Bench {
    fn asker(&self, user: &str) -> Asker {
        Asker { user: user.into(), revision: self.machine.auth().revision() }
    }

    fn apply_for(&mut self, asker: Option<&Asker>, command: &Command) -> Applied {
        let (index, _) = self.machine.applied();
        let payload = codec::encode_asked(index + 100, asker, command);
        let outcome = self.machine.apply(index + 1, 1, &payload, &|_| true).expect("a memory disk has no faults");
        let proposal = outcome.proposal.expect("it carries a command");
        assert_eq!((proposal.asker.as_ref(), proposal.command), (asker, Ok(command.clone())));
        outcome.applied
    }

    fn done_by(&mut self, user: &str, command: &Command) -> Result<Answer, Refusal> {
        let asker = self.asker(user);
        self.apply_for(Some(&asker), command).answer
    }
}

#[test]
fn rights_are_looked_at_where_a_command_is_applied() {
    let mut bench = with_users();
    let write = put("b", "1");
    assert_eq!(bench.apply_for(None, &write).answer, Err(Refusal::UserEmpty));
    assert_eq!(bench.done_by("reader", &write), Err(Refusal::PermissionDenied));
    assert_eq!(bench.done_by("nobody", &write), Err(Refusal::PermissionDenied));
    assert!(bench.done_by("writer", &write).is_ok());
    let with_prev = Command::Put(Put { prev_kv: true, ..plain_put("b", "2") });
    assert_eq!(bench.done_by("writer", &with_prev), Err(Refusal::PermissionDenied));
    assert!(bench.done_by("both", &with_prev).is_ok());
    // What was named before a change is not believed after it.
    let early = bench.asker("writer");
    assert!(bench.done_by("root", &add_user("late")).is_ok());
    assert_eq!(bench.apply_for(Some(&early), &write).answer, Err(Refusal::AuthOldRevision));
    // Nobody but `root` changes users.
    assert_eq!(bench.done_by("both", &add_user("x")), Err(Refusal::PermissionDenied));
    assert_eq!(bench.done_by("nobody", &add_user("x")), Err(Refusal::UserNotFound));
    assert_eq!(bench.apply_for(None, &auth(AuthCommand::Disable)).answer, Err(Refusal::UserEmpty));
    assert!(bench.done_by("root", &auth(AuthCommand::Disable)).is_ok());
    assert!(bench.apply_for(None, &put("z", "1")).answer.is_ok());
}

/// Who could end a key with its lease must be allowed to write it.
#[test]
fn a_lease_is_as_good_as_the_keys_on_it() {
    let mut bench = with_users();
    for id in [1, 2] {
        bench.apply(Command::LeaseGrant { id, ttl: 60 });
    }
    let on = |lease, key| Command::Put(Put { lease, ..plain_put(key, "v") });
    assert!(bench.done_by("root", &on(1, "z")).is_ok());
    assert!(bench.done_by("writer", &on(2, "b")).is_ok());
    assert_eq!(bench.done_by("writer", &on(1, "c")), Err(Refusal::PermissionDenied));
    let revoke = |id| Command::LeaseRevoke { id, expiry: None };
    assert_eq!(bench.done_by("writer", &revoke(1)), Err(Refusal::PermissionDenied));
    assert_eq!(bench.apply_for(None, &revoke(1)).answer, Err(Refusal::UserEmpty));
    assert!(bench.done_by("writer", &revoke(2)).is_ok());
    // What falls due is nobody's wish.
    let granted_at = bench.machine.leases().get(1).expect("there").granted_at;
    let due = Command::LeaseRevoke { id: 1, expiry: Some(Expiry { granted_at, term: 1 }) };
    assert_eq!(bench.apply_for(None, &due).answer, Ok(Answer::LeaseRevoke));
    let asker = bench.asker("reader");
    assert_eq!(bench.machine.check_leases(Some(&asker)), Ok(()), "no lease has a key");
}

#[test]
fn users_are_in_the_image_and_in_the_digest() {
    let mut bench = with_users();
    let changed = auth(AuthCommand::UserChangePassword {
        name: "reader".to_string(),
        password: Some(PasswordHash(bytes("$2a$04$another"))),
    });
    bench.apply_for(Some(&bench.asker("root")), &changed);
    let image = bench.machine.image();
    let read = Image::decode(&image.encode()).expect("an image reads back");
    assert_eq!(read, image);
    let again = open(&bench.disk, &read);
    assert_eq!(again.auth(), bench.machine.auth());
    assert!(again.auth().is_enabled());
    assert_eq!(
        again.auth().user("reader").map(|user| user.password.clone()),
        Some(PasswordHash(bytes("$2a$04$another")))
    );
    // An earlier version wrote nothing of users.
    assert_eq!(*State::decode(Bytes::new()).expect("an empty one").auth, crate::auth::Auth::default());
    let digest = |kind| {
        let mut bench = with_users();
        let root = bench.asker("root");
        bench.apply_for(Some(&root), &grant("r", kind, "x", "y")).digest
    };
    assert_eq!(digest(PermissionKind::Read), digest(PermissionKind::Read));
    assert_ne!(digest(PermissionKind::Read), digest(PermissionKind::Write));
}

/// etcd logs what only reads of users, too: it changes nothing. A password that is not hashed is not taken.
#[test]
fn entries_of_a_stock_etcd_are_read() {
    use crate::wire::etcdserverpb as pb;
    use prost::Message;
    let header = Some(pb::RequestHeader { id: 7, username: "root".to_string(), auth_revision: 3 });
    let reads = pb::InternalRaftRequest {
        header: header.clone(),
        auth_user_list: Some(pb::AuthUserListRequest {}),
        ..Default::default()
    };
    assert_eq!(codec::decode(&reads.encode_to_vec().into()), Ok(None));
    let add = |password: &str, hashed: &str| {
        let request = pb::AuthUserAddRequest {
            name: "anna".to_string(),
            password: password.to_string(),
            options: None,
            hashed_password: hashed.to_string(),
        };
        let entry =
            pb::InternalRaftRequest { header: header.clone(), auth_user_add: Some(request), ..Default::default() };
        codec::decode(&entry.encode_to_vec().into()).expect("readable").expect("a command")
    };
    let hashed = add("", "aGFzaA==");
    assert_eq!(hashed.asker, Some(Asker { user: "root".into(), revision: 3 }));
    let password = PasswordHash(bytes("hash"));
    let expected = AuthCommand::UserAdd { name: "anna".to_string(), password, no_password: false };
    assert_eq!(hashed.command, Ok(Command::Auth(expected)));
    assert_eq!(add("plain", "").command, Err(Refusal::NoPasswordUser));
    assert_eq!(add("", "no base64!").command, Err(Refusal::NoPasswordUser));
    let change = |hashed: &str| {
        let request = pb::AuthUserChangePasswordRequest {
            name: "anna".to_string(),
            hashed_password: hashed.to_string(),
            ..Default::default()
        };
        let entry = pb::InternalRaftRequest { auth_user_change_password: Some(request), ..Default::default() };
        let read = codec::decode(&entry.encode_to_vec().into()).expect("readable").expect("a command");
        let Ok(Command::Auth(AuthCommand::UserChangePassword { password, .. })) = read.command else {
            panic!("{read:?}");
        };
        password
    };
    // As Go's library reads them.
    for (text, hash) in [
        ("aGFzaA==", Some("hash")),
        ("aGFz\r\naA==\n", Some("hash")),
        ("YR==", Some("a")),
        ("", Some("")),
        ("YQ", None),
        ("aGFzaA==aGFzaA==", None),
        ("!", None),
    ] {
        assert_eq!(change(text), hash.map(|hash| PasswordHash(bytes(hash))), "{text:?}");
    }
}

/// A hash that cannot be read is judged where it is applied, by whose it was to be.
#[test]
fn what_is_no_hash_is_judged_behind_the_user() {
    let mut bench = with_users();
    let root = bench.asker("root");
    let mut change = |name: &str| {
        let command = auth(AuthCommand::UserChangePassword { name: name.to_string(), password: None });
        bench.apply_for(Some(&root), &command).answer.map(drop)
    };
    assert_eq!(change("nobody of that name"), Err(Refusal::UserNotFound));
    assert_eq!(change("reader"), Err(Refusal::NoPasswordUser));
}

/// What one may learn of keys: those in an answer's rows, and how many.
fn told(answer: &Answer) -> Vec<Bytes> {
    fn of_ops(answers: &[OpAnswer], keys: &mut Vec<Bytes>) {
        for answer in answers {
            match answer {
                OpAnswer::Range(range) => keys.extend(range.kvs.iter().map(|kv| kv.key.clone())),
                OpAnswer::Put { prev_kv, .. } => keys.extend(prev_kv.iter().map(|kv| kv.key.clone())),
                OpAnswer::DeleteRange { prev_kvs, .. } => keys.extend(prev_kvs.iter().map(|kv| kv.key.clone())),
                OpAnswer::Txn(nested) => of_ops(&nested.answers, keys),
                OpAnswer::Later(..) => panic!("it was carried out"),
            }
        }
    }
    let mut keys = Vec::new();
    match answer {
        Answer::Put { prev_kv } => keys.extend(prev_kv.iter().map(|kv| kv.key.clone())),
        Answer::DeleteRange { prev_kvs, .. } => keys.extend(prev_kvs.iter().map(|kv| kv.key.clone())),
        Answer::Txn(txn) => of_ops(&txn.answers, &mut keys),
        Answer::Later(..) => panic!("it was carried out"),
        _ => {}
    }
    keys
}

const USERS: [&str; 5] = ["reader", "writer", "both", "none", "nobody"];

/// Letters that a user may read, and write.
fn rights(user: &str) -> (&'static str, &'static str) {
    match user {
        "reader" => ("ab", ""),
        "writer" => ("", "bc"),
        "both" => ("ab", "bc"),
        _ => ("", ""),
    }
}

fn hidden(user: &str) -> impl Fn(&[u8]) -> bool {
    let (read, write) = rights(user);
    let known = [read.as_bytes(), write.as_bytes()].concat();
    move |key| !key.first().is_some_and(|first| known.contains(first))
}

fn a_range() -> impl Strategy<Value = KeyRange> {
    let end = prop_oneof![Just(String::new()), "[a-f]", Just("\0".to_string())];
    ("[a-e]", end).prop_map(|(key, end)| KeyRange::from_wire(key.into(), end.into()))
}

fn a_put() -> impl Strategy<Value = Put> {
    ("[a-e]", any::<bool>(), 0..2u8, 0..3i64).prop_map(|(key, prev_kv, keep, lease)| Put {
        key: key.into(),
        value: if keep == 1 { Bytes::new() } else { bytes("new") },
        prev_kv,
        ignore_value: keep == 1,
        lease,
        ..Put::default()
    })
}

fn a_txn() -> impl Strategy<Value = Txn> {
    let compare = a_range().prop_map(|range| Compare {
        range,
        target: CompareTarget::Version(0),
        result: CompareResult::Greater,
    });
    let leaf = prop_oneof![
        a_put().prop_map(Op::Put),
        (a_range(), any::<bool>()).prop_map(|(range, prev_kv)| Op::DeleteRange(DeleteRange { range, prev_kv })),
        a_range().prop_map(|range| Op::Range(RangeQuery::plain(range))),
    ];
    let op = leaf.prop_recursive(2, 6, 3, |inner| {
        let ops = prop::collection::vec(inner, 0..3);
        (ops.clone(), ops).prop_map(|(success, failure)| Op::Txn(Txn { compares: Vec::new(), success, failure }))
    });
    let ops = prop::collection::vec(op, 0..3);
    (prop::collection::vec(compare, 0..2), ops.clone(), ops).prop_map(|(compares, success, failure)| Txn {
        compares,
        success,
        failure,
    })
}

fn a_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        a_put().prop_map(Command::Put),
        (a_range(), any::<bool>()).prop_map(|(range, prev_kv)| Command::DeleteRange(DeleteRange { range, prev_kv })),
        a_txn().prop_map(Command::Txn),
        a_txn().prop_map(Command::Txn),
        (0..3i64).prop_map(|id| Command::LeaseRevoke { id, expiry: None }),
    ]
}

/// `root`'s keys from a to e, and a lease on those of the first letters.
fn with_keys(keys: &[String]) -> Bench {
    let mut bench = with_users();
    let root = bench.asker("root");
    for id in [1, 2] {
        bench.apply(Command::LeaseGrant { id, ttl: 60 });
    }
    for key in keys {
        let lease = i64::from(key.as_bytes()[0] % 3);
        bench.apply_for(Some(&root), &Command::Put(Put { lease, ..plain_put(key, "old") })).answer.expect("root may");
    }
    bench
}

proptest! {
    /// Two stores that differ only in keys that a user may neither read nor write are the same to him: what he does is
    /// answered alike in both, count, previous values and refusals included; and what changes is his to write.
    #[test]
    fn nothing_tells_of_keys_that_are_not_ones_own(
        command in a_command(),
        user in prop::sample::select(&USERS[..]),
        keys in prop::collection::btree_set("[a-e]", 0..5),
    ) {
        let keys: Vec<String> = keys.into_iter().collect();
        let (is_hidden, (may_read, may_write)) = (hidden(user), rights(user));
        let seen: Vec<String> = keys.iter().filter(|key| !is_hidden(key.as_bytes())).cloned().collect();
        // Leases tell whether they hold a key of another's: that is what they are asked for.
        let of_leases = matches!(&command, Command::LeaseRevoke { .. }) || format!("{command:?}").contains("lease: 1")
            || format!("{command:?}").contains("lease: 2");
        let answers = [&keys, &seen].map(|keys| {
            let mut bench = with_keys(keys);
            let asker = bench.asker(user);
            let applied = bench.apply_for(Some(&asker), &command);
            for event in &applied.events {
                prop_assert!(may_write.as_bytes().contains(&event.kv.key[0]), "{user} changed {:?}", event.kv.key);
            }
            let answer = applied.answer.and_then(|answer| {
                answer.carry_out(1 << 20).map_err(|failure| panic!("nothing to fail at: {failure:?}"))
            });
            if let Ok(answer) = &answer {
                for key in told(answer) {
                    prop_assert!(may_read.as_bytes().contains(&key[0]), "{user} was told of {key:?}");
                }
            }
            // Revisions count what others wrote.
            Ok(format!("{:?}", answer.map(without_revisions)))
        });
        let [with, without] = answers;
        let (with, without) = (with?, without?);
        if !of_leases {
            prop_assert_eq!(with, without);
        }
    }
}

/// What an answer says beside revisions.
fn without_revisions(answer: Answer) -> (Vec<(Bytes, Bytes)>, Vec<i64>, bool) {
    fn of_ops(answers: &[OpAnswer], rows: &mut Vec<(Bytes, Bytes)>, counts: &mut Vec<i64>) {
        let pairs =
            |kvs: &[crate::base::KeyValue]| kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect::<Vec<_>>();
        for answer in answers {
            match answer {
                OpAnswer::Range(range) => {
                    rows.extend(pairs(&range.kvs));
                    counts.push(range.count);
                }
                OpAnswer::Put { prev_kv, .. } => rows.extend(pairs(prev_kv.as_slice())),
                OpAnswer::DeleteRange { deleted, prev_kvs, .. } => {
                    rows.extend(pairs(prev_kvs));
                    counts.push(*deleted);
                }
                OpAnswer::Txn(nested) => {
                    counts.push(i64::from(nested.succeeded));
                    of_ops(&nested.answers, rows, counts);
                }
                OpAnswer::Later(..) => panic!("it was carried out"),
            }
        }
    }
    let (mut rows, mut counts, mut succeeded) = (Vec::new(), Vec::new(), false);
    match answer {
        Answer::Put { prev_kv } => of_ops(&[OpAnswer::Put { prev_kv, revision: 0 }], &mut rows, &mut counts),
        Answer::DeleteRange { deleted, prev_kvs } => {
            of_ops(&[OpAnswer::DeleteRange { deleted, prev_kvs, revision: 0 }], &mut rows, &mut counts);
        }
        Answer::Txn(txn) => {
            succeeded = txn.succeeded;
            of_ops(&txn.answers, &mut rows, &mut counts);
        }
        _ => {}
    }
    (rows, counts, succeeded)
}
