//! The task that owns the node, and the start of everything below the porch.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::archive::{self, ArchiveJob};
use super::boot::{self, BootReport, Booted, FoundingMember};
use super::ending::Ending;
use super::handle::{Handle, HandleParts, Identity};
use super::keeper::{self, KeeperJob};
use super::mailbox::Mailbox;
use crate::base::{Wrong, limits};
use crate::env::{Clock, Disk, Env, Tasks};
use crate::mvcc::StoreOptions;
use crate::node::{Facts, Input, Node, NodeConfig, Output, WatchInput};

/// Everything that is decided by flags.
#[derive(Clone)]
pub struct DriverConfig {
    /// This member's name; one of the founding members has it.
    pub name: String,
    /// The members of the cluster when it is new.
    pub founding_members: Vec<FoundingMember>,
    /// Part of the ids of a new cluster.
    pub cluster_token: String,
    /// The tick of the logical clock.
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ask before standing for election.
    pub pre_vote: bool,
    /// Largest log payload of a request, in bytes.
    pub max_request_bytes: usize,
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Shortest lease, in seconds; a shorter one is proposed as one of this length, as in etcd.
    pub min_lease_ttl: i64,
    /// Where and how data is kept.
    pub store: StoreOptions,
    /// The node's options; `member` is filled in here.
    pub node: NodeConfig,
}

/// Boots from the data directory and starts the tasks. The handle answers at once; clients are welcome when
/// [`crate::node::NodeStatus::ready`] says so.
pub async fn start<E: Env>(env: E, config: DriverConfig) -> Result<(Handle<E>, BootReport), Wrong> {
    let facts = Arc::new(Facts::default());
    let mailbox = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    let bell = {
        let mailbox = mailbox.clone();
        Arc::new(move || mailbox.put_completion(Input::Watch(WatchInput::Room)))
    };
    // Ids of requests: unique over restarts by the dice, because the wall clock may show the same time again and
    // an entry of an earlier life would then answer a request of this one; within one start by counting. As in
    // etcd, the member's low bits keep members apart; the node's own proposals count from the middle.
    let id_base = ((env.clock().wall_ms() ^ env.dice().next_u64()) & 0xff_ffff_ffff) << 8;
    let Booted { mut node, journal, report } = boot::boot(&env, &config, facts.clone(), bell).await?;
    let member_bits = (report.identity.member.0 & 0xffff) << 48;
    node.count_own_ids_from(member_bits | (id_base ^ (1 << 47)));

    let views = node.views();
    let ending = Ending::default();
    // Only completions of what the node has admitted pass here: its bounds are theirs.
    let to_keeper = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    let to_archive = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    let tasks = env.tasks().clone();
    tasks.spawn("keeper", keeper::keep(journal, to_keeper.clone(), mailbox.clone(), ending.clone()));
    tasks.spawn("archive", archive::keep_archive(env.clone(), to_archive.clone(), mailbox.clone(), ending.clone()));
    let shell = Shell { mailbox: mailbox.clone(), to_keeper, to_archive, ending: ending.clone() };
    tasks.spawn("node", run(env.clone(), config.tick, node, shell));
    let identity =
        Identity { member: report.identity.member, cluster: report.identity.cluster, name: config.name.clone() };
    let handle = Handle::new(HandleParts {
        identity,
        mailbox,
        facts,
        views,
        ending,
        first_id: member_bits | id_base,
        max_request_bytes: config.max_request_bytes,
        min_lease_ttl: config.min_lease_ttl,
    });
    Ok((handle, report))
}

/// What the node's task talks to.
struct Shell<D: Disk> {
    mailbox: Arc<Mailbox<Input<D>>>,
    to_keeper: Arc<Mailbox<KeeperJob>>,
    to_archive: Arc<Mailbox<ArchiveJob<D>>>,
    ending: Ending,
}

impl<D: Disk> Shell<D> {
    fn send(&self, output: Output<D>) {
        match output {
            Output::Persist { number, batch } => {
                self.to_keeper.put_completion(KeeperJob::Persist { number, batch });
            }
            Output::ReleaseLog { up_to } => self.to_keeper.put_completion(KeeperJob::Release(up_to)),
            Output::WriteHistory { writes, mark } => {
                self.to_archive.put_completion(ArchiveJob::Write { writes, mark });
            }
            Output::Checkpoint { applied, image } => {
                self.to_archive.put_completion(ArchiveJob::Checkpoint { applied, image });
            }
            Output::Reclaim(job) => self.to_archive.put_completion(ArchiveJob::Reclaim(job)),
            Output::Remove(files) => self.to_archive.put_completion(ArchiveJob::Remove(files)),
        }
    }
}

/// Feeds the node until the mailbox is closed or the node cannot go on.
async fn run<E: Env>(env: E, tick: Duration, mut node: Node<E::Disk>, shell: Shell<E::Disk>) {
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    let mut next_tick = env.clock().now().plus(tick);
    let mut alarm = Box::pin(sleep_until(env.clone(), next_tick));
    // The first turn waits for nothing: a lone member stands for election in it, not a tick later.
    let mut more = true;
    loop {
        let open = poll_fn(|cx| wait(cx, &shell.mailbox, &mut inputs, alarm.as_mut(), more)).await;
        if !open {
            break;
        }
        let now = env.clock().now();
        for input in inputs.drain(..) {
            node.step(now, input, &mut outputs);
        }
        if now >= next_tick {
            // One tick however many were missed: a pause must not look like a run of elections.
            node.step(now, Input::Tick, &mut outputs);
            next_tick = now.plus(tick);
            alarm = Box::pin(sleep_until(env.clone(), next_tick));
        }
        match node.turn(now, &mut outputs) {
            Ok(left) => more = left,
            Err(wrong) => {
                tracing::error!(error = %wrong, "the state cannot be carried on: stopping");
                shell.ending.tell(Err(wrong));
                break;
            }
        }
        outputs.drain(..).for_each(|output| shell.send(output));
        if more {
            yield_once().await;
        }
    }
    node.close();
    shell.mailbox.close();
    shell.to_archive.close();
    // The keeper tells the end, when the log is closed.
    shell.to_keeper.put_completion(KeeperJob::Stop);
}

async fn sleep_until<E: Env>(env: E, deadline: crate::env::Instant) {
    env.clock().sleep_until(deadline).await;
}

/// Ready with true when there is something to do, with false when the mailbox is closed.
fn wait<T>(
    cx: &mut Context<'_>,
    mailbox: &Mailbox<T>,
    inputs: &mut Vec<T>,
    alarm: Pin<&mut impl Future<Output = ()>>,
    more: bool,
) -> Poll<bool> {
    if mailbox.poll_take(cx, inputs).is_ready() {
        return Poll::Ready(!inputs.is_empty());
    }
    if alarm.poll(cx).is_ready() || more { Poll::Ready(true) } else { Poll::Pending }
}

/// Lets other tasks of the same thread have a turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
