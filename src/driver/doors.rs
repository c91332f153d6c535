//! Where what the transport brings enters, and the peers of a member that has none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::handle::{Handle, WeakHandle};
use super::kept_half::KeptHalf;
use super::mailbox::Mailbox;
use super::questions::{Question, encode_answer};
use super::snapshot_sink::{Beginning, Halves, Sink};
use crate::base::{MemberId, limits};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::{Env, Tasks};
use crate::machine::members_json;
use crate::node::{Facts, Input, Reply};
use crate::peer::{
    self, AnsweredWrites, AskFailure, BoxFuture, ChunkSink, ChunkSource, EtcdQuestion, EtcdReply, PeerAddress,
    PeerDoor, PeerSender, Roster, STORAGE_VERSION, VERSION,
};
use crate::wal::WalIdentity;

/// What its clients' writes have waited so far.
pub(super) fn answered_writes(facts: &Facts) -> AnsweredWrites {
    let (count, waited_us) = facts.writes();
    AnsweredWrites { count, waited_us }
}

/// The member's door for its peers.
///
/// What they say has a mailbox of its own, so that no heartbeat waits behind clients; where it is full, what carries
/// entries is dropped, and raft asks for it again.
pub(super) struct MemberDoor<E: Env> {
    env: E,
    identity: WalIdentity,
    mailbox: Arc<Mailbox<Input<E::Disk>>>,
    facts: Arc<Facts>,
    segment_bytes: u64,
    halves: Halves<E>,
    /// Set once the member runs: before that it answers no questions.
    handle: OnceLock<WeakHandle<E>>,
}

impl<E: Env> MemberDoor<E> {
    pub(super) fn new(
        env: E,
        identity: WalIdentity,
        mailbox: Arc<Mailbox<Input<E::Disk>>>,
        facts: Arc<Facts>,
        segment_bytes: u64,
    ) -> Self {
        let halves = Halves::new(env.clone(), facts.clone());
        Self { env, identity, mailbox, facts, segment_bytes, halves, handle: OnceLock::new() }
    }

    /// What is kept of snapshots that were cut.
    pub(super) fn halves(&self) -> Halves<E> {
        self.halves.clone()
    }

    /// A start found this.
    pub(super) fn found(&self, half: KeptHalf) {
        self.halves.found(half, self.segment_bytes, (self.identity, self.mailbox.clone()));
    }

    /// The member runs. Only whoever serves it holds its handle: the handle holds the transport, and that this door.
    pub(super) fn open(&self, handle: &Handle<E>) {
        assert!(self.handle.set(handle.downgrade()).is_ok(), "a member begins to run once");
    }
}

impl<E: Env> PeerDoor for MemberDoor<E> {
    fn arrived(&self, message: PeerMessage) {
        if message.kind() == MessageKind::Snapshot {
            // It came with its sink, which knows what was built.
            return;
        }
        let bytes = message.payload_bytes();
        let light = !matches!(message.kind(), MessageKind::Append | MessageKind::Propose);
        // Votes and heartbeats are few, but a peer that floods with them must not fill the memory either.
        let reserve = if light { limits::MAX_PEER_MESSAGES } else { 0 };
        let _ = self.mailbox.put_with_reserve(Input::Peer(message), bytes, reserve);
    }

    fn unreachable(&self, member: MemberId) {
        let _ = self.mailbox.put_with_reserve(Input::Unreachable(member), 0, limits::MAX_PEER_MESSAGES);
    }

    fn snapshot_sent(&self, member: MemberId, arrived: bool) {
        // Lost, the leader would wait for ever: there is at most one of each member.
        self.mailbox.put_completion(Input::SnapshotSent { member, arrived });
    }

    fn answered_writes(&self) -> AnsweredWrites {
        answered_writes(&self.facts)
    }

    fn removed(&self) {
        self.facts.told_removed();
    }

    fn roster(&self) -> Roster {
        let status = self.facts.status();
        let cluster_version = status.cluster_version.as_deref().unwrap_or("not_decided");
        let storage = status.cluster_version.as_deref().unwrap_or(STORAGE_VERSION);
        let version =
            format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{cluster_version}","storage":"{storage}"}}"#);
        Roster {
            cluster: self.identity.cluster,
            members_json: members_json(&status.members),
            version_json: version.into(),
            removed: status.removed_members,
        }
    }

    fn snapshot_offered(
        &self,
        message: &PeerMessage,
        manifest: Bytes,
    ) -> BoxFuture<'static, Result<Option<Box<dyn ChunkSink>>, String>> {
        let (halves, mailbox, message) = (self.halves.clone(), self.mailbox.clone(), message.clone());
        let (identity, segment_bytes) = (self.identity, self.segment_bytes);
        Box::pin(async move {
            let (reply, answer) = Reply::pair();
            // As with votes: who offers again and again must not fill the memory.
            let offered = Input::SnapshotOffered { message: Box::new(message.clone()), reply };
            mailbox.put_with_reserve(offered, 0, limits::MAX_PEER_MESSAGES).map_err(|_| "too much is waiting here")?;
            let generation = answer.await.map_err(|_| "the member stops")??;
            let beginning = Beginning { identity, generation, segment_bytes, node: mailbox };
            let sink = Sink::open(halves, message, manifest, beginning).await?;
            Ok(sink.map(|sink| Box::new(sink) as Box<dyn ChunkSink>))
        })
    }

    fn asked(&self, from: MemberId, question: Bytes, reply: peer::Reply) {
        let (Some(handle), Some(question)) =
            (self.handle.get().and_then(WeakHandle::upgrade), Question::decode(question))
        else {
            return;
        };
        self.env.tasks().spawn_light("peer's question", async move {
            reply.answer(encode_answer(&handle.answer(from, question).await));
        });
    }

    fn asked_as_etcd(&self, question: EtcdQuestion, reply: EtcdReply) {
        let Some(handle) = self.handle.get().and_then(WeakHandle::upgrade) else { return };
        self.env.tasks().spawn_light("peer's question", async move {
            reply.answer(handle.answer_as_etcd(question).await);
        });
    }
}

/// The peers of a member that has none: nothing is sent.
pub(super) struct NoPeers;

impl PeerSender for NoPeers {
    fn send(&self, _message: PeerMessage) {}

    fn send_snapshot(&self, _message: PeerMessage, _source: Box<dyn ChunkSource>) {}

    fn ask(&self, _member: MemberId, _question: Bytes) -> BoxFuture<'static, Result<Bytes, AskFailure>> {
        Box::pin(std::future::ready(Err(AskFailure::Unknown)))
    }

    fn set_peers(&self, _peers: Vec<PeerAddress>) {}

    fn connected_for(&self, _member: MemberId) -> Option<Duration> {
        None
    }

    fn stop(&self) {}
}
