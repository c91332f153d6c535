//! One member's part in the consensus.

use bytes::Bytes;
use raft::eraftpb::{ConfChange, ConfState, Entry, Message, MessageType};
use raft::{RawNode, StateRole};

use super::codec::{protobuf_bytes, protobuf_from};
use super::jitter::Jitter;
use super::log_cache::LogCache;
use super::ready::{self, ConfirmedRead, Ready};
use crate::base::{LogIndex, MemberId, Refusal, Term};
use crate::wal::{Batch, EntryKind, HardState, LogEntry};

/// What a member does in its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are raft's")]
pub enum Role {
    Follower,
    Candidate,
    Leader,
}

/// Where a member stands in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Whom it takes for the leader.
    pub leader: Option<MemberId>,
    /// The highest index known to be committed.
    pub committed: LogIndex,
    /// Elections and defeats seen since start.
    pub role_changes: u64,
}

/// How a group starts.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// This member.
    pub member: MemberId,
    /// The voters as of `applied`.
    pub voters: Vec<MemberId>,
    /// Ticks without a leader before an election; the timeout is drawn from `election_ticks..2*election_ticks`.
    pub election_ticks: usize,
    /// Ask before standing for election, so that a member cut off does not disturb the others.
    pub pre_vote: bool,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// What a checkpoint covers: the machine starts behind this entry.
    pub applied: (LogIndex, Term),
}

/// One member's part in the consensus. See the room's head for the invariants.
pub struct Group {
    raw: RawNode<LogCache>,
    jitter: Jitter,
    role: StateRole,
    role_changes: u64,
    /// The last round whose batch was handed out, and the last whose batch is durable.
    handed_out: u64,
    persisted: u64,
    applied: LogIndex,
}

impl Group {
    /// Takes up the group where the log left it. `entries` follow `config.applied` without a gap.
    pub fn start(config: &GroupConfig, hard_state: HardState, entries: Vec<LogEntry>) -> Self {
        let conf_state =
            ConfState { voters: config.voters.iter().map(|member| member.0).collect(), ..ConfState::default() };
        let entries: Vec<Entry> = entries.into_iter().map(ready::raft_entry).collect();
        let cache = LogCache::new(ready::raft_hard_state(hard_state), conf_state, config.applied, entries);
        let raft_config = raft::Config {
            id: config.member.0,
            election_tick: config.election_ticks,
            heartbeat_tick: 1,
            applied: config.applied.0,
            max_size_per_msg: 1024 * 1024,
            max_inflight_msgs: 512,
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
            handed_out: 0,
            persisted: 0,
            applied: config.applied.0,
        };
        group.settle();
        group
    }

    /// Stands for election at once. A lone voter wins without waiting for a timeout.
    pub fn campaign(&mut self) {
        // Refused only while a change of the configuration waits to be applied; a later tick tries again.
        let _ = self.raw.campaign();
        self.settle();
    }

    /// Whether this member is the only voter, so that it alone decides.
    pub fn is_lone_voter(&self) -> bool {
        self.raw.raft.prs().is_singleton()
    }

    /// One tick of the logical clock.
    pub fn tick(&mut self) {
        self.raw.tick();
        self.settle();
    }

