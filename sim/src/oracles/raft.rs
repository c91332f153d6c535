//! Raft's own promises, from what members tell of themselves while they do it.
//!
//! *One leader a term*; *log matching*: an entry of an index and a term is the same on everyone's log, and so is the one
//! before it; *leader completeness*: who leads holds everything anyone has applied; a term never falls, a vote is given
//! once a term; only the leader of a term sends entries in it; raft counts whom the applied log lets vote, and needs a majority of
//! them ([`super::quorum`]); and no promise leaves before the log was told durable: an
//! answer to an append covers what is durable here, a vote is written before it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fxhash::FxHashMap;
use quorate::base::MemberId;
use quorate::consensus::{Electorate, MessageKind, PeerMessage, Role, Standing};
use quorate::wal::{Batch, HardState, LogEntry};

use super::quorum::{QuorumJudge, Word};
use super::roster::{Circle, Roster};
use super::{Verdict, require};
use crate::env::true_now;

/// What was handed to the log and is not told durable.
#[derive(Clone, Debug)]
struct Flying {
    number: u64,
    /// The first of its entries.
    first: Option<u64>,
    /// The hard state with it.
    state: HardState,
}

/// What is known of one member.
#[derive(Debug, Default)]
struct Told {
    /// The terms of its log, as far as it was handed out in any life.
    log: BTreeMap<u64, u64>,
    /// From here on the log may not be what was handed out: a life ended before it was durable.
    doubtful: Option<u64>,
    /// Entries, with their terms, that what is not durable took the place of: a crash may have left them.
    displaced: BTreeSet<(u64, u64)>,
    flying: VecDeque<Flying>,
    /// Told durable in this life, or what may have been left by the one before.
    durable: HardState,
    /// Handed out in the life before and perhaps durable.
    left: Option<HardState>,
    /// The newest handed out.
    handed: HardState,
    standing: Option<(u64, Role)>,
}

impl Told {
    /// The term of an entry of the log, where it is known.
    fn term_of(&self, index: u64) -> Option<u64> {
        self.log.get(&index).copied().filter(|_| !self.is_doubtful(index))
    }

    fn is_doubtful(&self, index: u64) -> bool {
        self.doubtful.is_some_and(|from| from <= index)
    }

    /// Other entries take the place of those from `first` on.
    fn cut(&mut self, first: u64) {
        self.displaced.extend(self.log.split_off(&first));
        self.doubtful = self.doubtful.filter(|from| *from < first);
    }

    /// What was handed out last is durable.
    fn settle(&mut self) {
        if self.flying.is_empty() && self.doubtful.is_none() {
            self.displaced.clear();
        }
    }
}

/// One entry wherever it was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    digest: u64,
    /// The term of the entry before it, where known.
    before: Option<u64>,
}

/// What is known of a member whose disk is copied.
pub struct Copied {
    log: BTreeMap<u64, u64>,
    durable: HardState,
    handed: HardState,
}

/// See the module's head.
#[derive(Default)]
pub struct RaftJudge {
    /// For whom a member voted in a term, whatever became of its disk since.
    votes: BTreeMap<(usize, u64), MemberId>,
    members: Vec<Told>,
    ids: Vec<MemberId>,
    seen: FxHashMap<(u64, u64), Seen>,
    leaders: BTreeMap<u64, usize>,
    led_since: Duration,
    roster: Roster,
    quorum: QuorumJudge,
}

impl RaftJudge {
    /// Nothing is known of these members yet.
    pub fn new(ids: Vec<MemberId>) -> Self {
        Self { members: ids.iter().map(|_| Told::default()).collect(), ids, ..Self::default() }
    }

    /// When someone last began to lead.
    pub fn led_since(&self) -> Duration {
        self.led_since
    }

    /// Who belongs to the cluster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// A member applies a change of the members.
    pub fn reconfigured(&mut self, member: usize, entry: &LogEntry) -> Verdict {
        self.roster.applied(member, entry)
    }

