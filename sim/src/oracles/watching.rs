//! Watching: what each watcher was told, held against the ledger as it is told.
//!
//! The promises are etcd's: *filter* (only what was asked for), *ordered*, *unique*, *reliable* (no gap),
//! *atomic* (a revision is never split), *resumable* (the first event is the first from the start asked for),
//! *bookmarkable* (a notice of progress at r means that everything up to r was told), and previous key-values
//! are right or behind the compaction; and what an event says of its key's creation is so (*creation*). Where users are
//! asked for, a watch is made for who may read what it watches, and is told of nothing behind the entry by which its owner
//! may not any more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate::auth::Asker;
use quorate::base::Refusal;
use quorate::watch::WatchMessage;
use quorate_spec::Model;
use quorate_spec::request::{Event, Span};

use super::ledger::Ledger;
use super::rights::{Access, DENIED, NOBODY, OLD};
use super::users::Table;
use super::{Verdict, require};
use crate::convert;

/// What a watcher asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The keys.
    pub span: Span,
    /// The first revision; 0 is the one after now.
    pub start: i64,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
    /// Tell what keys held before.
    pub prev_kv: bool,
}

/// In whose name a watcher is asked for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks; or why he is not known.
    pub asker: Result<Option<Asker>, Refusal>,
    /// The member that is asked, and where it stood.
    pub member: usize,
    /// A place of the ledger.
    pub stood: usize,
}

impl Claim {
    fn owner(&self) -> Option<&str> {
        self.asker.as_ref().ok().and_then(Option::as_ref).map(|asker| &*asker.user)
    }

    /// Whether the owner may read that by this table.
    fn may(&self, table: &Table, span: &Span) -> bool {
        table.may(self.owner(), span, Access::Read)
    }

    /// The tables by which it may have been judged up to now.
    fn tables<'a>(&self, ledger: &'a Ledger) -> &'a [(usize, std::sync::Arc<Table>)] {
        ledger.users().within(self.stood..=ledger.stands(self.member).max(self.stood))
    }

    /// Whether it may have been refused so, by one of these tables.
    fn explains(&self, ledger: &Ledger, span: &Span, reason: &str) -> bool {
        let Ok(asker) = &self.asker else { return reason.starts_with(RPC_ERROR) };
        self.tables(ledger).iter().filter(|(_, table)| table.is_enabled()).any(|(_, table)| {
            let why = match asker {
                None => NOBODY,
                Some(asker) if asker.revision < table.revision() => OLD,
                Some(_) => DENIED,
            };
            reason.ends_with(why) && !(why == DENIED && self.may(table, span))
        })
    }
}

/// How a refusal for want of a right begins, as etcd's gRPC library shows it.
const RPC_ERROR: &str = "rpc error: ";

/// A question for a watcher that was not answered yet.
#[derive(Debug)]
struct Pending {
    id: i64,
    span: Span,
    claim: Claim,
    /// Why it must be refused, if it must.
    in_vain: Option<&'static str>,
}

#[derive(Debug)]
struct Watcher {
    wanted: Wanted,
    claim: Claim,
    /// The last place at which its owner might read, up to when it was heard that it is created.
    allowed: usize,
    /// The first revision it has not been told of; nothing until it is created.
    next: Option<i64>,
    /// The revision of its last notice of progress.
    progress: i64,
    /// It asked to be told how far it is.
    notifies: bool,
    /// When it was last told how far it is by itself.
    notified_at: Option<Duration>,
    cancel_asked: bool,
    canceled: bool,
    /// Compaction ended it, and its client has not been told that it is cancelled.
    id_is_kept: bool,
}

/// One stream, as its reader sees it.
#[derive(Debug, Default)]
pub struct StreamJudge {
    watchers: BTreeMap<i64, Watcher>,
    /// In the order in which they were asked, which is that of the answers.
    pending: VecDeque<Pending>,
    /// Reasons of refusals that must come.
    refusals: Vec<&'static str>,
    /// Messages so far, for the story.
    messages: u64,
}

impl StreamJudge {
    /// A watcher was asked for, under an id not in use; `notifies` says that it asked to be told how far it is.
    pub fn asked(&mut self, id: i64, wanted: Wanted, notifies: bool, claim: Claim) {
        let span = wanted.span.clone();
        self.pending.push_back(Pending { id, span, claim: claim.clone(), in_vain: None });
        let watcher = Watcher {
            wanted,
            claim,
            allowed: 0,
            next: None,
            progress: 0,
            notifies,
            notified_at: None,
            cancel_asked: false,
            canceled: false,
            id_is_kept: false,
        };
        self.watchers.insert(id, watcher);
    }

