//! The search: Wing and Gong's, with Lowe's memoisation and etcd's revisions.
//!
//! At every state stand the tasks that may be next: those that are called before the first return of a task not
//! yet placed. One is placed after the other, and taken back where nothing leads on. A state is what was placed
//! and where the store stands; one that led nowhere is not visited again.
//!
//! What keeps it short, and why nothing with an order is lost:
//! - *What changes nothing goes at once.* A task that fits here and leaves the store as it is can be moved here
//!   from wherever an order has it, if its answer says that it changed nothing there either: nothing else is
//!   answered differently, and it may be first. So there is no choice in it. Only raising an alarm is answered
//!   alike whether it changes something or not; that is a choice. An open task that would change nothing here is
//!   not tried here.
//! - *Revisions.* The store's revision never falls, and an answer tells it. So a revision is left only when every
//!   task answered at it is placed; the next one is made by the task that says so, if one does; an open task may
//!   make it only if none does, and only if what was seen of that revision is what it writes, and what was seen of
//!   the keys it writes leaves room for it: a key seen at revision r, last written at m, rested in between.
//! - *Open changes that show in no revision* (a grant, the end of a lease without keys, a compaction, an alarm) can
//!   be put off until right before a task that they can matter to, or for ever. So one is tried only while such a
//!   task may be next ([`super::case::Touched::meets`]).
//!
//! - *Fewer open tasks lead nowhere else.* From a state that was visited with the same open tasks left, or more,
//!   every way on was open, too: so it is not visited again. (Of equal ones the earliest go first, and those left
//!   are the later: more of them is never worse.)
//!
//! The memo knows a state by 128 bits, from [`Walk::fingerprint`] and an exclusive or over what is placed, and holds
//! the open tasks spent exactly. Two states of one fingerprint would make the search skip one that may lead on: a
//! false alarm, never a violation missed. In a million states that happens with a probability below 10^-26.

use std::collections::{BTreeMap, HashMap};

use crate::request::{Answer, Bytes, Request};
use crate::{Model, Step, Vantage};

use super::case::{Ask, Case, Task, Want};
use super::walk::{Back, Walk, hash128};
use super::{Failure, Judged, Met, Place, Placed, Verdict};

/// Whether key-values seen in answers say what an open task can have written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    Used,
    Ignored,
}

/// A task in its place, and the way back.
struct Laid {
    task: usize,
    back: Option<Back>,
    revision: i64,
}

/// Groups of open tasks, and how many of each were placed; those of which none was are left out.
type Spent = Box<[(u32, u32)]>;

/// A state with more than one way on.
struct Fork {
    /// How much was placed on the way to it.
    placed: usize,
    choices: Vec<usize>,
    next: usize,
}

/// What a task does at this state.
enum Fits {
    No,
    /// As it was answered, changing nothing, here or elsewhere.
    Quietly,
    /// As it was answered, changing something that no revision shows; or an alarm, which may have.
    Unseen,
    /// As it was answered, making the next revision.
    Making,
}

struct Search<'c> {
    case: &'c Case,
    evidence: Evidence,
    walk: Walk,
    ends: Ends,
    laid: Vec<Laid>,
    placed: Vec<bool>,
    /// Tasks still to be placed, open ones apart.
    left: usize,
    /// By revision: tasks answered at it that are still to be placed.
    pending: BTreeMap<i64, usize>,
    /// How many of each group of open tasks are placed.
    spent: Vec<usize>,
    group_of: Vec<usize>,
    /// Exclusive or over the hashes of the tasks placed, open ones apart.
    set: u128,
    hashes: Vec<u128>,
    /// By what is placed and where the store stands: which open tasks were spent on the way, each time.
    memo: HashMap<u128, Vec<Spent>>,
    states: u64,
    longest: Vec<Place>,
    most_done: Option<usize>,
    stuck: Vec<usize>,
    stuck_revision: i64,
}

/// Looks for an order, through at most `states` states.
pub fn run(case: &Case, start: &Model, states: u64, evidence: Evidence) -> Judged {
    let mut search = Search::new(case, start, evidence);
    let mut forks: Vec<Fork> = Vec::new();
    let judged = |verdict, search: &Search| Judged { verdict, states: search.states };
    loop {
        search.place_the_quiet();
        if search.left == 0 {
            return judged(Verdict::Linearizable(search.order()), &search);
        }
        if search.is_new() {
            if search.states > states {
                return judged(Verdict::Undecided(Met::States), &search);
            }
            let choices = search.choices();
            forks.push(Fork { placed: search.laid.len(), choices, next: 0 });
        }
        let next = loop {
            let Some(fork) = forks.last_mut() else {
                let (prefix, stuck) = (std::mem::take(&mut search.longest), std::mem::take(&mut search.stuck));
                let failure = Failure { prefix, stuck, revision: search.stuck_revision };
                return judged(Verdict::NotLinearizable(failure), &search);
            };
            search.back_to(fork.placed);
            if let Some(choice) = fork.choices.get(fork.next) {
                fork.next += 1;
                break *choice;
            }
            search.note_dead_end();
            forks.pop();
        };
        search.place(next);
    }
}