    /// A member's raft counts these, with everything up to an entry applied.
    pub fn counts(&mut self, member: usize, electorate: &Electorate, applied: u64) -> Verdict {
        self.quorum.counts(self.ids[member], &electorate.voters);
        let Some(Circle { voters, learners, .. }) = self.roster.at(applied) else { return Ok(()) };
        let same = electorate.voters == *voters && electorate.learners == *learners;
        require(same, "raft counts whom the applied log lets vote", || {
            format!(
                "member {member} has applied entry {applied}, by which {voters:x?} vote and {learners:x?} learn: {electorate:x?}"
            )
        })
    }

    /// A member says that the log is committed up to an entry; in which term it leads, if it does.
    fn commits(&mut self, member: usize, leads: Option<u64>, index: u64) -> Verdict {
        let told = &self.members[member];
        let is_durable = !told.flying.iter().any(|flying| flying.first.is_some_and(|first| first <= index));
        self.quorum.committed(
            Word { member: self.ids[member], leads, index, term: told.term_of(index), is_durable },
            true_now(),
        )
    }

    /// The newest term in which somebody was elected, and when someone last began to lead.
    pub fn last_elected(&self) -> (u64, Duration) {
        (self.leaders.last_key_value().map_or(0, |(term, _)| *term), self.led_since)
    }

    /// Whether a member has led in any term.
    pub fn has_led(&self, member: usize) -> bool {
        self.leaders.values().any(|leader| *leader == member)
    }

    /// How many led so far.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// The term of an entry of a member's log, as it was handed out.
    pub fn term_at(&self, member: usize, index: u64) -> Option<u64> {
        self.members[member].term_of(index)
    }

    /// Whether a member's disk says that the log is committed up to an entry.
    pub fn knows_committed(&self, member: usize, index: u64) -> bool {
        self.members[member].durable.commit >= index
    }

    /// A member's disk is copied.
    pub fn copied(&self, member: usize) -> Copied {
        let Told { log, durable, handed, .. } = &self.members[member];
        Copied { log: log.clone(), durable: *durable, handed: *handed }
    }

    /// And put back to the copy, before its next life.
    pub fn put_back(&mut self, member: usize, Copied { log, durable, handed }: Copied) {
        self.members[member] = Told { log, durable, left: Some(handed), handed: durable, ..Told::default() };
    }

    /// Its disk is lost, before its next life.
    pub fn wiped(&mut self, member: usize) {
        self.members[member] = Told::default();
        self.quorum.wiped(self.ids[member]);
    }

    /// A new life of a member begins.
    pub fn new_life(&mut self, member: usize) {
        // Whoever voted alone so far: the others have not begun.
        let lone = self.members.iter().enumerate().all(|(other, told)| other == member || told.log.is_empty());
        self.forget_unheard(member);
        let told = &mut self.members[member];
        if lone && let Some(first) = told.flying.iter().filter_map(|flying| flying.first).min() {
            // Nobody else heard of them, and their term may be lost with them.
            for (index, term) in told.log.range(first..) {
                self.seen.remove(&(*index, *term));
            }
        }
        told.left = told.flying.iter().next_back().map(|flying| flying.state).or(told.left);
        let open = told.flying.iter().filter_map(|flying| flying.first).min();
        told.doubtful = told.doubtful.into_iter().chain(open).min();
        told.flying.clear();
        told.handed = told.durable;
        told.standing = None;
        self.quorum.new_life(self.ids[member]);
    }

    /// What a member handed out as the leader of a term that is not durable with it: who leads alone needs nobody's vote, and
    /// nothing is said in such a term. It may lead in it once more.
    fn forget_unheard(&mut self, member: usize) {
        let told = &self.members[member];
        let own = |term: &u64| *term > told.durable.term && self.leaders.get(term).is_none_or(|led| *led == member);
        let Some(first) = told.flying.iter().filter_map(|flying| flying.first).min() else { return };
        let unheard: Vec<(u64, u64)> =
            told.log.range(first..).filter(|(_, term)| own(term)).map(|(index, term)| (*index, *term)).collect();
        for entry in unheard {
            self.seen.remove(&entry);
        }
    }