    /// A watcher was asked for that must be refused for this reason.
    pub fn asked_in_vain(&mut self, id: i64, span: Span, reason: &'static str, claim: Claim) {
        self.pending.push_back(Pending { id, span, claim, in_vain: Some(reason) });
        self.refusals.push(reason);
    }

    /// The client asked for the watcher's end.
    pub fn asked_to_cancel(&mut self, id: i64) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.cancel_asked = true;
        }
    }

    /// What a watcher would ask for that goes on where this one has got to.
    pub fn left_off(&self, id: i64) -> Option<Wanted> {
        let watcher = self.watchers.get(&id).filter(|watcher| !watcher.canceled && !watcher.cancel_asked)?;
        let start = watcher.next?;
        Some(Wanted { start, ..watcher.wanted.clone() })
    }

    /// Takes one message.
    pub fn heard(&mut self, ledger: &Ledger, message: &WatchMessage) -> Verdict {
        self.messages += 1;
        let verdict = self.judged(ledger, message);
        verdict.map_err(|violation| {
            let story = format!(
                "{}
message {} of its stream: {message:?}",
                violation.story, self.messages
            );
            super::Violation { story, ..violation }
        })
    }

    fn judged(&mut self, ledger: &Ledger, message: &WatchMessage) -> Verdict {
        let model = ledger.model();
        match message {
            WatchMessage::Created { watch_id, revision } => {
                let answered = self.pending.pop_front();
                let same = answered.as_ref().is_some_and(|one| one.id == *watch_id && one.in_vain.is_none());
                require(same, "every watcher asked for is answered", || {
                    format!("the next one asked was {answered:?}")
                })?;
                self.created(model, *watch_id, *revision)?;
                self.owned(ledger, *watch_id)
            }
            WatchMessage::Refused { reason, .. } => self.refused(ledger, reason),
            WatchMessage::Cut { watch_id, reason, .. } => self.cut(ledger, *watch_id, reason),
            WatchMessage::Canceled { watch_id, compact_revision, .. } => {
                self.canceled(model, *watch_id, *compact_revision)
            }
            WatchMessage::Events { watch_id, revision, events, prev_kv, .. } => {
                let told: Vec<Event> = events.iter().map(|shared| convert::event(&shared.event)).collect();
                self.told(model, *watch_id, *revision, &told, *prev_kv)?;
                self.may_still(ledger, *watch_id, told.last().map_or(0, |event| event.kv.mod_revision))
            }
            WatchMessage::Progress { watch_id, revision } => self.progress(model, *watch_id, *revision),
        }
    }

    fn living(&mut self, id: i64) -> Result<&mut Watcher, super::Violation> {
        let known = self.watchers.get(&id);
        if known.is_none_or(|watcher| watcher.canceled) {
            let story = format!("watcher {id} is {known:?}");
            return Err(super::Violation::now("a message is for a watcher that lives", story));
        }
        Ok(self.watchers.get_mut(&id).expect("it was just looked at"))
    }

    fn created(&mut self, model: &Model, id: i64, revision: i64) -> Verdict {
        let watcher = self.living(id)?;
        require(watcher.next.is_none(), "a watcher is created once", || format!("watcher {id}"))?;
        require(revision <= model.revision(), "no message from the future", || {
            format!("watcher {id} was created at {revision}; the store is at {}", model.revision())
        })?;
        let start = watcher.wanted.start;
        watcher.next = Some(if start == 0 { revision + 1 } else { start });
        Ok(())
    }

    fn canceled(&mut self, model: &Model, id: i64, compact_revision: i64) -> Verdict {
        // As in etcd: a watcher that compaction ended keeps its id until its client cancels it, which is answered.
        if let Some(watcher) = self.watchers.get_mut(&id).filter(|watcher| watcher.id_is_kept && compact_revision == 0)
        {
            watcher.id_is_kept = false;
            return require(watcher.cancel_asked, "a watcher ends when it is asked to", || format!("{watcher:?}"));
        }
        let watcher = self.living(id)?;
        watcher.canceled = true;
        watcher.id_is_kept = compact_revision != 0;
        if compact_revision == 0 {
            return require(watcher.cancel_asked, "a watcher ends when it is asked to", || format!("{watcher:?}"));
        }
        let behind = watcher.next.is_some_and(|next| next < compact_revision);
        require(
            behind && compact_revision <= model.compacted(),
            "only a watcher behind a compaction ends by it",
            || format!("compaction at {compact_revision} (the last is {}): {watcher:?}", model.compacted()),
        )
    }

    fn told(&mut self, model: &Model, id: i64, revision: i64, told: &[Event], prev_kv: bool) -> Verdict {
        let watcher = self.living(id)?;
        let Some(next) = watcher.next else {
            return Err(super::Violation::now("no event before the watcher is created", format!("{watcher:?}")));
        };
        let last = told.last().map_or(0, |event| event.kv.mod_revision);
        let right_header = last <= revision && revision <= model.revision();
        require(!told.is_empty() && right_header, "no message from the future, none without events", || {
            format!("header {revision}, the store is at {}: {told:?}", model.revision())
        })?;
        require(prev_kv == watcher.wanted.prev_kv, "previous key-values are told when asked for", || {
            format!("{watcher:?}")
        })?;
        let expected: Vec<&Event> = wanted(model, &watcher.wanted, next, last).collect();
        let broken = broken(&watcher.wanted, (next, next == watcher.wanted.start), &expected, told);
        require(broken.is_none(), broken.unwrap_or_default(), || {
            format!("watcher {id} {watcher:?}\nexpected {expected:?}\ngot      {told:?}")
        })?;
        for (want, got) in expected.iter().zip(told).filter(|_| prev_kv) {
            let forgotten = want.kv.mod_revision - 1 < model.compacted();
            let right = got.prev == want.prev || (forgotten && got.prev.is_none());
            require(right, "a previous key-value is right, or compacted", || {
                format!("watcher {id}, compacted at {}\nexpected {want:?}\ngot      {got:?}", model.compacted())
            })?;
        }
        watcher.next = Some(last + 1);
        Ok(())
    }

    fn progress(&mut self, model: &Model, id: i64, revision: i64) -> Verdict {
        require(revision <= model.revision(), "no message from the future", || {
            format!("progress at {revision}; the store is at {}", model.revision())
        })?;
        let all = id == -1;
        if !all {
            self.living(id)?;
        }
        for (other, watcher) in &mut self.watchers {
            if watcher.canceled || !(all || *other == id) {
                continue;
            }
            let Some(next) = watcher.next else { continue };
            let missing: Vec<&Event> = wanted(model, &watcher.wanted, next, revision).collect();
            require(missing.is_empty(), "progress tells that everything before was told (bookmarkable)", || {
                format!("watcher {other}, progress at {revision}: {watcher:?}\nnot told {missing:?}")
            })?;
            require(all || revision >= watcher.progress, "progress never goes back", || {
                format!("watcher {other}: {revision} after {}", watcher.progress)
            })?;
            watcher.progress = watcher.progress.max(revision);
            if !all {
                watcher.notified_at = Some(crate::env::true_now());
            }
            watcher.next = Some(next.max(revision + 1));
        }
        Ok(())
    }

    /// The question that is next is refused.
    fn refused(&mut self, ledger: &Ledger, reason: &str) -> Verdict {
        let Some(asked) = self.pending.pop_front() else {
            return require(false, "a watcher is refused for its own fault", || format!("{reason:?}: none was asked"));
        };
        let own_fault = asked.in_vain == Some(reason);
        let unwelcome = asked.claim.explains(ledger, &asked.span, reason);
        require(own_fault || unwelcome, "a watcher is refused for its own fault", || {
            format!("refused with {reason:?}: {asked:?}\n{:?}", asked.claim.tables(ledger))
        })?;
        match asked.in_vain.and_then(|why| self.refusals.iter().position(|known| *known == why)) {
            Some(at) => drop(self.refusals.swap_remove(at)),
            None => drop(self.watchers.remove(&asked.id)),
        }
        Ok(())
    }

    /// A watcher is created: its owner might read what it watches.
    fn owned(&mut self, ledger: &Ledger, id: i64) -> Verdict {
        let watcher = self.living(id)?;
        let Watcher { claim, wanted, .. } = &*watcher;
        let tables = claim.tables(ledger);
        let may = tables.iter().rposition(|(_, table)| claim.may(table, &wanted.span));
        let Some(at) = may else {
            return require(false, "a watch is made for who may read", || format!("{watcher:?}\n{tables:?}"));
        };
        let stands = ledger.stands(claim.member).max(claim.stood);
        watcher.allowed = tables.get(at + 1).map_or(stands, |(next, _)| next - 1);
        Ok(())
    }

    /// The first place behind its creation at which the owner of a watcher might not read what it watches.
    fn lapsed(watcher: &Watcher, ledger: &Ledger) -> Option<usize> {
        let Watcher { claim, wanted, allowed, .. } = watcher;
        ledger.first_lack(claim.member, *allowed, |table| !claim.may(table, &wanted.span))
    }

    /// A watcher was told of what happened up to this revision.
    fn may_still(&mut self, ledger: &Ledger, id: i64, last: i64) -> Verdict {
        let watcher = self.living(id)?;
        let lapsed = Self::lapsed(watcher, ledger);
        let told_all = lapsed.map_or(i64::MAX, |place| ledger.vantages()[place].revision);
        require(last <= told_all, "a watch is cut when the right goes", || {
            format!("told of revision {last}; the right went at {told_all}, at place {lapsed:?}: {watcher:?}")
        })
    }

    /// A watcher was ended because its owner may not read any more.
    fn cut(&mut self, ledger: &Ledger, id: i64, reason: &str) -> Verdict {
        let watcher = self.living(id)?;
        watcher.canceled = true;
        let Watcher { claim, wanted, .. } = &*watcher;
        let tables = claim.tables(ledger);
        let lacked = tables.iter().any(|(_, table)| !claim.may(table, &wanted.span));
        let worded = reason.starts_with(RPC_ERROR) && (reason.ends_with(DENIED) || reason.ends_with(NOBODY));
        require(lacked && worded, "a watch is cut for want of a right alone", || {
            format!("{reason:?}: {watcher:?}\n{tables:?}")
        })
    }

    /// In a calm world, after a while: everything asked for was answered and every watcher told everything, or cut.
    pub fn caught_up(&self, ledger: &Ledger) -> Verdict {
        let model = ledger.model();
        require(self.refusals.is_empty(), "every watcher asked for is answered", || format!("{:?}", self.refusals))?;
        for (id, watcher) in self.watchers.iter().filter(|(_, watcher)| !watcher.canceled) {
            let Some(next) = watcher.next else {
                return Err(super::Violation::now("every watcher asked for is answered", format!("watcher {id}")));
            };
            let lapsed = Self::lapsed(watcher, ledger).filter(|place| *place <= ledger.stands(watcher.claim.member));
            require(lapsed.is_none(), "a watch is cut when the right goes", || {
                format!("watcher {id}, at place {lapsed:?}: {watcher:?}")
            })?;
            let missing: Vec<&Event> = wanted(model, &watcher.wanted, next, model.revision()).collect();
            require(missing.is_empty(), "a watcher is told everything in the end (reliable)", || {
                format!("watcher {id} {watcher:?}\nnot told {missing:?}")
            })?;
            require(!watcher.cancel_asked, "a watcher ends when it is asked to", || format!("watcher {id}"))?;
        }
        Ok(())
    }
}

