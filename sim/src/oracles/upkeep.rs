//! What members answer who looks after them: digests, and how they stand.
//!
//! A digest is made here once more, from the changes that the model knows and in etcd's rule, so that an answer is held against
//! what it must be and not against other answers alone. How a member stands is what it has applied: between the place that it
//! names and the one where it stood when it said so; in one life it never falls, and its alarms are those of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use quorate::mvcc::HashKv;
use quorate::node::NodeStatus;
use quorate_spec::Vantage;
use quorate_spec::request::{Answer, Event, Request, text};

use super::ledger::Ledger;
use super::{Verdict, Violation, require};
use crate::convert;

/// What etcd's digest begins with: the name of its bucket.
const BUCKET: &[u8] = b"key";

/// A change and its place: main and sub-revision.
type Change<'a> = ((i64, usize), &'a Event);

/// What each byte makes of CRC-32C.
const SUMS: [u32; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};

/// CRC-32C, going on from `sum`.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum >> 8) ^ SUMS[usize::from(sum as u8 ^ byte)];
    !bytes.iter().fold(!sum, step)
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        to.push(field << 3 | 2);
        put_varint(to, bytes.len() as u64);
        to.extend_from_slice(bytes);
    }
}

fn put_number(to: &mut Vec<u8>, field: u8, number: i64) {
    if number != 0 {
        to.push(field << 3);
        put_varint(to, number as u64);
    }
}

/// The key and the value that etcd's file has for a change.
fn entry_of(((main, sub), event): Change<'_>) -> Vec<u8> {
    let mut entry = main.to_be_bytes().to_vec();
    entry.push(b'_');
    entry.extend_from_slice(&(sub as i64).to_be_bytes());
    if event.deleted {
        entry.push(b't');
    }
    put_bytes(&mut entry, 1, &event.kv.key);
    if !event.deleted {
        put_number(&mut entry, 2, event.kv.create_revision);
        put_number(&mut entry, 3, event.kv.mod_revision);
        put_number(&mut entry, 4, event.kv.version);
        put_bytes(&mut entry, 5, &event.kv.value);
        put_number(&mut entry, 6, event.kv.lease);
    }
    entry
}

/// The changes up to a revision, in order.
fn changes(ledger: &Ledger, at: i64) -> Vec<Change<'_>> {
    let until = ledger.model().events_from(0).take_while(|(main, _)| *main <= at);
    until.flat_map(|(main, events)| (0..).zip(events).map(move |(sub, event)| ((main, sub), event))).collect()
}

/// Of each key that lives at a revision the change that made it what it is.
fn living<'a>(changes: &[Change<'a>], at: i64) -> BTreeMap<&'a [u8], (i64, usize)> {
    let mut living = BTreeMap::new();
    for (place, event) in changes.iter().take_while(|((main, _), _)| *main <= at) {
        if event.deleted {
            living.remove(&event.kv.key[..]);
        } else {
            living.insert(&event.kv.key[..], *place);
        }
    }
    living
}

fn digest<'a>(changes: &[Change<'a>], counts: impl Fn(&Change<'a>) -> bool) -> u32 {
    let counted = changes.iter().filter(|change| counts(change));
    counted.fold(crc32c(0, BUCKET), |sum, change| crc32c(sum, &entry_of(*change)))
}

