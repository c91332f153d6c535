//! The keeper: the one task that writes the log.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;

use super::ending::Ending;
use super::install::{DurableImage, InstalledImage, cut_log};
use super::mailbox::Mailbox;
use super::shortage::Shortage;
use crate::base::{LogIndex, Wrong, limits};
use crate::env::{Clock, Disk, Env, Instant};
use crate::node::{DiskPart, Facts, Input};
use crate::wal::{Batch, Journal};

/// One thing the keeper is asked.
pub(super) enum KeeperJob {
    /// Make durable, then say so.
    Persist {
        number: u64,
        batch: Batch,
        /// When it was handed over.
        handed: Instant,
    },
    /// As `Persist`, behind a snapshot: once its image is durable the log is cut. Who made the image is told.
    Install {
        number: u64,
        durable: oneshot::Receiver<DurableImage>,
        batch: Batch,
        installed: oneshot::Sender<InstalledImage>,
    },
    /// Segments with nothing above this may be used again.
    Release(LogIndex),
    /// The disk may have room again for the next segment; tell whether.
    LookForRoom,
    /// Others need room: what is not in use goes; tell when it has gone.
    GiveRoom,
    Stop,
}

/// What goes to the log's end, in order, and what of it is done.
enum Late {
    Batch {
        number: u64,
        batch: Batch,
        handed: Instant,
    },
    /// Behind an image that may not be durable yet.
    Cut {
        number: u64,
        durable: Durable,
        batch: Batch,
        installed: oneshot::Sender<InstalledImage>,
    },
    /// The log is cut.
    BehindCut {
        number: u64,
        batch: Batch,
        cut: InstalledImage,
        installed: oneshot::Sender<InstalledImage>,
    },
}

/// The permit to cut the log.
enum Durable {
    Awaited(oneshot::Receiver<DurableImage>),
    Given(DurableImage),
}

impl Late {
    /// Whether it is late for another reason than want of room.
    fn awaits_image(&self) -> bool {
        matches!(self, Self::Cut { durable: Durable::Awaited(_), .. })
    }
}

/// Appends everything that waits, syncs once, says so; where nothing waits, readies the next segment a slice
/// at a time. What the disk has no room for waits, in order, and is tried again: to the node it is a disk that hangs. So does
/// what belongs behind an image that is not durable; what was handed over before it does not, and whoever makes the image may
/// be given room meanwhile. Ends
/// on the first fault: a failed sync is never tried again. A clean end waits until the others who write
/// in the data directory are `at_rest`.
pub(super) async fn keep<E: Env>(
    env: E,
    mut journal: Journal<E::Disk>,
    jobs: Arc<Mailbox<KeeperJob>>,
    node: Arc<Mailbox<Input<E::Disk>>>,
    (ending, facts): (Ending, Arc<Facts>),
    at_rest: oneshot::Receiver<()>,
) {
    let how = rounds(&mut journal, &jobs, &node, &(env, facts)).await;
    if let Err(wrong) = &how {
        tracing::error!(error = %wrong, "the log cannot be written: stopping");
    }
    jobs.close();
    node.close();
    if how.is_ok() {
        // Nothing is ever sent: it ends with the last who could.
        let _ = at_rest.await;
    }
    ending.tell(how);
}

