//! JSON web tokens, as etcd makes and takes them: `--auth-token jwt,sign-method=...,priv-key=...,pub-key=...,ttl=...`.
//!
//! Invariants: a token is taken only under the one method that is configured, whatever its header says; its times are
//! looked at when it is shown, however often it was taken before. One who knows the public key alone takes tokens and
//! gives none.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use fxhash::FxHashMap;
use p521::ecdsa::signature::{Signer, Verifier};
use ring::agreement;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};

use super::der;
use super::options::Options;
use crate::auth::Asker;
use crate::base::limits;

/// etcd's words.
const INVALID_OPTIONS: &str = "auth: invalid auth options";
const MISSING_KEY: &str = "auth: missing key data";
const KEY_MISMATCH: &str = "auth: public and private keys don't match";

/// Time a token lives where the option says nothing, as in etcd.
const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);

const OPTIONS: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

/// Bits of RSA keys under which tokens are verified, in whole bytes: the first of them need not be full.
const RSA_BITS: RangeInclusive<usize> = 2_048..=8_192;

/// Exponents of RSA keys under which tokens are verified: the odd ones of these.
const RSA_EXPONENTS: RangeInclusive<u64> = 3..=(1 << 33) - 1;

/// Object identifiers of the curves.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

enum Private {
    Rsa(RsaKeyPair, &'static dyn signature::RsaEncoding),
    Curve(EcdsaKeyPair),
    /// Of the curve that `ring` has not.
    Wide(Box<p521::ecdsa::SigningKey>),
    Edwards(Ed25519KeyPair),
}

enum Keys {
    Shared(hmac::Key),
    Pair { private: Option<Private>, public: Public },
}

enum Public {
    Plain(UnparsedPublicKey<Vec<u8>>),
    Wide(Box<p521::ecdsa::VerifyingKey>),
}

impl Public {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Plain(key) => key.verify(message, signature).is_ok(),
            Self::Wide(key) => p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// What a token that was verified says.
#[derive(Clone)]
struct Claims {
    asker: Asker,
    not_before: Option<f64>,
    expires: Option<f64>,
}

/// The tokens of one method and key.
pub struct Jwt {
    method: String,
    keys: Keys,
    ttl: Duration,
    /// Verified before: a signature costs more than a read.
    known: Mutex<FxHashMap<Box<str>, Claims>>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("method", &self.method).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Jwt {
    /// What the options ask for; `read` gives the files they name. Refused in etcd's words, where it has some.
    pub(super) fn new(options: &Options<'_>, read: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Self, String> {
        let invalid = || INVALID_OPTIONS.to_string();
        let file = |name| match options.get(name) {
            None | Some("") => Ok(None),
            Some(path) => read(path).map(Some).map_err(|_| invalid()),
        };
        let ttl = match options.get("ttl") {
            None | Some("") => DEFAULT_TTL,
            Some(text) => super::options::duration(text).ok_or_else(invalid)?,
        };
        let (public, private) = (file("pub-key")?, file("priv-key")?);
        let method = options.get("sign-method").ok_or_else(invalid)?;
        let unknown: Vec<&str> = options.names().filter(|name| !OPTIONS.contains(name)).collect();
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "unknown JWT options");
        }
        let keys = keys(method, private.as_deref(), public.as_deref())?;
        Ok(Self { method: method.to_string(), keys, ttl, known: Mutex::default() })
    }

    /// A token that names `user` at `revision` from `now_ms` (since 1970) on; nothing where the key only verifies.
    pub fn give(&self, user: &str, revision: u64, now_ms: u64) -> Option<String> {
        let expires = (now_ms / 1_000).saturating_add(self.ttl.as_secs());
        let header = format!("{{\"alg\":\"{}\",\"typ\":\"JWT\"}}", self.method);
        let claims = serde_json::json!({ "exp": expires, "revision": revision, "username": user }).to_string();
        let signed = format!("{}.{}", BASE64_URL.encode(header), BASE64_URL.encode(claims));
        let signature = self.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", BASE64_URL.encode(signature)))
    }

