//! The start of everything below the porch.

use std::future::Future;
use std::sync::Arc;

use super::archive::{self, ArchiveJob};
use super::boot::{self, BootReport, Booted};
use super::comparison;
use super::config::DriverConfig;
use super::corruption;
use super::doors::{MemberDoor, NoPeers};
use super::ending::{AtWork, Ending};
use super::first_election;
use super::handle::{Handle, HandleParts, Identity};
use super::keeper;
use super::mailbox::Mailbox;
use super::node_task::{self, Shell};
use super::places::Places;
use super::reader;
use super::remembering;
use super::scrub;
use super::untold;
use crate::base::{Fault, Wrong, limits};
use crate::env::{Clock, Env, Tasks};
use crate::node::{Facts, Input, WatchInput};
use crate::peer::{PeerConfig, PeerDoor, PeerSender, Transport};
use crate::wal::WalIdentity;

/// Boots from the data directory and starts the tasks. The handle answers at once; clients are welcome when
/// [`crate::node::NodeStatus::ready`] says so.
///
/// It listens for its peers where the configuration says; with nowhere to listen it has none.
pub async fn start<E: Env>(env: E, config: DriverConfig) -> Result<(Handle<E>, BootReport), Wrong> {
    let (world, listen, connections) = (env.clone(), config.listen_peers.clone(), config.peer_connections);
    let question_lines = config.question_lines;
    let own = config.founding_members.iter().find(|member| member.name == config.name);
    let urls = own.map(|member| member.peer_urls.clone()).unwrap_or_default();
    let election_timeout = config.node.election_timeout;
    start_with(env, config, async move |identity: Identity, door| {
        if listen.is_empty() {
            return Ok(Arc::new(NoPeers) as Arc<dyn PeerSender>);
        }
        let usual = PeerConfig::new(identity.member, urls, listen, election_timeout);
        let peers = PeerConfig { connections, question_lines, ..usual };
        Ok(Arc::new(Transport::start(world, peers, door).await?) as Arc<dyn PeerSender>)
    })
    .await
}

/// As [`start`], with peers: `connect` is told who the member is and where to bring what arrives, and gives back what
/// sends to the others.
pub async fn start_with<E: Env, C>(
    env: E,
    config: DriverConfig,
    connect: impl FnOnce(Identity, Arc<dyn PeerDoor>) -> C,
) -> Result<(Handle<E>, BootReport), Wrong>
where
    C: Future<Output = Result<Arc<dyn PeerSender>, Fault>> + Send,
{
    let facts = Arc::new(Facts::default());
    let mailbox = Arc::new(Mailbox::new(limits::MAX_INPUTS, limits::MAX_INPUT_BYTES));
    let to_node = mailbox.clone();
    let bell = Arc::new(move || to_node.put_completion(Input::Watch(WatchInput::Room)));
    // Ids of requests: unique over restarts by the dice, because the wall clock may show the same time again and
    // an entry of an earlier life would then answer a request of this one; within one start by counting. As in
    // etcd, the member's low bits keep members apart; the node's own proposals count from the middle.
    let id_base = ((env.clock().wall_ms() ^ env.dice().next_u64()) & 0xff_ffff_ffff) << 8;
    let Booted { mut node, journal, report, half } = boot::boot(&env, &config, facts.clone(), bell).await?;
    let member_bits = (report.identity.member.0 & 0xffff) << 48;
    node.count_own_ids_from(member_bits | (id_base ^ (1 << 47)));
    let WalIdentity { member, cluster } = report.identity;
    let identity = Identity { member, cluster, name: config.name.clone() };
    let from_peers = Arc::new(Mailbox::new(limits::MAX_PEER_MESSAGES, limits::MAX_PEER_BYTES));
    let segment_bytes = config.store.segment_bytes;
    let door =
        Arc::new(MemberDoor::new(env.clone(), report.identity, from_peers.clone(), facts.clone(), segment_bytes));
    half.into_iter().for_each(|half| door.found(half));
    let peers = connect(identity.clone(), door.clone()).await?;

    let (views, ending) = (node.views(), Ending::default());
    // Only completions of what the node has admitted pass here: its bounds are theirs.
    let to_keeper = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    let to_archive = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    let (tasks, watched, (at_work, at_rest)) = (env.tasks().clone(), (ending.clone(), facts.clone()), AtWork::begin());
    let (jobs, inputs) = (to_keeper.clone(), mailbox.clone());
    tasks.spawn("keeper", keeper::keep(env.clone(), journal, jobs, inputs, watched.clone(), at_rest));
    let (jobs, inputs) = (to_archive.clone(), mailbox.clone());
    tasks.spawn("archive", archive::keep_archive(env.clone(), config.store, jobs, inputs, watched, at_work));
    let shell = Shell {
        member: identity.member,
        mailbox: mailbox.clone(),
        from_peers,
        to_keeper,
        to_archive: to_archive.clone(),
        to_reader: reader::begin(&tasks, mailbox.clone(), config.node.observer.clone()),
        peers: peers.clone(),
        ending: ending.clone(),
        facts: facts.clone(),
    };
    tasks.spawn("node", node_task::run(env.clone(), config.tick, node, shell, door.halves()));
    let handle = Handle::new(HandleParts {
        env,
        request_timeout: config.node.request_timeout,
        strict_reconfig_check: config.strict_reconfig_check,
        identity,
        mailbox,
        house: facts.shares.open(),
        facts,
        views,
        peers,
        ending,
        digests: Places::new(limits::PEER_DIGESTS),
        backups: Places::new(limits::BACKUPS),
        first_id: member_bits | id_base,
        max_request_bytes: config.max_request_bytes,
        min_lease_ttl: config.min_lease_ttl,
    });
    door.open(&handle);
    begin_watches(&handle, &config, to_archive);
    Ok((handle, report))
}

/// What goes on beside the node for as long as it does.
fn begin_watches<E: Env>(handle: &Handle<E>, config: &DriverConfig, to_archive: Arc<Mailbox<ArchiveJob<E::Disk>>>) {
    handle.env().tasks().spawn_light("comparison", comparison::watch(handle.clone()));
    corruption::begin(handle, config.corruption);
    scrub::begin(handle, config.scrub);
    remembering::begin(handle, to_archive);
    first_election::begin(handle, config);
    untold::begin(handle, config);
}