/// Of what is compacted counts what lives at `alive_at`, of the rest everything.
fn digest_alive(changes: &[Change<'_>], compacted: i64, alive_at: i64) -> u32 {
    let living = living(changes, alive_at);
    digest(changes, |(place, event)| {
        place.0 > compacted || !event.deleted && living.get(&event.kv.key[..]) == Some(place)
    })
}

/// The digest at a revision of a store that is compacted at another. etcd counts, of what is compacted, what lives at the
/// revision; unless nothing does, where it overlooks what was deleted and put again in that very revision.
fn digest_at(ledger: &Ledger, at: i64, compacted: i64) -> u32 {
    let changes = changes(ledger, at);
    let died: BTreeSet<&[u8]> = changes
        .iter()
        .filter(|((main, _), event)| *main == at && event.deleted)
        .map(|(_, event)| &event.kv.key[..])
        .collect();
    let found = |(key, place): (&&[u8], &(i64, usize))| place.0 < at || at == compacted || !died.contains(*key);
    let any = living(&changes, at).iter().any(found);
    digest_alive(&changes, compacted, if any { at } else { compacted })
}

/// The digest that a compaction at a revision keeps, of a store that was compacted at another before.
fn digest_kept(ledger: &Ledger, at: i64, before: i64) -> u32 {
    digest_alive(&changes(ledger, at), before, at)
}

/// The digest of all that can be read.
fn digest_all(ledger: &Ledger, Vantage { revision, compacted }: Vantage) -> u32 {
    let changes = changes(ledger, revision);
    let living = living(&changes, compacted);
    let sum = digest(&changes, |(place, event)| place.0 >= compacted || living.get(&event.kv.key[..]) == Some(place));
    crc32c(sum, &compacted.to_be_bytes())
}

/// Where a view may have been taken and what was forgotten when it was read, which may be more than when it was taken.
fn sights(ledger: &Ledger, window: RangeInclusive<usize>) -> BTreeSet<Vantage> {
    let mut sights = BTreeSet::new();
    let vantages = &ledger.vantages()[window];
    for (from, taken) in vantages.iter().enumerate() {
        if from > 0 && vantages[from - 1].revision == taken.revision {
            continue;
        }
        let later = vantages[from..].iter().map(|later| later.compacted).collect::<BTreeSet<i64>>();
        sights.extend(later.into_iter().map(|compacted| Vantage { revision: taken.revision, compacted }));
    }
    sights
}

/// What a client heard of the digest at a revision, with the revision in the header.
pub type HeardDigest = Result<(HashKv, i64), String>;

/// The digest at a revision that was asked for; 0 is now. It is what the changes come to, in one moment of its window.
pub fn hash_kv(ledger: &Ledger, window: RangeInclusive<usize>, asked: i64, got: &HeardDigest) -> Verdict {
    let end = *window.end();
    let sights = sights(ledger, window);
    let so = match got {
        Err(text) => sights.iter().any(|sight| {
            let at = if asked == 0 { sight.revision } else { asked };
            asked >= 0
                && (text == text::COMPACTED && at < sight.compacted
                    || text == text::FUTURE_REVISION && at > sight.revision)
        }),
        Ok((got, header)) => {
            let fresh = sights.contains(&Vantage { revision: *header, compacted: got.compact_revision })
                && (if asked == 0 { *header } else { asked }) == got.hash_revision
                && got.hash_revision <= *header
                && (asked < 0 && got.hash == crc32c(0, BUCKET)
                    || asked >= 0
                        && got.hash_revision >= got.compact_revision
                        && got.hash == digest_at(ledger, got.hash_revision, got.compact_revision));
            // At the revision of a compaction it is the one that this one kept, with the compact revision before.
            let keeps = || {
                sights.iter().any(|sight| sight.revision == *header)
                    && got.hash_revision == asked
                    && compacted_at(ledger, asked, end).any(|before| before == got.compact_revision)
                    && got.hash == digest_kept(ledger, asked, got.compact_revision)
            };
            fresh || keeps()
        }
    };
    require(so, "a digest is what the changes come to", || {
        let expected = got.as_ref().map(|(got, _)| {
            let of = |made: fn(&Ledger, i64, i64) -> u32| made(ledger, got.hash_revision, got.compact_revision);
            (of(digest_at), of(digest_kept))
        });
        format!("at {asked}: {got:?}\nby the changes, made now and kept {expected:?}\nwithin {sights:?}")
    })
}

/// The compact revisions before the compactions at a revision, up to a place.
fn compacted_at(ledger: &Ledger, revision: i64, end: usize) -> impl Iterator<Item = i64> {
    let done = ledger.entries().values().take_while(move |entry| entry.place <= end);
    done.filter_map(move |entry| match (&entry.request, &entry.step.answer) {
        (Some(Request::Compact { revision: at }), Ok(Answer::Compact)) if *at == revision => {
            Some(entry.before.compacted)
        }
        _ => None,
    })
}

/// The digest of all that can be read, with the revision in the header.
pub fn hash(ledger: &Ledger, window: RangeInclusive<usize>, (got, header): (u32, i64)) -> Verdict {
    let sights = sights(ledger, window);
    let of_header = || sights.iter().filter(|sight| sight.revision == header);
    require(of_header().any(|sight| digest_all(ledger, *sight) == got), "a digest is what the changes come to", || {
        let expected: Vec<_> = of_header().map(|sight| (sight, digest_all(ledger, *sight))).collect();
        format!("of all: {got} at revision {header}, by the changes {expected:?}\nwithin {sights:?}")
    })
}

/// What of a member's standing never falls in one life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Told {
    life: u64,
    term: u64,
    committed: u64,
    applied: u64,
    revision: i64,
    compacted: i64,
    refuted: u64,
}

