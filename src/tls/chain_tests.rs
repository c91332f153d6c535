//! Certificates, good and bad, as a client's and as a server's: what is taken and refused is what Go's library takes and
//! refuses of the very same ones.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use super::files::Roots;
use super::go_text::of_library;
use super::protocol::Protocol;
use super::verify::{Allowed, ClientJudge, ServerJudge};

type Change<'a> = &'a dyn Fn(&mut CertificateParams);

fn named(name: &str, change: Change<'_>) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(params: &mut CertificateParams) {
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn as_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn none(_: &mut CertificateParams) {}

/// What becomes of a chain: as a client's, and as that of a server `localhost`.
struct Case<'a> {
    name: &'a str,
    root: Change<'a>,
    /// An authority between the two.
    between: Option<Change<'a>>,
    leaf: Change<'a>,
    /// Who takes it.
    taken: (bool, bool),
}

fn judged(case: &Case<'_>) -> [Result<(), String>; 2] {
    let params = named("root", &|params| {
        authority(params);
        (case.root)(params);
    });
    let root = CertifiedIssuer::self_signed(params, key()).expect("signed");
    let leaf_key = key();
    let leaf = named("leaf", case.leaf);
    let (leaf, between) = match case.between {
        None => (leaf.signed_by(&leaf_key, &root).expect("signed"), Vec::new()),
        Some(change) => {
            let params = named("between", &|params| {
                authority(params);
                change(params);
            });
            let between = CertifiedIssuer::signed_by(params, key(), &root).expect("signed");
            (leaf.signed_by(&leaf_key, &between).expect("signed"), vec![between.der().clone()])
        }
    };
    judge(root.der(), &between, leaf.der())
}

fn judge(
    root: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
) -> [Result<(), String>; 2] {
    let provider = Protocol::default().provider;
    let (roots, now) = (|| Roots::of(vec![root.clone().into_owned()]), UnixTime::now());
    let client = ClientJudge::new(&provider, roots(), Allowed::default());
    let client = client.map_or_else(Err, |judge| {
        judge.verify_client_cert(leaf, between, now).map(drop).map_err(|error| of_library(&error))
    });
    let server = ServerJudge::new(&provider, roots(), Allowed::default());
    let host = ServerName::try_from("localhost").expect("a name");
    let server = server.verify_server_cert(leaf, between, &host, &[], now).map(drop);
    [client, server.map_err(|error| of_library(&error))]
}

