//! The platter of a simulated disk, with its dice, its moods and its traps: what the disk does, whoever uses it.
//!
//! Invariant: chance is drawn from dice by purpose, so that another read, or another fault, changes no other's luck.

use std::time::Duration;

use quorate::base::{Corruption, Dice, SeededDice};

use super::clock::true_now;
use super::faults::{Aim, Change, Damage, DamageBudget, DiskFaults, FileClass, Loss, Toll};
use super::file::{Captured, FileBytes, PAGE, SECTOR, WriteFate};
use super::forked;
use super::lost::{LostSectors, Reader};
use super::trace::{Marks, Trace};
use super::tree::{Shared, Tree};

/// What ends a life in the middle of an operation.
pub type Trap = Box<dyn FnOnce() + Send>;

struct Armed {
    aim: Aim,
    left: u64,
    trap: Trap,
}

/// Dice by purpose.
pub struct DiskDice {
    delays: SeededDice,
    errors: SeededDice,
    /// What becomes of the pages of a sync that fails.
    failing: SeededDice,
    write_backs: SeededDice,
    /// What the system forgets when a process has ended.
    forgetting: SeededDice,
    /// Which pages that failed to be written it drops while one lives.
    evictions: SeededDice,
    reads: SeededDice,
    losses: SeededDice,
    /// What the device does with the pages of a sync.
    device: SeededDice,
    rot: SeededDice,
    traps: SeededDice,
}

impl DiskDice {
    /// All of them, from some.
    pub fn new(mut dice: SeededDice) -> Self {
        let seed = dice.next_u64();
        let of = |purpose| forked(seed, purpose, 0);
        Self {
            delays: of("delays"),
            errors: of("errors"),
            failing: of("failing"),
            write_backs: of("write-backs"),
            forgetting: of("forgetting"),
            evictions: of("evictions"),
            reads: of("reads"),
            losses: of("losses"),
            device: of("device"),
            rot: of("rot"),
            traps: of("traps"),
        }
    }
}

/// See the module's head.
pub struct Platter {
    /// The incarnation that may use the disk; odd while one lives.
    pub life: u64,
    armed: Option<Armed>,
    /// Names and files.
    pub tree: Tree,
    /// How it misbehaves.
    pub faults: DiskFaults,
    dice: DiskDice,
    /// Until when every sync waits, in true time.
    pub stalled_until: Duration,
    budget: DamageBudget,
    /// Whose disk it is, for the budget.
    member: String,
    /// Syncs of the log that succeeded, as far as there may be damage to it.
    log_syncs: u64,
    /// A snapshot was installed: the older image is of no use.
    installed: bool,
    /// What was dropped from memory although it failed to be written, before anybody heard of it.
    pub lost: LostSectors,
    /// When the last life ended.
    ended_at: Duration,
    /// Whether somebody was refused for lack of room.
    pub was_full: bool,
    /// The trace of the run.
    pub trace: Trace,
    /// What happened sometimes.
    pub marks: Marks,
}

fn between(dice: &mut SeededDice, (low, high): (u64, u64)) -> u64 {
    low + dice.below(high - low + 1)
}

impl Platter {
    /// An empty one that nobody uses.
    pub fn new(faults: DiskFaults, dice: SeededDice, trace: Trace, marks: Marks) -> Self {
        let (tree, stalled_until) = (Tree::default(), Duration::ZERO);
        let (dice, budget, member) = (DiskDice::new(dice), DamageBudget::none(), String::new());
        Self {
            life: 0,
            armed: None,
            tree,
            faults,
            dice,
            stalled_until,
            budget,
            member,
            log_syncs: 0,
            installed: false,
            lost: LostSectors::default(),
            ended_at: Duration::ZERO,
            was_full: false,
            trace,
            marks,
        }
    }

    /// Damage is held against this budget, as the member's.
    pub fn set_budget(&mut self, budget: DamageBudget, member: &str) {
        (self.budget, self.member) = (budget, member.to_string());
    }

    /// The life ends, if one lives. Where write-backs fail, the system may forget what nobody has heard of, of any file.
    pub fn end_life(&mut self) {
        if !self.life.is_multiple_of(2) && self.faults.write_back_error_one_in > 0 {
            for file in self.tree.shown().files.values() {
                let (forgets, evicts) = (self.dice.forgetting.one_in(3), self.dice.forgetting.one_in(2));
                if forgets {
                    file.lock().expect("no holder of a file panics").forget_errors(evicts);
                }
            }
        }
        if !self.life.is_multiple_of(2) {
            (self.life, self.ended_at) = (self.life + 1, true_now());
        }
        self.armed = None;
    }

