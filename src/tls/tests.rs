//! Both ends of a connection, with certificates made at run time.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// An authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn issue(&self, name: &str, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_string()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A directory of certificates: those of a server, and of one client.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let draft = self.path("draft");
        fs::write(&draft, text).expect("written");
        fs::rename(&draft, self.path(name)).expect("renamed");
        self.path(name)
    }

    fn pair(&self, name: &str, (cert, key): (String, String)) -> (PathBuf, PathBuf) {
        (self.write(&format!("{name}.crt"), cert), self.write(&format!("{name}.key"), key))
    }
}

fn server(files: CertificateFiles, change: impl FnOnce(&mut ServerTerms)) -> Acceptor {
    let mut terms = ServerTerms { files, above: vec!["h2"], ..ServerTerms::default() };
    change(&mut terms);
    Acceptor::new(terms).expect("good certificates")
}

fn client(files: CertificateFiles) -> Connector {
    Connector::new(Trust { files, above: vec!["h2"], ..Trust::default() }).expect("good certificates")
}

type Met = (Result<Option<VerifiedClient>, Rejected>, Result<(), String>);

/// What becomes of one connection from an address to `host`, at both ends: the client says a word and hears one.
async fn meet(acceptor: &Acceptor, connector: &Connector, host: &str, from: &str) -> Met {
    let (near, far) = tokio::io::duplex(1 << 16);
    let from: IpAddr = from.parse().expect("an address");
    let serve = async {
        let (mut stream, client) = match acceptor.accept(far, Some(from)).await {
            Ok(opened) => opened,
            Err(mut rejected) => {
                acceptor.part(&mut rejected).await;
                return Err(rejected);
            }
        };
        let mut word = [0; 2];
        let heard = stream.read_exact(&mut word).await;
        heard.map_err(|error| Rejected::saying(&go_text(&error)))?;
        stream.write_all(b"ok").await.expect("written");
        stream.flush().await.expect("written");
        Ok(client)
    };
    let ask = async {
        let mut stream = connector.connect(near, host).await.map_err(|error| go_text(&error))?;
        let mut word = [0; 2];
        let asked = async {
            stream.write_all(b"hi").await?;
            stream.flush().await?;
            stream.read_exact(&mut word).await
        };
        asked.await.map(drop).map_err(|error| go_text(&error))
    };
    tokio::join!(serve, ask)
}

/// A server for `localhost` and 127.0.0.1 that asks for certificates of `ca`, and the files of a client.
fn pair(place: &Place, ca: &Authority) -> (CertificateFiles, CertificateFiles) {
    let trusted_ca = place.write("ca.crt", ca.0.pem());
    let (cert, key) = place.pair("server", ca.issue("server", &["localhost", "127.0.0.1"], |_| {}));
    let serving = CertificateFiles { cert, key, trusted_ca: trusted_ca.clone(), ..CertificateFiles::default() };
    let (cert, key) = place.pair("client", ca.issue("alice", &["127.0.0.1"], |_| {}));
    (serving, CertificateFiles { cert, key, trusted_ca, ..CertificateFiles::default() })
}

#[tokio::test]
async fn a_client_is_known_by_its_common_name() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, asking) = pair(&place, &ca);
    let acceptor = server(serving.clone(), |terms| terms.client_cert_auth = true);
    for host in ["localhost", "127.0.0.1"] {
        let (served, asked) = meet(&acceptor, &client(asking.clone()), host, "10.1.1.1").await;
        assert_eq!(asked, Ok(()));
        assert_eq!(served.expect("served"), Some(VerifiedClient { common_name: "alice".into() }));
    }
    // An authority alone lets in by certificates, and no more: the name in it is a host's or a service's, not a user's.
    let lets_in = server(serving.clone(), |_| {});
    let (served, asked) = meet(&lets_in, &client(asking.clone()), "localhost", "10.1.1.1").await;
    assert_eq!((served.expect("let in"), asked), (None, Ok(())));
    let nobody = CertificateFiles { cert: PathBuf::new(), key: PathBuf::new(), ..asking.clone() };
    assert!(meet(&lets_in, &client(nobody), "localhost", "10.1.1.1").await.0.is_err(), "one must be shown");
    let (_, asked) = meet(&acceptor, &client(asking.clone()), "other.example", "10.1.1.1").await;
    let why = asked.expect_err("another host");
    assert!(why.ends_with("not other.example"), "{why}");
    // Where no certificate is asked for there is no name.
    let open = server(CertificateFiles { trusted_ca: PathBuf::new(), ..serving }, |_| {});
    let (served, asked) = meet(&open, &client(asking), "localhost", "10.1.1.1").await;
    assert_eq!((served.expect("served"), asked), (None, Ok(())));
}

