//! One file in two layers: what the system shows, and what is on the platter.
//!
//! What the device does to a sector stands here: it reaches the platter whole, not at all, in part, or as garbage in the
//! bytes that were changing; it may rot at rest, become unreadable, or a write to it may be lost or land elsewhere.
//!
//! Invariants: a page stands in `cache` only while it may differ from `platter`; a sector not marked dirty in
//! its cached page is not written by anything but another write to that page, which takes along what failed to be written of it,
//! because the system writes pages whole. Bytes beyond the length shown read as zeroes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::base::{Dice, SeededDice};

use super::faults::{Damage, SectorFates, Toll};

/// The unit a device writes whole, as a rule.
pub const SECTOR: usize = 512;
/// The unit the system caches.
pub const PAGE: usize = 4096;
const SECTORS_PER_PAGE: usize = PAGE / SECTOR;

/// No sync has succeeded since the page was written.
const UNRESTED: u64 = u64::MAX;

type Page = Box<[u8; PAGE]>;

struct Cached {
    bytes: Page,
    /// One bit for each sector that is not on the platter yet.
    dirty: u8,
    /// Those that failed to be written and count as clean.
    failed: u8,
    /// The write that touched it last.
    stamp: u64,
}

/// What a sync under way will make durable.
pub struct Captured {
    pages: Vec<(u64, Page, u8, u64)>,
    len: u64,
}

impl Captured {
    /// Whether it will write nothing.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

/// What the device does with a page that a sync gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteFate {
    /// It is written.
    Written,
    /// It is not, and says it was.
    Lost,
    /// It is written over another page of the file.
    Misdirected,
    /// One of both, which shows only once so much was written behind it that somebody can notice: [`FileBytes::go_astray`].
    Late {
        /// It lands on another page.
        misdirected: bool,
    },
}

/// A write that may turn out to have gone astray.
struct Stray {
    page: u64,
    /// What was there.
    before: Option<Page>,
    after: Page,
    dirty: u8,
    misdirected: bool,
}

/// A file's bytes.
#[derive(Default)]
pub struct FileBytes {
    platter: BTreeMap<u64, Page>,
    cache: BTreeMap<u64, Cached>,
    len: u64,
    durable_len: u64,
    stamp: u64,
    /// Sectors of the platter that were damaged and not written since.
    damaged: BTreeSet<u64>,
    /// Those of them that cannot be read.
    unreadable: BTreeSet<u64>,
    /// Sectors that a loss of power left neither old nor new, and that were not written since.
    torn: BTreeSet<u64>,
    strays: Vec<Stray>,
    /// The sync that vouches for each page, as the platter counts those of the log; [`UNRESTED`] until there is one.
    rested: BTreeMap<u64, u64>,
    /// Write errors so far, and whether anybody has heard of the last.
    errors: u64,
    last_error_seen: bool,
    /// Whether a page may be shown that failed to be written.
    may_show_failed: bool,
}

impl FileBytes {
    /// The length shown.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether anything, the length included, is not on the platter.
    #[cfg(test)]
    pub fn is_dirty(&self) -> bool {
        self.len != self.durable_len || self.cache.values().any(|page| page.dirty != 0)
    }

    fn shown(&self, page: u64) -> Option<&Page> {
        self.cache.get(&page).map(|cached| &cached.bytes).or_else(|| self.platter.get(&page))
    }

    /// Whether a read of this range meets a sector that cannot be read.
    pub fn is_unreadable(&self, offset: u64, len: usize) -> bool {
        let end = (offset + len as u64).min(self.len);
        if self.unreadable.is_empty() || offset >= end {
            return false;
        }
        let shown_from_platter = |sector: &u64| !self.cache.contains_key(&(sector * SECTOR as u64 / PAGE as u64));
        let (first, last) = (offset / SECTOR as u64, (end - 1) / SECTOR as u64);
        self.unreadable.range(first..=last).any(shown_from_platter)
    }

    /// Sectors that rot can strike: on the platter, within the length, and shown from there.
    pub fn resting_sectors(&self) -> Vec<u64> {
        let per_page = SECTORS_PER_PAGE as u64;
        let resting = self.platter.iter().filter(|(page, _)| !self.cache.contains_key(page));
        let sectors = resting.flat_map(|(page, bytes)| {
            let holds = |sector: &u64| {
                let at = *sector as usize * SECTOR;
                bytes[at..at + SECTOR].iter().any(|byte| *byte != 0)
            };
            (0..per_page).filter(holds).map(move |sector| page * per_page + sector)
        });
        let end = self.len.min(self.durable_len);
        sectors.filter(|sector| sector * (SECTOR as u64) < end).collect()
    }

