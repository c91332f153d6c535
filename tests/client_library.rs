//! The client library as a program uses it, against a real server in a process of its own. Each test is an example:
//! read from the top, it says how the thing is done.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod ports;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use quorate::client::{
    Client, Code, Credentials, Error, Isolation, Options, Session, TlsOptions, WatchRange, prefix_end,
};
use quorate::wire::{authpb, etcdserverpb as pb};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::time::{Instant, sleep, timeout};

/// Longest any step may take: far beyond what a busy machine needs, and short enough to fail.
const LIMIT: Duration = Duration::from_secs(180);

struct Server {
    child: Child,
    endpoint: String,
    directory: tempfile::TempDir,
    ports: (u16, u16),
}

impl Server {
    fn start() -> Server {
        let ports = (ports::free(), ports::free());
        let directory = tempfile::tempdir().unwrap();
        let child = Server::spawn(&directory, ports);
        Server { child, endpoint: format!("127.0.0.1:{}", ports.0), directory, ports }
    }

    /// One that takes encrypted connections alone, of those who show a certificate of its authority.
    fn start_sealed() -> Server {
        let ports = (ports::free(), ports::free());
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        issue(directory.path());
        let child = Server::spawn_with(
            &directory,
            ports,
            "https",
            &[
                format!("--cert-file={}", file("server.crt")),
                format!("--key-file={}", file("server.key")),
                format!("--trusted-ca-file={}", file("ca.crt")),
                "--client-cert-auth".to_owned(),
            ],
        );
        Server { child, endpoint: format!("https://127.0.0.1:{}", ports.0), directory, ports }
    }

    fn spawn(directory: &tempfile::TempDir, ports: (u16, u16)) -> Child {
        Server::spawn_with(directory, ports, "http", &["--bcrypt-cost=4".to_owned()])
    }

    fn spawn_with(directory: &tempfile::TempDir, (client, peer): (u16, u16), scheme: &str, flags: &[String]) -> Child {
        let (client, peer) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--initial-cluster=default={peer}"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// A client that has seen the server answer.
    async fn client(&self) -> Client {
        let options = Options { timeout: Some(LIMIT), ..Options::default() };
        let client = Client::connect(std::slice::from_ref(&self.endpoint), options).await.unwrap();
        client.range(get("ready")).await.unwrap();
        client
    }

    /// Ends the server as a power failure would, and starts it again on the same data.
    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Server::spawn(&self.directory, self.ports);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_server(work: impl AsyncFnOnce(Server)) {
    with(Server::start(), work);
}

fn with(server: Server, work: impl AsyncFnOnce(Server)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(2 * LIMIT, work(server)).await.unwrap() });
}

/// An authority's certificate as a file, one of its for a server and one for a program, and the certificate of another authority.
fn issue(directory: &Path) {
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, others) = (authority(), authority());
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    for name in ["server", "app"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
        write(&format!("{name}.crt"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    write("ca.crt", ours.pem());
    write("other.crt", others.pem());
}

fn get(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

fn put(key: &'static str, value: impl Into<Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

async fn value_of(client: &Client, key: &'static str) -> Option<Bytes> {
    client.range(get(key)).await.unwrap().kvs.into_iter().next().map(|kv| kv.value)
}

#[test]
fn a_lock_is_one_holders_at_a_time_and_goes_with_its_session() {
    with_server(async |server| {
        let client = server.client().await;
        let (first, second) = (client.session(60).await.unwrap(), client.session(60).await.unwrap());
        let held = first.lock("printer").await.unwrap();
        assert_eq!(held.key(), format!("printer/{:x}", first.lease()).as_bytes());
        let refused = second.try_lock("printer").await.expect_err("the first has it");
        assert_eq!(refused.to_string(), "mutex: Locked by another session");

        // The second waits in line; what it was told is true once the first is gone.
        let mut waiting = second.queue("printer").await.unwrap();
        assert!(timeout(Duration::from_millis(300), waiting.acquire()).await.is_err(), "not while the first has it");
        first.close().await.unwrap();
        waiting.acquire().await.unwrap();
        assert!(waiting.revision() > held.revision(), "a number that grows from holder to holder");

        // A late holder is fenced off by the comparison that comes with the lock.
        let guarded = |compare| pb::TxnRequest {
            compare: vec![compare],
            success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put("printed", "page"))) }],
            failure: vec![],
        };
        assert!(!client.txn(guarded(held.held())).await.unwrap().succeeded);
        assert!(client.txn(guarded(waiting.held())).await.unwrap().succeeded);
        waiting.release().await.unwrap();
        second.try_lock("printer").await.unwrap().release().await.unwrap();
    });
}