/// How members said they stand.
#[derive(Debug, Default)]
pub struct StatusJudge(BTreeMap<usize, Told>);

impl StatusJudge {
    /// A member says in this life how it stands.
    pub fn tells(&mut self, ledger: &Ledger, (member, life): (usize, u64), status: &NodeStatus) -> Verdict {
        let now = Told {
            life,
            term: status.term,
            committed: status.committed,
            applied: status.applied,
            revision: status.revision,
            compacted: status.compact_revision,
            refuted: status.states_refuted,
        };
        let story = || format!("member {member}: {status:?}");
        // A state that was refuted had revisions that another has not.
        let before = self.0.insert(member, now).filter(|before| (before.life, before.refuted) == (life, now.refuted));
        if let Some(before) = before {
            let falls = before.term > now.term
                || before.committed > now.committed
                || before.applied > now.applied
                || before.revision > now.revision
                || before.compacted > now.compacted;
            require(!falls, "how a member stands never falls in one life", || {
                format!("{}\nbefore {before:?}", story())
            })?;
        }
        require(now.applied <= now.committed, "what is applied is committed", story)?;
        stands(ledger, member, status)
    }
}

/// How a member says it stands is how it stood behind some entry, not before the one that it names, nor behind what it has applied.
fn stands(ledger: &Ledger, member: usize, status: &NodeStatus) -> Verdict {
    let named = ledger.place_of(status.applied);
    let reached = ledger.stands(member).max(named);
    let within = |what: fn(&Vantage) -> i64, told: i64| {
        let (low, high) = (what(&ledger.vantages()[named]), what(&ledger.vantages()[reached]));
        (low..=high).contains(&told)
    };
    let story = |what: &str| {
        let (low, high) = (ledger.vantages()[named], ledger.vantages()[reached]);
        Violation::now(
            "a member stands where it says",
            format!("member {member}, {what}: {status:?}\nfrom {low:?} to {high:?}"),
        )
    };
    if !within(|vantage| vantage.revision, status.revision) {
        return Err(story("the revision"));
    }
    if !within(|vantage| vantage.compacted, status.compact_revision) {
        return Err(story("the compact revision"));
    }
    let told: BTreeSet<_> = status.alarms.iter().map(|(member, kind)| (member.0, convert::alarm_kind(*kind))).collect();
    let stood = (named..=reached).any(|place| ledger.commons_at(place).alarms == told);
    if stood { Ok(()) } else { Err(story("the alarms")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_castagnoli_one() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"12345"), b"6789"), 0xe306_9283, "it goes on");
    }

    #[test]
    fn a_number_is_as_long_as_it_needs_to_be() {
        let mut bytes = Vec::new();
        [1, 127, 128, 300].into_iter().for_each(|number| put_varint(&mut bytes, number));
        assert_eq!(bytes, [1, 127, 0x80, 1, 0xac, 2]);
    }
}
