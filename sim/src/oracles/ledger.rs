//! The committed ledger: every entry of the log as it was first applied by any member, and the model beside it.
//!
//! Invariants held against the product: an entry once applied by anyone never changes, on no member and in no later
//! life; entries are applied in order; the first to apply one does exactly what the model does, and every other does the
//! same, by digest. An entry is applied only when it is durable on a quorum, so this is also the ledger of durability: an
//! acknowledged change that a crash took is an entry that changed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use quorate::auth::Asker;
use quorate::machine::{Applied, Command};
use quorate_spec::request::{AlarmKind, Answer, Event, Request, text};
use quorate_spec::{Model, Step, Vantage};

use super::commons::{Commons, CommonsCourse};
use super::ids::Attempts;
use super::users::{Table, Users};
use super::{Verdict, require};
use crate::convert;
use crate::env::true_now;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The term it was proposed in.
    pub term: u64,
    /// When it was first applied.
    pub at: Duration,
    /// What it asked; nothing in a leader's first entry.
    pub request: Option<Request>,
    /// The grant and the term it names, where it ends a lease as fallen due.
    pub expiry: Option<(u64, u64)>,
    /// What the model did with it.
    pub step: Step,
    /// The vantage before it.
    pub before: Vantage,
    /// Its place among [`Ledger::vantages`]: readers behind it stand there.
    pub place: usize,
    /// What whoever applies it must come to: of its term, id, request, answer, revision and events; nothing where its first
    /// applier's disk did not give what the answer needs.
    pub digest: Option<u64>,
    /// The digest its first applier kept of everything up to it; nothing yet while only one applied it whose state was falsified.
    pub running: Option<Option<u64>>,
}

/// What a member has applied.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last entry of the present life.
    last: Option<u64>,
    /// The highest place of any life.
    top: usize,
    /// The places between which it took another's state, and did not stand: both ends are places where it stood.
    leaps: Vec<(usize, usize)>,
}

/// A lease from its grant to its end, in places of [`Ledger::vantages`].
#[derive(Clone, Copy, Debug)]
pub struct LeaseLife {
    /// The place from which on it exists.
    pub from: usize,
    /// The place from which on it does not, if it has ended.
    pub to: Option<usize>,
    /// Index of the entry that granted it.
    pub index: u64,
    /// Seconds it was granted for.
    pub ttl: i64,
    /// When the grant was applied.
    pub at: Duration,
}

/// See the module's head.
pub struct Ledger {
    model: Model,
    entries: BTreeMap<u64, Entry>,
    /// Where a reader could have stood, in order: after the n-th entry at place n.
    vantages: Vec<Vantage>,
    /// The lives of each lease, in order.
    leases: BTreeMap<i64, Vec<LeaseLife>>,
    attempts: Attempts,
    users: Users,
    commons: CommonsCourse,
    /// By member.
    progress: Vec<Progress>,
    /// Whose state was falsified: its digests are its own.
    differs: Option<usize>,
    /// A state was falsified in this run, or data may be damaged: a member without others names itself then.
    may_be_named: bool,
}

impl Ledger {
    /// A ledger of an empty store on so many members, whose leases live at least `min_ttl` seconds.
    pub fn new(min_ttl: i64, members: usize) -> Self {
        let model = Model::new(min_ttl);
        let vantages = vec![model.vantage()];
        Self {
            model,
            entries: BTreeMap::new(),
            vantages,
            leases: BTreeMap::new(),
            attempts: Attempts::default(),
            users: Users::default(),
            commons: CommonsCourse::default(),
            progress: vec![Progress::default(); members],
            differs: None,
            may_be_named: false,
        }
    }

