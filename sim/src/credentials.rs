//! Who clients are, where a run asks for it: in some runs the registrar enables authentication.
//!
//! What the porch does between a client and its member stands here once more, in a few lines: passwords are compared, tokens
//! drawn, and what is not looked at where it is applied is looked at before. A password's hash is a text like any other:
//! hashing is the porch's, and costs time. Invariant: a token is given only where the password was compared at the revision
//! of the table at which the token's entry was applied.

use std::sync::Arc;
use std::time::Duration;

use quorate::auth::{Access, Asker, Auth, AuthCommand, PasswordHash};
use quorate::base::{Dice, LeaseId, Refusal};
use quorate::driver::Handle;
use quorate::machine::{Answer, Command};
use quorate::mvcc::View;
use quorate::node::{LeaseAccess, LeaseStanding};
use quorate_spec::request::Request;

use crate::env::{SimDisk, SimEnv, forked, true_sleep};
use crate::oracles::require;
use crate::oracles::rights::{NOBODY, TOKEN};
use crate::world::World;

/// The user who may do everything.
pub const ROOT: &str = "root";

/// Names of users, and of roles: few, so that most commands meet what is there.
pub const NAMES: u64 = 4;

/// Whether users and roles change in the run of this seed.
pub fn has_registrar(seed: u64) -> bool {
    forked(seed, "registrar", 0).below(4) == 0
}

/// Whether authentication is enabled in it.
pub fn asks_who(seed: u64) -> bool {
    has_registrar(seed) && forked(seed, "registrar", 2).one_in(2)
}

/// The user that a client is: one in three of those who put, read and watch, and whoever else there is, may do everything.
fn user_of(world: &World, client: u32) -> Option<Arc<str>> {
    if !asks_who(world.plan.seed) {
        return None;
    }
    let common = (world.plan.clients.len() + world.plan.watching.len()) as u32;
    let name = if client >= common || client.is_multiple_of(3) {
        ROOT.to_string()
    } else {
        format!("user{}", u64::from(client) % NAMES)
    };
    Some(name.into())
}

/// Who a client is, and what it has to show for it.
#[derive(Clone)]
pub struct Credentials {
    user: Option<Arc<str>>,
    token: Option<Arc<str>>,
    drawn: u64,
    /// What it has does not do: it is to prove who it is before it asks again.
    is_stale: bool,
}

impl Credentials {
    /// Those of a client that has not proved anything yet.
    pub fn of(world: &World, client: u32) -> Self {
        Self { user: user_of(world, client), token: None, drawn: 0, is_stale: false }
    }

    /// The user to be proved, where there is one.
    pub fn to_prove(&self) -> Option<Arc<str>> {
        self.user.clone().filter(|_| self.is_stale)
    }

    /// Whether users are asked for at all in this run.
    pub fn matter(&self) -> bool {
        self.user.is_some()
    }

    /// What it has is to be proved anew.
    pub fn expire(&mut self) {
        self.is_stale = self.user.is_some();
    }

    /// It heard such a refusal.
    pub fn heard(&mut self, refusal: &str) {
        if [NOBODY, TOKEN].contains(&refusal) {
            self.expire();
        }
    }

    /// Whether it may do everything, if it says who it is.
    pub fn is_root(&self) -> bool {
        self.user.as_deref() == Some(ROOT)
    }

    /// The drawn part of the next token.
    pub fn draw(&mut self, client: u32) -> String {
        self.drawn += 1;
        format!("c{client}n{}", self.drawn)
    }

    /// It proved who it is.
    pub fn hold(&mut self, token: String) {
        (self.token, self.is_stale) = (Some(token.into()), false);
    }

    /// What it shows with a question.
    pub fn shown(&self, world: &Arc<World>) -> Shown {
        let held = self.user.clone().zip(self.token.clone());
        Shown { world: world.clone(), held }
    }
}

/// What a client shows with a question: whom its token should name, and the token.
#[derive(Clone)]
pub struct Shown {
    world: Arc<World>,
    held: Option<(Arc<str>, Arc<str>)>,
}