async fn rounds<E: Env>(
    journal: &mut Journal<E::Disk>,
    jobs: &Mailbox<KeeperJob>,
    node: &Mailbox<Input<E::Disk>>,
    world: &(E, Arc<Facts>),
) -> Result<(), Wrong> {
    let (mut batch, mut late) = (Vec::new(), VecDeque::new());
    // Whether it was told that room is lacked; whether somebody looks for some, who is to hear.
    let (mut told_short, mut looks) = (false, false);
    let mut shortage = Shortage::new("log");
    while take(world.0.clock(), jobs, &mut batch, &mut late).await {
        let tried = world.0.clock().now();
        looks |= batch.iter().any(|job| matches!(job, KeeperJob::LookForRoom));
        let gives = batch.iter().any(|job| matches!(job, KeeperJob::GiveRoom));
        let was_short = lacks_room(&late);
        let mut goes_on = sort(journal, &mut batch, &mut late)?;
        if gives {
            node.put_completion(Input::RoomGiven);
        }
        if was_short {
            // What was released meanwhile may be all the room there is.
            journal.look_for_room();
            while journal.prepare().await? {}
        }
        goes_on &= write(journal, &mut late, node, world).await?;
        if !goes_on {
            // What there was no room for was never told to be durable.
            return journal.close().await;
        }
        if lacks_room(&late) && (looks || !told_short) {
            (told_short, looks) = (true, false);
            node.put_completion(Input::Room { part: DiskPart::Log, short: true, tried });
        }
        if late.is_empty() && !jobs.has_items() {
            let found = prepare(journal, jobs, looks).await?;
            if let Some(short) = found.filter(|short| *short != told_short || looks) {
                (told_short, looks) = (short, false);
                node.put_completion(Input::Room { part: DiskPart::Log, short, tried });
            }
        }
        // As of the round's beginning: the lines are a minute apart, and each round would ask the clock once more.
        shortage.stands(told_short || lacks_room(&late), tried);
    }
    Ok(())
}

/// Whether what is late is so for want of room.
fn lacks_room(late: &VecDeque<Late>) -> bool {
    late.front().is_some_and(|first| !first.awaits_image())
}

/// Takes what waits; where something waits for room no longer than until it is to be tried again, where it waits for an image
/// until that is durable, or will not be. False at the end.
async fn take<C: Clock>(
    clock: &C,
    jobs: &Mailbox<KeeperJob>,
    into: &mut Vec<KeeperJob>,
    late: &mut VecDeque<Late>,
) -> bool {
    let Some(first) = late.front_mut() else { return jobs.take(into).await };
    let again = clock.now().plus(Duration::from_millis(limits::WAL_ROOM_RETRY_MS));
    let mut pause = pin!(clock.sleep_until(again));
    poll_fn(|cx| {
        if jobs.poll_take(cx, into).is_ready() {
            return Poll::Ready(!into.is_empty());
        }
        let Late::Cut { durable: durable @ Durable::Awaited(_), .. } = &mut *first else {
            return pause.as_mut().poll(cx).map(|()| true);
        };
        let Durable::Awaited(coming) = durable else { return Poll::Ready(true) };
        Pin::new(coming).poll(cx).map(|made| {
            if let Ok(made) = made {
                *durable = Durable::Given(made);
            }
            true
        })
    })
    .await
}

/// Does what needs no room; what goes to the log's end becomes `late`, in order. False when no more is to come.
fn sort<D: Disk>(
    journal: &mut Journal<D>,
    jobs: &mut Vec<KeeperJob>,
    late: &mut VecDeque<Late>,
) -> Result<bool, Wrong> {
    let mut going_on = true;
    for job in jobs.drain(..) {
        match job {
            KeeperJob::Persist { number, batch, handed } => late.push_back(Late::Batch { number, batch, handed }),
            KeeperJob::Install { number, durable, batch, installed } => {
                late.push_back(Late::Cut { number, durable: Durable::Awaited(durable), batch, installed });
            }
            KeeperJob::Release(up_to) => journal.release(up_to)?,
            KeeperJob::LookForRoom => journal.look_for_room(),
            KeeperJob::GiveRoom => journal.give_room()?,
            KeeperJob::Stop => going_on = false,
        }
    }
    Ok(going_on)
}

/// Readies the next segment by a slice; where somebody looks for room, until it is ready, or nothing more fits, or somebody
/// else waits. Whether it lacks room; nothing while it is not known whether what it lacked is there now.
async fn prepare<D: Disk>(
    journal: &mut Journal<D>,
    jobs: &Mailbox<KeeperJob>,
    looks: bool,
) -> Result<Option<bool>, Wrong> {
    loop {
        let is_done = !journal.prepare().await?;
        if is_done || !looks || jobs.has_items() {
            return Ok(is_done.then(|| journal.lacks_room()));
        }
    }
}

