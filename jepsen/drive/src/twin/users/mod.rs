//! Sequences with authentication on: users and roles change while everybody asks for everything.
//!
//! Each side gives tokens of its own; a request shows each side the one it gave for the same log-in. Invariants: one
//! request at a time, and whose watches end is looked at after every change, so that no race is possible; a sequence
//! begins and ends without users and with authentication off. Does not know which side is right, except that quorate ends
//! the watch of who may not read any more, which stock etcd lets go on (docs/compat.md).

mod badges;
mod draw;
mod rights;

use badges::{Badges, Who};
use draw::Wish;
use rights::Rights;

use bytes::Bytes;
use quorate::base::Dice;
use quorate::wire::etcdserverpb as pb;

use super::args::{Tally, TwinArgs};
use super::plan::{FIRST_KEY, Plan, STREAMS};
use super::reply::Reply;
use super::side::Side;
use super::step::{AuthStep, Step};
use super::table::{Difference, Stop, Table};
use super::watching::Watching;

/// For both servers: a password costs little, and no token that was not used for a while is forgotten.
pub const FLAGS: [&str; 2] = ["--bcrypt-cost=4", "--auth-token-ttl=3600"];

/// Events are drained and compared at least every so many steps.
const DRAIN_EVERY: u64 = 40;
/// Ranges that the roles have when a sequence begins.
const FIRST_GRANTS: usize = 14;

/// One sequence under way.
struct Crowd<'a> {
    table: &'a mut Table,
    plan: Plan,
    rights: Rights,
    badges: Badges,
    /// Both sides, asked by nobody.
    nobody: (Side, Side),
    /// Who opened each stream.
    streams: Vec<Who>,
    seed: u64,
    args: &'a TwinArgs,
    tally: &'a Tally,
    /// Steps so far.
    number: u64,
    asked: u64,
    events: usize,
}

/// Runs the sequence of a seed.
pub(super) async fn sequence(table: &mut Table, seed: u64, args: &TwinArgs, tally: &Tally) -> Result<(), Stop> {
    let mut plan = Plan::new(seed ^ 0x7573_6572, table.current, table.compact, table.watching.base);
    plan.forward = true;
    let nobody = (table.left.clone(), table.right.clone());
    let (rights, badges) = (Rights::default(), Badges::default());
    let streams = vec![Who::Nobody; STREAMS];
    let mut crowd =
        Crowd { table, plan, rights, badges, nobody, streams, seed, args, tally, number: 0, asked: 0, events: 0 };
    let outcome = crowd.run().await;
    let (step, asked, events) = (crowd.number, crowd.asked, crowd.events);
    (table.left, table.right) = crowd.nobody;
    outcome.map_err(|text| Stop::Differs(Difference { seed, step, text }))?;
    table.still_alive()?;
    tally.finished(seed, asked, events, table.current);
    Ok(())
}

