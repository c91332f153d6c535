//! The ear of the judges: what a member tells in the moment it does something.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::base::{Event, limits};
use quorate::consensus::{Electorate, MessageKind, PeerMessage, Standing};
use quorate::env::Instant;
use quorate::machine::{Applied, Command};
use quorate::node::{Held, Observer, TurnWork};
use quorate::wal::{Batch, LogEntry};

use crate::chronicle::Happening;
use crate::env::{SimCpu, SimDisk, charge_turn, true_now};
use crate::oracles::bounds::Intake;
use crate::oracles::disk::Promised;
use crate::oracles::{Verdict, bounds, require};
use crate::plan::Moment;
use crate::quota;
use crate::world::World;

/// What a member tells in the moment it does something.
pub struct Witness {
    /// Whom it is told to.
    world: Arc<World>,
    /// Who tells.
    member: usize,
    /// The disk of the life that tells: a life that has ended tells nothing more.
    disk: SimDisk,
    /// The processor that what it does costs.
    cpu: SimCpu,
    /// What the entry under way has changed so far, where it is carried out in slices.
    slices: Mutex<((u64, u64), Vec<Event>)>,
    turn: Mutex<LastTurn>,
}

/// The last turn of this life.
#[derive(Default)]
struct LastTurn {
    /// What it did.
    work: TurnWork,
    /// What the member held after it, and may take in.
    intake: Intake,
    /// Where it stands.
    standing: Option<Standing>,
}

/// What an entry costs beside the bytes it brings.
const ENTRY: u64 = 1;

impl Witness {
    /// Of a member's life on this disk and processor.
    pub fn new(world: Arc<World>, member: usize, disk: SimDisk, cpu: SimCpu) -> Self {
        Self { world, member, disk, cpu, slices: Mutex::default(), turn: Mutex::default() }
    }

    /// Whether the life that tells goes on, and is held against what was before.
    fn is_heard(&self) -> bool {
        self.disk.is_alive() && !self.world.is_rewound()
    }

    /// Whether the member's leases may stand still, or it may not be able to end them, though it does its turns.
    fn may_hold_up_leases(&self) -> bool {
        let world = &self.world;
        world.slices.at(self.member).is_some()
            || self.cpu.is_slow()
            // While the leadership is handed over nothing is proposed.
            || world.operator_is_busy()
            || !world.ledger().model().alarms().is_empty()
    }

    fn turn(&self) -> MutexGuard<'_, LastTurn> {
        self.turn.lock().expect("one thread")
    }

    /// Whose disk does what it says, and whose state nobody falsified, has what it wrote: by itself, or from its log.
    fn needs_a_state(&self) -> Verdict {
        let member = &self.world.members[self.member];
        let may = member.disk_is_false() || member.may_have_lost() || self.world.ledger().may_anybody_differ();
        require(may, "who is sound takes nobody else's state", || format!("member {} is rebuilt", self.member))
    }

    /// With all that was changed, in place of what watchers are told, where it was carried out in slices.
    fn whole(&self, entry: (u64, u64), applied: &Applied) -> Option<Applied> {
        let (of, events) = std::mem::take(&mut *self.slices.lock().expect("one thread"));
        if of != entry {
            return None;
        }
        let mut all = events.iter();
        let is_part = applied.events.iter().all(|told| all.any(|event| event == told));
        self.world.judge(require(is_part, "what watchers are told of a command is what it did", || {
            format!("entry {entry:?}: {:?} of {events:?}", applied.events)
        }));
        self.world.marks.hit("a command was carried out in slices");
        Some(Applied { events, ..applied.clone() })
    }
}

impl Observer for Witness {
    fn carried_out(&self, entry: (u64, u64), before: usize, events: &[Event]) {
        if self.is_heard() {
            let time = self.world.slices.does(self.member, entry);
            if !self.world.is_calm() {
                charge_turn(time);
            }
            self.world.ambushes.does(self.member, Moment::CarriesOut);
        }
        let mut slices = self.slices.lock().expect("one thread");
        if before == 0 {
            *slices = (entry, Vec::new());
        }
        slices.1.extend_from_slice(events);
    }

