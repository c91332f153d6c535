//! One member's part in the consensus.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use raft::{RawNode, StateRole};

use super::conf_change::{self, ConfChange};
use super::guard::{self, Admission};
use super::jitter::Jitter;
use super::log_cache::LogCache;
use super::message::{MessageKind, PeerMessage};
use super::outbox::{self, Outbox};
use super::passed_over::PassedOver;
use super::promises::{OwnPromises, Promises};
use super::ready::{self, ConfirmedRead, ReadStamp, Ready};
use super::standing::{Electorate, Role, Standing, Stepped};
use crate::base::{LogIndex, MemberId, Refusal, Term, Wrong, limits};
use crate::wal::{Batch, HardState, LogEntry};

/// How a group starts.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// This member.
    pub member: MemberId,
    /// Who votes as of `applied`.
    pub electorate: Electorate,
    /// Ticks without a leader before an election; the timeout is drawn from `election_ticks..2*election_ticks`.
    pub election_ticks: usize,
    /// Ask before standing for election, so that a member cut off does not disturb the others.
    pub pre_vote: bool,
    /// Bytes of entries in one append to a follower; a larger entry goes alone.
    pub append_bytes: usize,
    /// Seed of the election timeouts, and what tells this life's reads from an earlier one's.
    pub seed: u64,
    /// What a checkpoint covers: the machine starts behind this entry.
    pub applied: (LogIndex, Term),
}

/// One member's part in the consensus. See the room's head for the invariants.
pub struct Group {
    pub(super) raw: RawNode<LogCache>,
    jitter: Jitter,
    role: StateRole,
    role_changes: u64,
    nonce: u64,
    election_ticks: usize,
    /// The last round whose batch was handed out, and the last whose batch is durable.
    handed_out: u64,
    persisted: u64,
    /// The round that carries what this member proposed last.
    own_round: u64,
    /// Ticks for which something handed out has not become durable.
    ticks_unsynced: usize,
    /// Ticks in a row in which nothing of what waits was applied.
    ticks_unapplied: usize,
    applied: LogIndex,
    /// The highest entry that another, as a leader, said to be committed.
    told_committed: LogIndex,
    pub(super) outbox: Outbox,
    /// It does not stand for election, whatever happens.
    pub(super) barred: bool,
    pub(super) passed_over: PassedOver,
    /// It is not known yet whether this member has what it promised: until then it does not stand either.
    pub(super) doubts: bool,
    pub(super) own: OwnPromises,
    pub(super) promises: Promises,
    /// The last entry, by term and index, that others said to be committed when this member started.
    pub(super) committed_elsewhere: (Term, LogIndex),
    /// Bytes stepped in since the last round.
    unready_bytes: usize,
    /// Bytes of entries handed out and not known durable, by round.
    undurable: VecDeque<(u64, usize)>,
    /// Their sum.
    pub(super) undurable_bytes: usize,
}

