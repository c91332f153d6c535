//! How often a request is asked again because it was refused for who asks, not for what, or for how many ask.
//!
//! Invariant: it ends, whatever others do. Does not know how a token is had.

use std::time::Duration;

use super::pause::grown;

/// Attempts of one request after changes of users, which may go on. Each may cost a hash of a password.
const MAX_REFRESHES: usize = 20;

/// What a server says of a token that is no longer good, or that it never got. The request was not done then.
pub const STALE_TOKEN: [&str; 3] = ["etcdserver: invalid auth token", OLD_REVISION, "etcdserver: user name is empty"];

/// What a server says where users, roles or rights were changed between the look at who asks and what was asked for.
pub const OLD_REVISION: &str = "etcdserver: revision of auth store is old";

/// What a server says that has more to do than it can, of a password among others: nothing of it was done.
pub const TOO_MANY: &str = "etcdserver: too many requests";

/// Whether a refusal with this text passes by itself: who asks the same again may have it.
pub fn passes(why: &str) -> bool {
    why.contains(OLD_REVISION) || why.contains(TOO_MANY)
}

/// How often one request was asked again in its caller's name.
#[derive(Debug, Default)]
pub struct Refreshes {
    made: usize,
    /// One of them was for a token that was not taken.
    of_token: bool,
}

impl Refreshes {
    /// Whether it is worth one more after a refusal with this text. Who refuses a new token means it.
    pub fn one_more(&mut self, why: &str) -> bool {
        if !why.contains(OLD_REVISION) && std::mem::replace(&mut self.of_token, true) {
            return false;
        }
        self.made += 1;
        self.made <= MAX_REFRESHES
    }

    /// The token was not this request's doing: it may still have one of its own.
    pub fn was_made_by_another(&mut self) {
        self.of_token = false;
    }

    /// How long to wait before the one that was allowed last: the first is made at once.
    pub fn pause(&self) -> Duration {
        grown(self.made.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line_and_users_that_change_pass_and_a_wrong_password_does_not() {
        assert!(passes(TOO_MANY) && passes(&format!("rpc error: code = Unknown desc = {OLD_REVISION}")));
        let [invalid, _, nobody] = STALE_TOKEN;
        assert!(
            ![invalid, nobody, "etcdserver: authentication failed, invalid user ID or password"]
                .map(passes)
                .contains(&true)
        );
    }

    #[test]
    fn a_request_has_one_new_token_and_more_while_users_change() {
        let [invalid, old, nobody] = STALE_TOKEN;
        let mut refreshes = Refreshes::default();
        assert!(refreshes.one_more(invalid) && refreshes.pause().is_zero());
        assert!(!refreshes.one_more(invalid) && !refreshes.one_more(nobody), "each costs the server a hash");
        let more = (0..100).filter(|_| refreshes.one_more(old)).count();
        assert_eq!(more, MAX_REFRESHES - 1);
        assert!(!refreshes.pause().is_zero());
        let mut refreshes = Refreshes::default();
        assert!(refreshes.one_more(old) && refreshes.one_more(nobody), "a token that went with the change");
        refreshes.was_made_by_another();
        assert!(refreshes.one_more(invalid) && !refreshes.one_more(invalid), "that was another's");
        let mut refreshes = Refreshes::default();
        let by_others = (0..100).filter(|_| {
            refreshes.was_made_by_another();
            refreshes.one_more(invalid)
        });
        assert_eq!(by_others.count(), MAX_REFRESHES, "it ends, whatever others do");
    }
}
