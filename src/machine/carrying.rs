//! Carrying out what may change many keys: deletes of ranges, the ends of leases, transactions.
//!
//! Such a command is carried out in slices where it is more than one: between two of them nothing of it is to be seen
//! ([`crate::mvcc::WriteTxn::may_pause`]), and the applied index and the running digest stand before it. The keys it has taken
//! off their leases are the exception: whoever asks for the keys of a lease waits for its end ([`super::Machine::is_under_way`]).
//! All members do the same with it, whatever their slices. Of a transaction the branches are chosen first, which may take slices of
//! its own; nothing of it is done meanwhile.

use super::choosing::{Choosing, Path};
use super::codec::Proposal;
use super::command::{Answer, Command, Txn};
use super::slice::Slice;
use super::txn::{Deleting, Place, Writer};
use crate::base::{Event, KeyRange, LeaseId, LogIndex, Refusal, Term, Wrong, limits};
use crate::env::Disk;
use crate::lease::LeaseTable;
use crate::mvcc::{Paused, Store, WantsPrev};

/// Who is told of the changes of an entry.
pub struct Told<'a> {
    /// Of which keys that are changed what they held before is loaded.
    pub wants_prev: WantsPrev<'a>,
    /// Of a command that is carried out in slices: of which keys anybody is told at all.
    pub is_told: &'a dyn Fn(&[u8]) -> bool,
    /// Is shown all changes of a command that is carried out in slices, slice by slice, with how many there were before.
    pub on_slice: &'a dyn Fn(usize, &[Event]),
}

impl<'a> Told<'a> {
    /// Everything is told, and slices are shown to nobody.
    pub fn all(wants_prev: WantsPrev<'a>) -> Self {
        Self { wants_prev, is_told: &|_| true, on_slice: &|_, _| () }
    }

    /// What of a slice's changes is kept for those who are told.
    pub(super) fn keep(&self, before: usize, events: Vec<Event>, kept: &mut Vec<Event>) {
        (self.on_slice)(before, &events);
        kept.extend(events.into_iter().filter(|event| (self.is_told)(&event.kv.key)));
    }
}

/// A command that was begun and is not done.
pub(super) struct UnderWay<D: Disk> {
    /// The entry it came with.
    pub(super) entry: (LogIndex, Term),
    pub(super) proposal: Proposal,
    /// The running digest with what was done of it.
    pub(super) digest: u64,
    /// What is to be told of it.
    pub(super) told: Vec<Event>,
    /// How many changes were shown.
    pub(super) shown: usize,
    pub(super) rest: Box<Rest<D>>,
}

/// What is left of a command.
#[allow(clippy::large_enum_variant, reason = "it stands in a box of its own")]
pub(super) enum Rest<D: Disk> {
    /// Nothing of it is done.
    Opening(Opening),
    /// Some of it is.
    Doing(Stage, Paused<D>),
}

/// How far a transaction is of which nothing is done.
pub(super) enum Opening {
    /// Its branches are being chosen.
    Choosing(Choosing),
    /// They are chosen and checked; its operations have a slice of their own.
    Chosen(Path),
}

/// How far a command is.
pub(super) enum Stage {
    Delete(Deleting),
    Revoke(LeaseId),
    Txn(Path, Place),
}

/// What came of a slice.
pub(super) enum Carried<D: Disk> {
    Done(Result<Answer, Refusal>),
    Paused(Box<Rest<D>>),
    /// Not begun: it fits into a whole slice, or that is to be seen in one.
    Waits,
}

/// What a command is carried out on.
pub(super) struct Grounds<'a, D: Disk> {
    pub(super) store: &'a mut Store<D>,
    pub(super) leases: &'a mut LeaseTable,
}

impl<D: Disk> Grounds<'_, D> {
    /// Begins a command, or goes on with what is left of it. `events` are the changes made, in order, but for the last where
    /// it is paused: that one is among the next.
    ///
    /// One that may be paused copies what it changes, which costs: only one that does not fit, be it for what is to be read.
    pub(super) fn carry_out(
        self,
        command: &Command,
        rest: Option<Box<Rest<D>>>,
        backing_bytes: usize,
        told: &Told<'_>,
        (slice, events): (&mut Slice, &mut Vec<Event>),
    ) -> Result<Carried<D>, Wrong> {
        let Self { store, leases } = self;
        let (begun, opening, mut write) = match rest.map(|rest| *rest) {
            Some(Rest::Doing(stage, paused)) => (Some(stage), None, store.take_up(paused, told.wants_prev)),
            Some(Rest::Opening(opening)) => (None, Some(opening), store.begin(told.wants_prev)),
            None => (None, None, store.begin(told.wants_prev)),
        };
        let mut writer = Writer { write: &mut write, leases, backing_bytes };
        let begun = begun.map_or_else(|| begin(&mut writer, command, opening, slice), |stage| Ok(Ok(stage)));
        let mut stage = match begun? {
            Ok(stage) => stage,
            Err(carried) => {
                slice.has_read(write.read_bytes());
                return Ok(carried);
            }
        };
        let is_done = match (&mut stage, command) {
            (Stage::Delete(deleting), _) => writer.delete_on(deleting, slice)?,
            (Stage::Revoke(id), _) => writer.delete_leased(*id, slice)?,
            (Stage::Txn(path, place), Command::Txn(txn)) => writer.run(txn, path, place, slice)?,
            (Stage::Txn(..), _) => unreachable!("a command goes on as it began"),
        };
        slice.has_read(write.read_bytes());
        if !is_done {
            let (paused, changes) = write.pause();
            *events = changes;
            return Ok(Carried::Paused(Box::new(Rest::Doing(stage, paused))));
        }
        *events = write.commit();
        Ok(Carried::Done(Ok(match stage {
            Stage::Delete(deleting) => deleting.answer(),
            Stage::Txn(path, place) => Answer::Txn(place.answer(&path)),
            Stage::Revoke(id) => {
                let left = leases.revoke(id).expect("it was there when this began");
                assert!(left.is_empty(), "its keys were deleted");
                Answer::LeaseRevoke
            }
        })))
    }
}