    /// Whom a token names at `now_ms`, if it is one of ours.
    pub fn take(&self, token: &str, now_ms: u64) -> Option<Asker> {
        let known = self.known().get(token).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.verified(token)?;
                let mut known = self.known();
                if known.len() >= limits::MAX_KNOWN_JWTS {
                    known.clear();
                }
                known.insert(token.into(), claims.clone());
                claims
            }
        };
        let now = now_ms as f64 / 1_000.0;
        let is_due = claims.not_before.is_none_or(|from| from <= now) && claims.expires.is_none_or(|until| now < until);
        is_due.then_some(claims.asker)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, FxHashMap<Box<str>, Claims>> {
        self.known.lock().expect("no holder of this lock panics")
    }

    fn verified(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let json =
            |part: &str| -> Option<serde_json::Value> { serde_json::from_slice(&BASE64_URL.decode(part).ok()?).ok() };
        if json(header)?.get("alg")?.as_str()? != self.method {
            return None;
        }
        let signature = BASE64_URL.decode(signature).ok()?;
        let holds = match &self.keys {
            Keys::Shared(key) => hmac::verify(key, signed.as_bytes(), &signature).is_ok(),
            Keys::Pair { public, .. } => public.verifies(signed.as_bytes(), &signature),
        };
        if !holds {
            return None;
        }
        let claims = json(claims)?;
        // A time that is there must be one.
        let time = |name: &str| claims.get(name).map_or(Some(None), |time| time.as_f64().map(moment));
        let revision = claims.get("revision")?.as_f64()?;
        let user = claims.get("username")?.as_str()?.into();
        Some(Claims {
            // As Go reads a number below nothing: far beyond any revision.
            asker: Asker { user, revision: if revision < 0.0 { revision as i64 as u64 } else { revision as u64 } },
            not_before: time("nbf")?,
            expires: time("exp")?,
        })
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.keys {
            Keys::Shared(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Keys::Pair { private, .. } => match private.as_ref()? {
                Private::Rsa(key, encoding) => {
                    let mut signature = vec![0; key.public().modulus_len()];
                    key.sign(*encoding, &random, message, &mut signature).ok()?;
                    Some(signature)
                }
                Private::Curve(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
                Private::Wide(key) => {
                    let signature: p521::ecdsa::Signature = key.try_sign(message).ok()?;
                    Some(signature.to_bytes().to_vec())
                }
                Private::Edwards(key) => Some(key.sign(message).as_ref().to_vec()),
            },
        }
    }
}

/// A time in seconds as Go's library understands it: 0 is none at all, and one beyond all that it can count is long past.
fn moment(seconds: f64) -> Option<f64> {
    /// From the beginning of Go's count until 1970.
    const BEFORE_1970: i64 = 62_135_596_800;
    const LATEST: f64 = (i64::MAX - BEFORE_1970) as f64;
    if seconds == 0.0 {
        return None;
    }
    Some(if seconds > LATEST { f64::NEG_INFINITY } else { seconds })
}

type Algorithm = &'static dyn signature::VerificationAlgorithm;

fn keys(method: &str, private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Keys, String> {
    let rsa = |encoding, algorithm| rsa_keys(encoding, algorithm, private, public);
    let curve = |signing, algorithm, curve| curve_keys(signing, algorithm, curve, private, public);
    match method {
        "HS256" => shared(hmac::HMAC_SHA256, private),
        "HS384" => shared(hmac::HMAC_SHA384, private),
        "HS512" => shared(hmac::HMAC_SHA512, private),
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => curve(
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &signature::ECDSA_P256_SHA256_FIXED,
            (P256, &agreement::ECDH_P256),
        ),
        "ES384" => curve(
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &signature::ECDSA_P384_SHA384_FIXED,
            (P384, &agreement::ECDH_P384),
        ),
        "ES512" => wide_keys(private, public),
        "EdDSA" => edwards_keys(private, public),
        _ => Err(INVALID_OPTIONS.to_string()),
    }
}

/// The shared secret is the private key's file, as it is.
fn shared(algorithm: hmac::Algorithm, private: Option<&[u8]>) -> Result<Keys, String> {
    let secret = private.filter(|secret| !secret.is_empty()).ok_or(MISSING_KEY)?;
    Ok(Keys::Shared(hmac::Key::new(algorithm, secret)))
}

fn block(pem: &[u8], which: &str) -> Result<(String, Vec<u8>), String> {
    der::first_block(pem).ok_or_else(|| format!("invalid key: {which} must be a PEM encoded key"))
}

/// What of the two keys is there, and whether they belong together. What stands alone must be a key that this method can
/// use: nothing that is shown could ever hold otherwise.
fn paired(
    algorithm: Algorithm,
    private: Option<(Private, Vec<u8>)>,
    public: Option<Vec<u8>>,
    usable: impl FnOnce(&[u8]) -> Result<(), String>,
) -> Result<Keys, String> {
    let keys = |private, key| Keys::Pair { private, public: Public::Plain(UnparsedPublicKey::new(algorithm, key)) };
    match (private, public) {
        (None, None) => Err(MISSING_KEY.to_string()),
        (None, Some(public)) => usable(&public).map(|()| keys(None, public)),
        (Some((_, own)), Some(public)) if own != public => Err(KEY_MISMATCH.to_string()),
        (Some((private, own)), _) => Ok(keys(Some(private), own)),
    }
}

fn rsa_keys(
    encoding: &'static dyn signature::RsaEncoding,
    algorithm: Algorithm,
    private: Option<&[u8]>,
    public: Option<&[u8]>,
) -> Result<Keys, String> {
    let private = private.map(|pem| {
        let (label, der) = block(pem, "priv-key")?;
        let pair = if label == "RSA PRIVATE KEY" { RsaKeyPair::from_der(&der) } else { RsaKeyPair::from_pkcs8(&der) };
        let signs = "tokens are signed with RSA keys of 2048, 3072 or 4096 bits";
        let pair = pair.map_err(|why| format!("key is not a valid RSA private key: {why}; {signs}"))?;
        let own = pair.public_key().as_ref().to_vec();
        Ok::<_, String>((Private::Rsa(pair, encoding), own))
    });
    let public = public.map(|pem| {
        let (_, der) = block(pem, "pub-key")?;
        // PKCS#1 is the key itself.
        let bare = || der::rsa_bits(&der).map(|_| der.clone());
        der::public_key(&der, der::RSA_PUBLIC_KEY).or_else(bare).ok_or_else(|| no_public("RSA"))
    });
    paired(algorithm, private.transpose()?, public.transpose()?, |key| {
        let unfit = rsa_unfit(key).ok_or_else(|| no_public("RSA"))?;
        if unfit.is_empty() { Ok(()) } else { Err(format!("{}: {unfit}", no_public("RSA"))) }
    })
}

/// Why no token could be verified by a public key of RSA: empty where one could. None where it is no such key.
fn rsa_unfit(key: &[u8]) -> Option<String> {
    let (bits, (modulus, exponent)) = (der::rsa_bits(key)?, der::rsa_numbers(key)?);
    if !RSA_BITS.contains(&bits.next_multiple_of(8)) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Some(format!("it has {bits} bits, and must have {least} to {most}"));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let value = exponent.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()));
    if !is_odd(exponent) || !value.is_some_and(|value| RSA_EXPONENTS.contains(&value)) {
        let (least, most) = (RSA_EXPONENTS.start(), RSA_EXPONENTS.end());
        return Some(format!("its exponent must be odd, and {least} to {most}"));
    }
    Some(if is_odd(modulus) { String::new() } else { "its modulus is even".to_string() })
}

fn curve_keys(
    signing: &'static signature::EcdsaSigningAlgorithm,
    algorithm: Algorithm,
    (curve, agreement): (&[u8], &'static agreement::Algorithm),
    private: Option<&[u8]>,
    public: Option<&[u8]>,
) -> Result<Keys, String> {
    let private = private.map(|pem| {
        let (label, der) = block(pem, "priv-key")?;
        let der = if label == "EC PRIVATE KEY" { der::wrapped(&der, curve) } else { der };
        let pair = EcdsaKeyPair::from_pkcs8(signing, &der, &SystemRandom::new());
        let pair = pair.map_err(|why| format!("key is not a valid ECDSA private key: {why}"))?;
        let own = pair.public_key().as_ref().to_vec();
        Ok::<_, String>((Private::Curve(pair), own))
    });
    let public = public.map(|pem| plain_public(pem, der::EC_PUBLIC_KEY, "ECDSA"));
    paired(algorithm, private.transpose()?, public.transpose()?, |point| {
        if is_on(agreement, point) { Ok(()) } else { Err(no_public("ECDSA")) }
    })
}

/// Whether a point is one of the curve. `ring` looks when a signature is shown, and before an agreement, which costs a
/// number that is drawn and thrown away.
fn is_on(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    let drawn = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new());
    let peer = agreement::UnparsedPublicKey::new(curve, point);
    drawn.is_ok_and(|drawn| agreement::agree_ephemeral(drawn, &peer, |_| ()).is_ok())
}

/// Keys of the curve P-521.
fn wide_keys(private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Keys, String> {
    use p521::ecdsa::{SigningKey, VerifyingKey};
    let private = private.map(|pem| {
        let invalid = || "key is not a valid ECDSA private key".to_string();
        let (_, der) = block(pem, "priv-key")?;
        let number = der::curve_number(&der, P521).ok_or_else(invalid)?;
        SigningKey::from_slice(number).map_err(|_| invalid())
    });
    let public = public.map(|pem| {
        let point = plain_public(pem, der::EC_PUBLIC_KEY, "ECDSA")?;
        // Of another curve it is no key of the pair, and none alone.
        Ok::<_, String>(VerifyingKey::from_sec1_bytes(&point).ok())
    });
    match (private.transpose()?, public.transpose()?) {
        (None, None) => Err(MISSING_KEY.to_string()),
        (None, Some(public)) => {
            let public = public.ok_or_else(|| no_public("ECDSA"))?;
            Ok(Keys::Pair { private: None, public: Public::Wide(Box::new(public)) })
        }
        (Some(private), public) => {
            let own = VerifyingKey::from(&private);
            let same = |public: VerifyingKey| public.to_encoded_point(false) == own.to_encoded_point(false);
            if public.is_some_and(|public| !public.is_some_and(same)) {
                return Err(KEY_MISMATCH.to_string());
            }
            Ok(Keys::Pair { private: Some(Private::Wide(Box::new(private))), public: Public::Wide(Box::new(own)) })
        }
    }
}

fn edwards_keys(private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Keys, String> {
    let private = private.map(|pem| {
        let (_, der) = block(pem, "priv-key")?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        let pair = pair.map_err(|why| format!("key is not a valid Ed25519 private key: {why}"))?;
        let own = pair.public_key().as_ref().to_vec();
        Ok::<_, String>((Private::Edwards(pair), own))
    });
    let public = public.map(|pem| plain_public(pem, der::ED25519, "Ed25519"));
    paired(&signature::ED25519, private.transpose()?, public.transpose()?, |key| {
        if key.len() == signature::ED25519_PUBLIC_KEY_LEN { Ok(()) } else { Err(no_public("Ed25519")) }
    })
}

fn plain_public(pem: &[u8], algorithm: &[u8], kind: &str) -> Result<Vec<u8>, String> {
    let (_, der) = block(pem, "pub-key")?;
    der::public_key(&der, algorithm).ok_or_else(|| no_public(kind))
}

/// etcd's words.
fn no_public(kind: &str) -> String {
    format!("key is not a valid {kind} public key")
}

#[cfg(test)]
mod tests;
