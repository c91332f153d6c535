//! From the chronicle to lanes: how each member stood, span by span, and which ways were cut, from when to when.
//!
//! Invariant: the spans of a member follow one another without a gap, from the first moment to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate::base::MemberId;
use quorate::consensus::Role;
use serde::Serialize;

use crate::chronicle::{Happening, Noted};
use crate::config::{host, member_id};
use crate::plan::{End, PowerLoss};
use crate::wires::{Host, Way};

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Stand {
    Down,
    Boots,
    Follows,
    Stands,
    Leads,
}

/// A member as it stood for a while.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Span {
    /// From when, in nanoseconds.
    pub from: u64,
    /// To when.
    pub to: u64,
    /// How it stood.
    pub stand: Stand,
    /// In which term; 0 where it did not say.
    pub term: u64,
    /// Whom it took for the leader.
    pub leader: Option<String>,
    /// In which life; 0 before the first.
    pub life: u64,
}

/// Something that lasted on top of that: a stall of the disk, a pause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Over {
    /// From when, in nanoseconds.
    pub from: u64,
    /// To when.
    pub to: u64,
    /// `pause` or `stall`.
    pub what: &'static str,
}

/// A moment of a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Moment {
    /// When, in nanoseconds.
    pub at: u64,
    /// `boot`, `kill`, `power` or `stop`.
    pub what: &'static str,
    /// In words.
    pub words: String,
}

/// A member's lane.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// How it stood.
    pub spans: Vec<Span>,
    /// What lay on top.
    pub over: Vec<Over>,
    /// Its moments.
    pub moments: Vec<Moment>,
}

/// A partition: ways that were cut, from when to when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Band {
    /// From when, in nanoseconds.
    pub from: u64,
    /// To when.
    pub to: u64,
    /// In a word or two.
    pub words: String,
    /// The ways, from and to.
    pub ways: Vec<(String, String)>,
    /// The members it is about; all, if it is about no one more than others.
    pub about: Vec<String>,
}

/// Nanoseconds of a time.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The lane of each member, up to `end`.
pub fn lanes(noted: &[Noted], members: usize, end: u64) -> Vec<Lane> {
    (0..members).map(|member| lane(noted, member, members, end)).collect()
}

fn lane(noted: &[Noted], member: usize, members: usize, end: u64) -> Lane {
    let names: BTreeMap<MemberId, String> = (0..members).map(|member| (member_id(member), host(member))).collect();
    let mut lane = Lane { name: host(member), ..Lane::default() };
    let mut now = Span { from: 0, to: end, stand: Stand::Down, term: 0, leader: None, life: 0 };
    let mut paused = None;
    for Noted { at, happening, .. } in noted.iter().filter(|noted| noted.member == Some(member)) {
        let at = nanos(*at);
        let before = now.clone();
        match happening {
            Happening::Begins(life) => {
                now = Span { stand: Stand::Boots, term: 0, leader: None, life: *life, ..now };
                lane.moments.push(Moment { at, what: "boot", words: format!("life {life} begins") });
            }
            Happening::Serves if now.stand == Stand::Boots => now.stand = Stand::Follows,
            Happening::Stands(standing) => {
                now.stand = match standing.role {
                    Role::Follower => Stand::Follows,
                    Role::Candidate => Stand::Stands,
                    Role::Leader => Stand::Leads,
                };
                now.term = standing.term;
                now.leader = standing.leader.and_then(|leader| names.get(&leader).cloned());
            }
            Happening::Ends(how) if now.stand != Stand::Down => {
                let (what, words) = ending(*how);
                lane.moments.push(Moment { at, what, words: format!("life {} ends: {words}", now.life) });
                now.stand = Stand::Down;
            }
            Happening::Stalls(time) => {
                lane.over.push(Over { from: at, to: (at + nanos(*time)).min(end), what: "stall" });
            }
            Happening::Pauses => paused = paused.or(Some(at)),
            _ => {}
        }
        let over = matches!(happening, Happening::GoesOn | Happening::Calms | Happening::Ends(_));
        if over && let Some(from) = paused.take() {
            lane.over.push(Over { from, to: at, what: "pause" });
        }
        if now != before {
            if at > before.from {
                lane.spans.push(Span { to: at, ..before });
            }
            now.from = at;
        }
    }
    lane.over.extend(paused.map(|from| Over { from, to: end, what: "pause" }));
    lane.spans.push(now);
    lane
}

