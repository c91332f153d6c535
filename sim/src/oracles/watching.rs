//! Watching: what each watcher was told, held against the ledger as it is told.
//!
//! The promises are etcd's: *filter* (only what was asked for), *ordered*, *unique*, *reliable* (no gap),
//! *atomic* (a revision is never split), *resumable* (the first event is the first from the start asked for),
//! *bookmarkable* (a notice of progress at r means that everything up to r was told), and previous key-values
//! are right or behind the compaction.

use std::collections::BTreeMap;

use quorate::watch::WatchMessage;
use quorate_spec::Model;
use quorate_spec::request::{Event, Span};

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

#[derive(Debug)]
struct Watcher {
    wanted: Wanted,
    /// The first revision it has not been told of; nothing until it is created.
    next: Option<i64>,
    /// The revision of its last notice of progress.
    progress: i64,
    cancel_asked: bool,
    canceled: bool,
    /// Compaction ended it, and its client has not been told that it is cancelled.
    id_is_kept: bool,
}

/// One stream, as its reader sees it.
#[derive(Debug, Default)]
pub struct StreamJudge {
    watchers: BTreeMap<i64, Watcher>,
    /// Reasons of refusals that must come.
    refusals: Vec<&'static str>,
    /// Messages so far, for the story.
    messages: u64,
}

impl StreamJudge {
    /// A watcher was asked for, under an id not in use.
    pub fn asked(&mut self, id: i64, wanted: Wanted) {
        let watcher =
            Watcher { wanted, next: None, progress: 0, cancel_asked: false, canceled: false, id_is_kept: false };
        self.watchers.insert(id, watcher);
    }

    /// A watcher was asked for that must be refused for this reason.
    pub fn asked_in_vain(&mut self, reason: &'static str) {
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
    pub fn heard(&mut self, model: &Model, message: &WatchMessage) -> Verdict {
        self.messages += 1;
        let verdict = self.judged(model, message);
        verdict.map_err(|violation| {
            let story = format!(
                "{}
message {} of its stream: {message:?}",
                violation.story, self.messages
            );
            super::Violation { story, ..violation }
        })
    }

    fn judged(&mut self, model: &Model, message: &WatchMessage) -> Verdict {
        match message {
            WatchMessage::Created { watch_id, revision } => self.created(model, *watch_id, *revision),
            WatchMessage::Refused { reason, .. } => {
                let expected = self.refusals.iter().position(|known| known == reason);
                require(expected.is_some(), "a watcher is refused for its own fault", || {
                    format!("refused with {reason:?}; expected were {:?}", self.refusals)
                })?;
                if let Some(at) = expected {
                    self.refusals.swap_remove(at);
                }
                Ok(())
            }
            WatchMessage::Canceled { watch_id, compact_revision, .. } => {
                self.canceled(model, *watch_id, *compact_revision)
            }
            WatchMessage::Events { watch_id, revision, events, prev_kv, .. } => {
                let told: Vec<Event> = events.iter().map(|shared| convert::event(&shared.event)).collect();
                self.told(model, *watch_id, *revision, &told, *prev_kv)
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
        let same = expected.len() == told.len() && expected.iter().zip(told).all(|(want, got)| same_change(want, got));
        require(same, "a watcher is told everything, in order, once, revisions whole", || {
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
            watcher.next = Some(next.max(revision + 1));
        }
        Ok(())
    }

    /// In a calm world, after a while: everything asked for was answered and every watcher told everything.
    pub fn caught_up(&self, model: &Model) -> Verdict {
        require(self.refusals.is_empty(), "every watcher asked for is answered", || format!("{:?}", self.refusals))?;
        for (id, watcher) in self.watchers.iter().filter(|(_, watcher)| !watcher.canceled) {
            let Some(next) = watcher.next else {
                return Err(super::Violation::now("every watcher asked for is answered", format!("watcher {id}")));
            };
            let missing: Vec<&Event> = wanted(model, &watcher.wanted, next, model.revision()).collect();
            require(missing.is_empty(), "a watcher is told everything in the end (reliable)", || {
                format!("watcher {id} {watcher:?}\nnot told {missing:?}")
            })?;
            require(!watcher.cancel_asked, "a watcher ends when it is asked to", || format!("watcher {id}"))?;
        }
        Ok(())
    }
}

/// The events a watcher must be told of from `next` up to `last`.
fn wanted<'a>(model: &'a Model, wanted: &'a Wanted, next: i64, last: i64) -> impl Iterator<Item = &'a Event> {
    let revisions = model.events_from(next).take_while(move |(revision, _)| *revision <= last);
    revisions.flat_map(|(_, events)| events).filter(move |event| {
        let filtered = if event.deleted { wanted.no_delete } else { wanted.no_put };
        wanted.span.holds(&event.kv.key) && !filtered
    })
}

fn same_change(want: &Event, got: &Event) -> bool {
    want.deleted == got.deleted && want.kv == got.kv
}
