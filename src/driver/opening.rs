//! Which checkpoint a start begins at, and whether log and checkpoint belong together.
//!
//! Invariants: a checkpoint of another cluster or member is refused before anything is read behind it; a history that
//! is damaged behind the older checkpoint's position costs a longer replay and not the data; an installed snapshot whose
//! log was not cut any more is taken to the end. Nothing on the disk is changed here but that cut. Where no history is whole and
//! others have the data, the member begins without: it takes theirs.

use futures_channel::oneshot;

use super::checkpoint_files::{Found, ImageFile};
use super::config::DriverConfig;
use crate::base::{Corruption, Fault, LogIndex, Term, Wrong};
use crate::env::{Disk, Env, Tasks};
use crate::machine::{Image, Machine};
use crate::mvcc::{IndexPart, SegmentsToRead, StoreOptions};
use crate::wal::{HardState, RecoveredWal, SegmentsAhead, UnrecoveredWal, WalIdentity};

/// A machine at a checkpoint.
pub(super) struct Opened<D: Disk> {
    pub(super) machine: Machine<D>,
    /// The checkpoint; a new cluster's beginning where there is none.
    pub(super) image: Image,
    /// What is kept beside it.
    pub(super) kept: Vec<Image>,
    /// Images passed over.
    pub(super) damaged: Vec<Corruption>,
    /// Why the machine has no data, where it has none: they are to be had from others.
    pub(super) hollow: Option<Corruption>,
    /// The newest image, where the machine is at an older one, and what is wrong with its history.
    newest: Option<(Image, Corruption)>,
}

/// Opens the machine, and the log behind it. Where that does not reach back to the older image, which alone has a whole
/// history, as after damage of it of which nothing was needed, the data are to be had from others.
pub(super) async fn open_both<E: Env>(
    env: &E,
    config: &DriverConfig,
    identity: WalIdentity,
    found: Found,
    (wal, ahead): (UnrecoveredWal<E::Disk>, impl Future<Output = SegmentsAhead>),
) -> Result<(Opened<E::Disk>, RecoveredWal<E::Disk>), Wrong> {
    let mut opened = open(env, config, identity, found).await?;
    let again = wal.again();
    let recovered = wal.with_ahead(ahead.await).recover(identity, opened.image.state.applied.0).await;
    match (recovered, opened.newest.take()) {
        (Err(Wrong::Corruption(_)), Some((newest, damage))) => {
            // Its own bytes are good.
            opened.damaged.pop();
            let kept = vec![newest, opened.image];
            let opened = hollow(env.disk(), &config.store, kept, opened.damaged, damage)?;
            let recovered = again.recover(identity, opened.image.state.applied.0).await?;
            Ok((opened, recovered))
        }
        (recovered, _) => Ok((opened, recovered?)),
    }
}

/// Opens the machine at the newest checkpoint whose history is whole. Changes nothing.
async fn open<E: Env>(
    env: &E,
    config: &DriverConfig,
    identity: WalIdentity,
    found: Found,
) -> Result<Opened<E::Disk>, Wrong> {
    let (disk, options) = (env.disk(), &config.store);
    let Found { image, older, mut damaged, .. } = found;
    for image in image.iter().chain(&older) {
        check_identity(image, identity)?;
    }
    let beginning = || ImageFile { file: String::new(), image: Image { identity, ..Image::default() } };
    let ImageFile { file, image } = image.unwrap_or_else(beginning);
    let older = older.map(|older| older.image);
    let first = match load(env, options, &image, older.as_ref().as_slice()).await {
        Ok(machine) => {
            let kept = older.into_iter().collect();
            return Ok(Opened { machine, image, kept, damaged, hollow: None, newest: None });
        }
        Err(Wrong::Corruption(first)) => first,
        Err(fault) => return Err(fault),
    };
    // What is damaged may lie behind what the older checkpoint names: the log has it all again.
    let Some(older) = older else { return hollow(disk, options, vec![image], damaged, first) };
    match load(env, options, &older, &[]).await {
        Ok(machine) => {
            damaged.push(Corruption { file, offset: 0, what: format!("the history it names is not whole: {first}") });
            let newest = Some((image, first));
            Ok(Opened { machine, image: older, kept: Vec::new(), damaged, hollow: None, newest })
        }
        Err(Wrong::Corruption(_)) => hollow(disk, options, vec![image, older], damaged, first),
        Err(fault) => Err(fault),
    }
}

/// The machine at an image. A history that cannot be read is a damaged one. Asked twice: what fails once may be a hiccup.
async fn load<E: Env>(
    env: &E,
    options: &StoreOptions,
    image: &Image,
    kept: &[&Image],
) -> Result<Machine<E::Disk>, Wrong> {
    let answer = match load_once(env, options, image, kept).await {
        Err(wrong) if wrong.is_of_device() => load_once(env, options, image, kept).await,
        answer => answer,
    };
    answer.map_err(|wrong| match wrong {
        Wrong::Fault(fault) if fault.is_of_device() => Wrong::corrupt(fault.path.clone(), 0, fault.to_string()),
        wrong => wrong,
    })
}