#[tokio::test]
async fn who_shows_nothing_good_is_rejected_in_gos_words() {
    let (place, ca, other) = (Place::new(), Authority::new("ca"), Authority::new("other"));
    let (serving, good) = pair(&place, &ca);
    let acceptor = server(serving, |_| {});
    let shown = |name: &str, pair| {
        let (cert, key) = place.pair(name, pair);
        CertificateFiles { cert, key, ..good.clone() }
    };
    let none = CertificateFiles { cert: PathBuf::new(), key: PathBuf::new(), ..good.clone() };
    let expired = ca.issue("carol", &[], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let reversed = ca.issue("rita", &[], |params| {
        params.not_before = date_time_ymd(2003, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let early = ca.issue("dan", &[], |params| params.not_before = date_time_ymd(2999, 1, 1));
    let serving_only = ca.issue("erin", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let x509 = "tls: failed to verify certificate: x509: ";
    for (files, ours, theirs) in [
        (none, "tls: client didn't provide a certificate".to_string(), "certificate required"),
        (
            shown("stranger", other.issue("bob", &[], |_| {})),
            format!("{x509}certificate signed by unknown authority"),
            "unknown certificate authority",
        ),
        (
            // An authority that was made anew under its old name.
            shown("former", Authority::new("ca").issue("bob", &[], |_| {})),
            format!("{x509}certificate signed by unknown authority"),
            "unknown certificate authority",
        ),
        (
            shown("expired", expired),
            format!("{x509}certificate has expired or is not yet valid: current time "),
            "expired certificate",
        ),
        (
            shown("reversed", reversed),
            format!("{x509}certificate has expired or is not yet valid: current time "),
            "expired certificate",
        ),
        (shown("early", early), format!("{x509}certificate has expired or is not yet valid: "), "expired certificate"),
        (
            shown("serving", serving_only),
            format!("{x509}certificate specifies an incompatible key usage"),
            "unsupported certificate",
        ),
    ] {
        let (served, asked) = meet(&acceptor, &client(files), "localhost", "10.1.1.1").await;
        let rejected = served.expect_err("rejected");
        assert!(rejected.text.starts_with(&ours), "{} is not {ours}", rejected.text);
        if theirs == "expired certificate" {
            let ends = [" is after 2002-01-01T00:00:00Z", " is before 2999-01-01T00:00:00Z"];
            assert!(ends.iter().any(|end| rejected.text.ends_with(end)), "{}", rejected.text);
        }
        assert_eq!((rejected.server_name.as_str(), rejected.is_silent), ("localhost", false));
        assert!(rejected.names.is_none(), "as at etcd, whose library keeps no certificate that was not verified");
        assert_eq!(asked, Err(format!("remote error: tls: {theirs}")));
    }
}

#[tokio::test]
async fn other_protocols_and_silence_are_told_apart() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, _) = pair(&place, &ca);
    let acceptor = server(serving, |_| {});
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let rejected = acceptor.accept(far, None).await.expect_err("no TLS");
    assert_eq!(rejected.text, Rejected::other_protocol().text);
    let (near, far) = tokio::io::duplex(1 << 16);
    drop(near);
    let rejected = acceptor.accept(far, None).await.expect_err("nobody");
    assert_eq!((rejected.text.as_str(), rejected.is_silent), ("EOF", true));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_time_and_their_number_a_bound() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, asking) = pair(&place, &ca);
    let acceptor = Arc::new(server(serving, |_| {}));
    let begun = tokio::time::Instant::now();
    let mut silent = Vec::new();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..crate::base::limits::HANDSHAKES {
        let (near, far) = tokio::io::duplex(64);
        silent.push(near);
        let acceptor = acceptor.clone();
        waiting.spawn(async move { acceptor.accept(far, None).await.map(drop) });
    }
    // The clock moves when all wait.
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let (_near, far) = tokio::io::duplex(64);
    let rejected = acceptor.accept(far, None).await.expect_err("one too many");
    assert_eq!(rejected.text, "too many handshakes at once");
    assert_eq!(begun.elapsed().as_millis(), 1, "at once");
    while let Some(done) = waiting.join_next().await {
        assert_eq!(done.expect("ended").expect_err("silent").text, "i/o timeout");
    }
    assert_eq!(begun.elapsed().as_secs(), 10);
    let (served, _) = meet(&acceptor, &client(asking), "localhost", "10.1.1.1").await;
    assert!(served.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_revoked_certificate_is_rejected_as_soon_as_the_list_says_so() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (mut serving, asking) = pair(&place, &ca);
    let list = |serials: &[u64]| {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2020, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&ca.0).expect("signed")
    };
    serving.crl = place.write("crl", list(&[0x0a0b]).der());
    let key_of_server = serving.key.clone();
    let acceptor = server(serving, |_| {});
    let numbered = ca.issue("dave", &["127.0.0.1"], |params| params.serial_number = Some(SerialNumber::from(0xc1d2)));
    let (cert, key) = place.pair("dave", numbered);
    let dave = client(CertificateFiles { cert, key, ..asking });
    assert!(meet(&acceptor, &dave, "localhost", "10.1.1.1").await.0.is_ok());
    // A key that cannot be used leaves the one before, and keeps nobody in who is revoked.
    fs::write(key_of_server, "no key").expect("written");
    assert!(meet(&acceptor, &dave, "localhost", "10.1.1.1").await.0.is_ok());
    for list in [list(&[0x0a0b, 0xc1d2]).der().to_vec(), list(&[0xc1d2]).pem().expect("PEM").into_bytes()] {
        place.write("crl", list);
        let rejected = meet(&acceptor, &dave, "localhost", "10.1.1.1").await.0.expect_err("revoked");
        assert_eq!(rejected.text, "transport: certificate serial c1d2 revoked");
        assert_eq!(rejected.names.expect("its certificate").common_name, "dave");
    }
    place.write("crl", "no list");
    assert!(meet(&acceptor, &dave, "localhost", "10.1.1.1").await.0.is_err(), "a bad list leaves the one before");
}

#[tokio::test]
async fn peers_come_from_where_their_certificates_are_for_and_have_the_names_asked_for() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, asking) = pair(&place, &ca);
    let strict = server(serving.clone(), |terms| terms.checks_origin = true);
    let alice = client(asking.clone());
    assert!(meet(&strict, &alice, "localhost", "127.0.0.1").await.0.is_ok());
    let rejected = meet(&strict, &alice, "localhost", "10.1.1.1").await.0.expect_err("from elsewhere");
    assert_eq!(rejected.text, "x509: certificate is valid for 127.0.0.1, not 10.1.1.1");
    let (cert, key) = place.pair("named", ca.issue("n", &["localhost"], |_| {}));
    let named = client(CertificateFiles { cert, key, ..asking.clone() });
    assert!(meet(&strict, &named, "localhost", "127.0.0.1").await.0.is_ok(), "the name is asked for");
    let rejected = meet(&strict, &named, "localhost", "10.1.1.1").await.0.expect_err("from elsewhere");
    assert!(rejected.text.starts_with("tls: \"10.1.1.1\" does not match any of DNSNames [\"localhost\"]"));
    let cases: [(&[&str], &[&str], bool); 5] = [
        (&["bob", "alice"], &[], true),
        (&["bob"], &[], false),
        (&[], &["127.0.0.1"], true),
        (&[], &["a.example", "b.example"], false),
        (&[], &[], true),
    ];
    for (common_names, hosts, fits) in cases {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect();
        let allowed = Allowed { common_names: words(common_names), hosts: words(hosts) };
        let acceptor = server(serving.clone(), |terms| terms.allowed = allowed.clone());
        let (served, _) = meet(&acceptor, &alice, "localhost", "127.0.0.1").await;
        assert_eq!(served.is_ok(), fits, "{allowed:?}");
        if let Err(rejected) = served {
            assert_eq!(rejected.text, "client certificate authentication failed");
            let names = rejected.names.expect("its chain was good");
            assert_eq!((names.common_name.as_str(), names.addresses.len()), ("alice", 1));
        }
    }
    let both = Allowed { common_names: vec!["a".into()], hosts: vec!["b".into()] };
    let text = "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\"], hostnames=[\"b\"])";
    assert_eq!(both.check(), Err(text.to_string()));
}