    /// A member's role or term changed. `applied` is the last entry anyone has applied, and its term.
    pub fn stands(&mut self, member: usize, standing: &Standing, applied: Option<(u64, u64)>) -> Verdict {
        let told = &mut self.members[member];
        let before = told.standing.replace((standing.term, standing.role));
        let least = before.map_or(0, |(term, _)| term).max(told.durable.term);
        require(standing.term >= least, "a term never falls", || {
            format!("member {member} was in term {least} and is in {}", standing.term)
        })?;
        let leads = standing.role == Role::Leader;
        self.commits(member, leads.then_some(standing.term), standing.committed)?;
        if !leads || before == Some((standing.term, Role::Leader)) {
            return Ok(());
        }
        self.led_since = true_now();
        let leader = *self.leaders.entry(standing.term).or_insert(member);
        require(leader == member, "one leader a term", || {
            format!("in term {} member {leader} led, and now member {member}", standing.term)
        })?;
        let number = |voter: MemberId| self.ids.iter().position(|id| *id == voter);
        let voted = |voter| number(voter).and_then(|voter| self.votes.get(&(voter, standing.term)));
        let elect = self.ids[member];
        self.quorum.elected(elect, standing.term, |voter| voted(voter) == Some(&elect))?;
        // One who is elected in a term that is over already, by votes that came late, owes what was committed before it.
        let Some((index, term)) = applied.filter(|(_, term)| *term < standing.term) else { return Ok(()) };
        let told = &self.members[member];
        let log = &told.log;
        let left = told.is_doubtful(index) && told.displaced.contains(&(index, term));
        let holds = match log.get(&index) {
            Some(held) => *held == term || left,
            // Before the first entry it was handed: of a snapshot, or of the founding.
            None => log.first_key_value().is_none_or(|(first, _)| *first > index),
        };
        require(holds, "who leads holds everything committed (leader completeness)", || {
            let end = log.last_key_value();
            format!(
                "member {member} leads term {}; entry {index} of term {term} was applied, its log has {:?} there and ends at {end:?}",
                standing.term,
                log.get(&index)
            )
        })
    }

    /// A member hands a batch to its log.
    pub fn appends(&mut self, member: usize, number: u64, batch: &Batch) -> Verdict {
        let told = &mut self.members[member];
        if let Some(state) = batch.hard_state {
            let before = std::mem::replace(&mut told.handed, state);
            let known = if before.term >= told.durable.term { before } else { told.durable };
            let once = state.term > known.term || known.vote == 0 || state.vote == known.vote;
            require(state.term >= known.term && once, "a term never falls, a vote is given once a term", || {
                format!("member {member}: {known:?} is followed by {state:?}")
            })?;
        }
        let first = batch.entries.first().map(|entry| entry.index);
        told.flying.push_back(Flying { number, first, state: told.handed });
        if let Some(first) = first {
            told.cut(first);
        }
        for entry in &batch.entries {
            let before = told.term_of(entry.index.saturating_sub(1));
            told.log.insert(entry.index, entry.term);
            let digest = fxhash::hash64(&(entry.kind as u8, &entry.data[..]));
            let seen = self.seen.entry((entry.index, entry.term)).or_insert(Seen { digest, before });
            let same = seen.digest == digest && (seen.before.is_none() || before.is_none() || seen.before == before);
            seen.before = seen.before.or(before);
            require(same, "an entry of a term is the same on every log (log matching)", || {
                format!(
                    "member {member}: entry {} of term {} behind one of {before:?}, was {seen:?}",
                    entry.index, entry.term
                )
            })?;
        }
        Ok(())
    }

    /// A member takes over another's state up to an entry: its log begins anew behind it.
    pub fn installs(&mut self, member: usize, number: u64, (index, term): (u64, u64), batch: &Batch) -> Verdict {
        let told = &mut self.members[member];
        told.cut(0);
        told.log = BTreeMap::from([(index, term)]);
        self.appends(member, number, batch)?;
        let flying = self.members[member].flying.back_mut().expect("what was handed out just now is under way");
        // An answer that covers the snapshot is one for it.
        flying.first = flying.first.map_or(Some(index), |first| Some(first.min(index)));
        Ok(())
    }

