//! Simple tokens: which of them name whom.
//!
//! Every member learns of a token by the entry that made it, and forgets it by itself when it was not used for long: so
//! the table is no part of what members hold alike. The time is told by who asks; it never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fxhash::FxHashMap;

use crate::base::limits;

/// A moment on the caller's clock, in nanoseconds.
type Moment = u64;

struct Token {
    user: Arc<str>,
    used_at: Moment,
}

/// The tokens of one member. Debug output names none of them.
pub struct Tokens {
    ttl: Duration,
    /// Their texts are drawn by servers: clients cannot make them collide.
    tokens: FxHashMap<Box<str>, Token>,
    /// How many each user has.
    by_user: BTreeMap<Arc<str>, usize>,
    swept_at: Moment,
    most: usize,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("count", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            ttl: Duration::from_millis(limits::TOKEN_TTL_MS),
            tokens: FxHashMap::default(),
            by_user: BTreeMap::new(),
            swept_at: 0,
            most: limits::MAX_TOKENS,
        }
    }
}

impl Tokens {
    /// Tokens not used for so long are forgotten from now on.
    pub fn live_for(&mut self, ttl: Duration) {
        self.ttl = ttl;
    }

    /// A token names a user from now on. Where there are too many, those used longest ago give way.
    pub fn assign(&mut self, token: &str, user: &str, now: Moment) {
        self.sweep(now);
        if self.tokens.len() >= self.most {
            self.make_room();
        }
        let user: Arc<str> = match self.by_user.get_key_value(user) {
            Some((known, _)) => known.clone(),
            None => user.into(),
        };
        *self.by_user.entry(user.clone()).or_default() += 1;
        if let Some(was) = self.tokens.insert(token.into(), Token { user, used_at: now }) {
            self.released(&was.user);
        }
    }

    /// Whom a token names. It lives on from now, as it was used.
    pub fn find(&mut self, token: &str, now: Moment) -> Option<Arc<str>> {
        let ttl = self.ttl;
        let found = self.tokens.get_mut(token)?;
        if is_over(found, ttl, now) {
            let gone = self.tokens.remove(token).expect("it was found");
            self.released(&gone.user);
            return None;
        }
        found.used_at = now;
        Some(found.user.clone())
    }

    /// A user's tokens name nobody any more.
    pub fn forget(&mut self, user: &str) {
        if self.by_user.remove(user).is_some() {
            self.tokens.retain(|_, token| &*token.user != user);
        }
    }

    /// Forgets the tokens of all users but those of whom `keep` says so.
    pub fn keep(&mut self, keep: impl Fn(&str) -> bool) {
        self.by_user.retain(|user, _| keep(user));
        let Self { tokens, by_user, .. } = self;
        tokens.retain(|_, token| by_user.contains_key(&token.user));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn released(&mut self, user: &Arc<str>) {
        let count = self.by_user.get_mut(user).expect("who has a token is counted");
        *count -= 1;
        if *count == 0 {
            self.by_user.remove(user);
        }
    }

    /// Forgets what is over, now and then.
    fn sweep(&mut self, now: Moment) {
        let pause = Duration::from_millis(limits::TOKEN_SWEEP_MS);
        if now.saturating_sub(self.swept_at) < pause.as_nanos() as u64 {
            return;
        }
        self.swept_at = now;
        let ttl = self.ttl;
        self.remove_where(|token| is_over(token, ttl, now));
    }

    /// Forgets the quarter that was not used for longest.
    fn make_room(&mut self) {
        let mut uses: Vec<Moment> = self.tokens.values().map(|token| token.used_at).collect();
        let (_, oldest, _) = uses.select_nth_unstable(self.most / 4);
        let oldest = *oldest;
        self.remove_where(|token| token.used_at <= oldest);
    }

    fn remove_where(&mut self, gone: impl Fn(&Token) -> bool) {
        let mut released = Vec::new();
        self.tokens.retain(|_, token| {
            let gone = gone(token);
            if gone {
                released.push(token.user.clone());
            }
            !gone
        });
        released.iter().for_each(|user| self.released(user));
    }
}

fn is_over(token: &Token, ttl: Duration, now: Moment) -> bool {
    u128::from(now.saturating_sub(token.used_at)) > ttl.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_token_lives_while_it_is_used() {
        let mut tokens = Tokens::default();
        tokens.live_for(Duration::from_secs(10));
        tokens.assign("t.1", "anna", 0);
        tokens.assign("u.2", "anna", 0);
        assert_eq!(tokens.find("t.1", 9 * SECOND).as_deref(), Some("anna"));
        assert_eq!(tokens.find("t.1", 19 * SECOND).as_deref(), Some("anna"));
        assert_eq!(tokens.find("u.2", 19 * SECOND), None, "not used for longer than it may live");
        assert_eq!(tokens.find("t.1", 30 * SECOND), None);
        assert_eq!((tokens.len(), tokens.by_user.len()), (0, 0));
    }

    #[test]
    fn tokens_go_with_their_user() {
        let mut tokens = Tokens::default();
        for (token, user) in [("a.1", "anna"), ("b.2", "bert"), ("c.3", "anna"), ("d.4", "cleo")] {
            tokens.assign(token, user, 1);
        }
        tokens.forget("anna");
        assert_eq!((tokens.find("a.1", 1), tokens.find("c.3", 1)), (None, None));
        assert_eq!(tokens.find("b.2", 1).as_deref(), Some("bert"));
        tokens.keep(|user| user == "cleo");
        assert_eq!((tokens.find("b.2", 1), tokens.len()), (None, 1));
    }

    #[test]
    fn there_are_never_too_many_and_what_is_over_goes() {
        let mut tokens = Tokens { most: 8, ..Tokens::default() };
        for number in 0..100u64 {
            tokens.assign(&format!("t.{number}"), "anna", number);
            assert!(tokens.len() <= 8);
            assert_eq!(tokens.by_user.values().sum::<usize>(), tokens.len());
        }
        assert!(tokens.find("t.99", 100).is_some(), "the newest stays");
        tokens.assign("late.1", "bert", 1_000 * SECOND);
        assert_eq!(tokens.len(), 1, "the rest was swept");
    }
}