/// How many stand in a line.
async fn standing(client: &Client, name: &str) -> i64 {
    let prefix = Bytes::from(format!("{name}/"));
    let all = pb::RangeRequest { range_end: prefix_end(&prefix), key: prefix, count_only: true, ..Default::default() };
    client.range(all).await.unwrap().count
}

async fn revoke(client: &Client, session: &Session) {
    client.lease_revoke(pb::LeaseRevokeRequest { id: session.lease() }).await.unwrap();
}

#[test]
fn who_is_told_that_it_leads_or_holds_has_the_first_key() {
    with_server(async |server| {
        let client = server.client().await;
        let open = async || client.session(60).await.unwrap();
        let (ann, bob, zoe) = (open().await, open().await, open().await);
        let leader = ann.campaign("chair", "ann").await.unwrap();
        let gone = bob.stand("chair", "bob").await.unwrap();
        revoke(&client, &bob).await;
        let next = zoe.stand("chair", "zoe").await.unwrap();
        leader.resign().await.unwrap();
        assert_eq!(gone.elected().await.expect_err("its key went").to_string(), "election: not leader");
        next.elected().await.unwrap();
        revoke(&client, &zoe).await;
        assert_eq!(next.elected().await.expect_err("so did this").to_string(), "election: not leader");

        // First in line, and then not in line at all.
        let (first, second) = (open().await, open().await);
        let mut queued = first.queue("printer").await.unwrap();
        revoke(&client, &first).await;
        second.lock("printer").await.unwrap().release().await.unwrap();
        assert_eq!(queued.acquire().await.expect_err("its key went").to_string(), "mutex: session is expired");

        // The key is there, and of the same session; but it was put anew, behind another.
        let third = open().await;
        let mut before = second.queue("printer").await.unwrap();
        second.queue("printer").await.unwrap().release().await.unwrap();
        let held = third.lock("printer").await.unwrap();
        let mut anew = second.queue("printer").await.unwrap();
        assert_eq!(before.acquire().await.expect_err("it was left").to_string(), "mutex: session is expired");
        held.release().await.unwrap();
        anew.acquire().await.unwrap();
        anew.acquire().await.unwrap();
        revoke(&client, &second).await;
        assert_eq!(anew.acquire().await.expect_err("not any more").to_string(), "mutex: session is expired");
    });
}