impl<'c> Search<'c> {
    fn new(case: &'c Case, start: &Model, evidence: Evidence) -> Self {
        let mut pending = BTreeMap::new();
        for revision in case.tasks.iter().filter_map(Task::revision) {
            *pending.entry(revision).or_default() += 1;
        }
        let mut group_of = vec![usize::MAX; case.tasks.len()];
        for (number, group) in case.open_groups.iter().enumerate() {
            group.iter().for_each(|task| group_of[*task] = number);
        }
        Self {
            case,
            evidence,
            walk: Walk::new(start.clone()),
            ends: Ends::new(case),
            laid: Vec::new(),
            placed: vec![false; case.tasks.len()],
            left: case.ends.len() / 2,
            pending,
            spent: vec![0; case.open_groups.len()],
            group_of,
            set: 0,
            hashes: (0..case.tasks.len()).map(|task| hash128(&task)).collect(),
            memo: HashMap::new(),
            states: 0,
            longest: Vec::new(),
            most_done: None,
            stuck: Vec::new(),
            stuck_revision: start.revision(),
        }
    }

    /// Notes the state, unless it was visited before: the same, with the same open tasks left or more.
    fn is_new(&mut self) -> bool {
        let visits = self.memo.entry(self.walk.fingerprint() ^ self.set).or_default();
        let no_more =
            |before: &Spent| before.iter().all(|(group, count)| self.spent[*group as usize] >= *count as usize);
        if visits.iter().any(no_more) {
            return false;
        }
        let spent = self.spent.iter().enumerate().filter(|(_, count)| **count > 0);
        visits.push(spent.map(|(group, count)| (group as u32, *count as u32)).collect());
        self.states += 1;
        true
    }

    fn revision(&self) -> i64 {
        self.walk.model().revision()
    }

    /// Whether everything answered at this revision, or at an earlier one, is placed.
    fn may_go_on(&self) -> bool {
        self.pending.first_key_value().is_none_or(|(revision, _)| *revision > self.revision())
    }

    /// Tries a task; what it changed is taken back unless it is to stay.
    fn fits(&mut self, number: usize) -> Fits {
        let task = &self.case.tasks[number];
        if task.after.is_some_and(|before| !self.placed[before]) {
            return Fits::No;
        }
        let now = self.revision();
        if task.revision().is_some_and(|revision| revision != now && revision != now + 1) {
            return Fits::No;
        }
        match &task.ask {
            Ask::Change(request) => {
                let before = self.walk.model().vantage();
                let (step, changed, back) = self.walk.step(request);
                let as_answered = answered(self.walk.model(), before, request, &task.want, &step);
                self.walk.back(&back);
                let changed = changed || matches!(request, Request::Alarm { on: true, .. });
                match (as_answered, changed, step.events.is_empty()) {
                    (false, ..) => Fits::No,
                    (true, false, _) => Fits::Quietly,
                    (true, true, true) => Fits::Unseen,
                    (true, true, false) => Fits::Making,
                }
            }
            Ask::Range(_) | Ask::ReadOnlyTxn(_) if self.reads(task) => Fits::Quietly,
            Ask::Range(_) | Ask::ReadOnlyTxn(_) => Fits::No,
        }
    }

    fn reads(&self, task: &Task) -> bool {
        let (model, at) = (self.walk.model(), self.walk.model().vantage());
        match (&task.ask, &task.want) {
            (Ask::Range(query), Want::Done { answer: Answer::Range(answer), revision }) => {
                *revision == at.revision && model.admits_range(at, query, &Ok(answer.clone()))
            }
            (Ask::Range(query), Want::Refused(text)) => model.admits_range(at, query, &Err(text.clone())),
            (Ask::ReadOnlyTxn(txn), Want::Done { answer: Answer::Txn(answer), revision }) => {
                let read = model.read_only_txn(at, txn);
                *revision == at.revision && read.is_ok_and(|want| model.same_answer(at, txn, &want, answer))
            }
            (Ask::ReadOnlyTxn(txn), Want::Refused(text)) => model.read_only_txn(at, txn) == Err(text),
            _ => false,
        }
    }

