//! The registrar: adds and removes users, roles and permissions while everything else goes on.
//!
//! In one run of four; in every other of these it enables authentication, too, and ends it now and then: from then on
//! everybody is asked who he is (`credentials.rs`). What it asks for is judged entry by entry, and at the end on every member
//! (`oracles/users.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::auth::{AuthCommand, PasswordHash, Permission, PermissionKind};
use quorate::base::{Dice, KeyRange, Refusal, SeededDice};
use quorate::machine::Command;
use quorate_spec::request::Request;

use crate::credentials::{NAMES, ROOT, asks_who};
use crate::env::{forked, true_sleep};
use crate::oracles::ids::{Attempt, Ending};
use crate::traffic::Client;
use crate::world::{Lost, World};

/// The number it has as a client.
const NUMBER: u32 = u32::MAX - 3;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for one thing after the other until the troubles are over.
pub async fn register(world: Arc<World>) {
    let mut dice = forked(world.plan.seed, "registrar", 1);
    let mut client = Client::new(world.clone(), NUMBER);
    let enables = asks_who(world.plan.seed);
    let mut first = if enables { beginning(&mut dice) } else { Vec::new() };
    while !world.is_lost() && !world.is_calm() {
        true_sleep(Duration::from_millis(20 + dice.below(400))).await;
        // From the last on: once more until it is known to be done, or to be so already.
        let (command, begins) = match first.last() {
            Some(command) => (command.clone(), true),
            None if enables && dice.one_in(5) => (turned(&world, &mut dice), false),
            None => (draw(&mut dice), false),
        };
        client.turn_to(dice.below(world.members.len() as u64) as usize);
        let decided = ask(&world, &mut client, &mut dice, command).await;
        if begins && decided {
            first.pop();
        }
    }
}

/// Asks for one thing; whether the log has decided it, one way or the other.
async fn ask(world: &Arc<World>, client: &mut Client, dice: &mut SeededDice, command: AuthCommand) -> bool {
    client.prove().await;
    let shown = client.credentials().shown(world);
    let (of_member, enables) = (world.clone(), command == AuthCommand::Enable);
    let asked = world.ask((NUMBER, client.member()), PATIENCE, dice, move |door| async move {
        let asker = shown.asker(&door).await?;
        let id = door.fresh_request_id();
        let attempt = Attempt { client: NUMBER, asker: asker.clone(), request: Request::Other, ending: Ending::Open };
        of_member.judge(of_member.ledger().attempts_mut().begin(id, attempt));
        door.propose_as(id, asker.as_ref(), Command::Auth(command)).await
    });
    match asked.await {
        Ok(Ok(_)) => {
            world.marks.hit("users or roles were changed");
            if enables {
                world.marks.hit("authentication was enabled");
            }
            true
        }
        Ok(Err(refusal)) => {
            client.hears(refusal.text());
            matches!(refusal, Refusal::UserAlreadyExists | Refusal::RoleAlreadyExists)
        }
        Err(Lost::Down | Lost::NoAnswer) => false,
    }
}

/// What must be before everybody can be asked who he is, and something for everybody to have; the last one first.
fn beginning(dice: &mut SeededDice) -> Vec<AuthCommand> {
    let user = |nth| format!("user{nth}");
    let role = |nth| format!("role{nth}");
    let mut first = vec![AuthCommand::UserAdd { name: ROOT.to_string(), password: password(dice), no_password: false }];
    first.push(AuthCommand::UserGrantRole { user: ROOT.to_string(), role: ROOT.to_string() });
    for nth in 0..NAMES {
        first.push(AuthCommand::UserAdd { name: user(nth), password: password(dice), no_password: false });
        first.push(AuthCommand::RoleAdd { name: role(nth) });
        first.push(AuthCommand::UserGrantRole { user: user(nth), role: role(nth) });
        let permission = Some(permission(dice));
        first.push(AuthCommand::RoleGrantPermission { role: role(nth), permission });
    }
    first.push(AuthCommand::Enable);
    first.reverse();
    first
}

/// Enables authentication where it is not, and mostly puts back who is in charge first; or ends it, which is rarer.
fn turned(world: &World, dice: &mut SeededDice) -> AuthCommand {
    let root = || ROOT.to_string();
    let (is_enabled, has_root) = {
        let ledger = world.ledger();
        (ledger.users().now().is_enabled(), ledger.users().now().has_root())
    };
    match dice.below(8) {
        0 | 1 if is_enabled => AuthCommand::Disable,
        0 => AuthCommand::UserRevokeRole { user: root(), role: root() },
        1 => AuthCommand::UserDelete { name: root() },
        2 | 3 if is_enabled => AuthCommand::UserChangePassword { name: root(), password: Some(password(dice)) },
        4 | 5 if !has_root => AuthCommand::UserAdd { name: root(), password: password(dice), no_password: false },
        6 if !has_root => AuthCommand::UserGrantRole { user: root(), role: root() },
        7 if !has_root => AuthCommand::UserGrantRole { user: root(), role: root() },
        _ if dice.one_in(8) => AuthCommand::RoleDelete { name: root() },
        _ => AuthCommand::Enable,
    }
}

fn password(dice: &mut SeededDice) -> PasswordHash {
    PasswordHash(Bytes::from(format!("$2a$04${}", dice.below(1 << 40))))
}

/// A kind of access to a key, to some, or to most of those that clients fight over.
fn permission(dice: &mut SeededDice) -> Permission {
    let (key, end) = (dice.below(3), dice.below(4));
    let end = if end == 3 { Bytes::new() } else { Bytes::from(format!("l{end}")) };
    let range = KeyRange::from_wire(Bytes::from(format!("k{key}")), end);
    let kind = [PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite][dice.below(3) as usize];
    Permission { kind, range }
}

fn draw(dice: &mut SeededDice) -> AuthCommand {
    let mut one = |of: &str| format!("{of}{}", dice.below(NAMES));
    let (name, role) = (one("user"), one("role"));
    let password = password(dice);
    let Permission { kind, range } = permission(dice);
    match dice.below(16) {
        0 | 1 => AuthCommand::UserAdd { name, password, no_password: dice.below(5) == 0 },
        2 => AuthCommand::UserDelete { name },
        3 => AuthCommand::UserChangePassword { name, password: Some(password) },
        4..=6 => AuthCommand::UserGrantRole { user: name, role },
        7 => AuthCommand::UserRevokeRole { user: name, role },
        8 | 9 => AuthCommand::RoleAdd { name: role },
        10 => AuthCommand::RoleDelete { name: role },
        11..=13 => AuthCommand::RoleGrantPermission { role, permission: Some(Permission { kind, range }) },
        14 => AuthCommand::RoleRevokePermission { role, range },
        _ => AuthCommand::Enable,
    }
}