fn ending(how: End) -> (&'static str, &'static str) {
    match how {
        End::Stop => ("stop", "stopped as asked"),
        End::Kill => ("kill", "killed"),
        End::Power(PowerLoss::DropAll) => ("power", "power lost, and everything unsynced"),
        End::Power(PowerLoss::KeepAll) => ("power", "power lost, everything written kept"),
        End::Power(PowerLoss::Torn) => ("power", "power lost, some sectors torn or dropped"),
        End::Power(PowerLoss::Garbage) => ("power", "power lost, some sectors garbage"),
    }
}

/// The partitions, up to `end`.
pub fn bands(noted: &[Noted], members: usize, end: u64) -> Vec<Band> {
    let mut bands = Vec::new();
    let mut open: Vec<(u64, &Vec<Way>)> = Vec::new();
    for Noted { at, happening, .. } in noted {
        let at = nanos(*at);
        let healed: Vec<(u64, &Vec<Way>)> = match happening {
            Happening::Cut(ways) => {
                open.push((at, ways));
                continue;
            }
            Happening::Heal(ways) => open.extract_if(.., |(_, cut)| *cut == ways).take(1).collect(),
            Happening::HealAll => std::mem::take(&mut open),
            _ => continue,
        };
        bands.extend(healed.into_iter().map(|(from, ways)| band(from, at, ways, members)));
    }
    bands.extend(open.into_iter().map(|(from, ways)| band(from, end, ways, members)));
    bands.sort_by_key(|band| (band.from, band.to));
    bands
}

fn band(from: u64, to: u64, ways: &[Way], members: usize) -> Band {
    let (words, about) = shape(ways, members);
    let name = |host_: &Host| match host_ {
        Host::Member(number) => host(*number),
        Host::Client(number) => client(*number),
    };
    let ways = ways.iter().map(|(from, to)| (name(from), name(to))).collect();
    Band { from, to, words, ways, about: about.into_iter().map(host).collect() }
}

/// The name of a client's lane.
pub fn client(number: u32) -> String {
    if number == u32::MAX { "auditor".to_string() } else { format!("c{number}") }
}

/// What the ways come to: the members that are apart from all others, mute or deaf; else how many are cut.
fn shape(ways: &[Way], members: usize) -> (String, Vec<usize>) {
    let cut: BTreeSet<(usize, usize)> = ways
        .iter()
        .filter_map(|way| match way {
            (Host::Member(from), Host::Member(to)) => Some((*from, *to)),
            _ => None,
        })
        .collect();
    let clients = if ways.len() > cut.len() { ", clients too" } else { "" };
    let others = |member: usize| (0..members).filter(move |other| *other != member);
    let mut told: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for member in (0..members).filter(|_| members > 1) {
        let mute = others(member).all(|other| cut.contains(&(member, other)));
        let deaf = others(member).all(|other| cut.contains(&(other, member)));
        let word = match (mute, deaf) {
            (true, true) => "apart",
            (true, false) => "mute",
            (false, true) => "deaf",
            (false, false) => continue,
        };
        told.entry(word).or_default().push(member);
    }
    if let Some((from, to)) = cut.first().filter(|_| cut.len() == 1) {
        return (format!("{} to {} cut{clients}", host(*from), host(*to)), vec![*from, *to]);
    }
    let involved = || cut.iter().flat_map(|(from, to)| [*from, *to]).collect::<BTreeSet<_>>().into_iter().collect();
    if told.is_empty() || (members == 2 && told.contains_key("apart")) {
        let count = format!("{} of {} links cut{clients}", cut.len(), members * members.saturating_sub(1));
        let words = match (cut.is_empty(), members) {
            (true, _) => "clients cut off".to_string(),
            (false, 2) if cut.len() == 2 => format!("m1 and m2 apart{clients}"),
            _ => count,
        };
        return (words, if cut.is_empty() { (0..members).collect() } else { involved() });
    }
    let words = told.iter().map(|(word, who)| {
        let who: Vec<String> = who.iter().map(|member| host(*member)).collect();
        format!("{} {word}", who.join(", "))
    });
    let words: Vec<String> = words.collect();
    (format!("{}{clients}", words.join("; ")), told.into_values().flatten().collect())
}

