//! How users prove who they are: passwords, and what they hold once they did.
//!
//! Invariants: a password is hashed and compared on threads that may wait, a few at a time and by turns of those who claim a
//! name and of where they come from, never on one that serves requests; a password is never kept and never logged. Does not know of users' rights, requests or the node.

mod der;
mod jwt;
mod kind;
mod options;
mod password;
mod turns;

pub use jwt::Jwt;
pub use kind::TokenKind;
pub use password::{COST_DEFAULT, COST_RANGE, Hasher};
pub use turns::Claimant;
