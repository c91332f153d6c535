//! Passwords by bcrypt, as etcd keeps them: what either of the two hashed the other one verifies.

use std::ops::RangeInclusive;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::turns::{Claimant, Turns};
use crate::auth::PasswordHash;
use crate::base::{Refusal, limits};

/// Costs that bcrypt knows: two to this power are the rounds.
pub const COST_RANGE: RangeInclusive<u32> = 4..=31;

/// etcd's: some 60 ms.
pub const COST_DEFAULT: u32 = 10;

/// A hash in its letters.
const HASH_BYTES: usize = 60;

/// Longest password: bcrypt looks at no more.
const MAX_PASSWORD_BYTES: usize = 72;

/// Hashes and compares, where it may take long.
#[derive(Clone, Debug)]
pub struct Hasher {
    cost: u32,
    turns: Turns,
}

impl Hasher {
    /// One that makes hashes of this cost. It occupies half of the processors at most.
    pub fn new(cost: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
        Self { cost, turns: Turns::new(processors.div_ceil(2), limits::MAX_WAITING_PASSWORDS) }
    }

    /// The hash of a password under a fresh salt.
    pub async fn hash(&self, who: Claimant, password: String) -> Result<PasswordHash, Refusal> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Refusal::PasswordTooLong);
        }
        let cost = self.cost;
        self.aside(who, move || hash(&password, cost)).await?.ok_or(Refusal::NoPasswordUser)
    }

    /// Whether `password` is the one that was hashed. What is no hash has no password.
    pub async fn verify(&self, who: Claimant, password: String, hash: PasswordHash) -> Result<bool, Refusal> {
        self.aside(who, move || {
            // What follows it is not looked at, as by Go's library.
            let hash = hash.0.get(..HASH_BYTES).unwrap_or(&hash.0);
            std::str::from_utf8(hash).is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false))
        })
        .await
    }

    /// Does long work on a thread that may wait, when it is his turn for whom it is.
    async fn aside<T: Send + 'static>(
        &self,
        who: Claimant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        // It goes with the work: a client who goes away sets nobody else to work beside it.
        let turn = self.turns.turn(who).await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| Refusal::Stopped)
    }
}

fn hash(password: &str, cost: u32) -> Option<PasswordHash> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let parts = bcrypt::hash_with_salt(password, cost, salt).ok()?;
    Some(PasswordHash(Bytes::from(parts.format_for_version(bcrypt::Version::TwoA))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `bcrypt.GenerateFromPassword` of Go's library, as etcd calls it.
    const OF_ETCD: [(&str, &str); 3] = [
        ("pass", "$2a$04$Wl4syWJ9rrEjuaUehvxSr.A9/pYt6DjhRxkQwdlcHJ06m2uL3oZUe"),
        ("", "$2a$04$0Xya7YjHFQ3wfMbZFZZhfeZAwT.2.5awZrXo4c225zMEksoZJwU.C"),
        (
            "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp",
            "$2a$04$xz236Atb5W82N8sNx0AU3uJ67rzrjKtSbNTCuRZB/F5/YSGvzDoBO",
        ),
    ];

    #[test]
    fn what_etcd_hashed_is_verified() {
        for (password, hash) in OF_ETCD {
            assert!(bcrypt::verify(password, hash).expect("a hash"), "{password:?}");
            assert!(!bcrypt::verify("another", hash).expect("a hash"), "{password:?}");
        }
    }

    #[test]
    fn a_hash_is_as_etcds_and_verifies() {
        let hashed = hash("pass", 4).expect("there is randomness");
        let text = std::str::from_utf8(&hashed.0).expect("text");
        assert!(text.starts_with("$2a$04$") && text.len() == 60, "{text}");
        assert!(bcrypt::verify("pass", text).expect("a hash") && !bcrypt::verify("Pass", text).expect("a hash"));
        assert_ne!(hash("pass", 4), Some(hashed), "each has a salt of its own");
    }

    #[tokio::test]
    async fn passwords_of_any_kind_are_taken_or_refused() {
        let (hasher, anna) = (Hasher::new(4), || Claimant::who_says("anna", None));
        for password in [String::new(), "x".repeat(72), "ä€\0z".to_string()] {
            let hash = hasher.hash(anna(), password.clone()).await.expect("hashed");
            assert_eq!(hasher.verify(anna(), password, hash.clone()).await, Ok(true));
            assert_eq!(hasher.verify(anna(), "another".to_string(), hash).await, Ok(false));
        }
        let followed = PasswordHash(Bytes::from(format!("{}x", OF_ETCD[0].1)));
        assert_eq!(hasher.verify(anna(), OF_ETCD[0].0.to_string(), followed).await, Ok(true));
        assert_eq!(hasher.hash(anna(), "x".repeat(73)).await, Err(Refusal::PasswordTooLong));
        for junk in ["", "$2a$04$", "nothing of the kind"] {
            let junk = PasswordHash(Bytes::from(junk));
            assert_eq!(hasher.verify(anna(), String::new(), junk).await, Ok(false));
        }
    }

    #[tokio::test]
    async fn a_password_waits_for_its_turn_and_is_refused_where_too_many_do() {
        let (turns, anna) = (Turns::new(1, 0), || Claimant::who_says("anna", None));
        let hasher = Hasher { turns: turns.clone(), ..Hasher::new(4) };
        let held = turns.turn(anna()).await.expect("there is room");
        assert_eq!(hasher.hash(anna(), "p".to_string()).await, Err(Refusal::TooManyRequests));
        drop(held);
        assert!(hasher.hash(anna(), "p".to_string()).await.is_ok());
    }
}
