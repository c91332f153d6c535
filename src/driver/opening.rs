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
use crate::mvcc::{FoldedPart, IndexPart, StoreOptions};
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
}

/// Opens the machine at the newest checkpoint whose history is whole. Changes nothing.
pub(super) async fn open<E: Env>(
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
            return Ok(Opened { machine, image, kept, damaged, hollow: None });
        }
        Err(Wrong::Corruption(first)) => first,
        Err(fault) => return Err(fault),
    };
    // What is damaged may lie behind what the older checkpoint names: the log has it all again.
    let Some(older) = older else { return hollow(disk, options, vec![image], damaged, first) };
    match load(env, options, &older, &[]).await {
        Ok(machine) => {
            damaged.push(Corruption { file, offset: 0, what: format!("the history it names is not whole: {first}") });
            Ok(Opened { machine, image: older, kept: Vec::new(), damaged, hollow: None })
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
    while let Some(parts) = loading.next_batch()? {
        loading.folded(side_by_side(env, parts).await?);
    }
    Machine::loaded(loading, image)
}

/// Folds the parts of a batch at once: the first here, each other in a task of its own.
async fn side_by_side<E: Env>(env: &E, parts: Vec<IndexPart>) -> Result<Vec<FoldedPart>, Wrong> {
    let mut parts = parts.into_iter();
    let first = parts.next();
    let others: Vec<_> = parts
        .map(|part| {
            let (done, folded) = oneshot::channel();
            env.tasks().spawn("index", async move {
                let _ = done.send(part.fold());
            });
            folded
        })
        .collect();
    let mut folded: Vec<FoldedPart> = first.into_iter().map(IndexPart::fold).collect();
    for other in others {
        let ended = |_| Fault::new("read", "history", std::io::Error::other("the member stops"));
        folded.push(other.await.map_err(ended)?);
    }
    Ok(folded)
}

/// Reads the log in a task of its own, while the history is read here. Nothing is what recovery then reads itself.
pub(super) fn read_ahead<E: Env>(
    env: &E,
    wal: &UnrecoveredWal<E::Disk>,
) -> impl Future<Output = SegmentsAhead> + use<E> {
    let (done, read) = oneshot::channel();
    if let Some(ahead) = wal.to_read_ahead() {
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
    Ok(Opened { machine, image, kept, damaged, hollow: Some(damage) })
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
