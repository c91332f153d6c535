//! The product's files in which threads meet, with locks and atomics that try one schedule after the other.
//!
//! Each file is the product's own, included by its path; it finds here the few things it imports: the real file where that
//! stands alone, else the least that will do. Limits are tiny, so that few steps meet them. A scenario is a function that
//! starts threads, states what its file promises, and ends when all of them have; one that waits for ever is a failure, too.
//! `tests/` runs each under many schedules.
//!
//! What is not seen: every atomic is sequentially consistent here, whatever ordering the product asks for.

#[cfg(not(test))]
pub mod base;
#[cfg(not(test))]
pub mod driver;
#[cfg(not(test))]
pub mod mvcc;
#[cfg(not(test))]
pub mod node;
#[cfg(not(test))]
pub mod watch;

/// Users and tokens: as much of them as the board asks for.
#[cfg(not(test))]
mod auth {
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Debug)]
    pub struct User {
        pub password: String,
    }

    /// A table with one user, who has another password at each revision; enabled from revision 2 on.
    #[derive(Debug, Default)]
    pub struct Auth {
        revision: u64,
        user: Option<User>,
    }

    impl Auth {
        pub fn of(revision: u64) -> Self {
            Self { revision, user: Some(User { password: revision.to_string() }) }
        }

        pub fn revision(&self) -> u64 {
            self.revision
        }

        pub fn is_enabled(&self) -> bool {
            self.revision >= 2
        }

        pub fn user(&self, _: &str) -> Option<&User> {
            self.user.as_ref()
        }
    }

    /// One token, which is all of them.
    #[derive(Debug, Default)]
    pub struct Tokens(Option<Arc<str>>);

    impl Tokens {
        pub fn give(&mut self, user: &str) {
            self.0 = Some(user.into());
        }

        pub fn find(&self, _: &str, _: Duration) -> Option<Arc<str>> {
            self.0.clone()
        }

        pub fn live_for(&mut self, _: Duration) {}

        pub fn is_empty(&self) -> bool {
            self.0.is_none()
        }

        pub fn keep(&mut self, keeps: impl FnOnce(&str) -> bool) {
            self.0 = self.0.take().filter(|user| keeps(user));
        }
    }
}

/// The seam: names.
#[cfg(not(test))]
mod env {
    pub trait Disk {}

    #[derive(Clone, Copy)]
    pub struct Instant(pub std::time::Duration);
}

/// What the noticeboard tells of the machine.
#[cfg(not(test))]
mod machine {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum AlarmKind {
        NoSpace,
    }

    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Member;
}