    /// A member was told that what it handed out is durable, up to a number.
    pub fn persisted(&mut self, member: usize, number: u64) {
        let told = &mut self.members[member];
        while let Some(flying) = told.flying.pop_front_if(|flying| flying.number <= number) {
            told.durable = flying.state;
            told.left = None;
        }
        told.settle();
    }

    /// A message leaves.
    pub fn sends(&mut self, member: usize, message: &PeerMessage) -> Verdict {
        let term = message.term();
        match message.kind() {
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Snapshot | MessageKind::TimeoutNow => {
                // It may send before it tells that it leads.
                let leader = *self.leaders.entry(term).or_insert(member);
                require(leader == member, "one leader a term: nobody else sends entries in it", || {
                    format!("member {member} sends {:?} in term {term}, led by {leader}", message.kind())
                })?;
                self.commits(member, Some(term), message.commit())
            }
            MessageKind::AppendResponse if !message.rejects() => {
                let index = message.index();
                let open =
                    |flying: &&Flying| flying.first.is_some_and(|first| first <= index) && flying.state.term <= term;
                let open = self.members[member].flying.iter().find(open);
                self.quorum.acknowledges(self.ids[member], term, index, true_now());
                require(open.is_none(), "an append is answered when it is durable (honesty)", || {
                    format!("member {member} answers for entry {index} in term {term}, but {open:?} is not durable")
                })
            }
            MessageKind::VoteResponse if !message.rejects() => self.votes(member, term, message.to()),
            MessageKind::Vote => {
                self.stands_for_election(member)?;
                self.votes(member, term, self.ids[member])
            }
            MessageKind::PreVote => self.stands_for_election(member),
            _ => Ok(()),
        }
    }

    fn stands_for_election(&self, member: usize) -> Verdict {
        let Some((end, _)) = self.members[member].log.last_key_value() else { return Ok(()) };
        self.quorum.stands(self.ids[member], *end, true_now())
    }

    fn votes(&mut self, member: usize, term: u64, candidate: MemberId) -> Verdict {
        let given = *self.votes.entry((member, term)).or_insert(candidate);
        require(given == candidate, "a vote is given once a term, whatever becomes of the disk", || {
            format!("member {member} voted in term {term} for {given:x?} and votes for {candidate:x?}")
        })?;
        self.vote(member, term, candidate)
    }