    /// Proposes entries, in order, in one step.
    pub fn propose(&mut self, payloads: impl IntoIterator<Item = Bytes>) -> Result<(), Refusal> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(Refusal::NoLeader);
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.entries =
            payloads.into_iter().map(|data| Entry { data, ..Entry::default() }).collect::<Vec<_>>().into();
        let outcome = self.raw.step(message);
        self.settle();
        outcome.map_err(|_| Refusal::TooManyRequests)
    }

    /// Asks for the index a linearizable read must wait for. `attempt` must never be used twice: it comes
    /// back in [`Ready::reads`]. The request is dropped silently before the first commit of a term, so the
    /// caller tries again with a new attempt.
    pub fn read_index(&mut self, attempt: u64) {
        let term = self.raw.raft.term;
        self.raw.read_index(ready::read_context(term, attempt));
        self.settle();
    }

    /// What is to be done, or nothing. Taking it hands the entries over: they must be persisted in the
    /// order of the numbers, and [`Group::persisted`] told.
    pub fn ready(&mut self) -> Option<Ready> {
        if !self.raw.has_ready() {
            return None;
        }
        let mut rd = self.raw.ready();
        assert!(rd.snapshot().get_metadata().index == 0, "snapshots come with peers");
        assert!(rd.messages().is_empty() && rd.persisted_messages().is_empty(), "a lone voter has nobody to tell");
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
        if !batch.entries.is_empty() && batch.hard_state.is_none() {
            batch.hard_state = Some(ready::hard_state(&self.raw.raft.hard_state()));
        }
        let committed: Vec<LogEntry> = rd.take_committed_entries().iter().map(ready::log_entry).collect();
        let reads = rd
            .take_read_states()
            .into_iter()
            .filter_map(|state| {
                let attempt = ready::attempt_of(&state.request_ctx)?;
                Some(ConfirmedRead { attempt, index: state.index })
            })
            .collect();
        let number = rd.number();
        self.raw.advance_append_async(rd);
        if !batch.is_empty() {
            self.handed_out = number;
        } else if self.handed_out <= self.persisted {
            // Nothing to persist, and nothing before it is under way: the round is done. Otherwise the
            // acknowledgement of a later round covers it.
            self.raw.on_persist_ready(number);
        }
        self.settle();
        Some(Ready { number, batch, committed, reads })
    }

    /// The batches of all rounds up to `number` are durable.
    pub fn persisted(&mut self, number: u64) {
        assert!(self.persisted < number && number <= self.handed_out, "rounds are persisted in order");
        self.persisted = number;
        self.raw.on_persist_ready(number);
        self.settle();
    }

    /// The machine has applied everything up to `index`.
    pub fn applied(&mut self, index: LogIndex) {
        assert!(index >= self.applied, "applying never goes back");
        assert!(index <= self.raw.raft.raft_log.committed, "only committed entries are applied");
        self.applied = index;
        self.raw.advance_apply_to(index);
        self.settle();
    }

    /// Takes a committed change of the configuration into force; the voters after it.
    pub fn apply_conf_change(&mut self, entry: &LogEntry) -> Vec<MemberId> {
        assert_eq!(entry.kind, EntryKind::ConfChange, "changes come one at a time, as in etcd");
        let change: ConfChange =
            protobuf_from(&entry.data).expect("a committed change was encoded by a member of this cluster");
        let conf_state = self.raw.apply_conf_change(&change).expect("a committed change is valid");
        self.raw.mut_store().set_conf_state(conf_state.clone());
        self.settle();
        conf_state.voters.iter().copied().map(MemberId).collect()
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

    /// After every call that may have drawn an election timeout: put ours in its place.
    fn settle(&mut self) {
        if self.raw.raft.state != self.role {
            self.role = self.raw.raft.state;
            self.role_changes += 1;
        }
        let timeout = self.jitter.timeout(self.raw.raft.term, self.role_changes);
        self.raw.raft.set_randomized_election_timeout(timeout);
        let log = &self.raw.raft.raft_log;
        assert!(self.applied <= log.committed && log.committed <= log.last_index(), "the raft counters form a chain");
    }
}

/// The log entry that brings a founding member into the configuration, as etcd writes it: a `ConfChange`
/// whose context describes the member.
pub fn founding_entry(index: LogIndex, member: MemberId, context: Bytes) -> LogEntry {
    let mut change = ConfChange::default();
    change.set_change_type(raft::eraftpb::ConfChangeType::AddNode);
    change.node_id = member.0;
    change.context = context;
    LogEntry { index, term: 1, kind: EntryKind::ConfChange, data: protobuf_bytes(&change) }
}

/// What a committed change of the configuration says of its member, for the machine.
pub fn conf_change_context(entry: &LogEntry) -> Option<(MemberId, Bytes)> {
    let change: ConfChange = protobuf_from(&entry.data)?;
    Some((MemberId(change.node_id), change.context.clone()))
}
