//! How the porch, or the simulator, talks to a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::ending::Ending;
use super::etcd_words::{as_etcd, heard};
use super::mailbox::{Mailbox, NotTaken};
use super::places::Places;
use super::promotions::{PromotionCounts, Promotions};
use super::questions::{Question, Told};
use super::reconfiguration::Outlook;
use super::watch_stream::{StreamPlace, WatchReader, WatchStream};
use crate::auth::Asker;
use crate::base::{Account, ClusterId, Fund, LeaseId, MemberId, Refusal, limits};
use crate::consensus::{Promises, Remembered};
use crate::env::{Clock, Env};
use crate::machine::{Command, MemberChange, codec, put_cost};
use crate::mvcc::View;
use crate::node::{
    Facts, Input, LeaseQuestion, LeaseStanding, NodeStatus, Proposed, Reply, ViewCell, WatchInput, fund_of,
};
use crate::peer::{AskFailure, EtcdQuestion, PeerSender, PeerTraffic};

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The member.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its name.
    pub name: String,
}

pub(super) struct HandleParts<E: Env> {
    pub(super) env: E,
    pub(super) request_timeout: Duration,
    pub(super) strict_reconfig_check: bool,
    pub(super) identity: Identity,
    pub(super) mailbox: Arc<Mailbox<Input<E::Disk>>>,
    pub(super) facts: Arc<Facts>,
    pub(super) views: Arc<ViewCell<E::Disk>>,
    pub(super) peers: Arc<dyn PeerSender>,
    pub(super) ending: Ending,
    pub(super) digests: Places,
    pub(super) backups: Places,
    pub(super) first_id: u64,
    pub(super) max_request_bytes: usize,
    pub(super) min_lease_ttl: i64,
    /// Of who asks in nobody's name.
    pub(super) house: Arc<Account>,
}

struct Shared<E: Env> {
    parts: HandleParts<E>,
    next_id: AtomicU64,
    next_stream: AtomicU64,
    promotions: PromotionCounts,
}

/// A node's door. Clones are cheap; every method may be called from any task.
pub struct Handle<E: Env>(Arc<Shared<E>>);

/// A door as the transport knows it: it does not hold it.
pub(super) struct WeakHandle<E: Env>(Weak<Shared<E>>);

impl<E: Env> WeakHandle<E> {
    /// The door, as long as anybody serves it.
    pub(super) fn upgrade(&self) -> Option<Handle<E>> {
        self.0.upgrade().map(Handle)
    }
}

impl<E: Env> Clone for Handle<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Env> Handle<E> {
    pub(super) fn new(parts: HandleParts<E>) -> Self {
        let next_id = AtomicU64::new(parts.first_id);
        Self(Arc::new(Shared {
            parts,
            next_id,
            next_stream: AtomicU64::new(1),
            promotions: PromotionCounts::default(),
        }))
    }

    pub(super) fn env(&self) -> &E {
        &self.0.parts.env
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.0.parts.identity
    }

    pub(super) fn downgrade(&self) -> WeakHandle<E> {
        WeakHandle(Arc::downgrade(&self.0))
    }

    /// Where it stands, as of its last turn.
    pub fn status(&self) -> NodeStatus {
        self.0.parts.facts.status()
    }

    /// The noticeboard [`Handle::status`] is read from, for single facts on hot paths.
    pub fn facts(&self) -> &Arc<Facts> {
        &self.0.parts.facts
    }

    /// How the driver ended, when it does.
    pub fn ending(&self) -> &Ending {
        &self.0.parts.ending
    }

    /// Has a command agreed on and applied. A lease granted without an id gets one, and one too short is made as long as
    /// leases must be at least: here, so that the log says for how long and no member's flags have a say later.
    ///
    /// A time-out ([`Refusal::Timeout`], [`Refusal::TimeoutLeaderFail`], [`Refusal::TimeoutConnectionLost`]) and
    /// [`Refusal::Stopped`] leave the outcome open: it may still be applied.
    pub async fn propose(&self, command: Command) -> Result<Proposed, Refusal> {
        self.propose_for(&self.0.parts.house, None, command).await
    }

    /// An id for one proposal, given once.
    pub fn fresh_request_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// As [`Handle::propose`], for who says who he is: what he may not do is refused where it is applied. `account` is
    /// charged until the answer, and refused ([`Refusal::TooManyRequests`]) where it holds its share already.
    pub async fn propose_for(
        &self,
        account: &Arc<Account>,
        asker: Option<&Asker>,
        command: Command,
    ) -> Result<Proposed, Refusal> {
        self.propose_under(self.fresh_request_id(), account, asker, command).await
    }

