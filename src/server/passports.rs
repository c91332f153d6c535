//! How users prove who they are, as the flags say.

use std::time::Duration;

use crate::api::Passports;
use crate::base::limits;
use crate::passport::{COST_DEFAULT, COST_RANGE, Hasher, TokenKind};
use crate::server::config::Config;

/// What the flags ask for; or why it cannot be had.
pub fn passports(config: &Config) -> Result<Passports, String> {
    let tokens = TokenKind::read(&config.proof.auth_token, |path| std::fs::read(path))
        .map_err(|why| format!("--auth-token: {why}"))?;
    Ok(Passports { tokens, hasher: Hasher::new(cost(config.proof.bcrypt_cost)) })
}

/// As in etcd a cost that bcrypt does not know is passed over.
fn cost(given: u64) -> u32 {
    let known = u32::try_from(given).ok().filter(|cost| COST_RANGE.contains(cost));
    if known.is_none() {
        let (least, most) = (COST_RANGE.start(), COST_RANGE.end());
        tracing::warn!(
            given,
            least,
            most,
            default = COST_DEFAULT,
            "--bcrypt-cost is out of range: the default is used"
        );
    }
    known.unwrap_or(COST_DEFAULT)
}

/// Time a token lives; as in etcd 0 is the default.
pub fn token_ttl(config: &Config) -> Duration {
    if config.proof.auth_token_ttl.is_zero() {
        Duration::from_millis(limits::TOKEN_TTL_MS)
    } else {
        config.proof.auth_token_ttl
    }
}