    /// A vote leaves, in this term for this member.
    fn vote(&self, member: usize, term: u64, candidate: MemberId) -> Verdict {
        let told = &self.members[member];
        let covers = |state: &HardState| state.term > term || (state.term == term && state.vote == candidate.0);
        let covered = covers(&told.durable) || told.left.as_ref().is_some_and(covers);
        require(covered, "a vote is durable before it leaves (honesty)", || {
            format!(
                "member {member} votes in term {term} for {candidate:x?}; durable is {:?}, left {:?}, under way {:?}",
                told.durable, told.left, told.flying
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate::wal::EntryKind;

    use super::*;

    fn judge() -> RaftJudge {
        RaftJudge::new(vec![MemberId(11), MemberId(12), MemberId(13)])
    }

    fn batch(term: u64, vote: u64, entries: &[(u64, u64, &'static [u8])]) -> Batch {
        let entry = |(index, term, data): &(u64, u64, &'static [u8])| LogEntry {
            index: *index,
            term: *term,
            kind: EntryKind::Normal,
            data: bytes::Bytes::from_static(data),
        };
        Batch { hard_state: Some(HardState { term, vote, commit: 0 }), entries: entries.iter().map(entry).collect() }
    }

    fn leads(term: u64) -> Standing {
        Standing { role: Role::Leader, term, leader: None, committed: 0, role_changes: 0 }
    }

    #[test]
    fn two_leaders_of_a_term_are_noticed_and_a_leader_without_what_was_applied() {
        let mut judge = judge();
        judge.appends(0, 1, &batch(2, 11, &[(4, 2, b"a"), (5, 2, b"b")])).unwrap();
        judge.appends(1, 1, &batch(2, 11, &[(4, 2, b"a")])).unwrap();
        assert!(judge.stands(0, &leads(2), None).is_ok());
        assert!(judge.stands(1, &leads(2), None).is_err());
        assert!(judge.stands(0, &leads(3), Some((5, 2))).is_ok());
        assert!(judge.stands(1, &leads(4), Some((5, 2))).is_err(), "entry 5 is missing");
        assert!(judge.stands(0, &leads(2), None).is_err(), "back in an older term");
    }

    #[test]
    fn logs_that_do_not_match_are_noticed() {
        let mut judge = judge();
        judge.appends(0, 1, &batch(2, 11, &[(4, 2, b"a"), (5, 2, b"b")])).unwrap();
        assert!(judge.appends(1, 1, &batch(2, 11, &[(4, 2, b"x")])).is_err());
        judge.appends(2, 1, &batch(2, 11, &[(4, 1, b"a")])).unwrap();
        assert!(judge.appends(2, 2, &batch(2, 11, &[(5, 2, b"b")])).is_err(), "another one before it");
    }

    #[test]
    fn what_a_crash_may_have_taken_is_not_held_against_anyone() {
        let mut judge = judge();
        judge.appends(2, 1, &batch(8, 13, &[(3, 8, b"c"), (4, 8, b"d")])).unwrap();
        judge.persisted(2, 1);
        // A successor's entry takes the place of one, and is lost with the life.
        judge.appends(2, 2, &batch(9, 12, &[(4, 9, b"x")])).unwrap();
        judge.new_life(2);
        assert_eq!((judge.term_at(2, 3), judge.term_at(2, 4)), (Some(8), None), "one of two");
        assert!(judge.stands(2, &leads(10), Some((4, 8))).is_ok(), "it may have been left");
        judge.appends(2, 1, &batch(10, 13, &[(5, 10, b"e")])).unwrap();
        judge.appends(0, 1, &batch(10, 13, &[(4, 8, b"d"), (5, 10, b"e")])).unwrap();
        assert!(judge.appends(1, 1, &batch(10, 13, &[(4, 9, b"x"), (5, 10, b"e")])).is_err(), "now it is known");
        assert!(judge.stands(2, &leads(11), Some((4, 7))).is_err(), "it never was this one");
    }

    #[test]
    fn one_that_leads_alone_may_lead_once_more_in_a_term_that_was_lost() {
        let mut judge = judge();
        judge.appends(1, 1, &batch(1, 11, &[(1, 1, b"a")])).unwrap();
        judge.appends(0, 1, &batch(1, 11, &[(1, 1, b"a")])).unwrap();
        judge.persisted(0, 1);
        judge.stands(0, &leads(2), None).unwrap();
        judge.appends(0, 2, &batch(2, 11, &[(2, 2, b"b")])).unwrap();
        judge.new_life(0);
        judge.appends(0, 1, &batch(2, 11, &[])).unwrap();
        judge.persisted(0, 1);
        judge.appends(0, 2, &batch(2, 11, &[(2, 2, b"c")])).unwrap();
        // The term is durable: what was said in it others may have heard.
        judge.new_life(0);
        assert!(judge.appends(0, 1, &batch(2, 11, &[(2, 2, b"d")])).is_err());
    }

    #[test]
    fn a_vote_is_given_once_a_term() {
        let mut judge = judge();
        judge.appends(0, 1, &batch(3, 12, &[])).unwrap();
        assert!(judge.appends(0, 2, &batch(3, 13, &[])).is_err());
        assert!(judge.appends(1, 1, &batch(3, 12, &[])).is_ok());
        assert!(judge.appends(1, 2, &batch(2, 12, &[])).is_err());
        assert!(judge.vote(0, 3, MemberId(12)).is_err(), "not durable yet");
        judge.persisted(0, 1);
        assert!(judge.vote(0, 3, MemberId(12)).is_ok());
        assert!(judge.vote(0, 3, MemberId(13)).is_err());
    }
}