#[test]
fn who_gives_up_waiting_stands_in_line_no_longer() {
    with_server(async |server| {
        let client = server.client().await;
        let (first, second) = (client.session(60).await.unwrap(), client.session(60).await.unwrap());
        let leader = first.campaign("chair", "first").await.unwrap();
        let held = first.lock("printer").await.unwrap();
        let soon = Duration::from_millis(300);
        for _ in 0..3 {
            // What was given up just now is not found again.
            assert!(timeout(soon, second.campaign("chair", "second")).await.is_err(), "the first leads");
            assert!(timeout(soon, second.lock("printer")).await.is_err(), "the first has it");
        }
        let begun = Instant::now();
        while standing(&client, "chair").await + standing(&client, "printer").await > 2 {
            assert!(begun.elapsed() < LIMIT, "it stands still");
            sleep(Duration::from_millis(20)).await;
        }
        // Who waits again at once is given what it waits for, and keeps it.
        assert!(timeout(soon, second.campaign("chair", "second")).await.is_err(), "the first leads");
        assert!(timeout(soon, second.lock("printer")).await.is_err(), "the first has it");
        let ends = async {
            sleep(soon).await;
            leader.resign().await.unwrap();
            held.release().await.unwrap();
        };
        let (elected, locked, ()) = tokio::join!(second.campaign("chair", "second"), second.lock("printer"), ends);
        let (elected, mut locked) = (elected.unwrap(), locked.unwrap());
        elected.elected().await.unwrap();
        locked.acquire().await.unwrap();

        // Nor does who gives up giving it back: what was begun is done.
        assert!(timeout(Duration::ZERO, elected.resign()).await.is_err(), "no answer comes at once");
        assert!(timeout(Duration::ZERO, locked.release()).await.is_err(), "no answer comes at once");
        let begun = Instant::now();
        while standing(&client, "chair").await + standing(&client, "printer").await > 0 {
            assert!(begun.elapsed() < LIMIT, "it stands still");
            sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_session_that_is_revoked_says_so() {
    with_server(async |server| {
        let client = server.client().await;
        let session = client.session(60).await.unwrap();
        let lock = session.lock("x").await.unwrap();
        revoke(&client, &session).await;
        timeout(LIMIT, session.ended()).await.unwrap();
        assert!(!session.is_alive());
        assert!(lock.read().await.unwrap().kvs.is_empty(), "the lock went with it");
    });
}

#[test]
fn a_lease_lives_as_long_as_it_is_kept_alive() {
    with_server(async |server| {
        let client = server.client().await;
        // A session does this by itself; by hand it is for who has a lease that others made.
        let lease = client.lease_grant(pb::LeaseGrantRequest { ttl: 2, id: 0 }).await.unwrap().id;
        client.put(pb::PutRequest { lease, ..put("here", "yes") }).await.unwrap();
        let mut renewing = client.keep_alive(lease);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            assert!(renewing.next().await.unwrap().unwrap().ttl > 0, "it is renewed when a third of it is over");
        }
        assert_eq!(value_of(&client, "here").await.unwrap(), "yes");
        // Once nobody asks for the next, it ends, and with it its keys.
        drop(renewing);
        while value_of(&client, "here").await.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
        let refused = client.keep_alive_once(lease).await.expect_err("it has ended");
        assert_eq!(refused.to_string(), "etcdserver: requested lease not found");
    });
}

#[test]
fn a_session_outlives_its_server_being_killed() {
    with_server(async |mut server| {
        let client = server.client().await;
        let session = client.session(30).await.unwrap();
        let lock = session.lock("x").await.unwrap();
        server.kill_and_start();
        // Long enough for a renewal that was due in between.
        sleep(Duration::from_secs(12)).await;
        assert!(session.is_alive());
        assert_eq!(lock.read().await.unwrap().kvs.len(), 1);
        lock.release().await.unwrap();
    });
}

#[test]
fn one_of_many_leads_and_who_observes_hears_each_word() {
    with_server(async |server| {
        let client = server.client().await;
        let mut observer = client.observe("chair");
        assert!(timeout(Duration::from_millis(300), observer.next()).await.is_err(), "nobody leads");
        assert_eq!(client.leader_of("chair").await.expect_err("nobody").to_string(), "election: no leader");

        let (ann, bob) = (client.session(60).await.unwrap(), client.session(60).await.unwrap());
        let mut leader = ann.campaign("chair", "ann").await.unwrap();
        let next = bob.stand("chair", "bob").await.unwrap();
        leader.proclaim("ann again").await.unwrap();
        assert_eq!(client.leader_of("chair").await.unwrap().value, "ann again");
        assert!(timeout(Duration::from_millis(300), next.elected()).await.is_err(), "ann leads");
        leader.resign().await.unwrap();
        next.elected().await.unwrap();

        let mut words = Vec::new();
        for _ in 0..3 {
            words.push(observer.next().await.unwrap().kvs[0].value.clone());
        }
        assert_eq!(words, ["ann", "ann again", "bob"]);
        bob.close().await.unwrap();
        let lost = next;
        let mut lost = lost;
        assert_eq!(lost.proclaim("x").await.expect_err("closed").to_string(), "election: not leader");
    });
}

#[test]
fn an_observer_hears_no_word_twice_though_what_it_missed_was_compacted() {
    with_server(async |mut server| {
        let client = server.client().await;
        let (ann, bob) = (client.session(60).await.unwrap(), client.session(60).await.unwrap());
        let mut observer = client.observe("chair");
        let mut leader = ann.campaign("chair", "ann").await.unwrap();
        assert_eq!(observer.next().await.unwrap().kvs[0].value, "ann");
        let next = bob.stand("chair", "bob").await.unwrap();
        for said in ["", "late"] {
            // It has a stream, and waits.
            assert!(timeout(Duration::from_millis(300), observer.next()).await.is_err(), "nothing was said");
            // It has none, and nobody asks for the next.
            server.kill_and_start();
            client.range(get("ready")).await.unwrap();
            if !said.is_empty() {
                leader.proclaim("lost").await.unwrap();
                leader.proclaim(said).await.unwrap();
            }
            let revision = client.put(put("other", "1")).await.unwrap().header.unwrap().revision;
            client.compact(pb::CompactionRequest { revision, ..Default::default() }).await.unwrap();
            if said.is_empty() {
                let heard = timeout(Duration::from_secs(3), observer.next()).await;
                assert!(heard.is_err(), "nothing new was said: {heard:?}");
            } else {
                assert_eq!(observer.next().await.unwrap().kvs[0].value, said);
            }
        }
        // Who stood before the last word that was heard is no less new.
        leader.resign().await.unwrap();
        next.elected().await.unwrap();
        assert_eq!(observer.next().await.unwrap().kvs[0].value, "bob");
    });
}

/// Each call may be part of a task that is spawned, whatever it borrows: the compiler says so.
#[test]
fn every_call_may_be_awaited_in_a_spawned_task() {
    async fn all(client: Client, name: &str) -> Result<(), Error> {
        let session = client.session(5).await?;
        let mut held = session.lock(name).await?;
        held.acquire().await?;
        held.read().await?;
        held.release().await?;
        session.try_lock(name).await?.release().await?;
        let mut candidate = session.campaign(name, name.to_owned()).await?;
        candidate.proclaim("x").await?;
        candidate.read().await?;
        candidate.elected().await?;
        client.observe(name).next().await?;
        candidate.resign().await?;
        client.keep_alive(session.lease()).next().await.transpose()?;
        client.keep_alive_once(session.lease()).await?;
        client.watch(WatchRange { key: name.to_owned().into(), ..WatchRange::default() }).next().await;
        let space = client.namespace(name.to_owned());
        space.put(pb::PutRequest { key: name.to_owned().into(), ..Default::default() }).await?;
        space.watch(WatchRange::default()).next().await;
        client.transact(Isolation::default(), |mut run| async move { run.get(name.to_owned()).await }).await?;
        session.ended().await;
        session.close().await
    }
    fn is_spawned<T: Send + 'static>(_: impl FnOnce(Client, &'static str) -> T) {}
    is_spawned(|client, _| async move {
        let name = String::from("of the task");
        let (a, b) = (&name[..2], &name[3..]);
        for part in [a, b] {
            all(client.clone(), part).await?;
        }
        Ok::<_, Error>(())
    });
}

/// Adds one to a number that many add to, and says under a name that it did.
async fn add_one(client: &Client, key: &str, by: &str) -> Result<u64, Error> {
    client
        .transact(Isolation::SerializableSnapshot, |mut run| async move {
            let before =
                run.get(key.to_owned()).await?.map_or(0, |value| String::from_utf8_lossy(&value).parse().unwrap());
            run.put(key.to_owned(), (before + 1).to_string());
            run.put(by.to_owned(), (before + 1).to_string());
            Ok(before + 1)
        })
        .await
}

#[test]
fn a_transaction_runs_again_until_nobody_was_faster() {
    with_server(async |server| {
        let client = server.client().await;
        let mut adding = tokio::task::JoinSet::new();
        for n in 0..8 {
            let client = client.clone();
            // A task that holds what its transactions borrow.
            adding.spawn(async move {
                let by = format!("by/{n}");
                let mut sums = Vec::new();
                for _ in 0..10 {
                    let (key, by) = ("sum", &by[..]);
                    sums.push(add_one(&client, key, by).await.unwrap());
                }
                sums
            });
        }
        let mut sums: Vec<u64> = adding.join_all().await.into_iter().flatten().collect();
        sums.sort_unstable();
        assert_eq!(sums, (1..=80).collect::<Vec<_>>(), "no sum was reached twice, and none was left out");

        // An error of the caller's ends it with nothing done.
        let refused: Result<(), Error> = client
            .transact(Isolation::Serializable, |mut run| async move {
                run.put("sum", "0");
                Err(Error::Lost("changed my mind"))
            })
            .await;
        assert!(refused.is_err());
        assert_eq!(value_of(&client, "sum").await.unwrap(), "80");
    });
}

#[test]
fn reads_of_a_transaction_are_of_one_revision() {
    with_server(async |server| {
        let client = server.client().await;
        client.put(put("a", "1")).await.unwrap();
        client.put(put("b", "1")).await.unwrap();
        let mut runs = 0;
        let seen = client
            .transact(Isolation::SerializableSnapshot, |mut run| {
                runs += 1;
                let (is_first, another) = (runs == 1, client.clone());
                async move {
                    let a = run.get("a").await?.unwrap();
                    if is_first {
                        // Another changes both between the two reads.
                        another.put(put("a", "2")).await?;
                        another.put(put("b", "2")).await?;
                    }
                    let b = run.get("b").await?.unwrap();
                    assert_eq!(a, b, "never one of before and one of after");
                    run.put("c", a.clone());
                    Ok(a)
                }
            })
            .await
            .unwrap();
        assert_eq!((runs, seen), (2, Bytes::from_static(b"2")));
        assert_eq!(value_of(&client, "c").await.unwrap(), "2");
    });
}

#[test]
fn a_namespace_is_a_keyspace_of_its_own() {
    with_server(async |server| {
        let client = server.client().await;
        let (app, other) = (client.namespace("app/"), client.namespace("other/"));
        app.put(put("k", "1")).await.unwrap();
        other.put(put("k", "2")).await.unwrap();
        assert_eq!(value_of(&client, "app/k").await.unwrap(), "1");

        // Everything is everything below the prefix, and keys come back as they are called there.
        let everything = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let found = app.range(everything).await.unwrap();
        assert_eq!(found.kvs.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>(), ["k"]);

        let mut watcher = app.watch(WatchRange { key: "k".into(), start_revision: 1, ..WatchRange::default() });
        let event = watcher.next().await.unwrap().unwrap().events.remove(0);
        assert_eq!(event.kv.unwrap().key, "k");

        // The prefix itself is no key of it.
        client.put(put("app/", "outside")).await.unwrap();
        let outside = |refused: Error| assert_eq!(refused.text(), "etcdserver: key is not provided");
        outside(app.put(put("", "x")).await.expect_err("a put"));
        outside(app.range(get("")).await.expect_err("a read"));
        outside(app.range(pb::RangeRequest { range_end: "z".into(), ..get("") }).await.expect_err("a longer one"));
        outside(app.delete_range(pb::DeleteRangeRequest::default()).await.expect_err("a delete"));
        let compare = pb::Compare {
            target_union: Some(pb::compare::TargetUnion::Value("outside".into())),
            target: pb::compare::CompareTarget::Value as i32,
            ..Default::default()
        };
        let guess = pb::TxnRequest { compare: vec![compare], ..Default::default() };
        outside(app.txn(guess).await.expect_err("a comparison"));
        let read = Some(pb::request_op::Request::RequestRange(get("")));
        let within = pb::TxnRequest { failure: vec![pb::RequestOp { request: read }], ..Default::default() };
        outside(app.txn(within).await.expect_err("a read in a transaction"));
        let all = WatchRange { range_end: "\0".into(), start_revision: 1, ..WatchRange::default() };
        let mut watcher = app.watch(all);
        let events = watcher.next().await.unwrap().unwrap().events;
        let keys: Vec<Bytes> = events.into_iter().map(|event| event.kv.unwrap().key).collect();
        assert_eq!(keys, ["k"], "all that was put below the prefix, and not what was put there");

        // How far it has come is told as of any watch.
        let before = watcher.next_revision();
        let revision = other.put(put("k", "3")).await.unwrap().header.unwrap().revision;
        assert!(revision >= before);
        while watcher.next_revision() <= revision {
            watcher.request_progress();
            assert!(watcher.next().await.unwrap().unwrap().events.is_empty());
        }
        let all = pb::DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        assert_eq!(app.delete_range(all).await.unwrap().deleted, 1);
        assert_eq!(value_of(&client, "other/k").await.unwrap(), "3");
        assert_eq!(value_of(&client, "app/").await.unwrap(), "outside");
    });
}

#[test]
fn a_watch_goes_on_over_the_death_of_its_server_and_sees_each_change_once() {
    with_server(async |mut server| {
        let client = server.client().await;
        let begin = client.put(put("w/begin", "")).await.unwrap().header.unwrap().revision;
        let range = WatchRange {
            key: "w/".into(),
            range_end: prefix_end(b"w/"),
            start_revision: begin,
            ..WatchRange::default()
        };
        let mut watcher = client.watch(range);
        let (mut seen, mut written) = (Vec::new(), vec![begin]);
        for round in 0..3 {
            for _ in 0..20 {
                written.push(client.put(put("w/k", "v")).await.unwrap().header.unwrap().revision);
            }
            let begun = Instant::now();
            while seen.len() < written.len() {
                assert!(begun.elapsed() < LIMIT, "round {round}: {} of {}", seen.len(), written.len());
                let response = watcher.next().await.unwrap().unwrap();
                seen.extend(response.events.into_iter().map(|event| event.kv.unwrap().mod_revision));
            }
            assert_eq!(seen, written);
            server.kill_and_start();
            client.range(get("ready")).await.unwrap();
        }
    });
}

#[test]
fn a_program_with_a_certificate_is_let_in_and_others_are_told_why() {
    with(Server::start_sealed(), async |server| {
        let file = |name: &str| server.directory.path().join(name);
        let app =
            TlsOptions { cacert: file("ca.crt"), cert: file("app.crt"), key: file("app.key"), ..TlsOptions::default() };
        let connect = async |tls: &TlsOptions, within| {
            let options = Options { timeout: Some(within), tls: Some(tls.clone()), ..Options::default() };
            Client::connect(std::slice::from_ref(&server.endpoint), options).await
        };
        let client = connect(&app, LIMIT).await.unwrap();
        client.put(put("k", "v")).await.unwrap();
        assert_eq!(value_of(&client, "k").await.unwrap(), "v");

        let nobody = TlsOptions { cert: "".into(), key: "".into(), ..app.clone() };
        let stranger = TlsOptions { cacert: file("other.crt"), ..app.clone() };
        for (tls, reason) in [(nobody, "certificate required"), (stranger, "unknown authority")] {
            let client = connect(&tls, Duration::from_secs(10)).await.unwrap();
            let error = client.range(get("k")).await.expect_err("it is not let in");
            assert!(matches!(error, Error::Deadline), "{error}");
            let unreached = client.unreached();
            let [(endpoint, why)] = &unreached[..] else { panic!("{unreached:?}") };
            assert!(endpoint == &server.endpoint && why.contains(reason), "{why}");
        }
        let missing = TlsOptions { cacert: file("nosuch.crt"), ..app };
        let error = connect(&missing, LIMIT).await.expect_err("no such file");
        assert!(matches!(&error, Error::BadCertificate(why) if why.contains("nosuch.crt")), "{error}");
    });
}

#[test]
fn a_user_may_do_what_its_roles_say() {
    with_server(async |server| {
        let client = server.client().await;
        for (name, password) in [("root", "secret"), ("app", "pw")] {
            let user = pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() };
            client.user_add(user).await.unwrap();
        }
        client.role_add(pb::AuthRoleAddRequest { name: "app".into() }).await.unwrap();
        let perm = authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite as i32,
            key: "app/".into(),
            range_end: prefix_end(b"app/"),
        };
        let grant = pb::AuthRoleGrantPermissionRequest { name: "app".into(), perm: Some(perm) };
        client.role_grant_permission(grant).await.unwrap();
        for name in ["root", "app"] {
            let grant = pb::AuthUserGrantRoleRequest { user: name.into(), role: name.into() };
            client.user_grant_role(grant).await.unwrap();
        }
        client.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

        let connect = async |name: &str, password: &str| {
            let credentials = Some(Credentials::Password { name: name.to_owned(), password: password.to_owned() });
            let options = Options { timeout: Some(LIMIT), credentials, ..Options::default() };
            Client::connect(std::slice::from_ref(&server.endpoint), options).await
        };
        let app = connect("app", "pw").await.unwrap();
        app.put(put("app/k", "v")).await.unwrap();
        let refused = app.put(put("other", "v")).await.expect_err("no role of it says so");
        assert!(refused.is_permission_denied() && refused.code() == Some(Code::PermissionDenied), "{refused}");
        let refused = connect("app", "wrong").await.expect_err("the password is wrong");
        assert_eq!(refused.text(), "etcdserver: authentication failed, invalid user ID or password");
    });
}