    /// The sync that vouches for the page of a sector; far in the future where there is none yet.
    pub fn rests_since(&self, sector: u64) -> u64 {
        self.rested.get(&(sector / SECTORS_PER_PAGE as u64)).copied().unwrap_or(UNRESTED)
    }

    /// A sync has succeeded: it vouches for everything that was written and not vouched for.
    pub fn rest(&mut self, sync: u64) {
        let cache = &self.cache;
        let clean = |page: &u64| cache.get(page).is_none_or(|cached| cached.dirty == 0);
        let written = self.rested.iter_mut().filter(|(page, since)| **since == UNRESTED && clean(page));
        written.for_each(|(_, since)| *since = sync);
    }

    /// Sectors that were damaged and not written since.
    pub fn damaged(&self) -> &BTreeSet<u64> {
        &self.damaged
    }

    /// Whether a sector holds anything but what was last synced there, or what was there before.
    pub fn is_impaired(&self, sector: u64) -> bool {
        self.damaged.contains(&sector) || self.torn.contains(&sector)
    }

    /// Whether no sector is impaired.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.torn.is_empty()
    }

    /// Damages a sector of the platter.
    pub fn damage(&mut self, sector: u64, damage: Damage, dice: &mut SeededDice) {
        let (page, at) = split(sector * SECTOR as u64);
        let end = self.len.saturating_sub(sector * SECTOR as u64).min(SECTOR as u64) as usize;
        let Some(bytes) = self.platter.get_mut(&page).map(|page| &mut page[at..at + end]) else { return };
        match damage {
            Damage::Flip(bits) => {
                let mut flipped = BTreeSet::new();
                while flipped.len() < (bits as usize).min(end * 8) {
                    flipped.insert(dice.below(end as u64 * 8) as usize);
                }
                flipped.into_iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
            }
            Damage::Zero => bytes.fill(0),
            Damage::Garbage => bytes.iter_mut().for_each(|byte| *byte = dice.next_u64() as u8),
            Damage::Unreadable => {
                self.unreadable.insert(sector);
            }
        }
        self.damaged.insert(sector);
    }

    /// What a handle opened now has to remember, to hear of errors that are not its own past: an error nobody has
    /// heard of is the next opener's.
    pub fn errors_at_open(&self) -> u64 {
        if self.last_error_seen { self.errors } else { self.errors.saturating_sub(1) }
    }

    /// Whether there was an error since `known`, which is then known; somebody has heard of it.
    pub fn hear_error(&mut self, known: &AtomicU64) -> bool {
        let before = known.swap(self.errors, Ordering::Relaxed);
        let news = self.errors > before;
        self.last_error_seen |= news;
        news
    }

    /// Whether somebody has heard of the last error.
    pub fn is_heard(&self) -> bool {
        self.last_error_seen
    }

    /// The system forgets errors that nobody has heard of, and with `evicts` what it shows of pages that failed.
    pub fn forget_errors(&mut self, evicts: bool) {
        self.last_error_seen = true;
        if evicts {
            self.cache.retain(|_, cached| cached.dirty != 0);
        }
    }

    /// The system drops some of the pages that failed to be written: what it shows of them from now on is what is on the
    /// platter. Tells how many, and which sectors it shows otherwise now than they were written, with what was.
    pub fn evict_failed(&mut self, dice: &mut SeededDice) -> (u64, Vec<(u64, [u8; SECTOR])>) {
        let (mut pages, mut lost, platter) = (0, Vec::new(), &self.platter);
        self.cache.retain(|page, cached| {
            let stays = cached.failed == 0 || dice.one_in(2);
            if !stays {
                pages += 1;
                for (number, sector) in numbers_of(*page, cached.failed).zip(sectors_of(cached.failed)) {
                    let written = &cached.bytes[sector.clone()];
                    let shown = platter.get(page).map_or(&[0; SECTOR][..], |bytes| &bytes[sector]);
                    if shown != written {
                        lost.push((number, written.try_into().expect("of one sector")));
                    }
                }
            }
            stays
        });
        (pages, lost)
    }

    /// Whether it shows something that failed to be written.
    pub fn shows_what_failed(&mut self) -> bool {
        // Most files never do, and all are asked at every turn.
        self.may_show_failed = self.may_show_failed && self.cache.values().any(|cached| cached.failed != 0);
        self.may_show_failed
    }

    /// Reads what is shown; the number of bytes is less than asked only at the end.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let wanted = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < wanted {
            let (page, at) = split(offset + done as u64);
            let piece = (PAGE - at).min(wanted - done);
            let target = &mut buf[done..done + piece];
            match self.shown(page) {
                Some(bytes) => target.copy_from_slice(&bytes[at..at + piece]),
                None => target.fill(0),
            }
            done += piece;
        }
        wanted
    }

    /// Writes into the cache.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (page, at) = split(offset + done as u64);
            let piece = &data[done..(done + PAGE - at).min(data.len())];
            // Zeroes over a hole change nothing that any crash could tell: files are made by the megabyte so.
            let hole = self.shown(page).is_none() && piece.iter().all(|byte| *byte == 0);
            if !hole {
                self.dirty_page(page, at..at + piece.len()).copy_from_slice(piece);
            }
            done += piece.len();
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// The bytes of a page about to change.
    fn dirty_page(&mut self, page: u64, part: std::ops::Range<usize>) -> &mut [u8] {
        self.stamp += 1;
        self.rested.insert(page, UNRESTED);
        let platter = &self.platter;
        let cached = self.cache.entry(page).or_insert_with(|| {
            let bytes = platter.get(&page).cloned().unwrap_or_else(|| Box::new([0; PAGE]));
            Cached { bytes, dirty: 0, failed: 0, stamp: 0 }
        });
        cached.stamp = self.stamp;
        cached.dirty |= std::mem::take(&mut cached.failed);
        for sector in part.start / SECTOR..=(part.end - 1) / SECTOR {
            cached.dirty |= 1 << sector;
        }
        &mut cached.bytes[part]
    }

    /// Cuts or grows the file. What is cut reads as zeroes if the file grows again, but stays on the platter
    /// until the zeroes are written: a crash may bring it back.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (first, at) = split(len);
            let known: Vec<u64> =
                self.platter.range(first..).map(|p| *p.0).chain(self.cache.range(first..).map(|p| *p.0)).collect();
            for page in known {
                let from = if page == first { at } else { 0 };
                self.dirty_page(page, from..PAGE).fill(0);
            }
        }
        self.len = len;
    }

    /// What a sync beginning now will make durable.
    pub fn capture(&self) -> Captured {
        let dirty = self.cache.iter().filter(|(_, cached)| cached.dirty != 0);
        let pages = dirty.map(|(page, c)| (*page, c.bytes.clone(), c.dirty, c.stamp)).collect();
        Captured { pages, len: self.len }
    }

    /// The sync succeeded; `fate` says what the device did with each page.
    pub fn make_durable(&mut self, captured: Captured, mut fate: impl FnMut(&Self, u64) -> WriteFate) {
        self.durable_len = captured.len;
        for (page, bytes, dirty, stamp) in captured.pages {
            // A page gone from the cache was written back meanwhile, as it was or newer.
            let Some(cached) = self.cache.get(&page) else { continue };
            let newer = cached.stamp != stamp;
            match fate(self, page) {
                WriteFate::Written => self.put_on_platter(page, &bytes, dirty),
                WriteFate::Lost => self.lose_write(page, dirty),
                WriteFate::Misdirected => self.misdirect(page, &bytes, dirty),
                WriteFate::Late { misdirected } => {
                    let before = self.platter.get(&page).cloned();
                    self.put_on_platter(page, &bytes, dirty);
                    self.strays.push(Stray { page, before, after: bytes, dirty, misdirected });
                }
            }
            let Some(cached) = self.cache.get_mut(&page).filter(|_| !newer) else { continue };
            // While the device has something else than it should, the system goes on showing what was written.
            if self.damaged.range(sectors_of_page(page)).next().is_some() {
                cached.dirty = 0;
            } else {
                self.cache.remove(&page);
            }
        }
        self.forget_beyond_end();
    }

    fn lose_write(&mut self, page: u64, dirty: u8) {
        self.platter.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        self.damaged.extend(numbers_of(page, dirty));
    }

    /// What was meant for a page lands on the page before it, or behind it if it is the first.
    fn misdirect(&mut self, page: u64, bytes: &Page, dirty: u8) {
        let other = page.checked_sub(1).unwrap_or(page + 1);
        self.lose_write(page, dirty);
        if self.platter.contains_key(&other) && !self.cache.contains_key(&other) {
            self.put_on_platter(other, bytes, dirty);
            self.damaged.extend(numbers_of(other, dirty));
        }
    }

    /// None of those that might have gone astray did.
    pub fn forgive_strays(&mut self) {
        self.strays.clear();
    }

    /// Shows which writes went astray late, of pages that are still as they were written and that enough syncs vouch for.
    /// The others were written after all. Tells how many.
    pub fn go_astray(&mut self, vouched: impl Fn(u64) -> bool, mut admits: impl FnMut() -> bool) -> u64 {
        let mut gone = 0;
        for Stray { page, before, after, dirty, misdirected } in std::mem::take(&mut self.strays) {
            let rests = |page: u64| {
                !self.cache.contains_key(&page) && vouched(self.rests_since(page * SECTORS_PER_PAGE as u64))
            };
            let stands = |at: &Page| sectors_of(dirty).all(|sector| at[sector.clone()] == after[sector]);
            if !rests(page) || !self.platter.get(&page).is_some_and(stands) || !admits() {
                continue;
            }
            gone += 1;
            let other = page.checked_sub(1).unwrap_or(page + 1);
            let lands = misdirected && rests(other) && self.platter.contains_key(&other);
            let before = before.unwrap_or_else(|| Box::new([0; PAGE]));
            self.put_on_platter(page, &before, dirty);
            self.damaged.extend(numbers_of(page, dirty));
            if lands {
                self.put_on_platter(other, &after, dirty);
                self.damaged.extend(numbers_of(other, dirty));
            }
        }
        gone
    }

    /// The sync fails: each page is on the platter or is not, and counts as clean either way, so that the
    /// next sync succeeds without writing it. Nobody has heard of it yet.
    pub fn fail_sync(&mut self, captured: Captured, dice: &mut SeededDice) {
        self.errors += 1;
        (self.last_error_seen, self.may_show_failed) = (false, true);
        for (page, bytes, dirty, _) in captured.pages {
            let written = dice.one_in(2);
            if written {
                self.put_on_platter(page, &bytes, dirty);
            }
            if let Some(cached) = self.cache.get_mut(&page) {
                cached.failed = if written { 0 } else { cached.dirty };
                cached.dirty = 0;
            }
        }
    }

    /// The system writes one page back by itself, or the length; a page that fails counts as clean, and nobody has
    /// heard of it yet.
    pub fn write_back_some(&mut self, dice: &mut SeededDice, fails: bool) {
        if dice.one_in(4) {
            self.durable_len = self.len;
            return;
        }
        let nth = dice.below(self.cache.len() as u64) as usize;
        let Some(page) = self.cache.keys().nth(nth).copied() else { return };
        let cached = self.cache.remove(&page).expect("the page was just found");
        if cached.dirty == 0 {
            // A failed sync has marked it clean: it will never be written.
            self.cache.insert(page, cached);
            return;
        }
        if fails {
            self.errors += 1;
            (self.last_error_seen, self.may_show_failed) = (false, true);
            self.cache.insert(page, Cached { dirty: 0, failed: cached.dirty, ..cached });
            return;
        }
        let (bytes, dirty) = (cached.bytes, cached.dirty);
        self.put_on_platter(page, &bytes, dirty);
    }

    fn put_on_platter(&mut self, page: u64, bytes: &Page, dirty: u8) {
        let target = self.platter.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        for sector in sectors_of(dirty) {
            target[sector.clone()].copy_from_slice(&bytes[sector]);
        }
        for sector in numbers_of(page, dirty) {
            self.damaged.remove(&sector);
            self.unreadable.remove(&sector);
            self.torn.remove(&sector);
        }
    }

    /// The power goes: of each dirty sector and of the length it is decided what had reached the platter. Now and then
    /// the device has written in order, up to some sector and nothing behind it. Errors nobody heard of are forgotten.
    pub fn lose_power(&mut self, fates: SectorFates, dice: &mut SeededDice) -> Toll {
        let mut toll = Toll::default();
        let cache = std::mem::take(&mut self.cache);
        let dirty: u64 = cache.values().map(|cached| u64::from(cached.dirty.count_ones())).sum();
        let in_order = fates.keep > 0 && fates.drop > 0 && dice.one_in(3);
        let mut left = if in_order { dice.below(dirty + 1) } else { u64::MAX };
        for (page, cached) in cache {
            for sector in sectors_of(cached.dirty) {
                let fates = match left {
                    u64::MAX => fates,
                    0 => SectorFates { keep: 0, drop: 1, tear: 0, garbage: 0 },
                    // The last one to be written is the one that may be torn.
                    1 => SectorFates { drop: 0, ..fates },
                    _ => SectorFates { keep: 1, drop: 0, tear: 0, garbage: 0 },
                };
                left = if in_order { left.saturating_sub(1) } else { left };
                let number = (page * PAGE as u64 + sector.start as u64) / SECTOR as u64;
                let target = self.platter.entry(page).or_insert_with(|| Box::new([0; PAGE]));
                let harmed = toll.torn + toll.garbage;
                if meet_fate(&mut target[sector.clone()], &cached.bytes[sector], fates, dice, &mut toll) {
                    self.damaged.remove(&number);
                    self.unreadable.remove(&number);
                    self.torn.remove(&number);
                } else if toll.torn + toll.garbage > harmed {
                    self.torn.insert(number);
                }
            }
        }
        if self.len != self.durable_len {
            toll.lengths += 1;
            self.durable_len = self.surviving_len(fates, dice);
        }
        self.len = self.durable_len;
        self.forget_beyond_end();
        (self.errors, self.last_error_seen) = (0, false);
        toll
    }

    /// The length after a loss of power: the new, the old, or, of a file that grew, any between.
    fn surviving_len(&self, fates: SectorFates, dice: &mut SeededDice) -> u64 {
        match (fates.keep, fates.drop) {
            (_, 0) => self.len,
            (0, _) => self.durable_len,
            _ => match dice.below(3) {
                0 => self.len,
                1 => self.durable_len,
                _ => self.durable_len + dice.below(self.len.saturating_sub(self.durable_len) + 1),
            },
        }
    }

    /// Bytes on the platter that no length reaches any more are never shown again.
    fn forget_beyond_end(&mut self) {
        let (last, at) = split(self.len.max(self.durable_len));
        self.platter.split_off(&(last + 1));
        if let Some(page) = self.platter.get_mut(&last) {
            page[at..].fill(0);
        }
        let beyond = self.len.max(self.durable_len).div_ceil(SECTOR as u64);
        self.damaged.split_off(&beyond);
        self.unreadable.split_off(&beyond);
        self.torn.split_off(&beyond);
    }

    /// A copy that is what the platter holds and nothing else.
    pub fn platter_only(&self) -> Self {
        let len = self.durable_len;
        let (damaged, unreadable) = (self.damaged.clone(), self.unreadable.clone());
        let (platter, rested) = (self.platter.clone(), self.rested.clone());
        let mut copy = Self { platter, rested, len, durable_len: len, damaged, unreadable, ..Self::default() };
        copy.forget_beyond_end();
        copy
    }
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