/// Appends a batch; false where the disk has no room for it.
fn append<D: Disk>(journal: &mut Journal<D>, batch: &Batch) -> Result<bool, Wrong> {
    match journal.append(batch) {
        Ok(_) => Ok(true),
        Err(Wrong::Fault(fault)) if fault.is_no_space() => Ok(false),
        Err(wrong) => Err(wrong),
    }
}

/// Writes what is late as far as there is room, syncs once, says so. False when nothing is written any more.
async fn write<E: Env>(
    journal: &mut Journal<E::Disk>,
    late: &mut VecDeque<Late>,
    node: &Mailbox<Input<E::Disk>>,
    (env, facts): &(E, Arc<Facts>),
) -> Result<bool, Wrong> {
    let (clock, tallies) = (env.clock(), &facts.tallies);
    let mut persisted = None;
    while let Some(next) = late.pop_front() {
        match next {
            Late::Batch { number, batch, handed } => {
                let (begun, before) = (clock.now(), journal.bytes_written());
                if !append(journal, &batch)? {
                    late.push_front(Late::Batch { number, batch, handed });
                    break;
                }
                tallies.log_bytes.fetch_add(journal.bytes_written().saturating_sub(before), Relaxed);
                tallies.log_writes.took(clock.now().since(begun));
                let waited_since = persisted.map_or(handed, |(_, since)| since);
                persisted = Some((number, waited_since));
            }
            Late::Cut { number, durable, batch, installed } => {
                let durable = match durable {
                    Durable::Given(durable) => durable,
                    Durable::Awaited(mut coming) => match coming.try_recv() {
                        Ok(Some(durable)) => durable,
                        Ok(None) => {
                            let durable = Durable::Awaited(coming);
                            late.push_front(Late::Cut { number, durable, batch, installed });
                            break;
                        }
                        // Not made: whoever makes it has told the end, and nothing is written any more.
                        Err(_) => return Ok(false),
                    },
                };
                match cut_log(journal, durable).await? {
                    Ok(cut) => late.push_front(Late::BehindCut { number, batch, cut, installed }),
                    Err(durable) => {
                        let durable = Durable::Given(durable);
                        late.push_front(Late::Cut { number, durable, batch, installed });
                        break;
                    }
                }
            }
            Late::BehindCut { number, batch, cut, installed } => {
                if !batch.is_empty() && !append(journal, &batch)? {
                    late.push_front(Late::BehindCut { number, batch, cut, installed });
                    break;
                }
                journal.sync().await?;
                node.put_completion(Input::Persisted { number });
                persisted = None;
                let _ = installed.send(cut);
            }
        }
    }
    if let Some((number, waited_since)) = persisted {
        let begun = clock.now();
        journal.sync().await?;
        let synced = clock.now();
        tallies.log_syncs.took(synced.since(begun));
        // Once for all that waited: as long as the first of them.
        tallies.stages.sync.took(synced.since(waited_since));
        assert_eq!(journal.durable(), journal.appended(), "a sync covers everything appended before it");
        node.put_completion(Input::Persisted { number });
    }
    Ok(true)
}

#[cfg(all(test, feature = "tokio-env"))]
mod tests {
    use super::*;
    use crate::base::{ClusterId, MemberId};
    use crate::driver::ending::AtWork;
    use crate::driver::install::make_durable;
    use crate::env::{MemoryDisk, Tasks, VirtualEnv};
    use crate::machine::{Image, State};
    use crate::wal::{EntryKind, HardState, LogEntry, UnrecoveredWal, WalIdentity};

    const IDENTITY: WalIdentity = WalIdentity { cluster: ClusterId(1), member: MemberId(1) };

    /// A member's log in a world of its own.
    async fn journal(env: &VirtualEnv) -> Journal<MemoryDisk> {
        env.disk().create_dir("wal").expect("made");
        let wal = UnrecoveredWal::open(env.disk().clone(), "wal").expect("opened").with_segment_bytes(64 * 1024);
        wal.recover(IDENTITY, 0).await.expect("recovered").journal
    }

