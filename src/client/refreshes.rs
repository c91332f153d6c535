//! How often a request is asked again because it was refused for who asks, not for what, or for how many ask.
//!
//! Invariant: it ends, whatever others do. Does not know how a token is had.

use std::time::Duration;

use super::pause::grown;

/// Attempts of one request after changes of users, or behind tokens that end, which may go on. Each may cost a hash of a password.
const MAX_REFRESHES: usize = 20;

/// The shortest time to live that a server can give a token. One that is refused sooner was not taken; later it may have ended while the
/// request waited, for a leader among others: servers look at it when the request's turn has come.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

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
    /// Whether it is worth one more after a refusal with this text, of a token so old. Who refuses a new token means it.
    pub fn one_more(&mut self, why: &str, age: Duration) -> bool {
        if !why.contains(OLD_REVISION) && std::mem::replace(&mut self.of_token, true) && age < SHORTEST_LIFE {
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
        let is_worth = |refreshes: &mut Refreshes, why| refreshes.one_more(why, Duration::ZERO);
        let mut refreshes = Refreshes::default();
        assert!(is_worth(&mut refreshes, invalid) && refreshes.pause().is_zero());
        assert!(![invalid, nobody].map(|why| is_worth(&mut refreshes, why)).contains(&true), "each costs a hash");
        let more = (0..100).filter(|_| is_worth(&mut refreshes, old)).count();
        assert_eq!(more, MAX_REFRESHES - 1);
        assert!(!refreshes.pause().is_zero());
        let mut refreshes = Refreshes::default();
        assert_eq!([old, nobody].map(|why| is_worth(&mut refreshes, why)), [true; 2], "it went with the change");
        refreshes.was_made_by_another();
        assert_eq!([invalid; 2].map(|why| is_worth(&mut refreshes, why)), [true, false], "that was another's");
        let mut refreshes = Refreshes::default();
        let by_others = (0..100).filter(|_| {
            refreshes.was_made_by_another();
            is_worth(&mut refreshes, invalid)
        });
        assert_eq!(by_others.count(), MAX_REFRESHES, "it ends, whatever others do");
    }

    #[test]
    fn a_new_token_that_may_have_ended_meanwhile_is_replaced_again() {
        let invalid = STALE_TOKEN[0];
        let mut refreshes = Refreshes::default();
        assert!(refreshes.one_more(invalid, Duration::MAX) && refreshes.one_more(invalid, SHORTEST_LIFE));
        assert!(!refreshes.one_more(invalid, SHORTEST_LIFE - Duration::from_millis(1)), "that one was not taken");
        let mut refreshes = Refreshes::default();
        let late = (0..100).filter(|_| refreshes.one_more(invalid, SHORTEST_LIFE));
        assert_eq!(late.count(), MAX_REFRESHES, "it ends, however slow all is");
    }
}