#[test]
fn what_goes_wrong_is_told_by_its_kind() {
    with_server(async |server| {
        let client = server.client().await;
        assert!(matches!(Client::connect(&[], Options::default()).await, Err(Error::NoEndpoints)));
        for bad in ["ftp://a:1", "a", "a:99999"] {
            let refused = Client::connect(&[bad.to_owned()], Options::default()).await.expect_err("no endpoint");
            assert!(matches!(&refused, Error::BadEndpoint(why) if why.contains(bad)), "{refused}");
        }

        // What the server refused has its code, and its text to the letter.
        let first = client.put(put("k", "1")).await.unwrap().header.unwrap().revision;
        let revision = client.put(put("k", "2")).await.unwrap().header.unwrap().revision;
        client.compact(pb::CompactionRequest { revision, ..Default::default() }).await.unwrap();
        let old = pb::RangeRequest { revision: first, ..get("k") };
        let refused = client.range(old).await.expect_err("it is forgotten");
        assert_eq!(refused.code(), Some(Code::OutOfRange));
        assert_eq!(refused.text(), "etcdserver: mvcc: required revision has been compacted");
        let refused = client.put(put("k", "x".repeat(3 * 1024 * 1024))).await.expect_err("more than is sent");
        assert_eq!(refused.code(), Some(Code::ResourceExhausted));
        // A watch that begins where all is forgotten says from where on there is something.
        let mut watcher = client.watch(WatchRange { key: "k".into(), start_revision: first, ..WatchRange::default() });
        let last = watcher.next().await.unwrap().unwrap();
        assert!(last.canceled && last.compact_revision == revision);
        assert!(watcher.next().await.is_none());

        // Nobody is there: the timeout ends it, and why is known.
        let nobody = format!("127.0.0.1:{}", ports::free());
        let options = Options { timeout: Some(Duration::from_secs(1)), ..Options::default() };
        let away = Client::connect(std::slice::from_ref(&nobody), options).await.unwrap();
        assert!(matches!(away.put(put("k", "3")).await, Err(Error::Deadline)));
        let unreached = away.unreached();
        assert!(unreached.len() == 1 && unreached[0].0 == nobody, "{unreached:?}");
        assert!(unreached[0].1.contains("refused"), "{unreached:?}");
    });
}
