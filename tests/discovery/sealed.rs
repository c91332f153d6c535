//! Discovery where everything is encrypted: members find each other by the records for TLS and talk over it, the command line finds
//! them so, and a registry that asks for certificates is asked with one.

use std::path::{Path, PathBuf};

use quorate::client::{Client, Options, TlsOptions};
use quorate::wire::etcdserverpb as pb;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::name_server::{NameServer, Record};
use crate::street::{Home, LIMIT, Process, bare, homes};

const NAME_SERVERS: &str = "QUORATE_NAME_SERVERS";

/// An authority and a certificate of its for everybody here, as files.
struct Papers(tempfile::TempDir);

impl Papers {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["127.0.0.1", "localhost", "example.test"].map(str::to_string);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "member");
        let key = KeyPair::generate().unwrap();
        let papers = Self(tempfile::tempdir().unwrap());
        std::fs::write(papers.path("ca.crt"), authority.pem()).unwrap();
        std::fs::write(papers.path("own.crt"), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        std::fs::write(papers.path("own.key"), key.serialize_pem()).unwrap();
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The three files, under the names of such flags.
    fn flags(&self, names: [&str; 3]) -> Vec<String> {
        let files = ["ca.crt", "own.crt", "own.key"].map(|file| self.path(file));
        names.iter().zip(files).map(|(name, file)| format!("--{name}={}", file.display())).collect()
    }

    /// Of a server whose clients must show a certificate.
    fn for_clients(&self, home: &Home) -> Vec<String> {
        let url = format!("https://localhost:{}", home.client_port);
        let mut flags = self.flags(["trusted-ca-file", "cert-file", "key-file"]);
        flags.push("--client-cert-auth".to_string());
        flags.push(format!("--listen-client-urls=https://127.0.0.1:{}", home.client_port));
        flags.push(format!("--advertise-client-urls={url}"));
        flags
    }

    async fn client(&self, home: &Home) -> Client {
        let [cacert, cert, key] = ["ca.crt", "own.crt", "own.key"].map(|file| self.path(file));
        let tls = Some(TlsOptions { cacert, cert, key, ..TlsOptions::default() });
        let options = Options { timeout: Some(LIMIT), tls, ..Options::default() };
        Client::connect(&[format!("https://127.0.0.1:{}", home.client_port)], options).await.unwrap()
    }
}

fn start(home: &Home, flags: &[String]) -> Process {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Process::start(&mut home.command(&flags))
}

fn holds_log(home: &Home) -> bool {
    Path::new(&home.path("data/wal/durable")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_find_each_other_by_records_for_tls() {
    let papers = Papers::new();
    let three = homes(["m0", "m1", "m2"]);
    let srv = |service: &str, port| Record::Srv(format!("_{service}._tcp.example.test"), port, "localhost".to_owned());
    let mut records: Vec<_> = three.iter().map(|home| srv("etcd-server-ssl", home.peer_port)).collect();
    records.extend(three.iter().map(|home| srv("etcd-client-ssl", home.client_port)));
    let server = NameServer::start(records);
    let begin = |home: &Home| {
        let mut flags = papers.for_clients(home);
        flags.extend(papers.flags(["peer-trusted-ca-file", "peer-cert-file", "peer-key-file"]));
        flags.push("--peer-client-cert-auth".to_string());
        flags.push(format!("--listen-peer-urls=https://127.0.0.1:{}", home.peer_port));
        flags.push(format!("--initial-advertise-peer-urls=https://localhost:{}", home.peer_port));
        flags.push("--discovery-srv=example.test".to_string());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Process::start(home.command(&flags).env(NAME_SERVERS, server.address.to_string()))
    };
    let mut processes: Vec<Process> = three.iter().map(begin).collect();
    for (home, process) in three.iter().zip(&mut processes) {
        home.until_ready(process);
    }
    let members = crate::street::members_of(&papers.client(&three[1]).await).await;
    let expected = three.iter().map(|home| (home.name.clone(), vec![format!("https://localhost:{}", home.peer_port)]));
    assert_eq!(members, expected.collect::<Vec<_>>());

    let ctl = |flags: &[String], command: &[&str]| {
        let mut ctl = bare(env!("CARGO_BIN_EXE_quoratectl"));
        ctl.args(["--discovery-srv=example.test", "--command-timeout=60s"]).args(flags).args(command);
        let output = ctl.env(NAME_SERVERS, server.address.to_string()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let shown = papers.flags(["cacert", "cert", "key"]);
    assert_eq!(ctl(&shown, &["put", "k", "v"]), (Some(0), "OK\n".to_owned(), String::new()));
    let (code, told, _) = ctl(&shown, &["endpoint", "health"]);
    assert_eq!((code, told.matches("is healthy").count()), (Some(0), 3), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_certificates_is_asked_with_one() {
    let papers = Papers::new();
    let [kept, a, b, stranger] = homes(["keeper", "a", "b", "stranger"]);
    let mut keeper = start(&kept, &papers.for_clients(&kept));
    kept.until_ready(&mut keeper);
    let registry = papers.client(&kept).await;
    let size = pb::PutRequest { key: "/_etcd/registry/t/_config/size".into(), value: "2".into(), ..Default::default() };
    registry.put(size).await.unwrap();
    let mut flags = vec!["--discovery-token=t".to_string()];
    flags.push(format!("--discovery-endpoints=https://127.0.0.1:{}", kept.client_port));
    // Who shows nothing is not answered, asks again, and takes no place.
    let trusting = format!("--discovery-cacert={}", papers.path("ca.crt").display());
    let asking = start(&stranger, &[&flags[..], &[trusting]].concat());
    flags.extend(papers.flags(["discovery-cacert", "discovery-cert", "discovery-key"]));
    let mut two = [start(&a, &flags), start(&b, &flags)];
    a.until_ready(&mut two[0]);
    b.until_ready(&mut two[1]);
    let members = crate::street::members_of(&a.client().await).await;
    let url = |home: &Home| format!("http://127.0.0.1:{}", home.peer_port);
    assert_eq!(members, [&a, &b].map(|home| (home.name.clone(), vec![url(home)])));
    assert!(!holds_log(&stranger), "it founded nothing: {}", stranger.log_text());
    drop(asking);
}
