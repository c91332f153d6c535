//! Three members as processes over TLS, with certificates made at run time: members among each other, clients, and changes of
//! certificates and of the authority while clients write, under a ledger.

#![cfg(all(feature = "server", feature = "client", feature = "tokio-env"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod granted;
mod ports;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use granted::granted;
use quorate::client::{Client, Options, TlsOptions};
use quorate::tls::{CertificateFiles, Connector, Trust};
use quorate::wire::etcdserverpb as pb;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest any step may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificates in a directory, and ports of three members.
struct Homes {
    directory: tempfile::TempDir,
    ports: Vec<u16>,
}

impl Homes {
    fn new() -> Self {
        let ports = (0..6).map(|_| ports::free()).collect();
        Self { directory: tempfile::tempdir().unwrap(), ports }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As an operator replaces a file: at once.
    fn write(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.path(name)).unwrap();
    }

    fn issue(&self, name: &str, by: &Authority) {
        self.issue_as(name, name, by);
    }

    /// In files of one name, for a common name.
    fn issue_as(&self, file: &str, name: &str, by: &Authority) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        self.write(&format!("{file}.crt"), &params.signed_by(&key, by).unwrap().pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    /// The certificates of a member.
    fn issue_of(&self, n: usize, by: &Authority) {
        self.issue_as(&format!("server{n}"), "server", by);
        self.issue_as(&format!("peer{n}"), "peer", by);
    }

    fn endpoint(&self, n: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[n])
    }

    fn spawn(&self, n: usize) -> Member {
        self.spawn_as(n, &format!("peer{n}"))
    }