impl Crowd<'_> {
    async fn run(&mut self) -> Result<(), String> {
        self.found().await?;
        for _ in 0..self.args.requests {
            self.refresh();
            let (wish, step) = self.next();
            self.act_for(&wish, step).await?;
            if self.number.is_multiple_of(DRAIN_EVERY) {
                self.events += self.table.watching.drain(self.table.current).await?;
            }
        }
        self.finish().await
    }

    /// Users, roles and authentication; then the witness and the streams, as root.
    async fn found(&mut self) -> Result<(), String> {
        for step in draw::founding(&mut self.plan) {
            self.act(&Who::Nobody, &Step::Auth(step)).await?;
        }
        for _ in 0..FIRST_GRANTS {
            let step = draw::any_grant(&mut self.plan, &self.rights);
            self.act(&Who::Nobody, &Step::Auth(step)).await?;
        }
        self.act(&Who::Nobody, &Step::Auth(AuthStep::Enable)).await?;
        let root = self.holder("root").await?;
        let (left, right) = self.sides(&root);
        self.table.watching = Watching::begin(&left, &right, self.table.current).await?;
        self.plan.base = self.table.watching.base;
        for stream in 0..STREAMS {
            self.open(stream, root.clone()).await?;
        }
        Ok(())
    }

    /// What the plan goes by.
    fn refresh(&mut self) {
        (self.plan.current, self.plan.compact) = (self.table.current, self.table.compact);
        self.plan.watchers = (0..STREAMS).map(|stream| self.table.watching.ids(stream)).collect();
    }

    /// Who asks next, and for what.
    fn next(&mut self) -> (Wish, Step) {
        let root = || Wish::User("root".to_owned());
        let wish = draw::wish(&mut self.plan);
        if !self.rights.enabled && self.plan.dice.one_in(8) {
            let step = draw::repair(&mut self.plan, &self.rights);
            return (wish, Step::Auth(step));
        }
        // Who was deleted comes back soon, or nobody is left to ask.
        let missing = draw::PEOPLE.iter().find(|name| !self.rights.users.contains_key(**name));
        if let (Some(name), true) = (missing, self.plan.dice.one_in(10)) {
            return (root(), Step::Auth(draw::user_add(&mut self.plan, (*name).to_owned(), true)));
        }
        match self.plan.dice.below(100) {
            0..14 => {
                let by = if self.plan.dice.one_in(4) { wish } else { root() };
                let by_root = by == root();
                (by, Step::Auth(draw::auth_step(&mut self.plan, &self.rights, by_root)))
            }
            14 => (wish, Step::Barred),
            15..17 => {
                let stream = self.plan.dice.below(STREAMS as u64) as usize;
                let by = if self.plan.dice.one_in(2) { wish } else { root() };
                (by, Step::Open(stream))
            }
            _ => match self.plan.next_step() {
                // An alarm that was raised must be taken back, or little is left to compare.
                step @ Step::Alarm(pb::AlarmRequest { action: 2, .. }) => (root(), step),
                step => (wish, step),
            },
        }
    }

    async fn act_for(&mut self, wish: &Wish, step: Step) -> Result<(), String> {
        let who = match wish {
            Wish::Nobody => Who::Nobody,
            Wish::Forger(text) => Who::Forger(text),
            Wish::Past(back) => self.badges.past(*back),
            Wish::User(user) => self.holder(user).await?,
        };
        if let Step::Open(stream) = step {
            return self.open(stream, who).await;
        }
        let answer = self.act(&who, &step).await?;
        let is_outdated = |reply: &Reply| matches!(reply, Reply::Refused { text, .. } if OUTDATED.contains(&&**text));
        if answer.first().is_some_and(is_outdated) {
            self.badges.outdated(&who);
        }
        Ok(())
    }

    /// The newest token of a user; where he has none that holds, he logs in. Nobody where he cannot.
    async fn holder(&mut self, user: &str) -> Result<Who, String> {
        if let Some(who) = self.badges.newest(user) {
            return Ok(who);
        }
        let password = self.rights.users.get(user).and_then(|account| account.password.clone());
        if let (Some(password), true) = (password, self.rights.enabled) {
            let request = pb::AuthenticateRequest { name: user.to_owned(), password };
            self.act(&Who::Nobody, &Step::Auth(AuthStep::Authenticate(request))).await?;
        }
        Ok(self.badges.newest(user).unwrap_or(Who::Nobody))
    }

    fn sides(&self, who: &Who) -> (Side, Side) {
        let (left, right) = self.badges.shown(who);
        (self.nobody.0.showing(left), self.nobody.1.showing(right))
    }

    /// Puts a step to both sides, shows each what `who` has of it, and takes in what changed.
    async fn act(&mut self, who: &Who, step: &Step) -> Result<Vec<Reply>, String> {
        self.number += 1;
        if self.args.trace {
            println!("seed {} step {}: {who:?}: {step:?}", self.seed, self.number);
        }
        let asking = |text: String| format!("{who:?} asked {step:?}\n{text}");
        let answer = self.answer(who, step).await.map_err(asking)?;
        if answer.iter().any(Reply::is_unbuilt) {
            self.tally.unbuilt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(answer);
        }
        self.tally.book.take(self.seed, self.number, || format!("{answer:?}")).map_err(asking)?;
        self.asked += self.tally.count(&answer);
        Ok(answer)
    }

    async fn answer(&mut self, who: &Who, step: &Step) -> Result<Vec<Reply>, String> {
        let at = (self.table.current, self.table.compact);
        match step {
            Step::Watch(stream, request) => {
                let owner = self.owner(&self.streams[*stream]);
                let created = self.table.watching.create(*stream, request.clone(), owner.clone(), at).await?;
                self.none_forbidden(*stream, owner.as_deref())?;
                Ok(vec![Reply::Other(created)])
            }
            Step::Auth(AuthStep::Authenticate(request)) => {
                let (left, right) = self.sides(who);
                let ((left, left_token), (right, right_token)) =
                    tokio::join!(left.log_in(request), right.log_in(request));
                if left != right {
                    return Err(format!("  left  {:?}\n  right {:?}", left.replies, right.replies));
                }
                if left.is_ok() {
                    self.badges.given(&request.name, &left_token, &right_token);
                }
                Ok(left.replies)
            }
            Step::Auth(step) => self.answer_auth(who, step).await,
            step => {
                (self.table.left, self.table.right) = self.sides(who);
                self.table.take(step).await
            }
        }
    }

    async fn answer_auth(&mut self, who: &Who, step: &AuthStep) -> Result<Vec<Reply>, String> {
        if step.is_change() {
            // Nothing is under way to a watch that may end.
            self.events += self.table.watching.drain(self.table.current).await?;
        }
        (self.table.left, self.table.right) = self.sides(who);
        let answer = self.table.take(&Step::Auth(step.clone())).await?;
        if step.is_change() && answer.first().is_some_and(Reply::is_ok) {
            self.rights.note(step);
            if matches!(step, AuthStep::Disable) {
                self.badges.all_outdated();
            }
            let rights = &self.rights;
            self.table.watching.cut(|user, key, end| rights.why_cut(user, key, end)).await?;
        }
        Ok(answer)
    }

    /// A stream in the place of another, opened by `who`.
    async fn open(&mut self, stream: usize, who: Who) -> Result<(), String> {
        self.number += 1;
        self.events += self.table.watching.drain(self.table.current).await?;
        let first = pb::WatchCreateRequest { key: Bytes::from_static(FIRST_KEY), ..Default::default() };
        let owner = self.owner(&who);
        if self.args.trace {
            println!("seed {} step {}: {who:?} opens stream {stream} as {owner:?}", self.seed, self.number);
        }
        let (left, right) = self.sides(&who);
        let at = (self.table.current, self.table.compact);
        self.table.watching.open(stream, (&left, &right), first, owner.clone(), at).await?;
        self.streams[stream] = who;
        self.asked += 1;
        self.none_forbidden(stream, owner.as_deref())
    }

    /// Whom a watch that `who` asks for belongs to, if it is made.
    fn owner(&self, who: &Who) -> Option<String> {
        if self.rights.enabled { self.badges.user(who) } else { None }
    }

    /// That who has watches may have them: both sides could be wrong alike.
    fn none_forbidden(&self, stream: usize, owner: Option<&str>) -> Result<(), String> {
        match self.table.watching.forbidden(stream, |user, key, end| self.rights.why_cut(user, key, end)) {
            Some(watch) => Err(format!("both sides let {owner:?} watch what may not be read: {watch}")),
            None => Ok(()),
        }
    }

    /// Looks at everything once more, as root, and takes everything back.
    async fn finish(&mut self) -> Result<(), String> {
        // The last step may have taken root's token: a first question finds out.
        self.act_for(&Wish::User("root".to_owned()), Step::Auth(AuthStep::UserList)).await?;
        let root = self.holder("root").await?;
        let mut steps = self.plan.last_steps();
        steps.extend([Step::Auth(AuthStep::UserList), Step::Auth(AuthStep::RoleList)]);
        for name in self.rights.users.keys() {
            steps.push(Step::Auth(AuthStep::UserGet(pb::AuthUserGetRequest { name: name.clone() })));
        }
        for role in self.rights.roles.keys() {
            steps.push(Step::Auth(AuthStep::RoleGet(pb::AuthRoleGetRequest { role: role.clone() })));
        }
        steps.push(Step::Auth(AuthStep::Disable));
        for name in self.rights.users.keys() {
            steps.push(Step::Auth(AuthStep::UserDelete(pb::AuthUserDeleteRequest { name: name.clone() })));
        }
        for role in self.rights.roles.keys() {
            steps.push(Step::Auth(AuthStep::RoleDelete(pb::AuthRoleDeleteRequest { role: role.clone() })));
        }
        for step in steps {
            let answer = self.act(&root, &step).await?;
            let is_ok = answer.first().is_some_and(Reply::is_ok);
            if !is_ok && matches!(step, Step::Auth(_)) {
                return Err(format!("root is refused {step:?}: {answer:?}"));
            }
        }
        self.events += self.table.watching.settle(self.table.current).await?;
        self.table.watching.none_cut()
    }
}

/// What is said of a token that does not hold any more.
const OUTDATED: [&str; 2] = ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"];