    /// Sets or takes away the trap.
    pub fn arm(&mut self, armed: Option<(Aim, u64, Trap)>) {
        self.armed = armed.map(|(aim, left, trap)| Armed { aim, left, trap });
    }

    /// Counts a change; the trap, if the change is the one that ends the life, which it then has.
    pub fn spring(&mut self, change: Change, path: &str) -> Option<Trap> {
        let armed = self.armed.as_mut().filter(|armed| armed.aim.counts(change, path))?;
        armed.left = armed.left.saturating_sub(1);
        if armed.left > 0 {
            return None;
        }
        let armed = self.armed.take()?;
        self.end_life();
        self.marks.hit("life ended in the middle of a disk operation");
        Some(armed.trap)
    }

    /// How much of a write in which the life ends reaches the system: nothing, a part, or all.
    pub fn draw_interrupted(&mut self, bytes: usize) -> usize {
        match self.dice.traps.below(3) {
            0 => 0,
            1 => self.dice.traps.below(bytes as u64 + 1) as usize,
            _ => bytes,
        }
    }

    /// How long a sync takes, and whether it fails.
    pub fn draw_sync(&mut self) -> (Duration, bool) {
        let mut delay = Duration::from_micros(between(&mut self.dice.delays, self.faults.sync_micros));
        if self.dice.delays.one_in(self.faults.stall_one_in) {
            self.marks.hit("disk: sync stalled");
            delay += Duration::from_millis(between(&mut self.dice.delays, self.faults.stall_millis));
        }
        delay = delay.max(self.stalled_until.saturating_sub(true_now()));
        (delay, self.dice.errors.one_in(self.faults.sync_error_one_in))
    }

    /// How long a write holds its task up.
    pub fn draw_write(&mut self) -> Duration {
        match self.faults.write_micros {
            (0, 0) => Duration::ZERO,
            range => Duration::from_micros(between(&mut self.dice.delays, range)),
        }
    }

    /// How much of a read succeeds; nothing if it fails.
    pub fn draw_read(&mut self, wanted: usize) -> Option<usize> {
        if self.dice.errors.one_in(self.faults.read_error_one_in) {
            self.marks.hit("disk: read failed");
            return None;
        }
        let short = wanted > 1 && self.dice.reads.one_in(self.faults.short_read_one_in);
        Some(if short { 1 + self.dice.reads.below(wanted as u64 - 1) as usize } else { wanted })
    }

    /// After a write the system may write something back by itself.
    pub fn write_back(&mut self, bytes: &mut FileBytes) {
        if self.dice.write_backs.one_in(self.faults.write_back_one_in) {
            let fails = self.dice.errors.one_in(self.faults.write_back_error_one_in);
            if fails {
                self.marks.hit("disk: write-back failed unheard");
            }
            bytes.write_back_some(&mut self.dice.write_backs, fails);
        }
    }

    /// Before a file is read or written the system may drop what it shows of it and could not write.
    pub fn evict(&mut self, name: &str, bytes: &mut FileBytes) {
        let (dice, one_in) = (&mut self.dice.evictions, self.faults.evict_one_in);
        if one_in > 0 && bytes.shows_what_failed() && dice.one_in(one_in) {
            let (dropped, sectors) = bytes.evict_failed(dice);
            self.marks.add("disk: page that failed to be written dropped from memory", dropped);
            if !bytes.is_heard() {
                self.lost.drop_from(name, self.life, sectors);
            }
        }
    }

    /// Whether what the system has lost of what was not synced accounts for damage that somebody met who reads since then.
    pub fn has_lost(&self, damage: &Corruption, since: Duration) -> bool {
        let reader = Reader { since, life: self.life, ended_at: self.ended_at };
        // Where records are missing the walk notices it behind the place; what is no history has no such records.
        let of_history = damage.file.starts_with("history/") && damage.file.ends_with(".seg");
        if damage.what.contains("revision") || !of_history {
            return self.lost.any(&damage.file, reader);
        }
        let place = (damage.file.as_str(), damage.offset);
        let lived_on = self.ended_at < since && !self.life.is_multiple_of(2);
        let file = self.tree.shown().files.get(&damage.file).filter(|_| lived_on);
        let bytes = file.map(|file| file.lock().expect("no holder of a file panics"));
        self.lost.accounts_for(place, reader, bytes.as_deref())
    }

