//! Reading history for watchers that fell behind, wherever that is carried out.
//!
//! A [`CatchUpRead`] takes along all it needs and knows nothing of the node, so that it may be carried out beside it. Invariants:
//! it answers each of its tasks once, with whole revisions; what it reads, and what it keeps for the next one, is bounded;
//! watchers that stand near each other share what is read, and those that are told the same share that, too. What cannot be
//! read for one is no reason not to read for another.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{Event, Wrong, limits};
use crate::env::Disk;
use crate::mvcc::{Changes, Past, ReadFailure, View};
use crate::watch::{CatchUpTask, EventBatch, SharedEvent, WatcherKey};

/// How much is read at once for watchers that fell behind, in bytes; [`CatchUpBounds::default`] is what ships.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CatchUpBounds {
    /// In a turn of the node, and how far behind he is at most who is read for in it.
    pub in_turn: usize,
    /// Beside the node.
    pub beside: usize,
    /// In one piece, and most that one watcher is told of at once.
    pub piece: usize,
}

impl Default for CatchUpBounds {
    fn default() -> Self {
        Self {
            in_turn: limits::CATCH_UP_BYTES_PER_TURN,
            beside: limits::CATCH_UP_BYTES_BESIDE,
            piece: limits::CATCH_UP_PIECE_BYTES,
        }
    }
}

/// What is to be read for watchers that fell behind.
pub struct CatchUpRead<D: Disk> {
    past: Past<D>,
    /// Where one of them wants to be told what was there before.
    view: Option<View<D>>,
    /// In order of revision.
    tasks: Vec<CatchUpTask>,
    kept: KeptPieces,
    era: u64,
    /// Bytes read in one piece.
    piece: usize,
    /// Bytes that may still be read.
    budget: usize,
    /// Bytes that were read.
    read: usize,
}

/// What came of a [`CatchUpRead`].
pub struct CaughtUp {
    pub(super) answers: Vec<(WatcherKey, Caught)>,
    /// For the next one.
    pub(super) kept: KeptPieces,
    /// Of which state it read.
    pub(super) era: u64,
    /// About how many bytes were read.
    pub read: usize,
    /// Something could not be read: the first such thing.
    pub(super) wrong: Option<Wrong>,
}

/// What came of one task.
pub(super) enum Caught {
    /// These are the events wanted of all revisions before `next`.
    Read { events: EventBatch, next: i64 },
    /// There was no budget left, or it could not be read.
    NotRead,
    /// It is compacted.
    Compacted,
}

impl<D: Disk> CatchUpRead<D> {
    /// Reads about `budget` bytes of the state of that `era`, in pieces of about `piece`. `view` is taken only where it is needed: while it is held a
    /// writer copies what it changes.
    pub(super) fn new(
        past: Past<D>,
        view: impl FnOnce() -> View<D>,
        tasks: Vec<CatchUpTask>,
        (kept, era): (KeptPieces, u64),
        (piece, budget): (usize, usize),
    ) -> Self {
        let view = tasks.iter().any(|task| task.prev_kv).then(view);
        Self { past, view, tasks, kept, era, piece, budget, read: 0 }
    }

    /// Carries it out. It waits for nothing but the disk.
    pub fn run(mut self) -> CaughtUp {
        let (mut answers, mut wrong) = (Vec::with_capacity(self.tasks.len()), None);
        let mut last: Option<(CatchUpTask, EventBatch, i64)> = None;
        for task in std::mem::take(&mut self.tasks) {
            let key = task.watcher;
            if let Some((_, events, next)) = last.as_ref().filter(|(other, told, _)| task.is_told_as(other, told)) {
                answers.push((key, Caught::Read { events: events.clone(), next: *next }));
                continue;
            }
            let caught = match self.one(&task) {
                Ok(None) => Caught::NotRead,
                Ok(Some((events, next))) => {
                    last = Some((task, events.clone(), next));
                    Caught::Read { events, next }
                }
                Err(ReadFailure::Refused(_)) => Caught::Compacted,
                Err(ReadFailure::Wrong(met)) => {
                    wrong.get_or_insert(met);
                    Caught::NotRead
                }
            };
            answers.push((key, caught));
        }
        // One revision may be larger than all that is kept.
        self.kept.let_go(0);
        CaughtUp { answers, kept: self.kept, era: self.era, read: self.read, wrong }
    }

