//! The tokens that both sides gave.
//!
//! Invariant: the two tokens of a log-in are shown together, each to the side that gave it. Does not know rights.

use crate::badge::Badge;

/// Who asks, in terms of what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nothing is shown.
    Nobody,
    /// The tokens of the log-in of this number.
    Holder(usize),
    /// A text that is no token.
    Forger(&'static str),
}

/// One log-in.
struct LogIn {
    user: String,
    tokens: (String, String),
    /// As far as is known.
    holds: bool,
}

/// All log-ins of a sequence.
#[derive(Default)]
pub struct Badges {
    all: Vec<LogIn>,
}

impl Badges {
    /// A user logged in on both sides.
    pub fn given(&mut self, user: &str, left: &str, right: &str) {
        self.all.push(LogIn { user: user.to_owned(), tokens: (left.to_owned(), right.to_owned()), holds: true });
    }

    /// The newest log-in of a user that holds.
    pub fn newest(&self, user: &str) -> Option<Who> {
        self.all.iter().rposition(|it| it.user == user && it.holds).map(Who::Holder)
    }

    /// A log-in so many before the newest; nobody before the first.
    pub fn past(&self, back: u64) -> Who {
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        self.all.len().checked_sub(1 + back).map_or(Who::Nobody, Who::Holder)
    }

    /// A token was refused.
    pub fn outdated(&mut self, who: &Who) {
        if let Who::Holder(number) = who {
            self.all[*number].holds = false;
        }
    }

    /// No token holds any more.
    pub fn all_outdated(&mut self) {
        self.all.iter_mut().for_each(|it| it.holds = false);
    }

    /// The user that a token names, if it holds.
    pub fn user(&self, who: &Who) -> Option<String> {
        match who {
            Who::Holder(number) => Some(self.all[*number].user.clone()),
            Who::Nobody | Who::Forger(_) => None,
        }
    }

    /// What is shown to the left and to the right: under each of the names that etcd looks for.
    pub fn shown(&self, who: &Who) -> (Badge, Badge) {
        match who {
            Who::Nobody => (Badge::default(), Badge::default()),
            Who::Forger(text) => (Badge::new("token", text), Badge::new("token", text)),
            Who::Holder(number) => {
                let (left, right) = &self.all[*number].tokens;
                let badge = |token: &str| match number % 4 {
                    0 => Badge::new("authorization", token),
                    1 => Badge::new("authorization", &format!("Bearer {token}")),
                    _ => Badge::new("token", token),
                };
                (badge(left), badge(right))
            }
        }
    }
}