async fn load_once<E: Env>(
    env: &E,
    options: &StoreOptions,
    image: &Image,
    kept: &[&Image],
) -> Result<Machine<E::Disk>, Wrong> {
    let mut loading = Machine::loading(env.disk().clone(), *options, image, kept)?;
    loop {
        let shares = loading.next_reads();
        if !shares.is_empty() {
            let read = side_by_side(env, shares, SegmentsToRead::read).await?;
            loading.have_read(read.into_iter().collect::<Result<_, _>>()?);
            continue;
        }
        let parts = loading.next_batch();
        if parts.is_empty() {
            return Machine::loaded(loading, image);
        }
        loading.folded(side_by_side(env, parts, IndexPart::fold).await?);
    }
}

/// Does several things of a kind at once: the first here, each other in a task of its own. What came of them is in their order.
async fn side_by_side<E: Env, T: Send + 'static, R: Send + 'static>(
    env: &E,
    things: Vec<T>,
    work: fn(T) -> R,
) -> Result<Vec<R>, Wrong> {
    let mut things = things.into_iter();
    let first = things.next();
    let others: Vec<_> = things
        .map(|thing| {
            let (done, result) = oneshot::channel();
            env.tasks().spawn("index", async move {
                let _ = done.send(work(thing));
            });
            result
        })
        .collect();
    let mut results: Vec<R> = first.into_iter().map(work).collect();
    for other in others {
        let ended = |_| Fault::new("read", "history", std::io::Error::other("the member stops"));
        results.push(other.await.map_err(ended)?);
    }
    Ok(results)
}

/// Reads the log behind the newest image in a task of its own, while the history is read here. Nothing is what recovery then reads
/// itself.
pub(super) fn read_ahead<E: Env>(
    env: &E,
    wal: &UnrecoveredWal<E::Disk>,
    found: &Found,
) -> impl Future<Output = SegmentsAhead> + use<E> {
    let (done, read) = oneshot::channel();
    let after = found.image.as_ref().map_or(0, |newest| newest.image.state.applied.0);
    if let Some(ahead) = wal.to_read_ahead(after) {
        env.tasks().spawn("log", async move {
            let _ = done.send(ahead.read());
        });
    }
    async move { read.await.unwrap_or_default() }
}

/// Opens a machine without data at the newest image, whose own bytes are good: it says who the members are. The files stay until
/// there is something to put in their place. Refused where nobody else has the data.
fn hollow<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    kept: Vec<Image>,
    damaged: Vec<Corruption>,
    mut damage: Corruption,
) -> Result<Opened<D>, Wrong> {
    let newest = kept.first().expect("the damage is in the history of an image");
    let own = newest.identity.member;
    if !newest.state.members.iter().any(|member| member.id != own && !member.is_learner) {
        damage.what.push_str("; no other member votes, who would have the data: restore them from a backup");
        return Err(damage.into());
    }
    let image = Image { identity: newest.identity, state: newest.state.clone(), ..Image::default() };
    let beside: Vec<&Image> = kept.iter().collect();
    let machine = Machine::load(disk.clone(), *options, &image, &beside)?;
    Ok(Opened { machine, image, kept, damaged, hollow: Some(damage), newest: None })
}

fn check_identity(found: &ImageFile, own: WalIdentity) -> Result<(), Wrong> {
    let WalIdentity { cluster, member } = found.image.identity;
    if found.image.identity == own {
        return Ok(());
    }
    let what = format!(
        "it is of member {member} of cluster {cluster}, but the log beside it is of member {} of cluster {}",
        own.member, own.cluster
    );
    Err(Wrong::corrupt(&found.file, 0, what))
}

/// Takes an installation to its end that was interrupted between making the checkpoint durable and cutting the log: then
/// the log holds another entry than the checkpoint's, and nothing in it was ever committed from there on.
pub(super) async fn cut_if_void<D: Disk>(
    wal: &mut RecoveredWal<D>,
    (index, term): (LogIndex, Term),
) -> Result<(), Wrong> {
    if wal.term_at.is_none_or(|held| held == term) {
        return Ok(());
    }
    if wal.hard_state.commit >= index {
        let what = format!("entry {index} was committed, and is not the one the checkpoint at {index} ends with");
        return Err(Wrong::corrupt("wal", 0, what));
    }
    wal.journal.cut(index)?;
    wal.journal.sync().await?;
    wal.entries.clear();
    Ok(())
}

/// The hard state with what the checkpoint says beyond it: that its last entry is committed, and that there was its
/// term, in which this member has not voted.
pub(super) fn raised(hard_state: HardState, (index, term): (LogIndex, Term)) -> HardState {
    let commit = hard_state.commit.max(index);
    if hard_state.term >= term {
        return HardState { commit, ..hard_state };
    }
    HardState { term, vote: 0, commit }
}