    /// What one watcher is to be told next, and where it goes on; nothing where there is no budget left.
    fn one(&mut self, task: &CatchUpTask) -> Result<Option<(EventBatch, i64)>, ReadFailure> {
        if self.budget == 0 {
            return Ok(None);
        }
        if task.from > self.past.revision() {
            return Ok(Some((EventBatch::default(), task.from)));
        }
        if task.from < self.past.compact_revision() {
            return Err(ReadFailure::Refused(crate::base::Refusal::Compacted));
        }
        if !self.kept.holds(task.from) {
            let changes = self.past.changes(task.from, self.budget.min(self.piece))?;
            self.spend(changes.bytes);
            self.kept.add(Piece::new(task.from, changes));
        }
        let (events, next, loaded) = self.kept.last_used().tell(task, self.piece, self.view.as_ref())?;
        self.spend(loaded);
        Ok(Some((events, next)))
    }

    fn spend(&mut self, bytes: usize) {
        self.read += bytes;
        self.budget = self.budget.saturating_sub(bytes);
    }
}

/// A piece of history: the changes of the revisions from `from` up to, not including, `next`.
struct Piece {
    from: i64,
    next: i64,
    places: Vec<Place>,
    bytes: usize,
}

/// A change, and what watchers are told of it, once one of them is.
struct Place {
    event: Event,
    bare: Option<Arc<SharedEvent>>,
    /// With what was there before.
    full: Option<Arc<SharedEvent>>,
}

impl Piece {
    fn new(from: i64, changes: Changes) -> Self {
        let place = |event| Place { event, bare: None, full: None };
        let places = changes.events.into_iter().map(place).collect();
        Self { from, next: changes.next, places, bytes: changes.bytes }
    }

    /// What the watcher is told of it, where it goes on, and how many bytes were loaded for it. Ends with a revision, once it is
    /// as much as may be told at once; one revision is told in any case.
    fn tell<D: Disk>(
        &mut self,
        task: &CatchUpTask,
        most: usize,
        view: Option<&View<D>>,
    ) -> Result<(EventBatch, i64, usize), ReadFailure> {
        let most = task.room.min(most);
        let first = self.places.partition_point(|place| place.event.kv.mod_revision < task.from);
        let (mut told, mut bytes, mut loaded) = (Vec::new(), 0, 0);
        let (mut next, mut revisions, mut counted) = (task.from, 0, 0);
        let mut reached = self.next;
        for place in &mut self.places[first..] {
            let main = place.event.kv.mod_revision;
            if main >= next {
                if main > task.from && (bytes >= most || revisions >= limits::CATCH_UP_REVISIONS) {
                    reached = main;
                    break;
                }
                next = main + 1;
            }
            if !task.wants(&place.event) {
                continue;
            }
            if counted != main {
                counted = main;
                revisions += 1;
            }
            let event = match view.filter(|_| task.prev_kv) {
                Some(view) => place.full(view, &mut loaded)?,
                None => place.bare(),
            };
            bytes += event.weight(task.prev_kv);
            told.push(event);
        }
        self.bytes += loaded;
        Ok((told.into_iter().collect(), reached, loaded))
    }
}

impl Place {
    fn bare(&mut self) -> Arc<SharedEvent> {
        let event = &self.event;
        self.full
            .as_ref()
            .unwrap_or_else(|| self.bare.get_or_insert_with(|| Arc::new(SharedEvent::new(event.clone()))))
            .clone()
    }

    fn full<D: Disk>(&mut self, view: &View<D>, loaded: &mut usize) -> Result<Arc<SharedEvent>, Wrong> {
        if let Some(full) = &self.full {
            return Ok(full.clone());
        }
        let prev_kv = view.before(&self.event)?;
        *loaded += prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        let full = Arc::new(SharedEvent::new(Event { prev_kv, ..self.event.clone() }));
        Ok(self.full.insert(full).clone())
    }
}

/// Pieces that were read, the one that was used last at the end.
#[derive(Default)]
pub(super) struct KeptPieces {
    pieces: VecDeque<Piece>,
}

impl KeptPieces {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether one holds the revision: then it is the one that was used last.
    fn holds(&mut self, revision: i64) -> bool {
        let at = self.pieces.iter().position(|piece| (piece.from..piece.next).contains(&revision));
        let found = at.and_then(|at| self.pieces.remove(at));
        let is = found.is_some();
        self.pieces.extend(found);
        is
    }

    /// Keeps another in place of those that were not used for the longest time.
    fn add(&mut self, piece: Piece) {
        self.pieces.push_back(piece);
        self.let_go(1);
    }

    /// Lets go of what is too much, but for the `least` that were used last.
    fn let_go(&mut self, least: usize) {
        let is_too_much = |pieces: &VecDeque<Piece>| {
            let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
            pieces.len() > limits::CATCH_UP_KEPT_PIECES || bytes > limits::CATCH_UP_KEPT_BYTES
        };
        while self.pieces.len() > least && is_too_much(&self.pieces) {
            self.pieces.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes).sum()
    }

    fn last_used(&mut self) -> &mut Piece {
        self.pieces.back_mut().expect("it was just used")
    }
}