#[tokio::test]
async fn authorities_and_certificates_change_while_it_serves() {
    let (place, old, new) = (Place::new(), Authority::new("old"), Authority::new("new"));
    let (serving, asking) = pair(&place, &old);
    let acceptor = server(serving, |_| {});
    let connector = client(asking);
    let works = async |want: bool| {
        let (served, asked) = meet(&acceptor, &connector, "localhost", "10.1.1.1").await;
        assert_eq!((served.is_ok(), asked.is_ok()), (want, want), "{asked:?}");
    };
    works(true).await;
    place.write("ca.crt", format!("{}{}", old.0.pem(), new.0.pem()));
    works(true).await;
    // The certificate comes before its key: until then the old pair serves.
    let (cert, key) = new.issue("server", &["localhost"], |_| {});
    place.write("server.crt", cert);
    works(true).await;
    place.write("server.key", key);
    works(true).await;
    place.write("ca.crt", new.0.pem());
    works(false).await;
    place.pair("client", new.issue("alice", &[], |_| {}));
    works(true).await;
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_believed_for_its_names_alone() {
    let place = Place::new();
    let own = make(&place.path("auto"), &["127.0.0.1".to_string(), "localhost".to_string()], 1).expect("made");
    let again = make(&place.path("auto"), &[], 1).expect("kept");
    assert_eq!(own, again);
    assert!(make(&place.path("none"), &[], 0).is_err_and(|why| why.starts_with("selfSignedCertValidity is invalid")));
    let files = CertificateFiles { cert: own.cert.clone(), key: own.key, ..CertificateFiles::default() };
    let acceptor = server(files, |_| {});
    let trusting = client(CertificateFiles { trusted_ca: own.cert, ..CertificateFiles::default() });
    assert_eq!(meet(&acceptor, &trusting, "localhost", "10.1.1.1").await.1, Ok(()));
    let why = meet(&acceptor, &trusting, "b.example", "10.1.1.1").await.1.expect_err("another name");
    assert_eq!(why, "tls: failed to verify certificate: x509: certificate is valid for localhost, not b.example");
    let anyone =
        Connector::new(Trust { anyone: true, above: vec!["h2"], ..Trust::default() }).expect("nothing to read");
    assert_eq!(meet(&acceptor, &anyone, "b.example", "10.1.1.1").await.1, Ok(()));
    let system = client(CertificateFiles::default());
    assert!(meet(&acceptor, &system, "localhost", "10.1.1.1").await.1.is_err(), "the system does not know it");
}

/// A certificate that signed itself, with a change, and its key.
fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_among_the_authorities_is_believed_only_for_what_it_may_be_used_for() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, asking) = pair(&place, &ca);
    let x509 = "tls: failed to verify certificate: x509: ";
    let usage = format!("{x509}certificate specifies an incompatible key usage");
    type Change<'a> = &'a dyn Fn(&mut CertificateParams);
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cases: [(&str, Change<'_>, bool, bool); 8] = [
        ("any", &|params| params.extended_key_usages = vec![Any], true, true),
        ("unsaid", &|_| {}, true, true),
        ("client", &|params| params.extended_key_usages = vec![ClientAuth], true, false),
        ("server", &|params| params.extended_key_usages = vec![ServerAuth], false, true),
        ("both", &|params| params.extended_key_usages = vec![ServerAuth, ClientAuth], true, true),
        ("authority", &authority, true, true),
        (
            "serving authority",
            &|params| {
                authority(params);
                params.extended_key_usages = vec![ServerAuth];
            },
            false,
            true,
        ),
        ("past", &|params| params.not_after = date_time_ymd(2002, 1, 1), false, false),
    ];
    for (name, change, as_client, as_server) in cases {
        let own = self_signed(name, change);
        let both = place.write("both.pem", format!("{}{}", ca.0.pem(), own.0));
        let (cert, key) = place.pair("own", own);
        let acceptor = server(CertificateFiles { trusted_ca: both.clone(), ..serving.clone() }, |_| {});
        let shows = client(CertificateFiles { cert: cert.clone(), key: key.clone(), ..asking.clone() });
        let (served, _) = meet(&acceptor, &shows, "localhost", "10.1.1.1").await;
        assert_eq!(served.is_ok(), as_client, "{name} of a client: {served:?}");
        if name.starts_with("serv") {
            assert_eq!(served.expect_err("refused").text, usage);
        } else if let Err(refused) = served {
            assert!(refused.text.ends_with(" is after 2002-01-01T00:00:00Z"), "{}", refused.text);
        }
        let acceptor = server(CertificateFiles { cert, key, ..CertificateFiles::default() }, |_| {});
        let trusts = client(CertificateFiles { trusted_ca: both, ..CertificateFiles::default() });
        let (_, asked) = meet(&acceptor, &trusts, "localhost", "10.1.1.1").await;
        assert_eq!(asked.is_ok(), as_server, "{name} of a server: {asked:?}");
    }
}

