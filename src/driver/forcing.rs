//! Going on alone: `--force-new-cluster`, for the member that is left where a majority is lost for good.
//!
//! The others are removed by entries of this member's own log, in a term of its own, so that everything that follows is
//! ordinary: the machine applies them, and those removed stay removed. What the log holds and is not known to be committed is
//! kept: some of it may have been acknowledged, and nobody is left who could say otherwise (etcd drops it).
//!
//! Invariants: the entries and the term are one batch of the log, so a crash leaves all of it or nothing; where a majority
//! still answers nothing is done, for there would be two clusters of one id; where nobody is to be removed nothing is written.

use std::time::Duration;

use futures_channel::oneshot;

use super::opening;
use crate::base::{ClusterId, Corruption, Fault, LogIndex, MemberId, Term, Wrong, limits};
use crate::consensus::{ConfChange, ConfChangeKind};
use crate::env::{Disk, Env, Tasks};
use crate::machine::{Member, MemberChange, Members, State, members_from_json};
use crate::node::change_of;
use crate::peer::fetch;
use crate::wal::{Batch, EntryKind, HardState, LogEntry, RecoveredWal, WalIdentity};

/// What became of the wish to go on alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forced {
    /// The others are removed.
    Removed {
        /// Who.
        members: Vec<MemberId>,
        /// What was known to be committed before.
        committed: LogIndex,
        /// What is committed now.
        commits: LogIndex,
    },
    /// There was nobody to remove.
    Alone,
    /// With these others there is a majority: nothing was done.
    MajorityAnswers(Vec<MemberId>),
}

/// Makes the recovered log that of a member alone, unless a majority answers.
///
/// # Errors
/// The member was removed, its data are damaged (`hollow`), or the log cannot be written or read.
pub(super) async fn force<E: Env>(
    env: &E,
    wal: &mut RecoveredWal<E::Disk>,
    state: &State,
    own: WalIdentity,
    hollow: &Option<Corruption>,
) -> Result<Forced, Wrong> {
    if let Some(damage) = hollow {
        // There would be nobody left to have the data from.
        return Err(damage.clone().into());
    }
    let members = members_at_the_end(state, &wal.entries)?;
    if !members.list().iter().any(|member| member.id == own.member) {
        let why = std::io::Error::other("this member was removed from the cluster: it cannot go on with its data");
        return Err(Fault::new("force", "new cluster", why).into());
    }
    let voters = members.voters();
    let others: Vec<Member> = members.list().into_iter().filter(|member| member.id != own.member).collect();
    if others.is_empty() {
        return Ok(Forced::Alone);
    }
    let asked = others.iter().filter(|member| !member.is_learner).cloned().collect();
    let answering = answering(env, asked, own).await;
    if answering.len() + usize::from(voters.contains(&own.member)) > voters.len() / 2 {
        return Ok(Forced::MajorityAnswers(answering));
    }
    remove_others(wal, state.applied, own.member, &members).await
}

/// The members once everything in the log is applied.
fn members_at_the_end(state: &State, entries: &[LogEntry]) -> Result<Members, Wrong> {
    let mut members = Members::restore(state.members.clone(), state.removed.clone());
    let changes = entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange);
    for entry in changes.filter(|entry| entry.index > state.applied.0) {
        let unreadable = |what: &str| {
            Wrong::corrupt("wal", 0, format!("entry {} is no change of the configuration: {what}", entry.index))
        };
        let change = ConfChange::decode(&entry.data).ok_or_else(|| unreadable("it cannot be read"))?;
        match change_of(&change).map_err(|what| unreadable(&what))? {
            Some(change) if members.check(&change).is_ok() => members.change(change),
            Some(_) => {}
            None => members.add(Member::from_context(&change.context).map_err(|what| unreadable(&what))?),
        }
    }
    Ok(members)
}

/// Appends what removes the others, all of it committed.
async fn remove_others<D: Disk>(
    wal: &mut RecoveredWal<D>,
    applied: (LogIndex, Term),
    own: MemberId,
    members: &Members,
) -> Result<Forced, Wrong> {
    let before = opening::raised(wal.hard_state, applied);
    // A term of its own: no leader of an earlier one has written other entries at these places.
    let term = before.term + 1;
    let first = wal.journal.last_index().max(applied.0) + 1;
    let mut changes = Vec::new();
    if !members.voters().contains(&own) {
        let context = MemberChange::Promote(own).context();
        // With a request's number, or it would be taken for one that founds the cluster.
        changes.push(ConfChange { id: first, kind: ConfChangeKind::Add, member: own, context });
    }
    let others: Vec<MemberId> = members.list().iter().map(|member| member.id).filter(|id| *id != own).collect();
    for member in &others {
        let context = MemberChange::Remove(*member).context();
        changes.push(ConfChange { id: 0, kind: ConfChangeKind::Remove, member: *member, context });
    }
    let entry = |(change, index): (&ConfChange, LogIndex)| LogEntry {
        index,
        term,
        kind: EntryKind::ConfChange,
        data: change.encode(),
    };
    let entries: Vec<LogEntry> = changes.iter().zip(first..).map(entry).collect();
    let commits = first + entries.len() as LogIndex - 1;
    let hard_state = HardState { term, vote: own.0, commit: commits };
    wal.journal.append(&Batch { hard_state: Some(hard_state), entries: entries.clone() })?;
    wal.journal.sync().await?;
    wal.hard_state = hard_state;
    wal.entries.extend(entries);
    Ok(Forced::Removed { members: others, committed: before.commit, commits })
}

/// Which of the members answer as members of this cluster that still know this one.
async fn answering<E: Env>(env: &E, members: Vec<Member>, own: WalIdentity) -> Vec<MemberId> {
    let (told, found) = oneshot::channel();
    let world = env.clone();
    env.tasks().spawn_light("forcing", async move {
        let mut answering = Vec::new();
        for member in members {
            if answers(&world, &member, own).await {
                answering.push(member.id);
            }
        }
        let _ = told.send(answering);
    });
    // Unanswered where the process ends.
    found.await.unwrap_or_default()
}

async fn answers<E: Env>(env: &E, member: &Member, WalIdentity { cluster, member: own }: WalIdentity) -> bool {
    for url in &member.peer_urls {
        // Those who are only slow are not to be removed.
        let timeout = Duration::from_millis(limits::PEER_QUESTION_MS);
        let Ok(fetched) = fetch(env, url, "/members", timeout).await else { continue };
        let knows = |members: Vec<Member>| {
            let known = |id| members.iter().any(|member| member.id == id);
            known(own) && known(member.id)
        };
        if fetched.cluster == Some::<ClusterId>(cluster) && members_from_json(&fetched.body).is_ok_and(knows) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
