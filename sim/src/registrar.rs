//! The registrar: adds and removes users, roles and permissions while everything else goes on. Authentication stays off, so
//! that nobody else is asked who he is.
//!
//! In one run of four; what it asks for is judged entry by entry, and at the end on every member
//! (`oracles/users.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::auth::{AuthCommand, PasswordHash, Permission, PermissionKind};
use quorate::base::{Dice, KeyRange, SeededDice};
use quorate::machine::Command;

use crate::env::{forked, true_sleep};
use crate::world::World;

/// The number it has as a client.
const NUMBER: u32 = u32::MAX - 2;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names of users, and of roles: few, so that most commands meet what is there.
const NAMES: u64 = 4;

/// Whether there is a registrar in the run of this seed.
pub fn is_there(seed: u64) -> bool {
    forked(seed, "registrar", 0).below(4) == 0
}

/// Asks for one thing after the other until the troubles are over.
pub async fn register(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "registrar", 1);
    while !world.is_lost() && !world.is_calm() {
        true_sleep(Duration::from_millis(20 + dice.below(400))).await;
        let command = Command::Auth(draw(&mut dice));
        let at = dice.below(world.members.len() as u64) as usize;
        let asked =
            world.ask((NUMBER, at), PATIENCE, &mut dice, move |door| async move { door.propose(command).await });
        if let Ok(Ok(_)) = asked.await {
            world.marks.hit("users or roles were changed");
        }
    }
}

fn draw(dice: &mut SeededDice) -> AuthCommand {
    let mut one = |of: &str| format!("{of}{}", dice.below(NAMES));
    let (name, role) = (one("user"), one("role"));
    let password = PasswordHash(Bytes::from(format!("$2a$10${}", dice.below(1 << 40))));
    let (key, end) = (dice.below(3), dice.below(4));
    let end = if end == 3 { Bytes::new() } else { Bytes::from(format!("l{end}")) };
    let range = KeyRange::from_wire(Bytes::from(format!("k{key}")), end);
    let kind = [PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite][dice.below(3) as usize];
    match dice.below(16) {
        0 | 1 => AuthCommand::UserAdd { name, password, no_password: dice.below(5) == 0 },
        2 => AuthCommand::UserDelete { name },
        3 => AuthCommand::UserChangePassword { name, password },
        4..=6 => AuthCommand::UserGrantRole { user: name, role },
        7 => AuthCommand::UserRevokeRole { user: name, role },
        8 | 9 => AuthCommand::RoleAdd { name: role },
        10 => AuthCommand::RoleDelete { name: role },
        11..=13 => AuthCommand::RoleGrantPermission { role, permission: Some(Permission { kind, range }) },
        14 => AuthCommand::RoleRevokePermission { role, range },
        _ => AuthCommand::Enable,
    }
}