    /// A member that shows its peers the certificate of that name.
    fn spawn_as(&self, n: usize, shown: &str) -> Member {
        let peer = |n: usize| format!("https://127.0.0.1:{}", self.ports[3 + n]);
        let cluster: Vec<String> = (0..3).map(|n| format!("m{n}={}", peer(n))).collect();
        let (client, log) = (self.endpoint(n), self.path(&format!("log{n}")));
        let file = |name: &str| self.path(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        for (name, value) in [
            ("name", format!("m{n}")),
            ("data-dir", file(&format!("data{n}"))),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer(n)),
            ("initial-advertise-peer-urls", peer(n)),
            ("initial-cluster", cluster.join(",")),
            ("log-outputs", log.display().to_string()),
            ("cert-file", file(&format!("server{n}.crt"))),
            ("key-file", file(&format!("server{n}.key"))),
            ("trusted-ca-file", file("ca.crt")),
            ("client-cert-auth", "true".to_string()),
            ("peer-cert-file", file(&format!("{shown}.crt"))),
            ("peer-key-file", file(&format!("{shown}.key"))),
            ("peer-trusted-ca-file", file("ca.crt")),
            ("peer-client-cert-auth", "true".to_string()),
            ("peer-cert-allowed-cn", "peer".to_string()),
        ] {
            command.arg(format!("--{name}={value}"));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Member { child, log }
    }

    /// The first member alone, plain among peers, with these flags beside.
    fn spawn_alone(&self, more: &[String]) -> Member {
        let (client, peer, log) = (self.endpoint(0), format!("http://127.0.0.1:{}", self.ports[3]), self.path("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        command.args([
            format!("--data-dir={}", self.path("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            format!("--log-outputs={}", log.display()),
            format!("--cert-file={}", self.path("server.crt").display()),
            format!("--key-file={}", self.path("server.key").display()),
            "--bcrypt-cost=4".to_string(),
        ]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Member { child: command.spawn().unwrap(), log }
    }

    fn options(&self) -> Options {
        self.options_as("alice")
    }

    /// With the certificate of that name.
    fn options_as(&self, name: &str) -> Options {
        let tls = TlsOptions {
            cacert: self.path("ca.crt"),
            cert: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            ..TlsOptions::default()
        };
        Options { timeout: Some(LIMIT), tls: Some(tls), ..Options::default() }
    }

    /// A new connection to each member answers.
    async fn all_answer(&self) {
        for n in 0..3 {
            let client = Client::connect(&[self.endpoint(n)], self.options()).await.unwrap();
            granted(async || client.range(of_key("k")).await).await;
        }
    }
}

fn of_key(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() }
}

/// A running member; killed when dropped.
struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    fn until_ready(&mut self) {
        let word = format!("\"pid\":{}", self.child.id());
        let began = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.lines().any(|line| line.contains("ready to serve") && line.contains(&word)) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "ended while starting: {log}");
            assert!(began.elapsed() < LIMIT, "not ready: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the writers were told, kept outside the cluster.
#[derive(Debug, Default)]
struct Ledger {
    stop: AtomicBool,
    /// By key: value and revision of a write that was acknowledged.
    held: Mutex<BTreeMap<Bytes, (Bytes, i64)>>,
    /// What came of attempts that were not.
    failures: Mutex<BTreeMap<String, usize>>,
}

impl Ledger {
    fn written(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Waits until more was written than there is now and is under way.
    async fn until_written(&self) {
        let (before, began) = (self.written(), Instant::now());
        while self.written() < before + 20 + WRITERS {
            assert!(began.elapsed() < LIMIT, "nothing is written: {:?}", self.failures.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Holds what a member has against it.
    fn judge(&self, there: &pb::RangeResponse) {
        let held = self.held.lock().unwrap();
        let found: BTreeMap<_, _> = there.kvs.iter().map(|kv| (&kv.key, kv)).collect();
        for (key, (value, revision)) in held.iter() {
            let kv = found.get(key).unwrap_or_else(|| panic!("{key:?} was acknowledged at {revision}, and is lost"));
            assert_eq!(kv.value, value, "{key:?}");
            // A write that was taken for lost and made again may come twice.
            assert!(kv.mod_revision >= *revision, "{key:?}: {} {revision}", kv.mod_revision);
        }
        // The last one of each may have been written and not acknowledged.
        assert!(found.len() <= held.len() + WRITERS, "{} {}", found.len(), held.len());
    }
}

const WRITERS: usize = 6;

/// Writes keys of its own, one after the other, until it is told to stop; each is acknowledged, or written again.
async fn write(writer: usize, client: Client, ledger: Arc<Ledger>) {
    for number in 0_u32.. {
        let (key, value) = (format!("key-{writer}-{number:06}"), format!("value-{writer}-{number}"));
        let request = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        let began = Instant::now();
        loop {
            if ledger.stop.load(Ordering::Relaxed) {
                return;
            }
            match client.put(request.clone()).await {
                Ok(answer) => {
                    let revision = answer.header.unwrap().revision;
                    ledger.held.lock().unwrap().insert(request.key, (request.value, revision));
                    break;
                }
                Err(error) => {
                    *ledger.failures.lock().unwrap().entry(error.to_string()).or_default() += 1;
                    assert!(began.elapsed() < LIMIT, "not written: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// Certificates are replaced member by member, and then the authority, as operators do it: the new one beside the old, new
/// certificates, the old one away; nobody is told and nobody stops. Then each member starts again, and reaches the others that did
/// not. Meanwhile clients write, and nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_the_authority_change_while_clients_write() {
    let (homes, old, new) = (Homes::new(), authority("old"), authority("new"));
    homes.write("ca.crt", &old.pem());
    homes.issue("alice", &old);
    (0..3).for_each(|n| homes.issue_of(n, &old));
    let mut members: Vec<Member> = (0..3).map(|n| homes.spawn(n)).collect();
    members.iter_mut().for_each(Member::until_ready);
    let all: Vec<String> = (0..3).map(|n| homes.endpoint(n)).collect();
    let ledger = Arc::new(Ledger::default());
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let client = Client::connect(&all, homes.options()).await.unwrap();
        writing.spawn(write(writer, client, ledger.clone()));
    }
    ledger.until_written().await;
    for n in 0..3 {
        homes.issue_of(n, &old);
        homes.all_answer().await;
        ledger.until_written().await;
    }
    homes.write("ca.crt", &format!("{}{}", old.pem(), new.pem()));
    homes.all_answer().await;
    for n in 0..3 {
        homes.issue_of(n, &new);
        homes.all_answer().await;
        ledger.until_written().await;
    }
    homes.issue("alice", &new);
    homes.all_answer().await;
    homes.write("ca.crt", &new.pem());
    homes.all_answer().await;
    ledger.until_written().await;
    // One of the old authority is nobody any more.
    homes.issue("alice", &old);
    let stranger = Client::connect(&[homes.endpoint(0)], homes.options()).await.unwrap();
    let stranger = stranger.within(Some(Duration::from_millis(500)));
    assert!(stranger.range(of_key("k")).await.is_err());
    homes.issue("alice", &new);
    println!("before anybody starts again: {} written, {:?}", ledger.written(), ledger.failures.lock().unwrap());
    for n in 0..3 {
        // Dropped, and so killed, before the next one takes its ports.
        drop(members.remove(n));
        members.insert(n, homes.spawn(n));
        members[n].until_ready();
        homes.all_answer().await;
        ledger.until_written().await;
    }
    ledger.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writing.join_next().await {
        ended.unwrap();
    }
    println!("at the end: {} written, {:?}", ledger.written(), ledger.failures.lock().unwrap());
    for n in 0..3 {
        let client = Client::connect(&[homes.endpoint(n)], homes.options()).await.unwrap();
        let request = pb::RangeRequest { range_end: Bytes::from_static(b"key."), ..of_key("key-") };
        ledger.judge(&granted(async || client.range(request.clone()).await).await);
        let page = granted(async || client.page(0, "/metrics").await).await;
        assert!(String::from_utf8_lossy(&page).contains("\nprocess_resident_memory_bytes "));
        assert!(client.page(0, "/nowhere").await.unwrap_err().to_string().contains("/nowhere answered 404"));
    }
}

/// A member whose certificate has another common name stays outside, and the log says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_name_stays_outside() {
    let (homes, ca) = (Homes::new(), authority("ca"));
    homes.write("ca.crt", &ca.pem());
    ["alice", "other"].iter().for_each(|name| homes.issue(name, &ca));
    (0..3).for_each(|n| homes.issue_of(n, &ca));
    let mut members: Vec<Member> = (0..2).map(|n| homes.spawn(n)).collect();
    members.iter_mut().for_each(Member::until_ready);
    let third = homes.spawn_as(2, "other");
    let began = Instant::now();
    let told = |log: &PathBuf| {
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().any(|line| {
            line.contains("rejected connection on peer endpoint")
                && line.contains("client certificate authentication failed")
        })
    };
    while !members.iter().any(|member| told(&member.log)) {
        assert!(began.elapsed() < LIMIT, "nobody rejected it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!fs::read_to_string(&third.log).unwrap_or_default().contains("ready to serve"));
    let client = Client::connect(&[homes.endpoint(0), homes.endpoint(1)], homes.options()).await.unwrap();
    let put = pb::PutRequest { key: Bytes::from_static(b"k"), ..Default::default() };
    granted(async || client.put(put.clone()).await).await;
}

/// Whether what a client asks of a port over HTTP is answered: it shows the certificate of that name.
async fn is_answered(homes: &Homes, port: u16, name: &str) -> bool {
    let file = |end: &str| homes.path(&format!("{name}.{end}"));
    let files = CertificateFiles {
        cert: file("crt"),
        key: file("key"),
        trusted_ca: homes.path("ca.crt"),
        ..CertificateFiles::default()
    };
    let connector = Connector::new(Trust { files, ..Trust::default() }).unwrap();
    let asks = async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let mut stream = connector.connect(stream, "127.0.0.1").await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut word = [0; 12];
        stream.read_exact(&mut word).await?;
        Ok::<_, std::io::Error>(word.starts_with(b"HTTP/1.1 "))
    };
    tokio::time::timeout(LIMIT, asks).await.expect("in time").unwrap_or(false)
}

/// GHSA-3wh4-j44w-pg92: where the endpoints have a port of their own, the list held at that one alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_is_let_in_at_no_port() {
    let (homes, ca) = (Homes::new(), authority("ca"));
    homes.write("ca.crt", &ca.pem());
    ["server", "alice", "dave"].iter().for_each(|name| homes.issue(name, &ca));
    let pem = fs::read(homes.path("dave.crt")).unwrap();
    let pem = x509_parser::pem::parse_x509_pem(&pem).unwrap().1;
    let serial = pem.parse_x509().unwrap().raw_serial().to_vec();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from_slice(&serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2020, 2, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    homes.write("crl", &list.signed_by(&ca).unwrap().pem().unwrap());
    let flags = |separate: bool| {
        let mut flags = vec![
            format!("--trusted-ca-file={}", homes.path("ca.crt").display()),
            "--client-cert-auth".to_string(),
            format!("--client-crl-file={}", homes.path("crl").display()),
        ];
        if separate {
            flags.push(format!("--listen-client-http-urls={}", homes.endpoint(1)));
        }
        flags
    };
    for separate in [false, true] {
        let mut member = homes.spawn_alone(&flags(separate));
        member.until_ready();
        let calls = |name: &str| {
            let options = Options { timeout: Some(Duration::from_secs(3)), ..homes.options_as(name) };
            let endpoint = homes.endpoint(0);
            async move { Client::connect(&[endpoint], options).await?.range(of_key("k")).await }
        };
        granted(async || calls("alice").await).await;
        assert!(calls("dave").await.is_err(), "separate: {separate}");
        for port in if separate { &homes.ports[..2] } else { &homes.ports[..1] } {
            // The port of calls alone answers by HTTP, too, if only that it does not.
            assert!(is_answered(&homes, *port, "alice").await, "separate: {separate}");
            assert!(!is_answered(&homes, *port, "dave").await, "separate: {separate}");
        }
    }
}

/// A certificate is a user's name where `--client-cert-auth` says so. Authorities alone let in by certificates, whose names
/// are hosts' and services', and `root` among them is nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_a_users_name_only_where_the_flag_says_so() {
    let (homes, ca) = (Homes::new(), authority("ca"));
    homes.write("ca.crt", &ca.pem());
    ["server", "root"].iter().for_each(|name| homes.issue(name, &ca));
    let authorities = format!("--trusted-ca-file={}", homes.path("ca.crt").display());
    let mut member = homes.spawn_alone(std::slice::from_ref(&authorities));
    member.until_ready();
    let client = Client::connect(&[homes.endpoint(0)], homes.options_as("root")).await.unwrap();
    let root = || pb::AuthUserAddRequest { name: "root".into(), password: "pw".into(), ..Default::default() };
    client.user_add(root()).await.unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    client.user_grant_role(grant).await.unwrap();
    client.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let list = || client.user_list(pb::AuthUserListRequest {});
    for refused in [list().await.map(drop), client.range(of_key("k")).await.map(drop)] {
        assert_eq!(refused.unwrap_err().to_string(), "etcdserver: user name is empty");
    }
    let nobody = TlsOptions { cacert: homes.path("ca.crt"), ..TlsOptions::default() };
    let nobody = Options { tls: Some(nobody), ..homes.options_as("root") };
    let nobody = Client::connect(&[homes.endpoint(0)], nobody).await.unwrap();
    let nobody = nobody.within(Some(Duration::from_millis(500)));
    assert!(nobody.range(of_key("k")).await.is_err(), "one must be shown");
    drop(member);
    let mut member = homes.spawn_alone(&[authorities, "--client-cert-auth".to_string()]);
    member.until_ready();
    let client = Client::connect(&[homes.endpoint(0)], homes.options_as("root")).await.unwrap();
    assert_eq!(client.user_list(pb::AuthUserListRequest {}).await.unwrap().users, ["root"]);
}
