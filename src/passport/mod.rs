//! How users prove who they are: passwords, and what they hold once they did.
//!
//! Invariants: a password is hashed and compared on threads that may wait, a few at a time, never on one that serves
//! requests; a password is never kept and never logged. Does not know of users' rights, requests or the node.

mod der;
mod jwt;
mod kind;
mod options;
mod password;

pub use jwt::Jwt;
pub use kind::TokenKind;
pub use password::{COST_DEFAULT, COST_RANGE, Hasher};
