//! The doors between the transport and the member.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::pace::AnsweredWrites;
use super::traffic::PeerTraffic;
use super::wait::BoxFuture;
use crate::base::{ClusterId, MemberId, Wrong};
use crate::consensus::PeerMessage;

/// Where a peer is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// Who.
    pub member: MemberId,
    /// Its peer URLs, tried in turn.
    pub urls: Vec<String>,
}

/// What the transport tells others of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// The cluster.
    pub cluster: ClusterId,
    /// The members as etcd's JSON of `/members`.
    pub members_json: Bytes,
    /// Etcd's JSON of `/version`.
    pub version_json: Bytes,
    /// Those who were removed: they are refused for ever.
    pub removed: Vec<MemberId>,
}

/// What the transport tells the member. Every method answers at once and may be called from any task.
pub trait PeerDoor: Send + Sync + 'static {
    /// A message arrived from a peer, for this member. It may be dropped where there is no room: the group asks again.
    fn arrived(&self, message: PeerMessage);

    /// A message to this member was dropped, or its connection is gone.
    fn unreachable(&self, member: MemberId);

    /// What became of a snapshot that was sent.
    fn snapshot_sent(&self, member: MemberId, arrived: bool);

    /// Others say that this member was removed.
    fn removed(&self);

    /// What to tell of the cluster.
    fn roster(&self) -> Roster;

    /// Clients' writes this member has answered: what is sent beside them goes slower while they take longer.
    fn answered_writes(&self) -> AnsweredWrites {
        AnsweredWrites::default()
    }

    /// A snapshot is offered: `message` is its head, `manifest` is what [`ChunkSource::manifest`] gave at the other
    /// end. Asked twice for each sending: to tell the sender where to begin (the sink is dropped), and to receive. The
    /// error says why it is refused; nothing, that what an earlier life left of it is being read, which may take minutes: it
    /// is then to be offered again. The message itself comes by [`PeerDoor::arrived`] once the sink has finished.
    ///
    /// A member that takes no snapshots refuses all of them.
    fn snapshot_offered(
        &self,
        _message: &PeerMessage,
        _manifest: Bytes,
    ) -> BoxFuture<'static, Result<Option<Box<dyn ChunkSink>>, String>> {
        Box::pin(std::future::ready(Err("this member takes no snapshots".to_string())))
    }

    /// A question of a member of the same cluster, by its own word: `from` may be unknown. Not answered when the reply
    /// is dropped, as by a member that knows no questions.
    fn asked(&self, _from: MemberId, _question: Bytes, _reply: Reply) {}

    /// A question by one of etcd's own paths, of anyone who reaches the peer port. Not answered when the reply is dropped.
    fn asked_as_etcd(&self, _question: EtcdQuestion, _reply: EtcdReply) {}
}

/// What the member tells the transport. Every method answers at once.
pub trait PeerSender: Send + Sync + 'static {
    /// Sends a message, or drops it where there is no room or no connection; what matters is told by
    /// [`PeerDoor::unreachable`]. Snapshots have their own way.
    fn send(&self, message: PeerMessage);

    /// Sends a snapshot: `message` is its head. What became of it is told by [`PeerDoor::snapshot_sent`], always once.
    fn send_snapshot(&self, message: PeerMessage, source: Box<dyn ChunkSource>);

    /// Asks a member, within the time a question has.
    fn ask(&self, member: MemberId, question: Bytes) -> BoxFuture<'static, Result<Bytes, AskFailure>>;

    /// Asks a member by one of etcd's own paths, within the time a question has: the status and the body of its answer.
    /// [`EtcdQuestion::Promote`] among others may have been acted on where the answer did not come.
    ///
    /// A transport that knows no paths supports no such questions.
    fn ask_as_etcd(
        &self,
        _member: MemberId,
        _question: EtcdQuestion,
    ) -> BoxFuture<'static, Result<(u16, Bytes), AskFailure>> {
        Box::pin(std::future::ready(Err(AskFailure::Unsupported)))
    }

    /// The peers from now on, this member left out: new ones are dialled, others are let go.
    fn set_peers(&self, peers: Vec<PeerAddress>);

    /// How long the connection to a peer has been good, if it is.
    fn connected_for(&self, member: MemberId) -> Option<Duration>;

    /// What went between this member and each it has a link to; nothing where nobody counts.
    fn traffic(&self) -> Vec<PeerTraffic> {
        Vec::new()
    }

    /// Ends every connection and listens no more.
    fn stop(&self);
}