fn sectors_of(dirty: u8) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..SECTORS_PER_PAGE)
        .filter(move |sector| dirty & (1 << sector) != 0)
        .map(|sector| sector * SECTOR..(sector + 1) * SECTOR)
}

/// The numbers in the file of the sectors of a page that are dirty.
fn numbers_of(page: u64, dirty: u8) -> impl Iterator<Item = u64> {
    let first = page * SECTORS_PER_PAGE as u64;
    (0..SECTORS_PER_PAGE as u64).filter(move |sector| dirty & (1 << sector) != 0).map(move |sector| first + sector)
}

fn sectors_of_page(page: u64) -> std::ops::Range<u64> {
    page * SECTORS_PER_PAGE as u64..(page + 1) * SECTORS_PER_PAGE as u64
}

/// Where a sector is torn: half of the tears go through the bytes that change, however few they are.
fn tear_point(old: &[u8], new: &[u8], dice: &mut SeededDice) -> usize {
    let changes = |at: &usize| old[*at] != new[*at];
    let first = (0..new.len()).find(changes);
    let last = (0..new.len()).rfind(changes);
    match (first, last) {
        (Some(first), Some(last)) if first < last && dice.one_in(2) => {
            first + 1 + dice.below((last - first) as u64) as usize
        }
        _ => dice.below(new.len() as u64) as usize,
    }
}

/// Garbage takes only the bytes that were being changed: a device writes a sector whole or not, and what an
/// earlier sync promised in the same sector is not at stake. Whether the sector was written whole.
fn meet_fate(old: &mut [u8], new: &[u8], fates: SectorFates, dice: &mut SeededDice, toll: &mut Toll) -> bool {
    toll.dirty += 1;
    let drawn = dice.below(fates.keep + fates.drop + fates.tear + fates.garbage);
    if drawn < fates.keep {
        old.copy_from_slice(new);
        toll.kept += 1;
        return true;
    } else if drawn < fates.keep + fates.drop {
        toll.dropped += 1;
    } else if drawn < fates.keep + fates.drop + fates.tear {
        let cut = tear_point(old, new, dice);
        old[..cut].copy_from_slice(&new[..cut]);
        toll.torn += 1;
    } else {
        for (old, new) in old.iter_mut().zip(new).filter(|(old, new)| old != new) {
            *old = *new ^ (dice.next_u64() as u8);
        }
        toll.garbage += 1;
    }
    false
}