    /// The store as it stands after the last entry.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The entry of an index.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(&index)
    }

    /// Users and roles after the last entry.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// What else members hold in common at a place.
    pub fn commons_at(&self, place: usize) -> &Commons {
        self.commons.at(place)
    }

    /// What clients tried.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// What clients tried.
    pub fn attempts_mut(&mut self) -> &mut Attempts {
        &mut self.attempts
    }

    /// Where a reader stands who has seen the log up to this index.
    pub fn place_of(&self, index: u64) -> usize {
        self.entries.range(..=index).next_back().map_or(0, |(_, entry)| entry.place)
    }

    /// Where a read may have stood that began at this place. A serializable one is about its member alone: not before
    /// where that one stood when it was asked, not behind what it ever applied.
    pub fn window(&self, began: usize, serializable: Option<(usize, usize)>) -> RangeInclusive<usize> {
        match serializable {
            None => began..=self.vantages.len() - 1,
            Some((member, stood)) => stood..=self.progress[member].top.max(stood),
        }
    }

    /// Where a member stands in its present life.
    pub fn stands(&self, member: usize) -> usize {
        self.progress[member].last.map_or(0, |last| self.place_of(last))
    }

    /// The first place behind `from` where a member stood at which users and roles are as `lacks` says.
    pub fn first_lack(&self, member: usize, from: usize, lacks: impl Fn(&Table) -> bool) -> Option<usize> {
        let last = self.vantages.len() - 1;
        let tables = self.users.within(from..=last);
        let ends = tables.iter().skip(1).map(|(next, _)| next - 1).chain([last]);
        let lacking = tables.iter().zip(ends).filter(|((_, table), _)| lacks(table));
        let stood = |(begins, ends): (usize, usize)| {
            let leaps = self.progress[member].leaps.iter().filter(|(_, to)| *to > begins);
            let leapt = leaps.filter(|(from, _)| *from < begins).map(|(_, to)| *to).max();
            Some(leapt.unwrap_or(begins)).filter(|place| *place <= ends)
        };
        lacking.filter_map(|((begins, _), ends)| stood(((*begins).max(from + 1), ends))).min()
    }

    /// All entries, by index.
    pub fn entries(&self) -> &BTreeMap<u64, Entry> {
        &self.entries
    }

    /// Where readers could stand so far; a reader of now stands at the last.
    pub fn vantages(&self) -> &[Vantage] {
        &self.vantages
    }

    /// The last entry anyone applied, with its term.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.entries.last_key_value().map(|(index, entry)| (*index, entry.term))
    }

    /// The last index applied in any life; 0 before the first.
    pub fn last_index(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// The lives of a lease, in order.
    pub fn lives_of(&self, lease: i64) -> &[LeaseLife] {
        self.leases.get(&lease).map_or(&[], Vec::as_slice)
    }

    /// The leases that were ever granted.
    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    fn follow_leases(&mut self, index: u64, entry: &Entry) {
        let place = self.vantages.len();
        match (&entry.request, &entry.step.answer) {
            (Some(Request::LeaseGrant { id, .. }), Ok(Answer::LeaseGrant { ttl, .. })) => {
                let life = LeaseLife { from: place, to: None, index, ttl: *ttl, at: entry.at };
                self.leases.entry(*id).or_default().push(life);
            }
            (Some(Request::LeaseRevoke { id, .. }), Ok(_)) => {
                let lives = self.leases.get_mut(id).expect("a lease that is revoked was granted");
                lives.last_mut().expect("a lease granted has a life").to = Some(place);
            }
            _ => {}
        }
    }

    /// Whether an entry of `term` may end a lease as fallen due: the grant it names is the one that stands, and who
    /// named it led in the term of the entry.
    fn may_expire(&self, id: i64, (granted_at, named_in): (u64, u64), term: u64) -> bool {
        let living = self.lives_of(id).last().filter(|life| life.to.is_none());
        named_in == term && living.is_some_and(|life| life.index == granted_at)
    }

    /// More may be damaged in this run than members mend by themselves.
    pub fn may_be_damaged(&mut self) {
        self.may_be_named = true;
    }

    /// Whether a state was falsified in this run, or data may be damaged.
    pub fn may_anybody_differ(&self) -> bool {
        self.may_be_named
    }

    /// The state of a member was falsified.
    pub fn differs(&mut self, member: usize) {
        self.differs = Some(member);
        self.may_be_named = true;
    }

    /// It has the others' state.
    pub fn differs_no_more(&mut self) {
        self.differs = None;
    }

    /// Whose state is falsified, and not replaced since.
    pub fn who_differs(&self) -> Option<usize> {
        self.differs
    }

    /// A new life of a member begins.
    pub fn new_life(&mut self, member: usize) {
        self.progress[member].last = None;
    }

    /// A member took over the state of another, up to this entry.
    pub fn installed(&mut self, member: usize, (index, term): (u64, u64)) -> Verdict {
        let stood = self.stands(member);
        let last = self.progress[member].last.replace(index);
        require(last.is_none_or(|last| index > last), "a snapshot leads forward", || {
            format!("member {member}: the snapshot at entry {index} came after entry {last:?}")
        })?;
        let known = self.entries.get(&index).map(|entry| entry.term);
        require(known.is_none_or(|known| known == term), "a snapshot is of what was applied", || {
            format!("member {member}: the snapshot at entry {index} is of term {term}; that entry was of {known:?}")
        })?;
        let place = self.place_of(index);
        self.progress[member].top = self.progress[member].top.max(place);
        self.progress[member].leaps.push((stood, place));
        if self.differs == Some(member) {
            self.differs = None;
        }
        Ok(())
    }

    /// Takes an entry in the moment a member applies it.
    pub fn applied(
        &mut self,
        member: usize,
        (index, term): (u64, u64),
        id: Option<u64>,
        command: Option<&Command>,
        applied: &Applied,
    ) -> Verdict {
        let request = command.map(convert::request);
        let expiry = command.and_then(convert::expiry);
        let last = self.progress[member].last.replace(index);
        require(last.is_none_or(|last| index > last), "entries are applied in order", || {
            format!("member {member}: entry {index} came after entry {last:?}")
        })?;
        let skipped = last.and_then(|last| self.entries.range(last + 1..index).next());
        require(skipped.is_none(), "no entry is passed over but those a snapshot covers", || {
            format!("member {member}: entry {index} came after entry {last:?}, without {skipped:?}")
        })?;
        let told = told(applied);
        let digest = told.as_ref().map(|told| digest(term, id, (request.as_ref(), expiry), applied, told));
        if let Some(known) = self.entries.get(&index) {
            let place = known.place;
            let same = known.digest.is_some()
                && known.digest == digest
                && applied.events.iter().all(|event| event.prev_kv.is_none());
            let verdict = if same {
                Ok(())
            } else if self.differs == Some(member) {
                // What it is answered there may rest on what was falsified.
                self.is_same(member, (index, term), request.as_ref())
            } else {
                self.compare(member, (index, term), request.as_ref(), applied, (told, digest))
            };
            self.progress[member].top = self.progress[member].top.max(place);
            verdict?;
            return self.same_running(member, index, applied);
        }
        self.is_new(member, index, request.as_ref())?;
        self.names_nobody(index, id, request.as_ref())?;
        if let Some(id) = id {
            self.attempts.applied(id, index, request.as_ref(), expiry.is_some())?;
        }
        let before = self.model.vantage();
        let place = self.vantages.len();
        let step = match (command, &request, expiry) {
            (_, Some(Request::LeaseRevoke { id }), Some(expiry)) if !self.may_expire(*id, expiry, term) => {
                Step { answer: Err(text::LEASE_NOT_FOUND), revision: before.revision, events: Vec::new() }
            }
            (Some(Command::Auth(command)), ..) => {
                let refused = self.users.now().refuses_change(self.asker_of(id).as_ref(), command);
                let answered = refused.map_or_else(|| self.users.applied(command, place), Err);
                Step { answer: answered.map(|()| Answer::Done), revision: before.revision, events: Vec::new() }
            }
            (_, Some(request), None) => match self.refused(id, request) {
                Some(refusal) => Step { answer: Err(refusal), revision: before.revision, events: Vec::new() },
                None => self.model.apply(request),
            },
            (_, Some(request), Some(_)) => self.model.apply(request),
            (_, None, _) => Step { answer: Ok(Answer::Done), revision: before.revision, events: Vec::new() },
        };
        let running = (self.differs != Some(member)).then_some(applied.digest);
        let entry = Entry { term, at: true_now(), request, expiry, step, before, place, digest, running };
        let verdict = agree(&self.model, index, &entry, applied, told);
        self.follow_leases(index, &entry);
        self.commons.applied(command, self.model.alarms(), place);
        self.entries.insert(index, entry);
        self.vantages.push(self.model.vantage());
        self.progress[member].top = place;
        verdict
    }

    /// In whose name an entry was asked for.
    fn asker_of(&self, id: Option<u64>) -> Option<Asker> {
        self.attempts.of(id?)?.asker.clone()
    }

    /// Why who asked for it may not have it done, if he may not. What alarms forbid is told first.
    fn refused(&self, id: Option<u64>, request: &Request) -> Option<&'static str> {
        let table = self.users.now();
        if !table.is_enabled() || self.model.alarmed(request).is_some() {
            return None;
        }
        table.refuses(self.asker_of(id).as_ref(), request, |lease| self.model.keys_of_lease(lease))
    }

    /// No member names another as one that differs, unless one does.
    fn names_nobody(&self, index: u64, id: Option<u64>, request: Option<&Request>) -> Verdict {
        let asked = id.is_some_and(|id| self.attempts.of(id).is_some());
        let names = matches!(request, Some(Request::Alarm { on: true, kind: AlarmKind::Corrupt, .. })) && !asked;
        require(!names || self.may_be_named, "nobody is named who does not differ", || {
            format!("entry {index}, which no client asked for: {request:?}")
        })
    }

    fn is_new(&self, member: usize, index: u64, request: Option<&Request>) -> Verdict {
        let newest = self.last_index();
        require(index > newest, "an entry once applied stays (durability)", || {
            format!("member {member}: entry {index} is new, though entry {newest} was applied before: {request:?}")
        })
    }

    /// The digest of everything up to an entry is the one its first applier kept; whose state was falsified keeps its own.
    fn same_running(&mut self, member: usize, index: u64, applied: &Applied) -> Verdict {
        if self.differs == Some(member) {
            return Ok(());
        }
        let known = self.entries.get_mut(&index).expect("an entry that was applied before is known");
        let running = *known.running.get_or_insert(applied.digest);
        require(running == applied.digest, "all members keep the same digest of what they applied", || {
            format!(
                "member {member}: entry {index}: {:?}\nfirst {running:x?}\nnow   {:x?}",
                known.request, applied.digest
            )
        })
    }

    /// An entry that was applied before is the same now.
    fn is_same(&self, member: usize, (index, term): (u64, u64), request: Option<&Request>) -> Verdict {
        let Some(known) = self.entries.get(&index) else { return Ok(()) };
        let same = known.term == term && known.request.as_ref() == request;
        require(same, "an entry once applied stays (durability, state machine safety)", || {
            format!(
                "member {member}: entry {index} was (term {}) {:?}
and is now (term {term}) {request:?}",
                known.term, known.request
            )
        })
    }

    /// An entry that was applied before, and now differs, or tells more.
    fn compare(
        &self,
        member: usize,
        (index, term): (u64, u64),
        request: Option<&Request>,
        applied: &Applied,
        (told, digest): (Option<Told>, Option<u64>),
    ) -> Verdict {
        let Some(known) = self.entries.get(&index) else { return Ok(()) };
        self.is_same(member, (index, term), request)?;
        agree(&self.model, index, known, applied, told)?;
        let differs = known.digest.zip(digest).is_some_and(|(known, now)| known != now);
        require(!differs, "all members do the same with an entry", || {
            format!(
                "member {member}: entry {index}: {request:?}
first {:?}
now   {applied:?}",
                known.step
            )
        })
    }
}