impl Group {
    /// Takes up the group where the log left it. `entries` follow each other without a gap and reach at least to
    /// `config.applied`, or begin right behind it; those up to it are kept for peers that lag a little.
    pub fn start(config: &GroupConfig, hard_state: HardState, entries: Vec<LogEntry>) -> Self {
        let ids = |members: &[MemberId]| members.iter().map(|member| member.0).collect();
        let conf_state = ConfState {
            voters: ids(&config.electorate.voters),
            learners: ids(&config.electorate.learners),
            ..ConfState::default()
        };
        let own = OwnPromises::new(hard_state, config.applied, &entries);
        let entries: Vec<Entry> = entries.into_iter().map(ready::raft_entry).collect();
        let cache = LogCache::new(ready::raft_hard_state(hard_state), conf_state, config.applied, entries);
        let raft_config = raft::Config {
            id: config.member.0,
            election_tick: config.election_ticks,
            heartbeat_tick: 1,
            applied: config.applied.0,
            max_size_per_msg: config.append_bytes as u64,
            max_inflight_msgs: limits::MAX_INFLIGHT_APPENDS,
            max_uncommitted_size: limits::MAX_PENDING_BYTES as u64,
            max_committed_size_per_ready: limits::APPLY_BYTES_PER_TURN as u64,
            check_quorum: true,
            pre_vote: config.pre_vote,
            ..raft::Config::default()
        };
        // The crate's own log lines carry nothing the node does not tell better.
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config, cache, &silent).expect("a recovered log is a valid raft log");
        let mut group = Self {
            raw,
            jitter: Jitter::new(config.seed ^ config.member.0, config.election_ticks),
            role: StateRole::Follower,
            role_changes: 0,
            nonce: config.seed,
            election_ticks: config.election_ticks,
            handed_out: 0,
            own_round: 0,
            persisted: 0,
            ticks_unsynced: 0,
            ticks_unapplied: 0,
            applied: config.applied.0,
            told_committed: 0,
            outbox: Outbox::new(hard_state.term),
            barred: false,
            passed_over: PassedOver::default(),
            doubts: false,
            own,
            promises: Promises::default(),
            committed_elsewhere: (0, 0),
            unready_bytes: 0,
            undurable: VecDeque::new(),
            undurable_bytes: 0,
        };
        group.settle();
        group
    }

    /// Stands for election at once. A lone voter wins without waiting for a timeout; it may not stand while anything
    /// it handed out is not durable.
    pub fn campaign(&mut self) {
        if self.may_stand() {
            // Refused only while a change of the configuration waits to be applied; a later tick tries again.
            let _ = self.raw.campaign();
            self.settle();
        }
    }

    /// The crate counts a lone voter's own vote at once, and expects of a leader that everything before its term is
    /// durable; where others vote, the request for their votes waits for that.
    fn may_stand(&self) -> bool {
        let all_durable = self.handed_out == self.persisted && self.raw.raft.raft_log.unstable_entries().is_empty();
        let whole = !self.doubts && !self.is_installing() && !self.lacks_committed();
        !self.barred && whole && (all_durable || !self.is_lone_voter())
    }

    /// Whether a snapshot was taken that is not applied. Until it is, this member does not stand: the crate would look
    /// for changes of the configuration behind what is applied, where there is no log any more.
    fn is_installing(&self) -> bool {
        self.raw.store().begins_behind() > self.applied
    }

    /// Whether this member is the only voter, so that it alone decides.
    pub fn is_lone_voter(&self) -> bool {
        self.raw.raft.prs().is_singleton() && self.raw.raft.promotable()
    }

    /// Whether this member votes.
    pub fn is_voter(&self) -> bool {
        self.raw.raft.promotable()
    }

    /// Told before each tick: whether so much is committed and not applied that no more is taken, and nothing of it was applied
    /// since the last.
    pub fn unapplied(&mut self, stands_still: bool) {
        self.ticks_unapplied = if stands_still { self.ticks_unapplied + 1 } else { 0 };
    }

    /// One tick of the logical clock.
    ///
    /// A leader whose disk has not answered for an election timeout, or whose history finds no end ([`Self::unapplied`]), hands
    /// over to the one who is furthest, and steps down after another; as long as the disk hangs, it does not stand again.
    pub fn tick(&mut self) {
        self.ticks_unsynced = if self.handed_out > self.persisted { self.ticks_unsynced + 1 } else { 0 };
        let ticks_hung = self.ticks_unsynced.max(self.ticks_unapplied);
        let hangs = ticks_hung >= self.election_ticks;
        let leads = self.raw.raft.state == StateRole::Leader;
        if hangs && leads && !self.is_lone_voter() {
            if ticks_hung >= 2 * self.election_ticks {
                let term = self.raw.raft.term;
                self.raw.raft.become_follower(term, raft::INVALID_ID);
            } else {
                self.transfer_to_heir();
            }
        }
        // A tick of one who does not lead can only bring it to stand.
        if leads || (!hangs && self.may_stand()) {
            self.raw.tick();
        } else {
            // A leader it hears nothing of is over for it, too: another that asks for its vote is not refused for one.
            let silent = self.raw.raft.election_elapsed + 1;
            self.raw.raft.election_elapsed = silent.min(self.election_ticks);
        }
        self.settle();
    }

    /// So many ticks without a leader count as passed, but not all that it waits for; nothing where there is one.
    pub fn advance_election(&mut self, ticks: usize) {
        let raft = &mut self.raw.raft;
        if raft.leader_id == raft::INVALID_ID && raft.state == StateRole::Follower {
            let passed = raft.election_elapsed + ticks;
            raft.election_elapsed = passed.min(self.election_ticks.saturating_sub(1)).max(raft.election_elapsed);
        }
    }

    /// Whether the disk has not answered for an election timeout.
    pub fn disk_hangs(&self) -> bool {
        self.ticks_unsynced >= self.election_ticks
    }

    /// Whether another, as a leader, said that this entry is committed. The leader that said it itself cannot know who
    /// heard it: the crate has it step down as soon as it has applied its own removal.
    pub fn others_know(&self, index: LogIndex) -> bool {
        self.told_committed >= index
    }

    /// Proposes entries, in order, in one step; a follower passes them on to its leader, and they may get lost.
    ///
    /// Refused without a leader ([`Refusal::NoLeader`]), and where too much is not committed yet or the leadership is
    /// being handed over ([`Refusal::TooManyRequests`]): then none of it has reached a log.
    pub fn propose(&mut self, payloads: impl IntoIterator<Item = Bytes>) -> Result<(), Refusal> {
        let entries = payloads.into_iter().map(|data| Entry { data, ..Entry::default() }).collect();
        self.propose_entries(entries)
    }

    /// Proposes a change of the configuration. While another is not applied, its entry becomes an empty one.
    pub fn propose_change(&mut self, change: &ConfChange) -> Result<(), Refusal> {
        let mut entry = Entry { data: change.encode(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChange);
        conf_change::to_inside(&mut entry);
        self.propose_entries(vec![entry])
    }

    fn propose_entries(&mut self, entries: Vec<Entry>) -> Result<(), Refusal> {
        if self.raw.raft.leader_id == raft::INVALID_ID {
            return Err(Refusal::NoLeader);
        }
        let mut message = Message { from: self.raw.raft.id, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = entries.into();
        let outcome = self.raw.step(message);
        self.own_round = self.handed_out + 1;
        self.settle();
        outcome.map_err(|_| Refusal::TooManyRequests)
    }

    /// Whether a proposal finds a leader now: there is one, it is not handing over, and it was heard of within the last
    /// heartbeats. What is passed on to a leader that is gone is lost, and its outcome open.
    pub fn takes_proposals(&self) -> bool {
        let raft = &self.raw.raft;
        let heard = raft.state == StateRole::Leader || raft.election_elapsed <= limits::LEADER_SILENT_TICKS;
        raft.leader_id != raft::INVALID_ID && raft.lead_transferee.is_none() && heard
    }

    /// Whether a proposal should wait for the batch that is being made durable, so that what comes meanwhile becomes the
    /// next one: it could not become durable sooner, and the others are told once. Not where the disk is slow to answer:
    /// they may commit without it.
    ///
    /// It waits for its own last batch alone: where others pass proposals on all the time, some batch always is under way.
    pub fn gathers(&self) -> bool {
        let under_way = self.own_round.min(self.handed_out) > self.persisted;
        self.raw.raft.state == StateRole::Leader && under_way && self.ticks_unsynced == 0
    }

    /// Whether a change of the configuration may be under way.
    pub fn has_pending_change(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Takes in a message of another member.
    ///
    /// What no sound peer sends is turned away with the reason, and harms nothing. An error is damage: this member's
    /// log is not what it was, and it must stop.
    pub fn step(&mut self, message: PeerMessage) -> Result<Stepped, Wrong> {
        let from = message.from();
        match guard::admit(&self.raw.raft, &message.0) {
            Admission::Sound => self.promises.heard(&self.raw.raft, &message),
            Admission::Malformed(why) => return Ok(Stepped::TurnedAway(why)),
            Admission::PeerLogLost { acknowledged, last } => {
                self.count_on(from, last);
                return Ok(Stepped::PeerLogLost { member: from, acknowledged, last });
            }
            // Once it is asked it counts on no more than there is.
            Admission::OwnLogLost { .. } if self.doubts => return Ok(Stepped::CountsOnMore),
            Admission::OwnLogLost { acknowledged, last } => {
                return Err(guard::own_log_lost(acknowledged, last, from.0));
            }
            Admission::OwnLogDiffers { index } => {
                return Err(guard::own_log_differs(index, from.0));
            }
        }
        if message.kind() == MessageKind::TimeoutNow && from.0 != self.raw.raft.leader_id {
            // The crate would stand for election on anybody's word, past the leases of the others.
            return Ok(Stepped::TurnedAway("only the leader hands over"));
        }
        if message.kind() == MessageKind::TimeoutNow && !self.may_stand() {
            // Who hands over waits for an election timeout and goes on.
            return Ok(Stepped::Taken);
        }
        if self.asks_too_early(&message) {
            // It cannot win: a majority has more.
            return Ok(Stepped::Taken);
        }
        let bytes = message.payload_bytes();
        if bytes > 0 && message.kind() == MessageKind::Append && self.undurable_bytes > limits::MAX_UNDURABLE_BYTES {
            // The disk does not follow: the leader sends them again when it is told how far this member is.
            return Ok(Stepped::Taken);
        }
        self.unready_bytes += bytes;
        if matches!(message.kind(), MessageKind::Append | MessageKind::Heartbeat) {
            self.told_committed = self.told_committed.max(message.0.commit);
        }
        // Refused where the sender is no member, or what it passes on finds no leader: it asks again.
        let _ = self.raw.step(message.0);
        self.settle();
        Ok(Stepped::Taken)
    }

    /// Whether so much was stepped in that a round should be taken before more: what one batch of the log may hold.
    pub fn is_heavy(&self) -> bool {
        self.unready_bytes >= limits::MAX_BATCH_BYTES
    }

    /// A message to this member, or the connection to it, was lost.
    pub fn unreachable(&mut self, member: MemberId) {
        self.raw.report_unreachable(member.0);
        self.settle();
    }

    /// Asks for the index a linearizable read must wait for. `attempt` must never be used twice in this life: it comes
    /// back in [`Ready::reads`]. The request is dropped silently without a leader, before the first commit of a term,
    /// and on the way, so the caller tries again with a new attempt.
    pub fn read_index(&mut self, attempt: u64) {
        let context = ReadStamp { member: MemberId(self.raw.raft.id), nonce: self.nonce, attempt };
        self.raw.read_index(context.encode());
        self.settle();
    }

    /// What is to be done, or nothing. Taking it hands the entries over: they must be persisted in the
    /// order of the numbers, and [`Group::persisted`] told.
    pub fn ready(&mut self) -> Option<Ready> {
        if !self.raw.has_ready() {
            return None;
        }
        self.unready_bytes = 0;
        let mut rd = self.raw.ready();
        let number = rd.number();
        let snapshot = self.snapshot_of(&rd);
        let batch = self.batch_of(&mut rd);
        let committed: Vec<LogEntry> = rd.take_committed_entries().iter().map(ready::log_entry).collect();
        let reads = rd.take_read_states().into_iter().filter_map(|state| self.confirmed(state)).collect();
        let mut messages = rd.take_messages();
        messages.append(&mut rd.take_persisted_messages());
        self.raw.advance_append_async(rd);
        if !batch.is_empty() || snapshot.is_some() {
            self.handed_out = number;
            let bytes: usize = batch.entries.iter().map(|entry| entry.data.len()).sum();
            self.undurable.push_back((number, bytes));
            self.undurable_bytes += bytes;
            self.outbox.handed_out(number, self.raw.raft.term);
        } else if self.handed_out <= self.persisted {
            // Nothing to persist, and nothing before it is under way: the round is done. Otherwise the
            // acknowledgement of a later round covers it.
            self.raw.on_persist_ready(number);
        }
        let settled = self.handed_out <= self.persisted;
        let own = self.raw.raft.id;
        let messages = messages.into_iter().map(PeerMessage).filter_map(|message| outbox::in_own_name(own, message));
        let messages = outbox::joined(messages.collect());
        messages.iter().for_each(|message| self.own.says(&message.0));
        let messages = messages.into_iter();
        let messages = messages.filter_map(|message| self.outbox.post(self.handed_out, settled, message)).collect();
        self.settle();
        Some(Ready { number, snapshot, batch, messages, committed, reads })
    }

    fn snapshot_of(&mut self, rd: &raft::Ready) -> Option<(LogIndex, Term)> {
        let metadata = rd.snapshot().get_metadata();
        let snapshot = (metadata.index, metadata.term);
        if snapshot.0 == 0 {
            return None;
        }
        self.raw.mut_store().restart_behind(snapshot, metadata.get_conf_state().clone());
        Some(snapshot)
    }

    fn batch_of(&mut self, rd: &mut raft::Ready) -> Batch {
        let entries = rd.take_entries();
        let mut batch = Batch::default();
        if let Some(state) = rd.hs() {
            self.raw.mut_store().set_hard_state(state.clone());
            // A commit index that moved by itself is not worth a sync: it rides with the next batch.
            if rd.must_sync() {
                batch.hard_state = Some(ready::hard_state(state));
            }
        }
        self.raw.mut_store().append(&entries);
        batch.entries = entries.iter().map(ready::log_entry).collect();
        // Where a change of the members is committed it does not wait: who was removed may be gone soon, and who forgot that it
        // was would wait for its vote for ever.
        let changes = rd.committed_entries().iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        if (changes || !batch.entries.is_empty()) && batch.hard_state.is_none() {
            batch.hard_state = Some(ready::hard_state(&self.raw.raft.hard_state()));
        }
        batch
    }

    /// Only what this life of this member asked counts.
    fn confirmed(&self, state: raft::ReadState) -> Option<ConfirmedRead> {
        let context = ReadStamp::decode(&state.request_ctx)?;
        let own = context.member.0 == self.raw.raft.id && context.nonce == self.nonce;
        own.then_some(ConfirmedRead { attempt: context.attempt, index: state.index })
    }

    /// The batches of all rounds up to `number` are durable: the messages that waited for it.
    #[must_use]
    pub fn persisted(&mut self, number: u64) -> Vec<PeerMessage> {
        assert!(self.persisted < number && number <= self.handed_out, "rounds are persisted in order");
        self.persisted = number;
        self.ticks_unsynced = 0;
        while let Some((_, bytes)) = self.undurable.front().filter(|(round, _)| *round <= number) {
            self.undurable_bytes -= bytes;
            self.undurable.pop_front();
        }
        self.raw.on_persist_ready(number);
        let messages = self.outbox.persisted(number);
        self.settle();
        messages
    }

    /// The machine has applied everything up to `index`.
    pub fn applied(&mut self, index: LogIndex) {
        assert!(index >= self.applied, "applying never goes back");
        assert!(index <= self.raw.raft.raft_log.committed, "only committed entries are applied");
        assert!(index <= self.raw.raft.raft_log.persisted, "only what is durable here is applied");
        self.applied = index;
        self.raw.advance_apply_to(index);
        self.raw.mut_store().set_applied(index);
        self.settle();
    }

    /// Takes a committed change of the configuration into force. One that the machine refused must not come here. The
    /// electorate after it.
    ///
    /// A leader that is no voter any more steps down: it could not commit anything further.
    pub fn apply_change(&mut self, change: &ConfChange) -> Electorate {
        if let Some(change) = change.for_raft() {
            let conf_state = self.raw.apply_conf_change(&change).expect("the machine refuses an impossible change");
            self.raw.mut_store().set_conf_state(conf_state);
        }
        if self.raw.raft.state == StateRole::Leader && !self.raw.raft.promotable() {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        self.settle();
        self.electorate()
    }

    /// Who votes now.
    pub fn electorate(&self) -> Electorate {
        let conf_state = self.raw.raft.prs().conf().to_conf_state();
        let members = |ids: &[u64]| {
            let mut members: Vec<MemberId> = ids.iter().copied().map(MemberId).collect();
            members.sort_unstable();
            members
        };
        Electorate { voters: members(&conf_state.voters), learners: members(&conf_state.learners) }
    }

    /// Forgets entries a durable checkpoint covers.
    pub fn release(&mut self, index: LogIndex) {
        assert!(index <= self.applied, "only applied entries are released");
        self.raw.mut_store().release(index);
    }

    /// Where the member stands now.
    pub fn standing(&self) -> Standing {
        let raft = &self.raw.raft;
        Standing {
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            term: raft.term,
            leader: (raft.leader_id != raft::INVALID_ID).then_some(MemberId(raft.leader_id)),
            committed: raft.raft_log.committed,
            role_changes: self.role_changes,
        }
    }

    /// The timeout of a follower: it stands when it is its turn behind the leader.
    fn turn(&self) -> Option<usize> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Follower || raft.leader_id == raft::INVALID_ID {
            return None;
        }
        let behind_leader = |member: u64| member.wrapping_sub(raft.leader_id);
        let own = behind_leader(raft.id);
        let (mut turn, mut voters) = (0, 0);
        for member in raft.prs().conf().voters().ids().iter() {
            voters += 1;
            turn += usize::from(member != raft.leader_id && behind_leader(member) < own);
        }
        self.jitter.turn(turn, voters)
    }

    /// After every call that may have drawn an election timeout: put ours in its place.
    pub(super) fn settle(&mut self) {
        if self.raw.raft.state != self.role {
            self.role = self.raw.raft.state;
            self.role_changes += 1;
        }
        let drawn = || self.jitter.timeout(self.raw.raft.term, self.role_changes);
        let timeout = self.turn().unwrap_or_else(drawn);
        self.raw.raft.set_randomized_election_timeout(timeout);
        let log = &self.raw.raft.raft_log;
        assert!(self.applied <= log.committed && log.committed <= log.last_index(), "the raft counters form a chain");
    }
}
