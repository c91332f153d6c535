//! The task that owns the node.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;

use super::archive::ArchiveJob;
use super::checkpoint_files;
use super::ending::Ending;
use super::held_back::HeldBackLines;
use super::keeper::KeeperJob;
use super::mailbox::{Mailbox, yield_once};
use super::recheck;
use super::snapshot_desk::Source;
use super::snapshot_sink::Halves;
use crate::base::{MemberId, Wrong, limits};
use crate::env::{Clock, Disk, Env, Instant};
use crate::mvcc::Pruned;
use crate::node::{CatchUpRead, Compactions, Facts, Input, Node, Output, SLOW_APPLY};
use crate::peer::{PeerAddress, PeerSender};

/// What the node's task talks to.
pub(super) struct Shell<D: Disk> {
    pub(super) member: MemberId,
    pub(super) mailbox: Arc<Mailbox<Input<D>>>,
    /// What other members say: taken before what clients ask, and dropped where it is too much.
    pub(super) from_peers: Arc<Mailbox<Input<D>>>,
    pub(super) to_keeper: Arc<Mailbox<KeeperJob>>,
    pub(super) to_archive: Arc<Mailbox<ArchiveJob<D>>>,
    pub(super) to_reader: Arc<Mailbox<CatchUpRead<D>>>,
    pub(super) peers: Arc<dyn PeerSender>,
    pub(super) ending: Ending,
    pub(super) facts: Arc<Facts>,
}

impl<D: Disk> Shell<D> {
    /// Nothing more is heard, sent or read.
    fn close(&self) {
        self.mailbox.close();
        self.from_peers.close();
        self.peers.stop();
        self.to_reader.close();
    }

    fn send<E: Env<Disk = D>>(&self, env: &E, output: Output<D>) {
        match output {
            Output::Persist { number, batch } => {
                let handed = env.clock().now();
                self.to_keeper.put_completion(KeeperJob::Persist { number, batch, handed });
            }
            Output::Send(message) => self.peers.send(message),
            Output::SendSnapshot { message, source } => {
                self.peers.send_snapshot(message, Box::new(Source::new(env, *source)));
            }
            Output::Install { number, image, batch } => {
                let (durable, is_durable) = oneshot::channel();
                let (installed, is_installed) = oneshot::channel();
                self.to_keeper.put_completion(KeeperJob::Install { number, durable: is_durable, batch, installed });
                self.to_archive.put_completion(ArchiveJob::Install { image, durable, installed: is_installed });
            }
            Output::Rebuild { image } => self.to_archive.put_completion(ArchiveJob::Rebuild(image)),
            Output::Members(members) => {
                let others = members.into_iter().filter(|member| member.id != self.member);
                let addresses = others.map(|member| PeerAddress { member: member.id, urls: member.peer_urls });
                self.peers.set_peers(addresses.collect());
            }
            Output::CatchUp(read) => self.to_reader.put_completion(*read),
            Output::ReleaseLog { up_to } => self.to_keeper.put_completion(KeeperJob::Release(up_to)),
            Output::WriteHistory { writes, mark } => {
                self.to_archive.put_completion(ArchiveJob::Write { writes, mark });
            }
            Output::Checkpoint { applied, image } => {
                self.to_archive.put_completion(ArchiveJob::Checkpoint { applied, image });
            }
            Output::Reclaim(job) => self.to_archive.put_completion(ArchiveJob::Reclaim(job)),
            Output::Outline(job) => self.to_archive.put_completion(ArchiveJob::Outline(job)),
            Output::SyncHistory(damage) => {
                recheck::tell(&damage);
                self.to_archive.put_completion(ArchiveJob::Sync);
            }
            Output::Damaged(damage) => tracing::error!(
                file = damage.file,
                offset = damage.offset,
                what = damage.what,
                "the history is damaged; where other members vote the data are taken from them, else the alarm CORRUPT is raised"
            ),
            Output::GiveRoom => self.to_keeper.put_completion(KeeperJob::GiveRoom),
            Output::LookForRoom => self.to_archive.put_completion(ArchiveJob::LookForRoom),
            Output::ReadyLog => self.to_keeper.put_completion(KeeperJob::LookForRoom),
            Output::Digest(job) => self.to_archive.put_completion(ArchiveJob::Digest(job)),
            Output::LetGo(it) => self.to_archive.put_completion(ArchiveJob::LetGo(it)),
            Output::Discard(arrived) => {
                self.to_archive.put_completion(ArchiveJob::Remove(checkpoint_files::files_of(&arrived)));
            }
            Output::Remove(files) => self.to_archive.put_completion(ArchiveJob::Remove(files)),
        }
    }
}