    /// A sync of a file fails; nobody has heard of it yet.
    pub fn fail_sync(&mut self, bytes: &mut FileBytes, captured: Captured) {
        self.marks.hit("disk: sync of a file failed");
        bytes.fail_sync(captured, &mut self.dice.failing);
    }

    /// A sync of a file succeeds, as far as anyone can tell.
    pub fn make_durable(&mut self, file: &Shared, captured: Captured) {
        let (lost, misdirected) = (self.faults.lost_write_one_in, self.faults.misdirected_write_one_in);
        let honest = lost == 0 && misdirected == 0;
        let class = if honest && !self.budget.is_open() { FileClass::Aside } else { self.class_of(file) };
        let spare = !honest && self.others_are_whole(class, file);
        let wrote = !captured.is_empty();
        let mut bytes = file.lock().expect("no holder of a file panics");
        bytes.make_durable(captured, |bytes, page| {
            let lost = self.dice.device.one_in(lost);
            if !lost && !self.dice.device.one_in(misdirected) {
                return WriteFate::Written;
            }
            let sector = page * (PAGE / SECTOR) as u64;
            let may = match class {
                FileClass::Log if self.budget.is_open() => return WriteFate::Late { misdirected: !lost },
                FileClass::Log | FileClass::Aside => false,
                FileClass::Outline => true,
                // Of what is lost the slot before stays, and it may take another slot along.
                FileClass::Mark => bytes.is_whole(),
                FileClass::History | FileClass::Image => {
                    may_damage(&self.budget, &self.member, class, sector, spare, bytes)
                }
            };
            match (may, lost) {
                (false, _) => WriteFate::Written,
                (true, true) => {
                    self.marks.hit("disk: write lost");
                    WriteFate::Lost
                }
                (true, false) => {
                    self.marks.hit("disk: write misdirected");
                    WriteFate::Misdirected
                }
            }
        });
        if class == FileClass::Log {
            // A file that is being filled says nothing of what is in others.
            self.log_syncs += u64::from(wrote && self.is_segment(file));
            bytes.rest(self.log_syncs);
        }
    }

    /// The class of a file, by the name it has now, whatever it was opened as.
    fn class_of(&self, file: &Shared) -> FileClass {
        let own = |entry: &(&String, &Shared)| Shared::ptr_eq(entry.1, file);
        self.tree.shown().files.iter().find(own).map_or(FileClass::Aside, |(name, _)| FileClass::of(name))
    }

    /// Whether it is a segment by name now.
    fn is_segment(&self, file: &Shared) -> bool {
        self.tree.shown().files.iter().any(|(name, other)| Shared::ptr_eq(other, file) && name.ends_with(".seg"))
    }

    /// Whether enough syncs of the log have succeeded since that one: what they wrote vouches for it. One of them may be of a
    /// header, which does not.
    fn is_vouched(&self, since: u64) -> bool {
        since < self.log_syncs.saturating_sub(2)
    }

    /// The state was replaced by another's: of the images only the newest is of use from now on.
    pub fn installs(&mut self) {
        self.installed = true;
    }

    /// Whether there are others of the class with durable names, and no damage has struck any of them. A draft is nothing that could be
    /// had instead.
    fn others_are_whole(&self, class: FileClass, file: &Shared) -> bool {
        let other = |(name, other): (&String, &Shared)| {
            (FileClass::of(name) == class && !FileClass::is_draft(name) && !Shared::ptr_eq(other, file))
                .then(|| other.lock().expect("no holder of a file panics").damaged().is_empty())
        };
        if class == FileClass::Image && self.installed {
            return false;
        }
        let mut others = self.tree.durable().files.iter().filter_map(other).peekable();
        others.peek().is_some() && others.all(|whole| whole)
    }

    /// Damages a sector at rest of a file of that class, if there is one and the budget allows it: which.
    pub fn damage(&mut self, class: FileClass, damage: Damage) -> Option<(String, u64)> {
        let of_class = |(name, file): (&String, &Shared)| {
            let stands = self.tree.durable().files.get(name).is_some_and(|durable| Shared::ptr_eq(durable, file));
            (FileClass::of(name) == class && stands).then(|| (name.clone(), Shared::clone(file)))
        };
        let files: Vec<_> = self.tree.shown().files.iter().filter_map(of_class).collect();
        if files.is_empty() {
            return None;
        }
        let (name, file) = &files[self.dice.rot.below(files.len() as u64) as usize];
        let spare = self.others_are_whole(class, file);
        let mut bytes = file.lock().expect("no holder of a file panics");
        let mut sectors = bytes.resting_sectors();
        let vouched = |sector: &u64| class != FileClass::Log || self.is_vouched(bytes.rests_since(*sector));
        sectors.retain(|sector| !bytes.damaged().contains(sector) && vouched(sector));
        if sectors.is_empty() {
            return None;
        }
        let sector = sectors[self.dice.rot.below(sectors.len() as u64) as usize];
        // It may become a segment of the log, and the sector be where its end is.
        let is_spare = damage == Damage::Unreadable && name.ends_with(".spare");
        let may = if is_spare {
            self.budget.admits(&self.member)
        } else {
            may_damage(&self.budget, &self.member, class, sector, spare, &bytes)
        };
        if !may {
            return None;
        }
        bytes.damage(sector, damage, &mut self.dice.rot);
        self.marks.hit("disk: sector damaged at rest");
        self.trace.note("damage", name.as_bytes());
        Some((name.clone(), sector))
    }