    fn applied(&self, entry: (u64, u64), request: Option<u64>, command: Option<&Command>, applied: &Applied) {
        if !self.is_heard() {
            return;
        }
        self.cpu.charge_work(ENTRY, 0);
        self.world.slices.done(self.member, entry.0);
        self.world.ambushes.applies(self.member, entry.1);
        let whole = self.whole(entry, applied);
        let applied = whole.as_ref().unwrap_or(applied);
        let mut ledger = self.world.ledger();
        let is_first = ledger.last_index() < entry.0;
        let verdict = ledger.applied(self.member, entry, request, command, applied);
        let counted = (&*ledger, is_first && verdict.is_ok());
        let counted = self.world.remainders().applied(self.member, entry, command, counted, true_now());
        let digest = ledger.entry(entry.0).map_or(0, |entry| entry.digest.unwrap_or_default());
        drop(ledger);
        self.world.trace.note("applied", &fxhash::hash64(&(self.member, entry, digest)).to_le_bytes());
        if verdict.is_err() {
            self.world.chronicle.member(self.member, || Happening::Objects(entry.0));
        }
        self.world.judge(verdict.and(counted));
    }

    /// What a turn did is bounded, the bytes of its last entry, one record and one revision apart.
    fn worked(&self, work: &TurnWork) {
        if !self.is_heard() {
            return;
        }
        let applied = work.entries <= limits::APPLY_ENTRIES_PER_TURN
            && work.entry_bytes - work.last_bytes < limits::APPLY_BYTES_PER_TURN
            && work.changes <= self.world.plan.setting.slicing.changes_per_turn
            && work.previous_bytes
                < limits::APPLY_BYTES_PER_TURN + (limits::PREVIOUS_VALUES_AT_ONCE + 1) * limits::MAX_REQUEST_BYTES
            && !(work.ends && work.pauses);
        let read = work.compaction_bytes < limits::COMPACTION_SLICE_BYTES + limits::MAX_REQUEST_BYTES;
        self.world.judge(require(applied && read, "a turn of the node is bounded", || format!("{work:?}")));
        self.turn().work = *work;
        let verdict = self.world.remainders().turned(self.member, self.may_hold_up_leases(), true_now());
        self.world.judge(verdict);
    }

    fn holds(&self, held: &Held) {
        if self.is_heard() {
            let (work, before, taken) = {
                let mut turn = self.turn();
                let LastTurn { work, intake, standing } = &mut *turn;
                let before = intake.last().copied();
                let taken = standing.map_or(Ok(()), |standing| intake.turned(held, &standing));
                (*work, before, taken)
            };
            let holding = &self.world.plan.setting.holding;
            let unwritten = before.map_or(0, |before| before.unwritten_bytes);
            self.world.judge(bounds::within(held, holding, (&work, unwritten), self.world.largest_entry()));
            self.world.judge(taken);
            if before.is_some_and(|before| before.lacks_room) {
                self.world.marks.hit("bounds: somebody had no room for more to apply");
            }
            if held.unwritten_bytes > holding.unwritten {
                self.world.marks.hit("bounds: much history was not written");
            }
            self.world.members[self.member].holds(*held);
            if quota::is_bounded(&self.world.plan)
                && let Some(living) = self.world.members[self.member].living()
            {
                self.world.members[self.member].weighs(living.door.status().size_bytes);
            }
        }
    }

    fn reconfigured(&self, entry: &LogEntry) {
        if self.is_heard() {
            self.world.remainders().reaches(self.member, entry.index, true_now());
            let verdict = self.world.raft().reconfigured(self.member, entry);
            self.world.judge(verdict);
        }
    }

    fn stands(&self, standing: &Standing) {
        if self.is_heard() {
            self.world.chronicle.member(self.member, || Happening::Stands(*standing));
            self.world.ambushes.stands(self.member, standing);
            if self.world.slices.stands(self.member, standing) {
                self.world.marks.hit("in slices: another leads");
            }
            self.turn().standing = Some(*standing);
            self.world.remainders().stands(self.member, standing, true_now());
            let applied = self.world.ledger().last();
            let verdict = self.world.raft().stands(self.member, standing, applied);
            self.world.judge(verdict);
        }
    }