    /// As [`Handle::propose_for`], in nobody's account and under an id of [`Handle::fresh_request_id`], for who wants to find
    /// the entry in the log.
    pub async fn propose_as(&self, id: u64, asker: Option<&Asker>, command: Command) -> Result<Proposed, Refusal> {
        self.propose_under(id, &self.0.parts.house, asker, command).await
    }

    async fn propose_under(
        &self,
        id: u64,
        account: &Arc<Account>,
        asker: Option<&Asker>,
        mut command: Command,
    ) -> Result<Proposed, Refusal> {
        if !matches!(command, Command::Alarm { .. }) {
            self.served()?;
        }
        if let Command::LeaseGrant { id: lease, ttl } = &mut command {
            *ttl = self.0.parts.min_lease_ttl.max(*ttl);
            if *lease == 0 {
                *lease = fresh_lease_id(id);
            }
        }
        let payload = codec::encode_asked(id, asker, &command);
        if payload.len() > self.0.parts.max_request_bytes {
            return Err(Refusal::RequestTooLarge);
        }
        let cost = put_cost(&command);
        let weight = payload.len();
        let charge = account.charge(fund_of(&command), weight).ok_or(Refusal::TooManyRequests)?;
        let (clock, stages) = (self.0.parts.env.clock(), &self.0.parts.facts.tallies.stages);
        let since = clock.now();
        let (reply, answer) = Reply::charged(charge);
        self.put(Input::Propose { id, payload, cost, since, reply }, weight)?;
        let proposed = answer.await.map_err(|oneshot::Canceled| Refusal::Stopped)??;
        stages.answer.took(clock.now().since(proposed.turn));
        Ok(proposed)
    }

