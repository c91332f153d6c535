//! What the system has lost without a word: sectors that were written, could not be brought to the platter, and were dropped from memory
//! before anybody heard of the error. Whoever reads there sees what was there before, and cannot know.
//!
//! Knows what should be there, and until when it was not: no sector longer than until all of it was written again.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::log::frame::{self, FRAME_HEADER_BYTES};
use quorate::log::{FrameWrong, LOG_HISTORY, Place};

use super::clock::true_now;
use super::file::{FileBytes, SECTOR};

/// A sector that is not shown as it was written.
struct LostSector {
    /// In which life that was.
    life: u64,
    /// What was written there.
    written: [u8; SECTOR],
    /// Since when it is shown so again.
    until: Option<Duration>,
}

/// See the module's head. By file and number of the sector.
#[derive(Default)]
pub struct LostSectors(BTreeMap<String, BTreeMap<u64, LostSector>>);

/// From when on somebody read, and who: the present life, or the one before that ended at this time.
#[derive(Clone, Copy)]
pub struct Reader {
    /// When he began.
    pub since: Duration,
    /// The number of the present life, or of the time behind the last.
    pub life: u64,
    /// When the last life ended.
    pub ended_at: Duration,
}

impl Reader {
    /// Whether he may have read while a sector was lost.
    fn meets(&self, lost: &LostSector) -> bool {
        let lived = lost.life == self.life || lost.life + 2 >= self.life && self.ended_at >= self.since;
        lived && lost.until.is_none_or(|until| until >= self.since)
    }
}

impl LostSectors {
    /// Sectors of a file were dropped in a life, each with what was written there.
    pub fn drop_from(&mut self, name: &str, life: u64, sectors: Vec<(u64, [u8; SECTOR])>) {
        let file = self.0.entry(name.to_string()).or_default();
        for (number, written) in sectors {
            let known = file.get(&number).filter(|known| known.life == life && known.until.is_none());
            // What was lost before and not made good is not in what was shown when it was lost again.
            let written = known.map_or(written, |known| known.written);
            file.insert(number, LostSector { life, written, until: None });
        }
    }

    /// This was written to a file, which shows `bytes` now.
    pub fn write(&mut self, name: &str, offset: u64, data: &[u8], bytes: &FileBytes) {
        let Some(file) = self.0.get_mut(name) else { return };
        let end = offset + data.len() as u64;
        let touched = offset / SECTOR as u64..end.div_ceil(SECTOR as u64);
        for (number, lost) in file.range_mut(touched).filter(|(_, lost)| lost.until.is_none()) {
            let start = number * SECTOR as u64;
            let (from, to) = (offset.max(start), end.min(start + SECTOR as u64));
            let piece = &data[(from - offset) as usize..(to - offset) as usize];
            lost.written[(from - start) as usize..(to - start) as usize].copy_from_slice(piece);
            let mut shown = [0; SECTOR];
            bytes.read(start, &mut shown);
            lost.until = (shown == lost.written).then(true_now);
        }
    }

    /// A file was cut at this length: what was lost behind it is not missed any more.
    pub fn cut(&mut self, name: &str, len: u64) {
        let first = len.div_ceil(SECTOR as u64);
        let Some(file) = self.0.get_mut(name) else { return };
        for (_, lost) in file.range_mut(first..).filter(|(_, lost)| lost.until.is_none()) {
            lost.until = Some(true_now());
        }
    }

    /// Whether what was lost accounts for a record of the history that a reader did not find at this offset of a file, which shows
    /// `bytes` now: some of its bytes were lost, and with these put back it is whole.
    pub fn accounts_for(&self, (name, offset): (&str, u64), reader: Reader, bytes: Option<&FileBytes>) -> bool {
        let Some(file) = self.0.get(name) else { return false };
        let met = |from: u64, to: u64| {
            file.range(from / SECTOR as u64..to.div_ceil(SECTOR as u64)).any(|(_, lost)| reader.meets(lost))
        };
        match bytes {
            Some(bytes) => whole_len(file, name, offset, bytes).is_some_and(|len| met(offset, offset + len)),
            // He read in a life that has ended, and what was shown then is gone.
            None => met(offset, u64::MAX),
        }
    }

    /// Whether anything of a file was lost to a reader: of what he misses in the order of its records nobody can say where it was.
    pub fn any(&self, name: &str, reader: Reader) -> bool {
        self.0.get(name).is_some_and(|file| file.values().any(|lost| reader.meets(lost)))
    }
}