    /// An installation whose image is durable and that finds no room for the log's cut, or for what belongs behind it, is
    /// late like any batch: it is done once there is room, and the member goes on.
    #[test]
    fn an_installation_without_room_waits_for_it() {
        // None; for the cut alone.
        for room in [0, 512] {
            VirtualEnv::run(async |env| {
                let journal = journal(&env).await;
                env.disk().create_dir("checkpoint").expect("made");
                let image = Image { state: State { applied: (9, 5), ..State::default() }, ..Image::default() };
                let image = make_durable(env.disk(), &image).await.expect("there is room");
                let jobs = Arc::new(Mailbox::new(1, 1));
                let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
                let (ending, (archive, at_rest)) = (Ending::default(), AtWork::begin());
                let watched = (ending.clone(), Arc::default());
                env.disk().leave_room(Some(room));
                env.tasks().spawn("keeper", keep(env.clone(), journal, jobs.clone(), node.clone(), watched, at_rest));
                let entry = LogEntry { index: 10, term: 5, kind: EntryKind::Normal, data: vec![7; 2000].into() };
                let hard_state = Some(HardState { term: 5, vote: 0, commit: 9 });
                let batch = Batch { hard_state, entries: vec![entry.clone()] };
                let (durable, is_durable) = oneshot::channel();
                let (installed, mut is_installed) = oneshot::channel();
                jobs.put_completion(KeeperJob::Install { number: 3, durable: is_durable, batch, installed });
                durable.send(image).expect("awaited");
                env.pass(Duration::from_secs(3)).await;
                assert!(ending.now().is_none() && matches!(is_installed.try_recv(), Ok(None)), "{room}");
                let mut told = Vec::new();
                assert!(node.take(&mut told).await);
                assert!(matches!(told[..], [Input::Room { part: DiskPart::Log, short: true, .. }]), "{room}");
                env.disk().leave_room(None);
                env.pass(Duration::from_secs(1)).await;
                assert_eq!(is_installed.try_recv().expect("at work").map(|cut| cut.applied()), Some(9), "{room}");
                told.clear();
                assert!(node.take(&mut told).await);
                let persisted = told.iter().filter(|input| matches!(input, Input::Persisted { number: 3 })).count();
                let goes_on = told.iter().any(|input| matches!(input, Input::Room { short: false, .. }));
                assert!(persisted == 1 && goes_on, "{room}");
                jobs.put_completion(KeeperJob::Stop);
                drop(archive);
                ending.wait().await.expect("a clean end");
                let wal = UnrecoveredWal::open(env.disk().clone(), "wal").expect("opened");
                let wal = wal.recover(IDENTITY, 9).await.expect("recovered");
                assert_eq!((wal.entries, wal.hard_state.commit), (vec![entry], 9), "{room}");
            });
        }
    }

    /// Room is looked for by slices: before the last of them nobody knows, though there was none before.
    #[test]
    fn that_there_is_no_room_is_not_told_before_it_was_looked() {
        VirtualEnv::run(async |env| {
            env.disk().create_dir("wal").expect("made");
            let wal = UnrecoveredWal::open(env.disk().clone(), "wal").expect("opened");
            let wal = wal.with_segment_bytes(4 * limits::WAL_PREPARE_BYTES as u64);
            let mut journal = wal.recover(IDENTITY, 0).await.expect("recovered").journal;
            let jobs = Mailbox::new(1, 1);
            env.disk().leave_room(Some(limits::WAL_PREPARE_BYTES));
            assert_eq!(prepare(&mut journal, &jobs, true).await.expect("no fault"), Some(true));
            env.disk().leave_room(None);
            jobs.put_completion(KeeperJob::LookForRoom);
            journal.look_for_room();
            assert_eq!(prepare(&mut journal, &jobs, true).await.expect("no fault"), None, "somebody else waits");
            assert!(jobs.take(&mut Vec::new()).await);
            assert_eq!(prepare(&mut journal, &jobs, true).await.expect("no fault"), Some(false));
        });
    }