    /// Has a change of who belongs to the cluster agreed on and applied. Outcomes as of [`Handle::propose`].
    ///
    /// A promotion is the leader's to propose, who alone knows how far a learner is: others ask it to.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), Refusal> {
        if self.0.parts.strict_reconfig_check {
            let members = self.status().members;
            let connected_for = |member| self.connected_for(member);
            Outlook { own: self.identity().member, members: &members, connected_for }.check(&change)?;
        }
        let id = self.fresh_request_id();
        let MemberChange::Promote(member) = change else { return self.change_members_here(id, change).await };
        let outcome = match self.change_members_here(id, change).await {
            Err(Refusal::NotLeader) => self.ask_leader(Question::Promote { member, id }).await.map(|_| ()),
            outcome => outcome,
        };
        self.0.promotions.count(&outcome);
        outcome
    }

    /// How the promotions that were asked of this member came out.
    pub fn promotions(&self) -> Promotions {
        self.0.promotions.told()
    }

    async fn change_members_here(&self, id: u64, change: MemberChange) -> Result<(), Refusal> {
        self.ask(|reply| Input::ChangeMembers { id, change, reply }).await?.map(|_| ())
    }

    /// Has this member answer another's question.
    pub(super) async fn answer(&self, from: MemberId, question: Question) -> Result<Told, Refusal> {
        match question {
            Question::Digest(at) => self.ask(|reply| Input::DigestAsked { at, reply }).await.map(Told::Digest),
            Question::Recollection(last) => {
                let asked = self.ask(|reply| Input::RecollectionAsked { of: from, last, reply });
                asked.await.map(Told::Recollection)
            }
            Question::Promises(promises) => {
                let _ = self.0.parts.mailbox.put(Input::PromisesTold(promises), 0);
                Ok(Told::Done)
            }
            Question::State => self.ask(|reply| Input::StateAsked { to: from, reply }).await?.map(|()| Told::Done),
            _ => self.answer_as_leader(question).await,
        }
    }

    /// What this member remembers of what the others promised, as it is kept for a later start.
    pub async fn promises_held(&self) -> Result<Promises, Refusal> {
        self.ask(|reply| Input::PromisesHeld { reply }).await
    }

    /// Asks the leader, who is another, to send its state.
    pub(super) async fn ask_for_state(&self) -> Result<(), Refusal> {
        self.ask_other(Question::State).await.map(|_| ())
    }

    pub(super) async fn answer_as_leader(&self, question: Question) -> Result<Told, Refusal> {
        match question {
            Question::KeepAlive(id) => {
                let asked = self.ask(|reply| Input::Lease(LeaseQuestion::KeepAlive { id, reply }));
                asked.await?.map(Told::KeepAlive)
            }
            Question::TimeToLive { id, keys } => {
                let asked = self.ask(|reply| Input::Lease(LeaseQuestion::TimeToLive { id, keys, reply }));
                asked.await?.map(Told::TimeToLive)
            }
            Question::Promote { member, id } => {
                self.change_members_here(id, MemberChange::Promote(member)).await.map(|()| Told::Done)
            }
            _ => Err(Refusal::NotLeader),
        }
    }

    /// Asks the leader, be it this member or another; again while there is none or it cannot be reached, for as long
    /// as a request may take, besides the last attempt. Asking twice must do no harm: a promotion has an id by which
    /// the leader knows it again.
    async fn ask_leader(&self, question: Question) -> Result<Told, Refusal> {
        let Shared { parts, .. } = &*self.0;
        let clock = parts.env.clock();
        let give_up_at = clock.now().plus(parts.request_timeout);
        loop {
            let refused = match self.answer_as_leader(question.clone()).await {
                Err(Refusal::NotLeader) => match self.ask_other(question.clone()).await {
                    Ok(told) => return Ok(told),
                    Err(refusal) => refusal,
                },
                outcome => return outcome,
            };
            let again = matches!(refused, Refusal::NotLeader | Refusal::NoLeader | Refusal::TimeoutConnectionLost);
            if !again || clock.now() >= give_up_at {
                return Err(as_seen_by_client(refused));
            }
            clock.sleep_until(clock.now().plus(Duration::from_millis(limits::ASK_LEADER_AGAIN_MS))).await;
        }
    }

    async fn ask_other(&self, question: Question) -> Result<Told, Refusal> {
        let parts = &self.0.parts;
        let leader = parts.facts.leader().filter(|leader| *leader != parts.identity.member).ok_or(Refusal::NoLeader)?;
        self.ask_member(leader, question).await
    }

    /// What another member remembers of this one, or nothing where it cannot be had. One of another make remembers
    /// nothing.
    pub(super) async fn ask_recollection(&self, member: MemberId) -> Option<Remembered> {
        let question = Question::Recollection(self.0.parts.facts.log_end());
        match self.0.parts.peers.ask(member, question.encode()).await {
            Err(AskFailure::Unsupported) => Some(Remembered::default()),
            Err(_) => None,
            Ok(answer) => match question.answer(answer) {
                Some(Ok(Told::Recollection(remembered))) => Some(remembered),
                _ => None,
            },
        }
    }

    pub(super) async fn ask_member(&self, member: MemberId, question: Question) -> Result<Told, Refusal> {
        match self.0.parts.peers.ask(member, question.encode()).await {
            Ok(answer) => question.answer(answer).unwrap_or(Err(Refusal::NotLeader)),
            Err(AskFailure::NoRoom) => Err(Refusal::TooManyRequests),
            // One of another make.
            Err(AskFailure::Unsupported) => self.ask_other_make(member, question).await,
            Err(_) => Err(Refusal::TimeoutConnectionLost),
        }
    }

    async fn ask_other_make(&self, member: MemberId, question: Question) -> Result<Told, Refusal> {
        let asked = as_etcd(&question).ok_or(Refusal::NoLeader)?;
        match self.ask_as_etcd(member, asked).await {
            Ok((status, body)) => heard(&question, status, &body),
            Err(AskFailure::NoRoom) => Err(Refusal::TooManyRequests),
            Err(AskFailure::Unsupported) => Err(Refusal::NoLeader),
            Err(_) => Err(Refusal::TimeoutConnectionLost),
        }
    }

    /// Asks a member by one of etcd's paths.
    pub(super) async fn ask_as_etcd(
        &self,
        member: MemberId,
        question: EtcdQuestion,
    ) -> Result<(u16, Bytes), AskFailure> {
        self.0.parts.peers.ask_as_etcd(member, question).await
    }

    /// How many questions of clients wait for the node, and what they weigh in bytes.
    pub fn waiting(&self) -> (usize, usize) {
        self.0.parts.mailbox.held()
    }

    /// What went between this member and its peers.
    pub fn peer_traffic(&self) -> Vec<PeerTraffic> {
        self.0.parts.peers.traffic()
    }

    pub(super) fn digests(&self) -> &Places {
        &self.0.parts.digests
    }

    pub(super) fn backups(&self) -> &Places {
        &self.0.parts.backups
    }

    /// Hands the leadership to another voter, and answers when it leads. [`Refusal::NotLeader`] where another leads
    /// already.
    pub async fn move_leader(&self, to: MemberId) -> Result<(), Refusal> {
        self.ask(|reply| Input::HandOver { to: Some(to), reply }).await?
    }

    /// Milliseconds since 1970 by the wall clock of this member.
    pub fn wall_ms(&self) -> u64 {
        self.0.parts.env.clock().wall_ms()
    }

    /// How long the connection to another member has been good, if it is.
    pub fn connected_for(&self, member: MemberId) -> Option<Duration> {
        self.0.parts.peers.connected_for(member)
    }

    /// Whether clients are served: not where this member's state is known to be wrong, so that what it says is no answer.
    fn served(&self) -> Result<(), Refusal> {
        if self.0.parts.facts.is_corrupt() { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    /// A view to read from: linearizable, or of whatever this member holds.
    pub async fn view(&self, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.view_on(&self.0.parts.house, linearizable).await
    }

    /// As [`Handle::view`]; `account` is charged while the node is asked, and refused ([`Refusal::TooManyRequests`]) where
    /// it holds its share already.
    pub async fn view_on(&self, account: &Arc<Account>, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.served()?;
        self.inspect_for(account, linearizable).await
    }

    /// As [`Handle::view`], for who looks for what is wrong: also where clients are not served.
    pub async fn inspect(&self, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.inspect_for(&self.0.parts.house, linearizable).await
    }

    async fn inspect_for(&self, account: &Arc<Account>, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        let facts = &self.0.parts.facts;
        if (facts.reads_alone() || !linearizable)
            && let Some(view) = self.0.parts.views.of(facts.revision())
        {
            return Ok(view);
        }
        let charge = account.charge(Fund::Questions, 0).ok_or(Refusal::TooManyRequests)?;
        let (reply, answer) = Reply::charged(charge);
        self.put(Input::Read { linearizable, reply }, 0)?;
        answer.await.map_err(|oneshot::Canceled| Refusal::Stopped)?
    }

    /// Renews a lease; its seconds, or nothing where it is gone or past its time.
    pub async fn keep_alive(&self, id: LeaseId) -> Result<Option<i64>, Refusal> {
        self.keep_alive_for(&self.0.parts.house, id).await
    }

    /// As [`Handle::keep_alive`]; `account` is charged meanwhile.
    pub async fn keep_alive_for(&self, account: &Arc<Account>, id: LeaseId) -> Result<Option<i64>, Refusal> {
        self.served()?;
        let _charge = account.charge(Fund::Urgent, 0).ok_or(Refusal::TooManyRequests)?;
        match self.ask_leader(Question::KeepAlive(id)).await? {
            Told::KeepAlive(ttl) => Ok(ttl),
            _ => Err(Refusal::NoLeader),
        }
    }

    /// A lease's standing, or nothing where it is gone.
    pub async fn time_to_live(&self, id: LeaseId, keys: bool) -> Result<Option<LeaseStanding>, Refusal> {
        self.time_to_live_for(&self.0.parts.house, id, keys).await
    }

    /// As [`Handle::time_to_live`]; `account` is charged meanwhile.
    pub async fn time_to_live_for(
        &self,
        account: &Arc<Account>,
        id: LeaseId,
        keys: bool,
    ) -> Result<Option<LeaseStanding>, Refusal> {
        self.served()?;
        let _charge = account.charge(Fund::Questions, 0).ok_or(Refusal::TooManyRequests)?;
        match self.answer_as_leader(Question::TimeToLive { id, keys }).await {
            Err(Refusal::NotLeader) => {}
            told => return standing_of(told?),
        }
        if keys {
            return self.joined_standing(id).await;
        }
        standing_of(self.ask_leader(Question::TimeToLive { id, keys }).await?)
    }

    /// The leader is asked for the time alone: keys may be too many to be carried, and are all here. Time and keys are of one
    /// lease: it was here before the leader was asked and is here after, and no two are granted by one entry.
    async fn joined_standing(&self, id: LeaseId) -> Result<Option<LeaseStanding>, Refusal> {
        for _ in 0..limits::LEASE_JOINS {
            let before = self.ask(|reply| Input::Lease(LeaseQuestion::Grant { id, reply })).await??;
            let told = self.ask_leader(Question::TimeToLive { id, keys: false }).await?;
            let Some(standing) = standing_of(told)? else { return Ok(None) };
            let held = self.ask(|reply| Input::Lease(LeaseQuestion::Keys { id, reply })).await??;
            let Some(held) = held else { return Ok(None) };
            if before == Some(held.granted_at) {
                return Ok(Some(LeaseStanding { keys: held.keys, ..standing }));
            }
        }
        Err(Refusal::Timeout)
    }

    /// All leases: at the leader the soonest to end first, elsewhere by their ids.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, Refusal> {
        self.leases_for(&self.0.parts.house).await
    }

    /// As [`Handle::leases`]; `account` is charged meanwhile.
    pub async fn leases_for(&self, account: &Arc<Account>) -> Result<Vec<LeaseId>, Refusal> {
        self.served()?;
        let _charge = account.charge(Fund::Questions, 0).ok_or(Refusal::TooManyRequests)?;
        self.ask(|reply| Input::Lease(LeaseQuestion::Leases { reply })).await?
    }

    /// Opens a watch stream: one side to speak, one to listen.
    pub async fn open_watch_stream(&self) -> Result<(WatchStream<E>, WatchReader), Refusal> {
        self.open_watch_stream_for(&self.0.parts.house).await
    }

    /// As [`Handle::open_watch_stream`]; `account` is charged for what waits in it.
    pub async fn open_watch_stream_for(
        &self,
        account: &Arc<Account>,
    ) -> Result<(WatchStream<E>, WatchReader), Refusal> {
        self.served()?;
        let stream = crate::watch::StreamId(self.0.next_stream.fetch_add(1, Ordering::Relaxed));
        // Made before the question: should the asker go away while it waits, the stream is closed behind it.
        let place = StreamPlace::new(stream, self.0.parts.mailbox.clone());
        let account = account.clone();
        let buffer = self.ask(|reply| Input::Watch(WatchInput::Open { stream, account, reply })).await?;
        Ok((WatchStream::new(place, buffer.clone()), WatchReader::new(buffer)))
    }

    /// Gives back the space of what was compacted; answers when that is done.
    pub async fn give_space_back(&self) -> Result<(), Refusal> {
        self.ask(|reply| Input::GiveSpaceBack { reply }).await
    }

    /// Answers when a compaction at `revision`, which was applied here, is done: the index is pruned and its digest made.
    pub async fn compacted(&self, revision: i64) -> Result<(), Refusal> {
        self.ask(|reply| Input::Compacted { revision, reply }).await
    }

    /// Finishes what was begun, then ends the driver. Requests that come meanwhile are refused as stopped. Once it has
    /// ended nothing writes in the data directory any more.
    ///
    /// A leader with peers hands its leadership over first, so that they need not wait for its silence.
    pub async fn stop(&self) {
        let _ = self.ask(|reply| Input::HandOver { to: None, reply }).await;
        let _ = self.ask(|reply| Input::Drain { reply }).await;
        self.0.parts.mailbox.close();
        let _ = self.0.parts.ending.wait().await;
    }

    pub(super) async fn ask<T>(&self, input: impl FnOnce(Reply<T>) -> Input<E::Disk>) -> Result<T, Refusal> {
        let (reply, answer) = Reply::pair();
        self.put(input(reply), 0)?;
        answer.await.map_err(|oneshot::Canceled| Refusal::Stopped)
    }

    fn put(&self, input: Input<E::Disk>, bytes: usize) -> Result<(), Refusal> {
        self.0.parts.mailbox.put(input, bytes).map_err(|(why, _)| match why {
            NotTaken::Full => Refusal::TooManyRequests,
            NotTaken::Closed => Refusal::Stopped,
        })
    }
}

/// Only the leader answers; that this member does not lead is no word for a client.
fn as_seen_by_client(refusal: Refusal) -> Refusal {
    if refusal == Refusal::NotLeader { Refusal::NoLeader } else { refusal }
}

fn standing_of(told: Told) -> Result<Option<LeaseStanding>, Refusal> {
    match told {
        Told::TimeToLive(standing) => Ok(standing),
        _ => Err(Refusal::NoLeader),
    }
}

/// A lease id as etcd makes one: a request id without its sign bit, never 0.
fn fresh_lease_id(request: u64) -> LeaseId {
    let id = (request & (i64::MAX as u64)) as i64;
    if id == 0 { 1 } else { id }
}