    /// Places all that fits here and changes nothing. One pass will do: what is placed changes no other's answer.
    fn place_the_quiet(&mut self) {
        let mut end = self.ends.first();
        while let Some(at) = end {
            if self.case.ends[at].returns {
                return;
            }
            end = self.ends.next(at);
            let task = self.case.ends[at].task;
            if matches!(self.fits(task), Fits::Quietly) {
                // Its own return is lifted with it.
                if let Some(returned) = end.filter(|end| *end == self.ends.return_of(task)) {
                    end = self.ends.next(returned);
                }
                self.lay(task, None);
            }
        }
    }

    /// Places a task that fits, with what it changes.
    fn place(&mut self, task: usize) {
        let Ask::Change(request) = &self.case.tasks[task].ask else {
            unreachable!("a read is placed without a choice")
        };
        let (_, _, back) = self.walk.step(request);
        self.lay(task, Some(back));
    }

    fn lay(&mut self, task: usize, back: Option<Back>) {
        self.placed[task] = true;
        match self.group_of[task] {
            usize::MAX => {
                self.set ^= self.hashes[task];
                self.ends.lift(task);
                self.left -= 1;
            }
            group => self.spent[group] += 1,
        }
        if let Some(revision) = self.case.tasks[task].revision() {
            let pending = self.pending.get_mut(&revision).expect("a task answered at a revision is counted at it");
            *pending -= 1;
            if *pending == 0 {
                self.pending.remove(&revision);
            }
        }
        self.laid.push(Laid { task, back, revision: self.revision() });
    }

    fn back_to(&mut self, length: usize) {
        while self.laid.len() > length {
            let Some(Laid { task, back, .. }) = self.laid.pop() else { return };
            if let Some(back) = back {
                self.walk.back(&back);
            }
            self.placed[task] = false;
            match self.group_of[task] {
                usize::MAX => {
                    self.set ^= self.hashes[task];
                    self.ends.put_back(task);
                    self.left += 1;
                }
                group => self.spent[group] -= 1,
            }
            if let Some(revision) = self.case.tasks[task].revision() {
                *self.pending.entry(revision).or_default() += 1;
            }
        }
    }

    /// The tasks that may be next, open ones apart.
    fn window(&self) -> Vec<usize> {
        let mut window = Vec::new();
        let mut end = self.ends.first();
        while let Some(at) = end.filter(|at| !self.case.ends[*at].returns) {
            window.push(self.case.ends[at].task);
            end = self.ends.next(at);
        }
        window
    }

    /// Every way on from here, the likely ones first.
    fn choices(&mut self) -> Vec<usize> {
        let window = self.window();
        let mut choices = Vec::new();
        for task in &window {
            match self.fits(*task) {
                Fits::No | Fits::Quietly => {}
                Fits::Unseen => choices.push(*task),
                Fits::Making => {
                    if self.may_go_on() && self.may_make_the_next(*task) {
                        choices.push(*task);
                    }
                }
            }
        }
        choices.extend(self.open_choices(&window));
        choices
    }

    fn may_make_the_next(&self, task: usize) -> bool {
        self.case.makers.get(&(self.revision() + 1)).is_none_or(|makers| makers.contains(&task))
    }

    /// The first of each group of open tasks that is left and was called in time.
    fn open_heads(&self) -> Vec<usize> {
        let first_return = self.ends.first_return(&self.case.ends);
        let heads =
            self.case.open_groups.iter().zip(&self.spent).filter_map(|(group, spent)| group.get(*spent).copied());
        heads.filter(|task| self.case.tasks[*task].called <= first_return).collect()
    }