/// Where the chunks of a snapshot come from. For the same manifest they are the same, chunk by chunk.
pub trait ChunkSource: Send + 'static {
    /// What the receiver needs to know which snapshot this is, and whether what it holds is a part of it. At most
    /// `SNAPSHOT_MANIFEST_BYTES`.
    fn manifest(&self) -> Bytes;

    /// The chunk of this number, from 0, at most `SNAPSHOT_FRAME_BYTES`; nothing behind the last one. Numbers rise by
    /// one from wherever the receiver wants to begin.
    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>>;
}

/// Where the chunks of a snapshot go. Dropped where the sending ends early: what it holds may be kept for another.
pub trait ChunkSink: Send + 'static {
    /// The number of the next chunk wanted; those below are held.
    fn next(&self) -> u64;

    /// Takes the next chunk in. The error says why the snapshot is not wanted any more.
    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>>;

    /// All chunks are in: makes the snapshot ready to be installed.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), String>>;
}

/// The way back to a member that asked.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Bytes>);

impl Reply {
    /// A way back, and where the answer comes out.
    pub fn new() -> (Self, oneshot::Receiver<Bytes>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers, with at most `PEER_ANSWER_BYTES`. Nothing happens when nobody waits any more.
    pub fn answer(self, answer: Bytes) {
        let _ = self.0.send(answer);
    }
}

/// What a member of any make may be asked, and by what path; bodies are as they came, or as they go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EtcdQuestion {
    /// That a learner be promoted: `/members/promote/<id>`.
    Promote(MemberId),
    /// For the digest of the data at a revision: `/members/hashkv`.
    HashKv(Bytes),
    /// That a lease be kept alive: `/leases`.
    KeepAlive(Bytes),
    /// For a lease's times: `/leases/internal`.
    TimeToLive(Bytes),
    /// Whether a downgrade is under way: `/downgrade/enabled`.
    Downgrade,
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EtcdAnswer {
    /// It is done, and JSON says what there is to say.
    Json(Bytes),
    /// It is done, in protobuf.
    Protobuf(Bytes),
    /// A word says it.
    Word(&'static str),
    /// It is not, with this status and text.
    Refused(u16, String),
    /// It is not, for a reason that etcd does not tell.
    Failed,
}

/// The way back to whoever asked by one of etcd's paths.
#[derive(Debug)]
pub struct EtcdReply(oneshot::Sender<EtcdAnswer>);

impl EtcdReply {
    /// A way back, and where the answer comes out.
    pub fn new() -> (Self, oneshot::Receiver<EtcdAnswer>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers. Nothing happens when nobody waits any more.
    pub fn answer(self, answer: EtcdAnswer) {
        let _ = self.0.send(answer);
    }
}

/// Why a question was not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AskFailure {
    /// No such peer.
    Unknown,
    /// Too many questions to this peer are under way, or this one is too long.
    NoRoom,
    /// It could not be reached or did not answer in time. It may have acted on the question.
    Unreachable(String),
    /// It answers no such questions, as a member of another make.
    Unsupported,
    /// It refused to listen: another cluster, or this member was removed.
    Refused(String),
}

impl fmt::Display for AskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such peer"),
            Self::NoRoom => f.write_str("too many questions are under way"),
            Self::Unreachable(why) => write!(f, "the peer did not answer: {why}"),
            Self::Unsupported => f.write_str("the peer answers no such questions"),
            Self::Refused(why) => write!(f, "the peer refused: {why}"),
        }
    }
}

impl std::error::Error for AskFailure {}
