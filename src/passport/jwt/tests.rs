//! Tokens of every method, given here and by Go's library, as etcd uses it.

use super::*;

/// Until the year 2100; made by `golang-jwt` with these keys, for `anna` at revision 7.
const OF_ETCD: &str = include_str!("../testdata/tokens.txt");

/// The same of a key of 2,047 bits; made by OpenSSL.
const OF_2047_BITS: &str = include_str!("../testdata/rsa2047.token.txt");

const FIRST_OF_2100_MS: u64 = 4_102_444_800_000;

fn file(name: &str) -> std::io::Result<Vec<u8>> {
    let bytes: &[u8] = match name {
        "rsa.pkcs1" => include_bytes!("../testdata/rsa.pkcs1.pem"),
        "rsa.pkcs8" => include_bytes!("../testdata/rsa.pkcs8.pem"),
        "rsa.pub" => include_bytes!("../testdata/rsa.pub.pem"),
        "rsa.pkcs1pub" => include_bytes!("../testdata/rsa.pkcs1pub.pem"),
        "rsa2047.pub" => include_bytes!("../testdata/rsa2047.pub.pem"),
        "rsa1024.pub" => include_bytes!("../testdata/rsa1024.pub.pem"),
        "p256.cert" => include_bytes!("../testdata/p256.cert.pem"),
        "ed.cert" => include_bytes!("../testdata/ed.cert.pem"),
        "rsa.cert" => include_bytes!("../testdata/rsa.cert.pem"),
        "p256.sec1" => include_bytes!("../testdata/p256.sec1.pem"),
        "p256.pkcs8" => include_bytes!("../testdata/p256.pkcs8.pem"),
        "p256.pub" => include_bytes!("../testdata/p256.pub.pem"),
        "p384.sec1" => include_bytes!("../testdata/p384.sec1.pem"),
        "p384.pkcs8" => include_bytes!("../testdata/p384.pkcs8.pem"),
        "p384.pub" => include_bytes!("../testdata/p384.pub.pem"),
        "p521.sec1" => include_bytes!("../testdata/p521.sec1.pem"),
        "p521.pkcs8" => include_bytes!("../testdata/p521.pkcs8.pem"),
        "p521.pub" => include_bytes!("../testdata/p521.pub.pem"),
        "other521.pub" => include_bytes!("../testdata/other521.pub.pem"),
        "ed.pkcs8" => include_bytes!("../testdata/ed.pkcs8.pem"),
        "ed.pub" => include_bytes!("../testdata/ed.pub.pem"),
        _ => return Err(std::io::ErrorKind::NotFound.into()),
    };
    Ok(bytes.to_vec())
}

fn jwt(options: &str) -> Result<Jwt, String> {
    Jwt::new(&Options::read(options).expect("well formed"), file)
}

/// The method's options with a private key alone, and with a public one alone.
fn pair(method: &str) -> (String, Option<String>) {
    let name = match method {
        "ES256" => "p256",
        "ES384" => "p384",
        "ES512" => "p521",
        "EdDSA" => "ed",
        "HS256" | "HS384" | "HS512" => return (format!("jwt,sign-method={method},priv-key=rsa.pub"), None),
        _ => "rsa",
    };
    let of = |key| format!("jwt,sign-method={method},{key}-key={name}.{}", if key == "pub" { "pub" } else { "pkcs8" });
    (of("priv"), Some(of("pub")))
}

const METHODS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

#[test]
fn every_method_gives_what_it_takes() {
    for method in METHODS {
        let (giving, taking) = pair(method);
        let giving = jwt(&giving).expect(method);
        let token = giving.give("änna", 9, 1_000_000).expect("it has the private key");
        let asker = Some(Asker { user: "änna".into(), revision: 9 });
        let taking = taking.map(|options| jwt(&options).expect(method));
        for taking in [Some(&giving), taking.as_ref()].into_iter().flatten() {
            assert_eq!(taking.take(&token, 1_000_000), asker, "{method}");
            assert_eq!(taking.take(&token, 1_299_999), asker, "{method}, known by now");
            assert_eq!(taking.take(&token, 1_300_000), None, "{method}: five minutes are over");
        }
        if let Some(taking) = taking {
            assert_eq!(taking.give("anna", 9, 0), None, "the public key only verifies");
        }
    }
}