impl StreamJudge {
    /// In a calm world, some rounds of notices after `since`: whoever asked to be told how far it is was told.
    pub fn told_progress(&self, model: &Model, since: Duration) -> Verdict {
        let waits = |watcher: &Watcher| {
            // One that starts in the future is told nothing before; the id -1 speaks for the whole stream.
            let may_know = watcher.next.is_some_and(|next| next <= model.revision() + 1);
            watcher.notifies && !watcher.canceled && may_know && watcher.wanted.start <= model.revision()
        };
        for (id, watcher) in self.watchers.iter().filter(|(id, watcher)| **id != -1 && waits(watcher)) {
            let told = watcher.notified_at.is_some_and(|at| at >= since);
            require(told, "who asks to be told how far it is, is told (bookmarkable)", || {
                format!("watcher {id}, since {since:?}: {watcher:?}")
            })?;
        }
        Ok(())
    }
}

/// What is wrong with what a watcher was told, if anything: it was told everything before `next`, and nothing at all yet
/// where it is `fresh`; `expected` is what there is from there to the last revision told.
fn broken(wanted: &Wanted, (next, fresh): (i64, bool), expected: &[&Event], told: &[Event]) -> Option<&'static str> {
    let same = |(want, got): (&&Event, &Event)| want.deleted == got.deleted && want.kv == got.kv;
    if expected.len() == told.len() && expected.iter().zip(told).all(same) {
        return None;
    }
    let at = |event: &Event| event.kv.mod_revision;
    let filtered = |event: &Event| if event.deleted { wanted.no_delete } else { wanted.no_put };
    let foreign = |event: &Event| !wanted.span.holds(&event.kv.key) || filtered(event);
    if told.iter().any(foreign) {
        return Some("a watcher hears of what it asked for, and of nothing else (filter)");
    }
    if !told.is_sorted_by_key(at) {
        return Some("revisions never fall within a watch (ordered)");
    }
    let twice = |(place, event): (usize, &Event)| {
        told[..place].iter().any(|before| at(before) == at(event) && before.kv.key == event.kv.key)
    };
    if told.iter().any(|event| at(event) < next) || told.iter().enumerate().any(twice) {
        return Some("no event is told twice (unique)");
    }
    let created = |(want, got): (&&Event, &Event)| {
        want.kv.key == got.kv.key
            && at(want) == at(got)
            && (want.kv.create_revision, want.kv.version) != (got.kv.create_revision, got.kv.version)
    };
    if expected.iter().zip(told).any(created) {
        return Some("an event says that its key was created when it was (creation)");
    }
    let missing = |want: &&&Event| !told.iter().any(|got| at(got) == at(want) && got.kv.key == want.kv.key);
    let Some(first) = expected.iter().find(missing) else {
        return Some("a watcher is told everything, in order, once, revisions whole");
    };
    if told.iter().any(|got| at(got) == at(first)) {
        return Some("a revision is told whole (atomic)");
    }
    if fresh && told.first().is_some_and(|got| at(got) > at(first)) {
        return Some("a watch begins with the first event at or after its start (resumable)");
    }
    Some("a watcher is told everything, in order, once, revisions whole")
}