/// The length of the record at an offset with what was lost put back, if it is whole so.
fn whole_len(file: &BTreeMap<u64, LostSector>, name: &str, offset: u64, bytes: &FileBytes) -> Option<u64> {
    let number = name.rsplit_once('/')?.1.strip_suffix(".seg")?;
    let place = Place { log: LOG_HISTORY, segment: u64::from_str_radix(number, 16).ok()?, offset };
    let mut need = FRAME_HEADER_BYTES;
    loop {
        let mut record = vec![0; need];
        bytes.read(offset, &mut record);
        for (number, lost) in file.iter().filter(|(_, lost)| lost.until.is_none()) {
            for (at, byte) in (number * SECTOR as u64..).zip(lost.written) {
                if let Some(target) = at.checked_sub(offset).and_then(|at| record.get_mut(at as usize)) {
                    *target = byte;
                }
            }
        }
        match frame::decode_slice(place, &record) {
            Ok(whole) => return Some(whole.total as u64),
            Err(FrameWrong::Short { need: more }) if more > need => need = more,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use madsim::runtime::Runtime;

    use super::*;

    const FILE: &str = "history/0000000000000007.seg";
    const SINCE: Duration = Duration::ZERO;

    /// Three records of some 700 bytes, and where each begins.
    fn records() -> (Vec<u8>, [u64; 3]) {
        let (mut out, mut starts) = (BytesMut::new(), [0; 3]);
        for (n, start) in starts.iter_mut().enumerate() {
            *start = out.len() as u64;
            let place = Place { log: LOG_HISTORY, segment: 7, offset: *start };
            frame::encode(&mut out, place, 1, &[&[n as u8 + 1; 700]]);
        }
        (out.to_vec(), starts)
    }

    fn sector(of: &[u8], number: usize) -> [u8; SECTOR] {
        of[number * SECTOR..(number + 1) * SECTOR].try_into().unwrap()
    }

    const READS: Reader = Reader { since: SINCE, life: 1, ended_at: Duration::ZERO };

    #[test]
    fn what_was_lost_accounts_for_the_records_it_was_of_and_for_no_others() {
        Runtime::new().block_on(async {
            let (written, [first, second, third]) = records();
            let (mut shown, mut lost) = (FileBytes::default(), LostSectors::default());
            shown.write(0, &written);
            shown.write(3 * SECTOR as u64, &[0; SECTOR]);
            assert!(!lost.accounts_for((FILE, third), READS, Some(&shown)), "nothing was lost");
            lost.drop_from(FILE, 1, vec![(3, sector(&written, 3))]);
            let found = |at| lost.accounts_for((FILE, at), READS, Some(&shown));
            assert_eq!([first, second, third].map(found), [false, false, true]);
            assert!(lost.any(FILE, READS) && !lost.any("history/0000000000000008.seg", READS));
            let later = Reader { since: Duration::from_secs(1), life: 3, ..READS };
            assert!(!lost.accounts_for((FILE, third), later, Some(&shown)), "another life");
            let before = Reader { life: 2, ended_at: Duration::from_secs(3), ..READS };
            assert!(lost.accounts_for((FILE, third), before, None), "he read in that life");
            // What is damaged otherwise is damaged.
            shown.write(third + 650, &[9]);
            assert!(!lost.accounts_for((FILE, third), READS, Some(&shown)));
        });
    }

    #[test]
    fn what_is_written_again_is_lost_no_more() {
        Runtime::new().block_on(async {
            let (written, [.., third]) = records();
            let (mut shown, mut lost) = (FileBytes::default(), LostSectors::default());
            shown.write(0, &written);
            let start = 3 * SECTOR as u64;
            shown.write(start, &[0; SECTOR]);
            lost.drop_from(FILE, 1, vec![(3, sector(&written, 3))]);
            let half = SECTOR / 2;
            let mut write = |at: usize, lost: &mut LostSectors| {
                let data = &sector(&written, 3)[at..at + half];
                shown.write(start + at as u64, data);
                lost.write(FILE, start + at as u64, data, &shown);
                lost.accounts_for((FILE, third), Reader { since: Duration::MAX, ..READS }, Some(&shown))
            };
            assert!(write(half, &mut lost), "half of it is still lost");
            // What is shown when it is lost again is not what was written.
            lost.drop_from(FILE, 1, vec![(3, [0; SECTOR])]);
            assert!(!write(0, &mut lost));
            assert!(lost.any(FILE, READS), "who began before may have seen it");
            lost.drop_from(FILE, 1, vec![(4, [1; SECTOR])]);
            let reads_now = Reader { since: Duration::MAX, ..READS };
            assert!(lost.any(FILE, reads_now));
            lost.cut(FILE, start);
            assert!(!lost.any(FILE, reads_now), "it was cut");
        });
    }
}