/// Feeds the node until the mailbox is closed or the node cannot go on.
pub(super) async fn run<E: Env>(
    env: E,
    tick: Duration,
    mut node: Node<E::Disk>,
    shell: Shell<E::Disk>,
    halves: Halves<E>,
) {
    let (mut from_peers, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut next_tick = env.clock().now().plus(tick);
    let mut alarm = Box::pin(sleep_until(env.clone(), next_tick));
    // The first turn waits for nothing: a lone member stands for election in it, not a tick later.
    let mut more = true;
    let (mut removed, mut held_back, mut begun) = (None, HeldBackLines::default(), Begun::default());
    let mut hearing = Hearing::new(env.clock().now());
    loop {
        let open = poll_fn(|cx| wait(cx, &shell, &mut from_peers, &mut inputs, alarm.as_mut(), more)).await;
        if !open {
            break;
        }
        let now = env.clock().now();
        if let Some(time) = hearing.deaf_until(now, next_tick, tick) {
            hearing.tell(time, now);
            node.step(now, Input::Deaf { time }, &mut outputs);
        }
        for input in from_peers.drain(..).chain(inputs.drain(..)) {
            node.step(now, input, &mut outputs);
        }
        if now >= next_tick {
            // One tick however many were missed: a pause must not look like a run of elections.
            node.step(now, Input::Tick, &mut outputs);
            held_back.stands(node.held_back(), now);
            next_tick = now.plus(tick);
            alarm = Box::pin(sleep_until(env.clone(), next_tick));
        }
        match one_turn(&env, now, &mut node, (&mut outputs, &mut begun), &shell) {
            Ok(left) => more = left,
            Err(wrong) => {
                let wrong = recheck::cause(env.disk(), wrong).await;
                tracing::error!(error = %wrong, "the state cannot be carried on: stopping");
                shell.ending.tell(Err(wrong));
                break;
            }
        }
        if node.is_removed() {
            // It stays a moment, so that who asked it for its own removal hears of it, and until the others need it no more.
            let since = *removed.get_or_insert_with(|| {
                tracing::warn!(
                    "local-member-id" = %shell.member,
                    "the member has been permanently removed from the cluster; its data directory must be removed"
                );
                now
            });
            let stays = if node.is_dispensable() { limits::REMOVED_GRACE_MS } else { limits::REMOVED_PATIENCE_MS };
            if now >= since.plus(Duration::from_millis(stays)) {
                break;
            }
        }
        if more {
            yield_once().await;
        }
    }
    node.close();
    shell.close();
    halves.close();
    shell.to_archive.close();
    // The keeper tells the end, when the log is closed.
    shell.to_keeper.put_completion(KeeperJob::Stop);
}

/// When the node last heard what there was to hear.
struct Hearing {
    heard_at: Instant,
    /// Whether the last tick was late.
    was_deaf: bool,
    /// When that was told last, and how often it was not since.
    told: Option<Instant>,
    untold: u64,
}

impl Hearing {
    fn new(now: Instant) -> Self {
        Self { heard_at: now, was_deaf: false, told: None, untold: 0 }
    }

    /// The node is about to hear what is there `now`. How long it was deaf, where its tick is late by another or more, and by what is
    /// more than work takes: the process stood still (a signal, a machine that was put aside), or a turn took long.
    ///
    /// The first late tick counts from when it last heard, later ones from when they were due: a member that is always
    /// late has a slow time, and not none at all.
    fn deaf_until(&mut self, now: Instant, next_tick: Instant, tick: Duration) -> Option<Duration> {
        let since = if self.was_deaf { next_tick } else { self.heard_at };
        self.heard_at = now;
        if now < next_tick {
            return None;
        }
        self.was_deaf = now.since(next_tick) >= tick.max(Duration::from_millis(limits::STANDS_STILL_MS));
        self.was_deaf.then(|| now.since(since))
    }

    /// Tells the log that it was, seldom: a machine with too much to do may stand still all the time.
    fn tell(&mut self, time: Duration, now: Instant) {
        if let Some(untold) = self.says(now) {
            let held_back = (untold > 0).then_some(untold);
            tracing::warn!(
                took = ?time,
                "lines-held-back" = held_back,
                "the member stood still: what was waiting is heard first"
            );
        }
    }

    fn says(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|at| now.since(at) < Duration::from_millis(limits::SELDOM_MS)) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Work of several turns, of which the last one tells how long it took.
#[derive(Default)]
struct Begun {
    /// What a command took so far that is carried out in slices.
    command: Duration,
    /// When the first slice was pruned of what is being compacted, if something is.
    pruning: Option<Instant>,
}

impl Begun {
    /// What a turn pruned whose work began at `turn`.
    fn pruned<E: Env>(&mut self, env: &E, pruned: Pruned, turn: Instant, compactions: &Compactions) {
        if !pruned.worked {
            return;
        }
        let now = env.clock().now();
        compactions.slice(pruned.changes, now.since(turn));
        if pruned.began {
            // Another may have ended with the state it was of.
            self.pruning = Some(turn);
        }
        if pruned.ended > 0 {
            let first = self.pruning.take().unwrap_or(turn);
            compactions.pass(now.since(first), env.clock().wall_ms());
        }
    }
}

/// What is decided leaves before the work that takes longer begins: the disk and the others need not wait for it.
fn one_turn<E: Env>(
    env: &E,
    now: Instant,
    node: &mut Node<E::Disk>,
    (outputs, unfinished): (&mut Vec<Output<E::Disk>>, &mut Begun),
    shell: &Shell<E::Disk>,
) -> Result<bool, Wrong> {
    node.turn(now, outputs)?;
    let handed_out = outputs.iter().any(|output| matches!(output, Output::Persist { .. }));
    outputs.drain(..).for_each(|output| shell.send(env, output));
    let (tallies, begun) = (&shell.facts.tallies, env.clock().now());
    if handed_out {
        tallies.stages.propose.took(begun.since(now));
    }
    let more = node.work(now, outputs);
    if node.turn_ops().is_empty() {
        let so_far = std::mem::take(&mut unfinished.command);
        if node.carries_on() {
            unfinished.command = so_far + env.clock().now().since(begun);
        }
    } else {
        let took = env.clock().now().since(begun) + std::mem::take(&mut unfinished.command);
        tallies.applies.took(node.turn_ops(), took);
        tallies.stages.apply.took(took);
        if took >= SLOW_APPLY {
            tallies.slow_applies.fetch_add(1, Relaxed);
        }
    }
    unfinished.pruned(env, node.pruned(), begun, &tallies.compactions);
    outputs.drain(..).for_each(|output| shell.send(env, output));
    more
}

async fn sleep_until<E: Env>(env: E, deadline: Instant) {
    env.clock().sleep_until(deadline).await;
}

/// Ready with true when there is something to do, with false when the mailbox is closed.
fn wait<D: Disk>(
    cx: &mut Context<'_>,
    shell: &Shell<D>,
    from_peers: &mut Vec<Input<D>>,
    inputs: &mut Vec<Input<D>>,
    alarm: Pin<&mut impl Future<Output = ()>>,
    more: bool,
) -> Poll<bool> {
    let heard = shell.from_peers.poll_take(cx, from_peers).is_ready();
    if shell.mailbox.poll_take(cx, inputs).is_ready() {
        return Poll::Ready(!inputs.is_empty());
    }
    if heard || alarm.poll(cx).is_ready() || more { Poll::Ready(true) } else { Poll::Pending }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_by_a_tick_was_deaf_since_it_last_heard() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let (tick, ms) = (Duration::from_millis(100), Duration::from_millis);
        let mut hearing = Hearing::new(at(0));
        assert_eq!(hearing.deaf_until(at(50), at(100), tick), None, "an input between two ticks");
        assert_eq!(hearing.deaf_until(at(199), at(100), tick), None, "late, as a busy machine is");
        assert_eq!(hearing.deaf_until(at(250), at(299), tick), None);
        assert_eq!(hearing.deaf_until(at(8_250), at(299), tick), Some(ms(8_000)), "since 250");
        assert_eq!(hearing.deaf_until(at(8_500), at(8_350), tick), Some(ms(150)), "a tick of time always passes");
        assert_eq!(hearing.deaf_until(at(8_610), at(8_600), tick), None);
        assert_eq!(hearing.deaf_until(at(9_000), at(8_710), tick), Some(ms(390)));
    }

    /// A tick of a millisecond is late by another whenever the machine does anything: time would hardly pass for leases.
    #[test]
    fn who_is_late_by_short_ticks_works_and_does_not_stand_still() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let (tick, ms) = (Duration::from_millis(1), Duration::from_millis);
        let mut hearing = Hearing::new(at(0));
        for (due, heard) in [(1, 3), (4, 8), (9, 60)] {
            assert_eq!(hearing.deaf_until(at(heard), at(due), tick), None);
        }
        assert_eq!(hearing.deaf_until(at(161), at(61), tick), Some(ms(101)), "this is one");
        let long = ms(10_000);
        assert_eq!(hearing.deaf_until(at(20_160), at(10_161), long), None);
        assert_eq!(hearing.deaf_until(at(40_161), at(30_160), long), Some(ms(20_001)), "of a long tick it is a tick");
    }

    #[test]
    fn that_it_stands_still_is_told_seldom() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let mut hearing = Hearing::new(at(0));
        assert_eq!([1, 2, 3, limits::SELDOM_MS].map(|ms| hearing.says(at(ms))), [Some(0), None, None, None]);
        assert_eq!(hearing.says(at(1 + limits::SELDOM_MS)), Some(3));
    }
}
