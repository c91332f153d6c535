//! Who may do what: users, their roles, the ranges of keys that roles may read and write, and the tokens users hold.
//!
//! The state is replicated: the same commands give the same users, roles and revision on every member, and a refused
//! command changes nothing. What a user may reach is worked out when users and roles change, not when it is asked.
//!
//! Invariants: the revision grows with every change of users or roles and when authentication ends, as in etcd, and what
//! was decided at an older one is not believed; while authentication is on, a user `root` with the role `root` exists.
//!
//! Does not hash passwords, does not know the time (tokens are told it), how a token is made, nor requests.

mod account;
mod command;
mod permits;
mod table;
mod tokens;

pub use account::{PasswordHash, ROOT, User};
pub use command::AuthCommand;
pub use permits::{Access, Permission, PermissionKind};
pub use table::{Asker, Auth, Change, Role};
pub use tokens::Tokens;

#[cfg(test)]
mod tests;