    fn open_choices(&mut self, window: &[usize]) -> Vec<usize> {
        let heads = self.open_heads();
        // A maker that is known is never an open task.
        let gap = self.may_go_on() && !self.case.makers.contains_key(&(self.revision() + 1));
        let mut choices = Vec::new();
        for head in &heads {
            let Ask::Change(request) = &self.case.tasks[*head].ask else { continue };
            let only_seen = matches!(request, Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_));
            let matters = !only_seen && self.may_matter(*head, window, &heads, gap);
            if !matters && (!gap || matches!(request, Request::LeaseGrant { .. } | Request::Compact { .. })) {
                continue;
            }
            let (step, changed, back) = self.walk.step(request);
            let unseen = changed && step.events.is_empty() && matters;
            let making = !step.events.is_empty() && gap && self.is_what_was_seen(&step);
            self.walk.back(&back);
            if unseen || making {
                choices.push(*head);
            }
        }
        choices
    }

    /// Whether a task that may be next is one that `head` can make a difference to.
    fn may_matter(&self, head: usize, window: &[usize], heads: &[usize], gap: bool) -> bool {
        let (tasks, now) = (&self.case.tasks, self.revision());
        let touched = &tasks[head].touched;
        let in_window = window.iter().any(|task| {
            let in_time = tasks[*task]
                .revision()
                .is_none_or(|revision| revision == now || (revision == now + 1 && self.may_go_on()));
            in_time && touched.meets(&tasks[*task].touched)
        });
        in_window
            || heads.iter().any(|other| {
                let only_seen = matches!(
                    tasks[*other].ask,
                    Ask::Change(Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_))
                );
                *other != head && (gap || !only_seen) && touched.meets(&tasks[*other].touched)
            })
    }

    /// Whether what answers show of the revision just made is what was written, and of other keys nothing.
    fn is_what_was_seen(&self, step: &Step) -> bool {
        if self.evidence == Evidence::Ignored {
            return true;
        }
        let mut seen = self.case.seen.get(&step.revision).into_iter().flatten();
        let at_rest = |key: &Bytes| {
            let mut spells = self.case.at_rest.get(key).into_iter().flatten();
            spells.any(|(written, seen)| *written < step.revision && step.revision <= *seen)
        };
        seen.all(|seen| step.events.iter().any(|event| !event.deleted && seen.is(&event.kv)))
            && !step.events.iter().any(|event| at_rest(&event.kv.key))
    }

    /// Nothing led on from here.
    fn note_dead_end(&mut self) {
        let done = self.case.ends.len() / 2 - self.left;
        if self.most_done.is_none_or(|most| done > most) {
            self.most_done = Some(done);
            self.longest = self.order();
            self.stuck_revision = self.revision();
            let operation = |task: usize| match self.case.tasks[task].placed {
                Placed::Operation(at) => Some(at),
                Placed::Expiry(_) => None,
            };
            self.stuck = self.window().into_iter().filter_map(operation).collect();
        }
    }

    fn order(&self) -> Vec<Place> {
        let mut at = 0;
        let place = |laid: &Laid| {
            let task = &self.case.tasks[laid.task];
            // What was placed before was called before anything behind it returned: so this is in time for all.
            at = at.max(task.called);
            Place { placed: task.placed, at, revision: laid.revision }
        };
        self.laid.iter().map(place).collect()
    }
}

/// Whether a change did what was answered.
fn answered(model: &Model, before: Vantage, request: &Request, want: &Want, step: &Step) -> bool {
    match (want, &step.answer) {
        (Want::Done { answer, revision }, Ok(expected)) => {
            let in_time = match request {
                Request::Alarm { .. } => step.revision <= *revision,
                _ => step.revision == *revision,
            };
            let same = match (request, expected, answer) {
                (Request::Txn(txn), Answer::Txn(expected), Answer::Txn(got)) => {
                    model.same_answer(before, txn, expected, got)
                }
                _ => expected == answer,
            };
            in_time && same
        }
        (Want::Refused(text), Err(expected)) => text == expected,
        _ => false,
    }
}

/// The calls and returns of what is still to be placed, in order of time: a linked list, from which a task's two
/// ends are lifted and put back in the opposite order.
struct Ends {
    /// By end: the one after and the one before; one more at the end of the array, which is the list's head.
    after: Vec<usize>,
    before: Vec<usize>,
    /// By task: its call and its return.
    of_task: Vec<(usize, usize)>,
    head: usize,
}

impl Ends {
    fn new(case: &Case) -> Self {
        let head = case.ends.len();
        let mut of_task = vec![(usize::MAX, usize::MAX); case.tasks.len()];
        for (at, end) in case.ends.iter().enumerate() {
            let of_task = &mut of_task[end.task];
            *(if end.returns { &mut of_task.1 } else { &mut of_task.0 }) = at;
        }
        let after = (0..=head).map(|at| if at == head { 0 } else { at + 1 }).collect();
        let before = (0..=head).map(|at| if at == 0 { head } else { at - 1 }).collect();
        Self { after, before, of_task, head }
    }

    fn first(&self) -> Option<usize> {
        self.next(self.head)
    }

    fn next(&self, at: usize) -> Option<usize> {
        Some(self.after[at]).filter(|next| *next != self.head)
    }

    fn return_of(&self, task: usize) -> usize {
        self.of_task[task].1
    }

    fn first_return(&self, ends: &[super::case::End]) -> u64 {
        let mut end = self.first();
        while let Some(at) = end {
            if ends[at].returns {
                return ends[at].at;
            }
            end = self.next(at);
        }
        u64::MAX
    }

    fn lift(&mut self, task: usize) {
        let (call, returned) = self.of_task[task];
        for at in [call, returned] {
            let (before, after) = (self.before[at], self.after[at]);
            (self.after[before], self.before[after]) = (after, before);
        }
    }

    fn put_back(&mut self, task: usize) {
        let (call, returned) = self.of_task[task];
        for at in [returned, call] {
            let (before, after) = (self.before[at], self.after[at]);
            (self.after[before], self.before[after]) = (at, at);
        }
    }
}