impl Shown {
    /// Whether nobody is asked in this run.
    pub fn is_idle(&self) -> bool {
        !asks_who(self.world.plan.seed)
    }

    /// Whom it says it is.
    pub fn user(&self) -> Option<&str> {
        self.held.as_ref().map(|(user, _)| &**user)
    }

    /// Who asks, as the member finds out.
    pub async fn asker(&self, door: &Handle<SimEnv>) -> Result<Option<Asker>, Refusal> {
        let Some((user, token)) = self.held.as_ref().filter(|_| door.asks_who()) else { return Ok(None) };
        let asker = door.named_by(token).await?;
        let newest = self.world.ledger().users().now().revision();
        let right = asker.user == *user && asker.revision <= newest;
        self.world.judge(require(right, "a token names who holds it", || {
            format!("{user}'s token {token} names {asker:?}; users are at revision {newest}")
        }));
        Ok(Some(asker))
    }

    /// Who asks for a change, if it is for him as far as that is not looked at where it is applied.
    pub async fn admitted(&self, door: &Handle<SimEnv>, request: &Request) -> Result<Option<Asker>, Refusal> {
        let asker = self.asker(door).await?;
        match request {
            Request::Compact { .. } | Request::Alarm { .. } => door.auth().check_root(asker.as_ref())?,
            Request::LeaseGrant { .. } | Request::LeaseRevoke { .. } => door.auth().check_named(asker.as_ref())?,
            _ => {}
        }
        Ok(asker)
    }

    /// A view that is shown to who asks, which is found out so much later than the view is taken: porches have threads.
    pub async fn view(
        &self,
        door: &Handle<SimEnv>,
        (linearizable, later): (bool, Duration),
        check: impl Fn(&Auth, Option<&Asker>) -> Result<(), Refusal>,
    ) -> Result<View<SimDisk>, Refusal> {
        let who = || async {
            if !later.is_zero() && self.held.is_some() {
                true_sleep(later).await;
            }
            self.asker(door).await
        };
        door.view_for(|| door.view(linearizable), who, check).await
    }

    /// Refuses who may not do that with leases.
    pub async fn check_leases(&self, door: &Handle<SimEnv>, access: LeaseAccess) -> Result<(), Refusal> {
        if !door.asks_who() {
            return Ok(());
        }
        let asker = self.asker(door).await?;
        door.auth().check_named(asker.as_ref())?;
        door.check_leases(asker, access).await
    }

    /// A lease's standing, with its keys for who may read them.
    pub async fn time_to_live(
        &self,
        door: &Handle<SimEnv>,
        id: LeaseId,
        keys: bool,
    ) -> Result<Option<LeaseStanding>, Refusal> {
        let standing = door.time_to_live(id, keys).await?;
        if let Some(standing) = standing.as_ref().filter(|standing| !standing.keys.is_empty() && door.asks_who()) {
            door.view(true).await?;
            let asker = self.asker(door).await?;
            door.auth().check_attached(asker.as_ref(), standing.keys.iter(), Access::Read)?;
        }
        Ok(standing)
    }
}

/// Proves to a member who one is; the token.
pub async fn log_in(
    door: &Handle<SimEnv>,
    user: &str,
    password: &PasswordHash,
    drawn: String,
) -> Result<String, Refusal> {
    door.view(true).await?;
    let table = door.auth();
    if !table.is_enabled() {
        return Err(Refusal::AuthNotEnabled);
    }
    let known = table.user(user).filter(|known| !known.no_password && known.password == *password);
    known.ok_or(Refusal::AuthFailed)?;
    let command = AuthCommand::Authenticate { user: user.to_string(), token: drawn.clone() };
    let proposed = door.propose(Command::Auth(command)).await?;
    let Answer::Authenticated { auth_revision } = proposed.answer else {
        unreachable!("the machine answers who authenticates with a revision")
    };
    if auth_revision == table.revision() {
        Ok(format!("{drawn}.{}", proposed.index))
    } else {
        Err(Refusal::AuthOldRevision)
    }
}