#[test]
fn what_is_wrong_with_files_is_told_with_their_names() {
    let (place, ca) = (Place::new(), Authority::new("ca"));
    let (serving, asking) = pair(&place, &ca);
    let empty = place.write("empty", "");
    let block = |kind: &str, head: &str| format!("-----BEGIN {kind}-----\n{head}AAAA\n-----END {kind}-----\n");
    let public = place.write("public", block("PUBLIC KEY", "") + &block("X509 CRL", ""));
    let locked = place.write("locked", block("ENCRYPTED PRIVATE KEY", ""));
    let head = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n";
    let old_locked = place.write("old-locked", block("EC PRIVATE KEY", head));
    let cut = place.write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let broken = place.write("broken", block("CERTIFICATE", ""));
    let indented = |path: &PathBuf| format!(" {}", fs::read_to_string(path).expect("text").replace('\n', "\n "));
    let indented_cert = place.write("indented.crt", indented(&serving.cert));
    let indented_key = place.write("indented.key", indented(&serving.key));
    let cases = [
        (CertificateFiles { cert: place.path("gone"), ..serving.clone() }, "no such file or directory"),
        (CertificateFiles { key: asking.key.clone(), ..serving.clone() }, "private key does not match public key"),
        (
            CertificateFiles { cert: empty.clone(), ..serving.clone() },
            "failed to find any PEM data in certificate input",
        ),
        (CertificateFiles { key: empty.clone(), ..serving.clone() }, "failed to find any PEM data in key input"),
        (
            CertificateFiles { cert: serving.key.clone(), key: serving.cert.clone(), ..serving.clone() },
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched (",
        ),
        (
            CertificateFiles { key: serving.cert.clone(), ..serving.clone() },
            "tls: found a certificate rather than a key in the PEM for the private key (",
        ),
        (
            CertificateFiles { cert: public.clone(), ..serving.clone() },
            "\"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [PUBLIC KEY X509 CRL] (",
        ),
        (
            CertificateFiles { key: public, ..serving.clone() },
            "\"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [PUBLIC KEY X509 CRL] (",
        ),
        (CertificateFiles { key: locked, ..serving.clone() }, "tls: failed to parse private key: it is encrypted"),
        (CertificateFiles { key: old_locked, ..serving.clone() }, "tls: failed to parse private key: it is encrypted"),
        (
            CertificateFiles { cert: indented_cert, ..serving.clone() },
            "tls: failed to find any PEM data in certificate input (",
        ),
        (CertificateFiles { key: indented_key, ..serving.clone() }, "tls: failed to find any PEM data in key input ("),
        (CertificateFiles { cert: cut, ..serving.clone() }, "failed to find any PEM data in certificate input"),
        (CertificateFiles { cert: broken.clone(), ..serving.clone() }, "x509: malformed certificate ("),
        (
            CertificateFiles { key: PathBuf::new(), ..serving.clone() },
            "KeyFile and CertFile must both be present[key: , ",
        ),
        (
            CertificateFiles { client_key: asking.key, ..serving.clone() },
            "ClientKeyFile and ClientCertFile must both be",
        ),
        (CertificateFiles { trusted_ca: empty.clone(), ..serving.clone() }, "x509: no certificates in"),
        (CertificateFiles { trusted_ca: broken, ..serving.clone() }, "x509: malformed certificate ("),
        (CertificateFiles { crl: empty, ..serving }, "x509: malformed crl"),
    ];
    for (files, why) in cases {
        let refused = Acceptor::new(ServerTerms { files, ..ServerTerms::default() }).expect_err("wrong");
        assert!(refused.contains(why), "{refused} has no {why}");
    }
}

/// By keys that nothing here signs with: the text has the true number of bits, and what may be done.
#[test]
fn a_key_of_rsa_of_another_length_is_refused_with_the_lengths_that_are_taken() {
    let place = Place::new();
    let odd = [
        (
            include_str!("testdata/rsa-2047.pem"),
            "has 2047 bits: 2048 are the least that quorate takes; make a longer key",
        ),
        (
            include_str!("testdata/rsa-2560.pem"),
            "has 2560 bits: quorate signs with 2048, 3072 or 4096; make such a key or one of ECDSA",
        ),
    ];
    for (pem, why) in odd {
        let file = place.write("both", pem);
        let files = CertificateFiles { cert: file.clone(), key: file, ..CertificateFiles::default() };
        let refused = Acceptor::new(ServerTerms { files, ..ServerTerms::default() }).expect_err("wrong");
        assert!(refused.contains(why), "{refused} has no {why}");
    }
}