    fn counts(&self, electorate: &Electorate, applied: u64) {
        // Before it has applied who founded the cluster a member counts whom its flags name.
        if self.is_heard() && applied >= self.world.plan.founders as u64 {
            let verdict = self.world.raft().counts(self.member, electorate, applied);
            self.world.judge(verdict);
        }
    }

    fn asks(&self, at: Instant) {
        if self.is_heard() {
            let applied = self.world.ledger().last_index();
            self.world.rounds().asks(self.member, at, applied);
        }
    }

    fn confirms(&self, index: u64, newest: Instant) {
        if self.is_heard() {
            let verdict = self.world.rounds().confirms(self.member, index, newest);
            self.world.judge(verdict);
        }
    }

    fn appends(&self, number: u64, batch: &Batch) {
        if self.is_heard() {
            let bytes: usize = batch.entries.iter().map(|entry| entry.data.len()).sum();
            self.world.hears_of_entries(batch.entries.iter().map(|entry| entry.data.len()));
            self.cpu.charge_work(batch.entries.len() as u64, bytes as u64);
            self.world.remainders().appends(self.member, batch, true_now());
            let verdict = self.world.raft().appends(self.member, number, batch);
            self.world.judge(verdict);
        }
    }

    fn installs(&self, number: u64, at: (u64, u64), batch: &Batch) {
        if self.is_heard() {
            self.disk.installs();
            self.turn().intake.forget();
            let verdict = self.world.raft().installs(self.member, number, at, batch);
            self.world.judge(verdict);
        }
    }

    fn installed(&self, at: (u64, u64)) {
        if self.is_heard() {
            self.world.ambushes.does(self.member, Moment::Installs);
            self.turn().intake.forget();
            self.world.marks.hit("a snapshot was installed");
            self.world.members[self.member].installs();
            if self.world.slices.gone(self.member) {
                self.world.marks.hit("in slices: a snapshot was installed");
            }
            self.world.remainders().reaches(self.member, at.0, true_now());
            self.world.trace.note("installed", &fxhash::hash64(&(self.member, at)).to_le_bytes());
            let verdict = self.world.ledger().installed(self.member, at);
            self.world.judge(verdict);
        }
    }

    fn notes(&self, what: &'static str) {
        if self.is_heard() {
            self.world.marks.hit(what);
            match what {
                "a snapshot was offered" => self.world.ambushes.does(self.member, Moment::Receives),
                // Appends may be what tells that it is committed.
                "a state came for a rebuilding" => {
                    self.turn().intake.forget();
                    self.world.judge(self.needs_a_state());
                }
                _ => {}
            }
        }
    }

    fn reads(&self, bytes: usize) {
        if self.is_heard() {
            self.world.marks.hit("history was read beside a member");
            self.cpu.charge_work(0, bytes as u64);
            if !self.world.is_calm() {
                charge_turn(Duration::from_micros(self.world.plan.setting.reading.micros));
            }
        }
    }

    fn persisted(&self, number: u64) {
        if self.is_heard() {
            self.world.raft().persisted(self.member, number);
        }
    }

    fn sends(&self, message: &PeerMessage) {
        if !self.is_heard() {
            return;
        }
        self.cpu.charge_work(0, message.payload_bytes() as u64);
        match message.kind() {
            MessageKind::Snapshot => self.world.meets(self.member, "in slices: a snapshot was sent"),
            MessageKind::Append => self.world.ambushes.does(self.member, Moment::Appends),
            MessageKind::TimeoutNow => self.world.ambushes.does(self.member, Moment::HandsOver),
            MessageKind::VoteResponse if !message.rejects() => self.world.ambushes.does(self.member, Moment::Votes),
            _ => {}
        }
        let mut raft = self.world.raft();
        let verdict = raft.sends(self.member, message);
        let promised = Promised::of(message, |index| raft.term_at(self.member, index));
        drop(raft);
        self.world.judge(verdict);
        if let Some(promised) = promised {
            self.world.promised(self.member, promised);
        }
    }
}
