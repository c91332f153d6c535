//! One file in two layers: what the system shows, and what is on the platter.
//!
//! Invariants: a page stands in `cache` only while it may differ from `platter`; a sector not marked dirty in
//! its cached page is not written by anything but another write. Bytes beyond the length shown read as zeroes.

use std::collections::BTreeMap;

use quorate::base::{Dice, SeededDice};

/// The unit a device writes whole, as a rule.
pub const SECTOR: usize = 512;
/// The unit the system caches.
pub const PAGE: usize = 4096;
const SECTORS_PER_PAGE: usize = PAGE / SECTOR;

type Page = Box<[u8; PAGE]>;

struct Cached {
    bytes: Page,
    /// One bit for each sector that is not on the platter yet.
    dirty: u8,
    /// The write that touched it last.
    stamp: u64,
}

/// What happens to a dirty sector when the power goes, as weights.
#[derive(Clone, Copy, Debug)]
pub struct SectorFates {
    /// It was written.
    pub keep: u64,
    /// It was not.
    pub drop: u64,
    /// Its first bytes were.
    pub tear: u64,
    /// The bytes being changed come out as anything.
    pub garbage: u64,
}

/// What became of the dirty sectors.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Toll {
    /// Sectors that were dirty.
    pub dirty: u64,
    /// Of these, written whole.
    pub kept: u64,
    /// Not written.
    pub dropped: u64,
    /// Written in part.
    pub torn: u64,
    /// Turned to garbage.
    pub garbage: u64,
    /// Files whose length went back or was ahead of the data.
    pub lengths: u64,
}

/// What a sync under way will make durable.
pub struct Captured {
    pages: Vec<(u64, Page, u8, u64)>,
    len: u64,
}

/// A file's bytes.
#[derive(Default)]
pub struct FileBytes {
    platter: BTreeMap<u64, Page>,
    cache: BTreeMap<u64, Cached>,
    len: u64,
    durable_len: u64,
    stamp: u64,
}

impl FileBytes {
    /// The length shown.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether anything, the length included, is not on the platter.
    pub fn is_dirty(&self) -> bool {
        self.len != self.durable_len || self.cache.values().any(|page| page.dirty != 0)
    }

    fn shown(&self, page: u64) -> Option<&Page> {
        self.cache.get(&page).map(|cached| &cached.bytes).or_else(|| self.platter.get(&page))
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
        let platter = &self.platter;
        let cached = self.cache.entry(page).or_insert_with(|| {
            let bytes = platter.get(&page).cloned().unwrap_or_else(|| Box::new([0; PAGE]));
            Cached { bytes, dirty: 0, stamp: 0 }
        });
        cached.stamp = self.stamp;
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

    /// The sync succeeded.
    pub fn make_durable(&mut self, captured: Captured) {
        self.durable_len = captured.len;
        for (page, bytes, dirty, stamp) in captured.pages {
            // A page gone from the cache was written back meanwhile, as it was or newer.
            let Some(cached) = self.cache.get(&page) else { continue };
            let newer = cached.stamp != stamp;
            self.to_platter(page, &bytes, dirty);
            if !newer {
                self.cache.remove(&page);
            }
        }
        self.forget_beyond_end();
    }

    /// The sync failed: each page is on the platter or is not, and counts as clean either way, so that the
    /// next sync succeeds without writing it.
    pub fn fail_sync(&mut self, captured: Captured, dice: &mut SeededDice) {
        for (page, bytes, dirty, _) in captured.pages {
            if dice.one_in(2) {
                self.to_platter(page, &bytes, dirty);
            }
            if let Some(cached) = self.cache.get_mut(&page) {
                cached.dirty = 0;
            }
        }
    }

    /// The system writes one page back by itself, or the length.
    pub fn write_back_some(&mut self, dice: &mut SeededDice) {
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
        let (bytes, dirty) = (cached.bytes, cached.dirty);
        self.to_platter(page, &bytes, dirty);
    }

    fn to_platter(&mut self, page: u64, bytes: &Page, dirty: u8) {
        let target = self.platter.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        for sector in sectors_of(dirty) {
            target[sector.clone()].copy_from_slice(&bytes[sector]);
        }
    }

    /// The power goes: of each dirty sector and of the length it is decided what had reached the platter.
    pub fn lose_power(&mut self, fates: SectorFates, dice: &mut SeededDice) -> Toll {
        let mut toll = Toll::default();
        for (page, cached) in std::mem::take(&mut self.cache) {
            for sector in sectors_of(cached.dirty) {
                let target = self.platter.entry(page).or_insert_with(|| Box::new([0; PAGE]));
                meet_fate(&mut target[sector.clone()], &cached.bytes[sector], fates, dice, &mut toll);
            }
        }
        if self.len != self.durable_len {
            toll.lengths += 1;
            self.durable_len = self.surviving_len(fates, dice);
        }
        self.len = self.durable_len;
        self.forget_beyond_end();
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
    }

    /// A copy that is what the platter holds and nothing else.
    pub fn platter_only(&self) -> Self {
        let len = self.durable_len;
        let mut copy = Self { platter: self.platter.clone(), cache: BTreeMap::new(), len, durable_len: len, stamp: 0 };
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

/// Garbage takes only the bytes that were being changed: a device writes a sector whole or not, and what an
/// earlier sync promised in the same sector is not at stake.
fn meet_fate(old: &mut [u8], new: &[u8], fates: SectorFates, dice: &mut SeededDice, toll: &mut Toll) {
    toll.dirty += 1;
    let drawn = dice.below(fates.keep + fates.drop + fates.tear + fates.garbage);
    if drawn < fates.keep {
        old.copy_from_slice(new);
        toll.kept += 1;
    } else if drawn < fates.keep + fates.drop {
        toll.dropped += 1;
    } else if drawn < fates.keep + fates.drop + fates.tear {
        let cut = dice.below(new.len() as u64) as usize;
        old[..cut].copy_from_slice(&new[..cut]);
        toll.torn += 1;
    } else {
        for (old, new) in old.iter_mut().zip(new).filter(|(old, new)| old != new) {
            *old = *new ^ (dice.next_u64() as u8);
        }
        toll.garbage += 1;
    }
}