fn cases<'a>() -> Vec<Case<'a>> {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let case = |name, root: Change<'a>, between, leaf: Change<'a>, taken| Case { name, root, between, leaf, taken };
    let plain: Change<'_> = &none;
    let bound = |names: &[&str]| NameConstraints {
        permitted_subtrees: names.iter().map(|name| GeneralSubtree::DnsName((*name).to_string())).collect(),
        excluded_subtrees: Vec::new(),
    };
    let bound_elsewhere = move |params: &mut CertificateParams| params.name_constraints = Some(bound(&["b.example"]));
    let bound_elsewhere: Change<'a> = Box::leak(Box::new(bound_elsewhere));
    let critical = |params: &mut CertificateParams| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    };
    let critical: Change<'a> = Box::leak(Box::new(critical));
    let custom = |oid: &'static [u64], content: &'static [u8], is_critical: bool| {
        move |params: &mut CertificateParams| {
            let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
            extension.set_criticality(is_critical);
            params.custom_extensions.push(extension);
        }
    };
    // Nobody may be named `CN=x`.
    const PERSONS: &[u8] =
        &[0x30, 20, 0xa1, 18, 0x30, 16, 0xa4, 14, 0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'x'];
    let persons: Change<'a> = Box::leak(Box::new(custom(&[2, 5, 29, 30], PERSONS, true)));
    let key_name: Change<'a> = Box::leak(Box::new(custom(&[2, 5, 29, 35], &[0x30, 3, 0x80, 1, 7], true)));
    // 2.5.29.37.256.
    let nearly_any = custom(&[2, 5, 29, 37], &[0x30, 7, 6, 5, 0x55, 0x1d, 0x25, 0x82, 0], false);
    let nearly_any: Change<'a> = Box::leak(Box::new(nearly_any));
    let past: Change<'_> = &|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    };
    let early: Change<'_> = &|params| params.not_before = date_time_ymd(2999, 1, 1);
    let mut cases = vec![
        case("plain", plain, None, plain, (true, true)),
        case("by another", plain, Some(plain), plain, (true, true)),
        case("authority", plain, None, &as_authority, (true, true)),
        case("authority by another", plain, Some(plain), &as_authority, (true, true)),
        case("any use", plain, None, &|p| p.extended_key_usages = vec![Any], (true, true)),
        case("any use among others", plain, None, &|p| p.extended_key_usages = vec![CodeSigning, Any], (true, true)),
        case("any use between", plain, Some(&|p| p.extended_key_usages = vec![Any]), plain, (true, true)),
        case("use of clients", plain, None, &|p| p.extended_key_usages = vec![ClientAuth], (true, false)),
        case("use of servers", plain, None, &|p| p.extended_key_usages = vec![ServerAuth], (false, true)),
        case("another use", plain, None, &|p| p.extended_key_usages = vec![CodeSigning], (false, false)),
        case("use between", plain, Some(&|p| p.extended_key_usages = vec![ClientAuth]), plain, (true, false)),
        case("use of the root", &|p| p.extended_key_usages = vec![ServerAuth], None, plain, (false, true)),
        case("root is past", past, None, plain, (false, false)),
        case("root is early", early, None, plain, (false, false)),
        case("between is past", plain, Some(past), plain, (false, false)),
        case("between is none", plain, Some(&|p| p.is_ca = IsCa::ExplicitNoCa), plain, (false, false)),
        case("between says nothing", plain, Some(&|p| p.is_ca = IsCa::NoCa), plain, (false, false)),
        case("root is none", &|p| p.is_ca = IsCa::ExplicitNoCa, None, plain, (false, false)),
        case("root says nothing", &|p| p.is_ca = IsCa::NoCa, None, plain, (false, false)),
        case("root signs lists alone", &|p| p.key_usages = vec![KeyUsagePurpose::CrlSign], None, plain, (false, false)),
        case(
            "between signs lists alone",
            plain,
            Some(&|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
            plain,
            (false, false),
        ),
        case("root signs", &|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign], None, &as_authority, (true, true)),
        case(
            "none between",
            &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            None,
            &as_authority,
            (true, true),
        ),
        case(
            "one too many between",
            &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            Some(plain),
            &as_authority,
            (false, false),
        ),
        case(
            "between signs leaves",
            plain,
            Some(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            &as_authority,
            (true, true),
        ),
        case("root asks the unknown", critical, None, plain, (false, false)),
        case("between asks the unknown", plain, Some(critical), plain, (false, false)),
        case("root binds persons", persons, None, plain, (false, false)),
        case("between binds persons", plain, Some(persons), plain, (false, false)),
        case("root with a critical name of its key", key_name, None, plain, (false, false)),
        case("nearly any use", plain, None, nearly_any, (false, false)),
        case("root bound elsewhere", bound_elsewhere, None, plain, (false, false)),
        case("between bound elsewhere", plain, Some(bound_elsewhere), plain, (false, false)),
        case("authority of a bound root", bound_elsewhere, None, &as_authority, (false, false)),
        case("authority of a bound one", plain, Some(bound_elsewhere), &as_authority, (false, false)),
    ];
    // The certificate itself, plain and as an authority.
    let leaves: [(&str, Change<'a>, (bool, bool)); 6] = [
        ("past", &|p| p.not_after = date_time_ymd(2002, 1, 1), (false, false)),
        ("early", &|p| p.not_before = date_time_ymd(2999, 1, 1), (false, false)),
        ("another use", &|p| p.extended_key_usages = vec![CodeSigning], (false, false)),
        ("use of servers", &|p| p.extended_key_usages = vec![ServerAuth], (false, true)),
        ("asks the unknown", critical, (false, false)),
        (
            "bounds others",
            Box::leak(Box::new(move |p: &mut CertificateParams| p.name_constraints = Some(bound(&["b.example"])))),
            (true, true),
        ),
    ];
    for (name, change, taken) in leaves {
        let leaf: Change<'a> = Box::leak(Box::new(move |params: &mut CertificateParams| {
            as_authority(params);
            change(params);
        }));
        let name: &'a str = Box::leak(format!("authority, {name}").into_boxed_str());
        cases.push(case(name, plain, None, leaf, taken));
        cases.push(case(Box::leak(format!("{name}, by another").into_boxed_str()), plain, Some(plain), leaf, taken));
    }
    cases
}

#[test]
fn what_go_takes_is_taken_and_what_go_refuses_is_refused() {
    for case in cases() {
        let judged = judged(&case);
        let taken = (judged[0].is_ok(), judged[1].is_ok());
        assert_eq!(taken, case.taken, "{}: {judged:?}", case.name);
        for refused in judged.into_iter().filter_map(Result::err) {
            assert!(refused.starts_with("tls: failed to verify certificate: x509: "), "{}: {refused}", case.name);
        }
    }
}