    /// Where the power has gone, what the device has done to the log in secret shows.
    fn go_astray(&mut self) {
        let vouched = |since: u64| self.is_vouched(since);
        for (_, file) in self.tree.shown().files.iter().filter(|(name, _)| FileClass::of(name) == FileClass::Log) {
            let mut file = file.lock().expect("no holder of a file panics");
            let gone = file.go_astray(vouched, || self.budget.admits(&self.member));
            self.marks.add("disk: write of the log went astray", gone);
        }
    }

    /// No write has gone astray but those that show.
    pub fn forgive_strays(&mut self) {
        for file in self.tree.shown().files.values() {
            file.lock().expect("no holder of a file panics").forgive_strays();
        }
    }

    /// Damaged sectors of files that have a name.
    #[cfg(test)]
    pub fn damaged(&self) -> Vec<(String, u64)> {
        let of = |(name, file): (&String, &Shared)| -> Vec<(String, u64)> {
            let file = file.lock().expect("no holder of a file panics");
            file.damaged().iter().map(|sector| (name.clone(), *sector)).collect()
        };
        self.tree.shown().files.iter().flat_map(of).collect()
    }

    /// The power goes. Tells what became of the dirty sectors.
    pub fn lose_power(&mut self, loss: Loss) -> Toll {
        let (fates, keep_of_8) = loss.fates();
        let vanished = self.tree.lose_power(keep_of_8, &mut self.dice.losses);
        self.go_astray();
        let mut total = Toll::default();
        for file in self.tree.shown().files.values() {
            let mut file = file.lock().expect("no holder of a file panics");
            total.add(file.lose_power(fates, &mut self.dice.losses));
        }
        for (name, count) in [
            ("disk: power lost between write and sync", u64::from(total.dirty > 0)),
            ("disk: sector dropped", total.dropped),
            ("disk: sector torn", total.torn),
            ("disk: sector turned to garbage", total.garbage),
            ("disk: length lost or ahead of data", total.lengths),
            ("disk: name vanished or came back", vanished),
        ] {
            self.marks.add(name, count);
        }
        self.stalled_until = Duration::ZERO;
        total
    }

    /// Bytes that files hold.
    pub fn used(&self) -> u64 {
        let len = |file: &Shared| file.lock().expect("no holder of a file panics").len();
        self.tree.shown().files.values().map(len).sum()
    }

    /// So many bytes may be written beyond what there is now; no limit without.
    pub fn leave_room(&mut self, room: Option<u64>) {
        self.faults.capacity = room.map(|room| self.used() + room);
    }

    /// How much room there is.
    pub fn room(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }
}

/// Whether a sector may be damaged: where another copy is whole, or the budget admits it.
fn may_damage(
    budget: &DamageBudget,
    member: &str,
    class: FileClass,
    sector: u64,
    others_are_whole: bool,
    bytes: &FileBytes,
) -> bool {
    let slot = sector / (PAGE / SECTOR) as u64;
    let spared = match class {
        FileClass::Aside | FileClass::Outline => true,
        // One at a time: of the next two that the product keeps, one is whole.
        FileClass::Image => others_are_whole,
        // Of its slots, each on a page of its own, one of the first two stays whole. A mark that is young has only one.
        FileClass::Mark => [0, 1].into_iter().any(|other| {
            let sectors = other * (PAGE / SECTOR) as u64..(other + 1) * (PAGE / SECTOR) as u64;
            let rests = bytes.resting_sectors().iter().any(|sector| sectors.contains(sector));
            other != slot && rests && sectors.into_iter().all(|sector| !bytes.is_impaired(sector))
        }),
        FileClass::Log | FileClass::History => false,
    };
    spared || budget.admits(member)
}