/// Begins a command of which nothing is done yet; or what came of it instead.
fn begin<D: Disk>(
    writer: &mut Writer<'_, '_, D>,
    command: &Command,
    opening: Option<Opening>,
    slice: &mut Slice,
) -> Result<Result<Stage, Carried<D>>, Wrong> {
    let may_wait = opening.is_none();
    let (stage, most) = match open(writer, command, opening, slice)? {
        Ok(opened) => opened,
        Err(carried) => return Ok(Err(carried)),
    };
    slice.has_read(writer.write.read_bytes());
    let exceeds = slice.is_less_than(most) || slice.counts_bytes() && reads_much(writer, command, &stage, most);
    Ok(match stage {
        _ if may_wait && slice.leaves_to_the_next(most) => Err(Carried::Waits),
        Stage::Txn(path, _) if exceeds && slice.is_used() => {
            Err(Carried::Paused(Box::new(Rest::Opening(Opening::Chosen(path)))))
        }
        stage => {
            if exceeds {
                writer.write.may_pause();
            } else {
                *slice = slice.to_the_end();
            }
            Ok(stage)
        }
    })
}

/// Looks how a command begins, and how many keys it may change.
fn open<D: Disk>(
    writer: &mut Writer<'_, '_, D>,
    command: &Command,
    opening: Option<Opening>,
    slice: &mut Slice,
) -> Result<Result<(Stage, u64), Carried<D>>, Wrong> {
    let refused = |refusal| Carried::Done(Err(refusal));
    Ok(match (command, opening) {
        (Command::DeleteRange(delete), _) => {
            let most = writer.most_of(&delete.range);
            Ok((Stage::Delete(writer.begin_delete(delete)), most))
        }
        (Command::LeaseRevoke { id, .. }, _) if writer.leases.contains(*id) => {
            Ok((Stage::Revoke(*id), writer.leases.count_keys(*id) as u64))
        }
        (Command::LeaseRevoke { .. }, _) => Err(refused(Refusal::LeaseNotFound)),
        (Command::Txn(txn), opening) => match chosen(writer, txn, opening, slice)? {
            Ok(path) => {
                let most = writer.most_changes(txn, &path, &mut 0);
                Ok((Stage::Txn(path, Place::default()), most))
            }
            Err(carried) => Err(carried),
        },
        _ => unreachable!("every other command changes one key or none"),
    })
}

/// The path of a transaction, chosen and checked; or what came of it instead.
fn chosen<D: Disk>(
    writer: &Writer<'_, '_, D>,
    txn: &Txn,
    opening: Option<Opening>,
    slice: &mut Slice,
) -> Result<Result<Path, Carried<D>>, Wrong> {
    let (mut choosing, may_wait) = match opening {
        Some(Opening::Chosen(path)) => return Ok(Ok(path)),
        Some(Opening::Choosing(choosing)) => (choosing, false),
        None => (Choosing::default(), true),
    };
    Ok(match writer.choose(txn, &mut choosing, slice)? {
        None if may_wait && slice.is_rest() => Err(Carried::Waits),
        None => Err(Carried::Paused(Box::new(Rest::Opening(Opening::Choosing(choosing))))),
        Some(path) => writer.check(txn, &path).map(|()| path).map_err(|refusal| Carried::Done(Err(refusal))),
    })
}

/// Whether it takes more than a few reads of the history's files to tell those who want to know it what there was before.
fn reads_much<D: Disk>(writer: &Writer<'_, '_, D>, command: &Command, stage: &Stage, most: u64) -> bool {
    let mut few = limits::PREVIOUS_VALUES_AT_ONCE;
    most > few as u64
        && !match (command, stage) {
            (Command::DeleteRange(delete), _) => writer.write.reads_few(&delete.range, &mut few),
            (Command::Txn(txn), Stage::Txn(path, _)) => writer.reads_few(txn, path, &mut few),
            (_, Stage::Revoke(id)) => {
                writer.leases.keys(*id).all(|key| writer.write.reads_few(&KeyRange::single(key.clone()), &mut few))
            }
            _ => unreachable!("a command goes on as it began"),
        }
}