#[cfg(test)]
mod tests {
    use quorate::consensus::Standing;

    use super::*;
    use crate::plan::Cut;
    use crate::wires::ways;

    fn noted(at: u64, member: usize, happening: Happening) -> Noted {
        Noted { at: Duration::from_nanos(at), member: Some(member), happening }
    }

    fn network(at: u64, happening: Happening) -> Noted {
        Noted { at: Duration::from_nanos(at), member: None, happening }
    }

    #[test]
    fn the_spans_of_a_member_leave_no_gap() {
        let leads = Standing { role: Role::Leader, term: 3, leader: Some(member_id(0)), committed: 0, role_changes: 0 };
        let told = [
            noted(5, 0, Happening::Begins(1)),
            noted(7, 0, Happening::Serves),
            noted(9, 0, Happening::Stands(leads)),
            noted(10, 1, Happening::Begins(1)),
            noted(12, 0, Happening::Stalls(Duration::from_nanos(3))),
            noted(14, 0, Happening::Pauses),
            noted(20, 0, Happening::Ends(End::Kill)),
            noted(20, 0, Happening::Ends(End::Power(PowerLoss::Torn))),
            noted(25, 0, Happening::Begins(2)),
        ];
        let lanes = lanes(&told, 2, 30);
        let stands: Vec<_> = lanes[0].spans.iter().map(|span| (span.from, span.to, span.stand, span.term)).collect();
        let wanted = [
            (0, 5, Stand::Down, 0),
            (5, 7, Stand::Boots, 0),
            (7, 9, Stand::Follows, 0),
            (9, 20, Stand::Leads, 3),
            (20, 25, Stand::Down, 3),
            (25, 30, Stand::Boots, 0),
        ];
        assert_eq!(stands, wanted);
        assert_eq!(lanes[0].spans[3].leader.as_deref(), Some("m1"));
        let over = |from, to, what| Over { from, to, what };
        assert_eq!(lanes[0].over, [over(12, 15, "stall"), over(14, 20, "pause")]);
        let moments: Vec<_> = lanes[0].moments.iter().map(|moment| (moment.at, moment.what)).collect();
        assert_eq!(moments, [(5, "boot"), (20, "kill"), (25, "boot")]);
        assert_eq!(lanes[1].spans.len(), 2);
    }

    #[test]
    fn partitions_are_told_by_their_shape_and_end_when_they_heal() {
        let apart = ways(&Cut::Apart(crate::plan::Who::Member(0)), &[0], 3, &[]);
        let mute = ways(&Cut::Mute(crate::plan::Who::Member(1)), &[1], 3, &[0]);
        let ring = ways(&Cut::Ring, &[], 5, &[]);
        let told = [
            network(1, Happening::Cut(apart.clone())),
            network(2, Happening::Cut(mute)),
            network(4, Happening::Heal(apart.clone())),
            network(5, Happening::Cut(apart)),
            network(6, Happening::HealAll),
        ];
        let bands = bands(&told, 3, 9);
        let words: Vec<_> = bands.iter().map(|band| (band.from, band.to, &band.words[..])).collect();
        assert_eq!(words, [(1, 4, "m1 apart"), (2, 6, "m2 mute, clients too"), (5, 6, "m1 apart")]);
        assert_eq!(bands[0].about, ["m1"]);
        assert_eq!(shape(&ways(&Cut::Links(vec![(1, 0)]), &[], 2, &[]), 2).0, "m2 to m1 cut");
        assert_eq!(shape(&ring, 5), ("10 of 20 links cut".to_string(), vec![0, 1, 2, 3, 4]));
    }
}