/// The events a watcher must be told of from `next` up to `last`.
fn wanted<'a>(model: &'a Model, wanted: &'a Wanted, next: i64, last: i64) -> impl Iterator<Item = &'a Event> {
    let revisions = model.events_from(next).take_while(move |(revision, _)| *revision <= last);
    revisions.flat_map(|(_, events)| events).filter(move |event| {
        let filtered = if event.deleted { wanted.no_delete } else { wanted.no_put };
        wanted.span.holds(&event.kv.key) && !filtered
    })
}

#[cfg(test)]
mod tests {
    use quorate_spec::request::KeyValue;

    use super::*;
    use crate::page::promise_of;

    fn event(key: &str, revision: i64, version: i64) -> Event {
        let kv = KeyValue {
            key: key.as_bytes().to_vec(),
            create_revision: revision + 1 - version,
            mod_revision: revision,
            version,
            ..KeyValue::default()
        };
        Event { deleted: false, kv, prev: None }
    }

    fn deleted(key: &str, revision: i64) -> Event {
        let kv = KeyValue { key: key.as_bytes().to_vec(), mod_revision: revision, ..KeyValue::default() };
        Event { deleted: true, kv, prev: None }
    }

    /// What the judge says of `told` to a watcher of k..m that starts at 5, and the promise that it names.
    fn named(next: i64, told: &[Event]) -> Option<&'static str> {
        let there = [event("k", 5, 1), event("l", 5, 1), event("k", 6, 2), deleted("l", 7), event("k", 8, 3)];
        let span = Span::between(*b"k", *b"m");
        let wanted = Wanted { span, start: 5, no_put: false, no_delete: true, prev_kv: false };
        let last = told.last().map_or(0, |event| event.kv.mod_revision);
        let within = |event: &&Event| (next..=last).contains(&event.kv.mod_revision) && !event.deleted;
        let expected: Vec<&Event> = there.iter().filter(within).collect();
        let words = broken(&wanted, (next, next == 5), &expected, told)?;
        Some(promise_of(words).expect("the words are a promise's").name)
    }

    #[test]
    fn what_a_watcher_is_told_wrongly_breaks_the_promise_that_it_breaks() {
        let (k5, l5, k6, k8) = (event("k", 5, 1), event("l", 5, 1), event("k", 6, 2), event("k", 8, 3));
        let all = [k5.clone(), l5.clone(), k6.clone(), k8.clone()];
        assert_eq!(named(5, &all), None);
        assert_eq!(named(6, &all[2..]), None);
        assert_eq!(named(5, &[k5.clone(), l5.clone(), event("x", 6, 1)]), Some("filter"));
        assert_eq!(named(5, &[k5.clone(), l5.clone(), k6.clone(), deleted("l", 7)]), Some("filter"));
        assert_eq!(named(5, &[k6.clone(), k5.clone(), l5.clone()]), Some("ordered"));
        assert_eq!(named(6, &[l5.clone(), k6.clone()]), Some("unique"));
        assert_eq!(named(6, &[k6.clone(), k6.clone()]), Some("unique"));
        assert_eq!(named(5, std::slice::from_ref(&k5)), Some("atomic"));
        assert_eq!(named(5, &[l5.clone(), k6.clone()]), Some("atomic"));
        assert_eq!(named(5, &[k5.clone(), l5.clone(), k8.clone()]), Some("reliable"));
        assert_eq!(named(5, &[k6.clone(), k8.clone()]), Some("resumable"));
        assert_eq!(named(6, std::slice::from_ref(&k8)), Some("reliable"));
        assert_eq!(named(6, &[event("k", 6, 1), k8]), Some("creation"));
    }
}