    /// While an image waits for room what was handed over before it becomes durable, and the log gives the room that it keeps.
    #[test]
    fn who_waits_for_an_image_hears_what_else_is_asked() {
        VirtualEnv::run(async |env| {
            let journal = journal(&env).await;
            env.disk().create_dir("checkpoint").expect("made");
            let jobs = Arc::new(Mailbox::new(1, 1));
            let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
            let (ending, (archive, at_rest)) = (Ending::default(), AtWork::begin());
            let watched = (ending.clone(), Arc::default());
            env.tasks().spawn("keeper", keep(env.clone(), journal, jobs.clone(), node.clone(), watched, at_rest));
            let batch_of = |index| {
                let data = vec![7; 20_000].into();
                let hard_state = Some(HardState { term: 5, vote: 0, commit: index - 1 });
                Batch { hard_state, entries: vec![LogEntry { index, term: 5, kind: EntryKind::Normal, data }] }
            };
            for index in 1..=20 {
                let handed = env.clock().now();
                jobs.put_completion(KeeperJob::Persist { number: index, batch: batch_of(index), handed });
                env.pass(Duration::from_millis(10)).await;
            }
            jobs.put_completion(KeeperJob::Release(19));
            env.pass(Duration::from_millis(10)).await;
            let mut told = Vec::new();
            assert!(node.take(&mut told).await);
            told.clear();
            let files = || env.disk().list("wal").expect("listed").len();
            let kept = files();
            let handed = env.clock().now();
            let (durable, is_durable) = oneshot::channel();
            let (installed, mut is_installed) = oneshot::channel();
            jobs.put_completion(KeeperJob::Persist { number: 21, batch: batch_of(21), handed });
            let batch = batch_of(31);
            jobs.put_completion(KeeperJob::Install { number: 22, durable: is_durable, batch, installed });
            env.pass(Duration::from_millis(10)).await;
            assert!(node.take(&mut told).await);
            assert!(matches!(told[..], [Input::Persisted { number: 21 }]), "and nobody is told that room is lacked");
            told.clear();
            jobs.put_completion(KeeperJob::GiveRoom);
            env.pass(Duration::from_millis(10)).await;
            assert!(files() < kept, "of {kept} files none went");
            assert!(node.take(&mut told).await);
            assert!(matches!(told[..], [Input::RoomGiven]));
            told.clear();
            let image = Image { state: State { applied: (30, 5), ..State::default() }, ..Image::default() };
            let made = make_durable(env.disk(), &image).await.expect("there is room");
            durable.send(made).expect("awaited");
            env.pass(Duration::from_millis(1)).await;
            assert_eq!(is_installed.try_recv().expect("at work").map(|cut| cut.applied()), Some(30), "at once");
            assert!(node.take(&mut told).await);
            assert!(matches!(told[..], [Input::Persisted { number: 22 }]));
            jobs.put_completion(KeeperJob::Stop);
            drop(archive);
            ending.wait().await.expect("a clean end");
        });
    }

    /// Whoever stops a member and starts another on its directory must not meet a checkpoint the first is still writing.
    #[test]
    fn the_end_is_told_when_nobody_writes_any_more() {
        VirtualEnv::run(async |env| {
            let journal = journal(&env).await;
            let jobs = Arc::new(Mailbox::new(1, 1));
            let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
            let (ending, (archive, at_rest)) = (Ending::default(), AtWork::begin());
            let reclaim = archive.clone();
            let watched = (ending.clone(), Arc::default());
            env.tasks().spawn("keeper", keep(env.clone(), journal, jobs.clone(), node, watched, at_rest));
            jobs.put_completion(KeeperJob::Stop);
            drop(archive);
            env.pass(Duration::from_secs(1)).await;
            assert!(ending.now().is_none(), "a segment is still being rewritten");
            drop(reclaim);
            env.pass(Duration::from_millis(1)).await;
            assert!(matches!(ending.now(), Some(Ok(()))));
        });
    }
}
