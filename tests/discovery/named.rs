//! Encrypted endpoints by the SRV records of a domain: they are believed by the domain's name, not by that of their host.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use crate::name_server::NameServer;
use crate::services::{NAME_SERVERS, srv};
use crate::street::{Home, Process, bare, homes};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate of this name.
fn start(home: &Home, name: &str, ca: &CertifiedIssuer<'static, KeyPair>) -> Process {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    for (file, text) in [("crt", certificate.pem()), ("key", key.serialize_pem()), ("ca", ca.pem())] {
        fs::write(home.path(file), text).unwrap();
    }
    let client = format!("https://127.0.0.1:{}", home.client_port);
    let flags = [
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--initial-cluster={}=http://127.0.0.1:{}", home.name, home.peer_port),
        format!("--cert-file={}", home.path("crt").display()),
        format!("--key-file={}", home.path("key").display()),
    ];
    let mut process = Process::start(&mut home.command(&flags.each_ref().map(String::as_str)));
    home.until_ready(&mut process);
    process
}

/// The exit code of a `get` of the server that the domain names, and what it said of what is wrong.
fn get(home: &Home, flags: &[&str]) -> (Option<i32>, String) {
    let server = NameServer::start(vec![srv("etcd-client-ssl", home.client_port, "localhost")]);
    let mut command = bare(env!("CARGO_BIN_EXE_quoratectl"));
    command.args(["--discovery-srv=example.test", &format!("--cacert={}", home.path("ca").display()), "get", "k"]);
    let output = command.args(flags).env(NAME_SERVERS, server.address.to_string()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_found_in_a_domain_must_show_its_name() {
    let (ca, [right, wrong]) = (authority(), homes(["right", "wrong"]));
    let _running = [start(&right, "example.test", &ca), start(&wrong, "localhost", &ca)];
    let strict = "--insecure-discovery=false";
    assert_eq!(get(&right, &[strict, "--command-timeout=60s"]), (Some(0), String::new()));
    let (code, told) = get(&wrong, &[strict, "--command-timeout=10s"]);
    assert!(code == Some(1) && told.contains("example.test"), "{code:?} {told}");
    // On trust it is the host's name that counts.
    assert_eq!(get(&wrong, &["--command-timeout=60s"]), (Some(0), String::new()));
    let (code, told) = get(&right, &["--command-timeout=10s"]);
    assert!(code == Some(1) && told.contains("localhost"), "{code:?} {told}");
}