#[test]
fn what_is_shown_as_no_authority_is_still_signed_as_it_stands() {
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    let root = CertifiedIssuer::self_signed(named("root", &authority), key()).expect("signed");
    let namesake = CertifiedIssuer::self_signed(named("root", &authority), key()).expect("signed");
    let (leaf_key, params) = (key(), named("leaf", &as_authority));
    let own = params.self_signed(&leaf_key).expect("signed");
    for refused in judge(root.der(), &[], own.der()) {
        assert_eq!(refused, Err(unknown.to_string()), "nobody whom it trusts");
    }
    for refused in judge(root.der(), &[], params.signed_by(&leaf_key, &namesake).expect("signed").der()) {
        assert!(refused.is_err(), "signed by another of the name");
    }
    let good = params.signed_by(&leaf_key, &root).expect("signed");
    assert!(judge(root.der(), &[], good.der()).iter().all(Result::is_ok));
    let (copy, signed) = super::certificate::as_no_authority(good.der()).expect("an authority");
    let differing: Vec<usize> = (0..copy.len()).filter(|at| copy[*at] != good.der()[*at]).collect();
    assert!(differing.len() == 1 && signed.contains(&differing[0]), "one byte, which is signed");
    // Whoever shows the copy, or any other byte than those signed, is refused.
    let judged = judge(root.der(), &[], &CertificateDer::from(copy));
    assert!(judged.iter().all(Result::is_err), "{judged:?}");
    for at in signed.step_by(7) {
        let mut forged = good.der().to_vec();
        forged[at] ^= 1;
        let forged = CertificateDer::from(forged);
        let judged = judge(root.der(), &[], &forged);
        assert!(judged.iter().all(Result::is_err), "byte {at}: {judged:?}");
    }
}

/// Each was asked of stock etcd 3.7.1.
#[test]
fn what_go_cannot_read_is_refused_in_its_words() {
    const NAMES: [u64; 4] = [2, 5, 29, 17];
    const CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];
    let root = CertifiedIssuer::self_signed(named("root", &authority), key()).expect("signed");
    let with = |oid: [u64; 4], content: &[u8]| {
        let content = content.to_vec();
        move |params: &mut CertificateParams| {
            params.subject_alt_names.clear();
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, content.clone()));
        }
    };
    let numbered = named("leaf", &|params| params.serial_number = Some(SerialNumber::from_slice(&[0x11, 0x22, 0x33])));
    let mut negative = numbered.signed_by(&key(), &root).expect("signed").der().to_vec();
    let at = negative.windows(5).position(|bytes| bytes == [2, 3, 0x11, 0x22, 0x33]).expect("its number");
    negative[at + 2] |= 0x80;
    let mut cases = vec![(Vec::new(), negative, "negative serial number")];
    for (oid, content, why) in [
        (NAMES, &[0x30, 5, 0x87, 3, 1, 2, 3][..], "cannot parse IP address of length 3"),
        (NAMES, &[0x30, 3, 0x82, 1, 0xe4], "SAN dNSName is malformed"),
        (CONSTRAINTS, &[0x30, 0], "empty name constraints extension"),
        (CONSTRAINTS, &[0x30, 7, 0xa0, 5, 0x30, 3, 0x87, 1, 1], "IP constraint contained value of length 1"),
        (CONSTRAINTS, &[0x30, 7, 0xa1, 5, 0x30, 3, 0x81, 1, b'@'], "failed to parse rfc822Name constraint \"@\""),
    ] {
        let change = with(oid, content);
        let leaf = named("leaf", &change).signed_by(&key(), &root).expect("signed");
        cases.push((Vec::new(), leaf.der().to_vec(), why));
        let between = named("between", &|params| {
            authority(params);
            change(params);
        });
        let between = CertifiedIssuer::signed_by(between, key(), &root).expect("signed");
        let leaf = named("leaf", &none).signed_by(&key(), &between).expect("signed");
        cases.push((vec![between.der().clone()], leaf.der().to_vec(), why));
    }
    for (between, leaf, why) in cases {
        let [client, server] = judge(root.der(), &between, &CertificateDer::from(leaf));
        assert_eq!(client, Err(format!("tls: failed to parse client certificate: x509: {why}")));
        assert_eq!(server, Err(format!("tls: failed to parse certificate from server: x509: {why}")));
    }
}

#[test]
fn a_short_key_is_told_with_its_owner() {
    use rustls::pki_types::pem::PemObject;
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let (root, short) = (der(include_str!("testdata/long-root.pem")), der(include_str!("testdata/short-leaf.pem")));
    for refused in judge(&root, &[], &short) {
        let refused = refused.expect_err("short");
        assert!(refused.contains("\"CN=short\" has 1024 bits: 2048 are the least that quorate takes"), "{refused}");
    }
    let (root, leaf) = (der(include_str!("testdata/short-root.pem")), der(include_str!("testdata/leaf-of-short.pem")));
    for refused in judge(&root, &[], &leaf) {
        let refused = refused.expect_err("short");
        assert!(refused.contains("\"CN=short root\" has 1024 bits"), "{refused}");
    }
}