/// What an entry was answered.
type Told = Result<Answer, String>;

/// What an entry was answered, with what was put off read now; nothing where the disk does not give it.
fn told(applied: &Applied) -> Option<Told> {
    match &applied.answer {
        Ok(answer) => Some(Ok(convert::answer(&answer.clone().carry_out(usize::MAX).ok()?))),
        Err(refusal) => Some(Err(refusal.text().to_string())),
    }
}

/// See [`Entry::digest`]. What a key held before is left out: it is loaded only where someone wants it.
fn digest(
    term: u64,
    id: Option<u64>,
    request: (Option<&Request>, Option<(u64, u64)>),
    applied: &Applied,
    answer: &Told,
) -> u64 {
    let events: Vec<_> = applied.events.iter().map(|event| (event.kind as u8, convert::key_value(&event.kv))).collect();
    fxhash::hash64(&(term, id, request, answer, applied.revision, events))
}

/// Whether the product did with an entry what the model did.
fn agree(model: &Model, index: u64, entry: &Entry, applied: &Applied, told: Option<Told>) -> Verdict {
    if let Some(got) = told {
        require(same_answer(model, entry, &got), "an entry is answered as the model answers", || {
            format!("entry {index}: {:?}\nexpected {:?}\ngot      {got:?}", entry.request, entry.step.answer)
        })?;
    }
    require(applied.revision == entry.step.revision, "an entry uses the revisions the model uses", || {
        format!(
            "entry {index}: {:?}\nexpected revision {}, got {}",
            entry.request, entry.step.revision, applied.revision
        )
    })?;
    let events: Vec<Event> = applied.events.iter().map(convert::event).collect();
    let same = events.len() == entry.step.events.len()
        && entry.step.events.iter().zip(&events).all(|(want, got)| same_event(want, got));
    require(same, "an entry changes what the model changes", || {
        format!("entry {index}: {:?}\nexpected {:?}\ngot      {events:?}", entry.request, entry.step.events)
    })
}

/// Whether `got` answers the entry as the model did.
pub fn same_answer(model: &Model, entry: &Entry, got: &Result<Answer, String>) -> bool {
    match (&entry.request, &entry.step.answer, got) {
        (Some(Request::Txn(txn)), Ok(Answer::Txn(want)), Ok(Answer::Txn(got))) => {
            model.same_answer(entry.before, txn, want, got)
        }
        (_, Ok(want), Ok(got)) => want == got,
        (_, Err(want), Err(got)) => want == got,
        _ => false,
    }
}

/// What a key held before is loaded only where someone wants it.
fn same_event(want: &Event, got: &Event) -> bool {
    want.deleted == got.deleted && want.kv == got.kv && (got.prev.is_none() || want.prev == got.prev)
}