#[test]
fn tokens_of_etcd_are_taken_under_their_method_alone() {
    let anna = Some(Asker { user: "anna".into(), revision: 7 });
    let tokens: Vec<(&str, &str)> = OF_ETCD.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(tokens.iter().map(|(method, _)| *method).collect::<Vec<_>>(), METHODS);
    for method in METHODS {
        let taking = jwt(&pair(method).0).expect(method);
        for (theirs, token) in &tokens {
            let expected = if *theirs == method { anna.clone() } else { None };
            assert_eq!(taking.take(token, FIRST_OF_2100_MS - 1), expected, "{theirs} under {method}");
            assert_eq!(taking.take(token, FIRST_OF_2100_MS), None, "its time is over");
        }
    }
}

#[test]
fn a_token_that_was_changed_is_none() {
    let jwt = jwt(&pair("ES256").0).expect("sound");
    let token = jwt.give("anna", 7, 0).expect("it has the private key");
    let parts: Vec<&str> = token.split('.').collect();
    let unsigned = BASE64_URL.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let root = BASE64_URL.encode(r#"{"exp":9999999999,"revision":7,"username":"root"}"#);
    for bad in [
        String::new(),
        "..".to_string(),
        "a.b.c.d".to_string(),
        format!("{unsigned}.{}.", parts[1]),
        format!("{}.{root}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}x"),
        format!("{token}.{}", parts[2]),
    ] {
        assert_eq!(jwt.take(&bad, 0), None, "{bad}");
    }
    assert!(jwt.take(&token, 0).is_some());
}

#[test]
fn what_a_token_must_say() {
    let jwt = jwt("jwt,sign-method=HS256,priv-key=rsa.pub,ttl=1h").expect("sound");
    let token = |claims: &str| {
        let signed = format!("{}.{}", BASE64_URL.encode(r#"{"alg":"HS256"}"#), BASE64_URL.encode(claims));
        let signature = jwt.sign(signed.as_bytes()).expect("a shared secret signs");
        format!("{signed}.{}", BASE64_URL.encode(signature))
    };
    let take = |claims: &str| jwt.take(&token(claims), 1_000_000).map(|asker| asker.revision);
    assert_eq!(take(r#"{"username":"a","revision":3}"#), Some(3), "as in etcd it may live for ever");
    assert_eq!(take(r#"{"username":"a","revision":3.0,"exp":1000.5}"#), Some(3));
    for bad in [
        r#"{"username":"a"}"#,
        r#"{"revision":3}"#,
        r#"{"username":5,"revision":3}"#,
        r#"{"username":"a","revision":"3"}"#,
        r#"{"username":"a","revision":3,"exp":"later"}"#,
        r#"{"username":"a","revision":3,"exp":1000}"#,
        r#"{"username":"a","revision":3,"nbf":1000.5}"#,
        "[]",
    ] {
        assert_eq!(take(bad), None, "{bad}");
    }
    // Each was asked of stock etcd.
    for (times, holds) in [
        (r#""exp":0"#, true),
        (r#""exp":-0"#, true),
        (r#""exp":0.5"#, false),
        (r#""exp":-1"#, false),
        (r#""exp":9.2e18"#, true),
        (r#""exp":9.3e18"#, false),
        (r#""exp":1e30"#, false),
        (r#""exp":9223371974719179007"#, true),
        (r#""exp":9223372036854775807"#, false),
        (r#""exp":null"#, false),
        (r#""exp":"1001""#, false),
        (r#""nbf":0"#, true),
        (r#""nbf":9.2e18"#, false),
        (r#""nbf":1e30"#, true),
        (r#""nbf":9223371974719179010"#, false),
        (r#""nbf":9223371974719180000"#, true),
        (r#""nbf":null"#, false),
        (r#""iat":"never","aud":5"#, true),
    ] {
        let claims = format!(r#"{{"username":"a","revision":3,{times}}}"#);
        assert_eq!(take(&claims).is_some(), holds, "{claims}");
    }
    assert_eq!(take(r#"{"username":"a","revision":-1}"#), Some(u64::MAX));
    let given = jwt.give("a", 3, 0).expect("it signs");
    assert!(jwt.take(&given, 3_599_999).is_some() && jwt.take(&given, 3_600_000).is_none());
}

#[test]
fn keys_are_read_in_every_form_and_must_belong_together() {
    for options in [
        "RS256,priv-key=rsa.pkcs1,pub-key=rsa.pub",
        "PS512,priv-key=rsa.pkcs8,pub-key=rsa.cert",
        "RS384,priv-key=rsa.pkcs8,pub-key=rsa.pkcs1pub",
        "ES256,priv-key=p256.pkcs8,pub-key=p256.cert",
        "ES256,priv-key=p256.sec1,pub-key=p256.pub",
        "ES384,priv-key=p384.sec1,pub-key=p384.pub",
        "ES512,priv-key=p521.sec1,pub-key=p521.pub",
        "EdDSA,priv-key=ed.pkcs8,pub-key=ed.pub",
    ] {
        let jwt = jwt(&format!("jwt,sign-method={options}")).expect(options);
        assert!(jwt.give("a", 1, 0).is_some_and(|token| jwt.take(&token, 0).is_some()), "{options}");
    }
    for (options, text) in [
        ("RS256", MISSING_KEY),
        ("HS256,pub-key=rsa.pub", MISSING_KEY),
        ("ES256,priv-key=p256.sec1,pub-key=p384.pub", KEY_MISMATCH),
        ("RS256,priv-key=missing", INVALID_OPTIONS),
        ("RS256,priv-key=rsa.pkcs1,ttl=soon", INVALID_OPTIONS),
        ("none,priv-key=rsa.pkcs1", INVALID_OPTIONS),
        ("ES512,priv-key=p384.sec1", "key is not a valid ECDSA private key"),
        ("ES512,priv-key=p384.pkcs8", "key is not a valid ECDSA private key"),
        ("ES512,priv-key=p521.sec1,pub-key=p384.pub", KEY_MISMATCH),
        ("ES512,priv-key=p521.sec1,pub-key=other521.pub", KEY_MISMATCH),
        ("ES512", MISSING_KEY),
    ] {
        assert_eq!(jwt(&format!("jwt,sign-method={options}")).err().as_deref(), Some(text), "{options}");
    }
    assert!(jwt("jwt,sign-method=RS256,priv-key=ed.pub").is_err_and(|text| text.contains("not a valid RSA")));
}

#[test]
fn a_public_key_that_the_method_cannot_use_is_refused() {
    let (rsa, curve, edwards) =
        (["rsa.pub", "rsa.cert", "rsa.pkcs1pub"], ["p256.pub", "p256.cert"], ["ed.pub", "ed.cert"]);
    let refused = |method: &str, key: &str| {
        let alone = jwt(&format!("jwt,sign-method={method},pub-key={key}")).err();
        alone.and_then(|text| text.strip_prefix("key is not a valid ").map(str::to_string))
    };
    for method in METHODS.into_iter().filter(|method| !method.starts_with("HS")) {
        let (kind, taken): (_, &[&str]) = match method {
            "ES256" => ("ECDSA", &curve),
            "ES384" => ("ECDSA", &["p384.pub"]),
            "ES512" => ("ECDSA", &["p521.pub", "other521.pub"]),
            "EdDSA" => ("Ed25519", &edwards),
            _ => ("RSA", &rsa),
        };
        for key in rsa.iter().chain(&curve).chain(&edwards).chain(&["p384.pub", "p521.pub", "other521.pub"]) {
            let expected = (!taken.contains(key)).then(|| format!("{kind} public key"));
            assert_eq!(refused(method, key), expected, "{method} {key}");
        }
        for private in ["rsa.pkcs1", "rsa.pkcs8", "p256.sec1", "p256.pkcs8", "ed.pkcs8"] {
            assert_eq!(refused(method, private), Some(format!("{kind} public key")), "{method} {private}");
        }
    }
    let small = "RSA public key: it has 1024 bits, and must have 2048 to 8192";
    assert_eq!(refused("RS256", "rsa1024.pub").as_deref(), Some(small));
    let off = jwt_of_point(|point| point[40] ^= 1);
    assert_eq!(off.err().as_deref(), Some("key is not a valid ECDSA public key"), "it is not on the curve");
    assert!(jwt_of_point(|_| ()).is_ok());
}

/// Nothing that is shown could ever hold under such a key.
#[test]
fn a_key_of_rsa_that_verifies_nothing_is_refused() {
    let refused = |change: fn(&mut [u8])| {
        // It ends with the exponent: three bytes, and a tag and a length before them.
        let changed = jwt_of_changed("RS256", "rsa.pub", |der| change(der.last_chunk_mut::<6>().expect("longer")));
        changed.err()
    };
    let exponent = "key is not a valid RSA public key: its exponent must be odd, and 3 to 8589934591";
    let bad: [fn(&mut [u8]); 3] =
        [|end| end[5] = 0, |end| end[3..].copy_from_slice(&[0, 0, 1]), |end| end[3..].fill(0)];
    for bad in bad {
        assert_eq!(refused(bad).as_deref(), Some(exponent));
    }
    let modulus = "key is not a valid RSA public key: its modulus is even";
    assert_eq!(refused(|end| end[0] &= 0xfe).as_deref(), Some(modulus));
    assert_eq!(refused(|end| end[3..].copy_from_slice(&[0, 0, 3])), None);
}

#[test]
fn a_key_whose_first_byte_is_not_full_verifies() {
    let jwt = jwt("jwt,sign-method=RS256,pub-key=rsa2047.pub").expect("2047 bits");
    let anna = Some(Asker { user: "anna".into(), revision: 7 });
    assert_eq!(jwt.take(OF_2047_BITS.trim_end(), FIRST_OF_2100_MS - 1), anna);
}

/// Takes tokens under ES256 by a key whose point was changed.
fn jwt_of_point(change: impl Fn(&mut [u8])) -> Result<Jwt, String> {
    jwt_of_changed("ES256", "p256.pub", |der| change(der.last_chunk_mut::<64>().expect("longer")))
}

/// Takes tokens under this method by a key that was changed.
fn jwt_of_changed(method: &str, name: &str, change: impl Fn(&mut [u8])) -> Result<Jwt, String> {
    let (label, mut der) = der::first_block(&file(name).expect("there")).expect("sound");
    change(&mut der);
    let pem = format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        base64::engine::general_purpose::STANDARD.encode(der)
    );
    let options = format!("jwt,sign-method={method},pub-key=changed");
    let options = Options::read(&options).expect("well formed");
    Jwt::new(&options, |_| Ok(pem.clone().into_bytes()))
}

#[test]
fn few_tokens_are_known() {
    let jwt = jwt("jwt,sign-method=HS256,priv-key=rsa.pub").expect("sound");
    for number in 0..limits::MAX_KNOWN_JWTS as u64 + 5 {
        let token = jwt.give("a", number, 0).expect("it signs");
        assert!(jwt.take(&token, 0).is_some());
    }
    assert_eq!(jwt.known().len(), 5);
}
