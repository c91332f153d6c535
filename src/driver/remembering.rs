//! Asking the others what they remember of this member, when it starts; and, as the leader, telling them what members
//! have promised.
//!
//! Invariants: who has not answered is asked until it has, in this start once it is known to be whole at leisure; what did
//! not change is not told again. Does not know what follows from an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;

use super::archive::ArchiveJob;
use super::comparison::ended_while;
use super::handle::Handle;
use super::mailbox::Mailbox;
use super::memory_file;
use super::questions::Question;
use super::replacing::replacing;
use crate::base::{MemberId, limits};
use crate::consensus::{Promises, Remembered};
use crate::env::{Env, Tasks};
use crate::node::{Input, Recalled};
use crate::wal::WalIdentity;

type Asked = BTreeMap<MemberId, oneshot::Receiver<Option<Remembered>>>;

/// Begins all of it.
pub(super) fn begin<E: Env>(handle: &Handle<E>, archive: Arc<Mailbox<ArchiveJob<E::Disk>>>) {
    let tasks = handle.env().tasks();
    tasks.spawn_light("memory", keep(handle.clone(), archive));
    tasks.spawn_light("recollection", ask_around(handle.clone()));
    tasks.spawn_light("promises", tell_around(handle.clone()));
}

/// Keeps what is remembered for a later start, now and then.
async fn keep<E: Env>(handle: Handle<E>, archive: Arc<Mailbox<ArchiveJob<E::Disk>>>) {
    let identity = WalIdentity { cluster: handle.identity().cluster, member: handle.identity().member };
    let mut kept = None;
    while pause(&handle, limits::REMEMBER_KEEP_MS).await {
        let Ok(held) = handle.promises_held().await else { return };
        if kept.as_ref() != Some(&held) {
            archive.put_completion(ArchiveJob::Remember(memory_file::encode(identity, &held)));
            kept = Some(held);
        }
    }
}

async fn pause<E: Env>(handle: &Handle<E>, ms: u64) -> bool {
    !ended_while(handle, Duration::from_millis(ms)).await
}

/// The members that vote, besides this one.
fn others<E: Env>(handle: &Handle<E>) -> Vec<MemberId> {
    let own = handle.identity().member;
    let members = handle.status().members.into_iter();
    members.filter(|member| member.id != own && !member.is_learner).map(|member| member.id).collect()
}

/// Those who may remember something: the others, and whoever counts on more than there is. A leader that was added after what is
/// here was written is no member here until it has sent what was missing, and it sends nothing before it is asked.
fn witnesses<E: Env>(handle: &Handle<E>) -> Vec<MemberId> {
    let mut witnesses = others(handle);
    let leader = handle.facts().counted_on_by().filter(|leader| !witnesses.contains(leader));
    witnesses.extend(leader);
    witnesses
}

/// Until all have answered and this member knows that it is whole.
async fn ask_around<E: Env>(handle: Handle<E>) {
    let (mut asked, mut answered, mut said) = (Asked::new(), BTreeSet::new(), Said::default());
    loop {
        let doubts = handle.facts().doubts();
        let witnesses = witnesses(&handle);
        if witnesses.iter().all(|other| answered.contains(other)) && !doubts {
            return;
        }
        for other in witnesses.into_iter().filter(|other| doubts || !answered.contains(other)) {
            asked.entry(other).or_insert_with(|| inquire(&handle, other));
        }
        let ms = if doubts { limits::REMEMBER_ASK_MS } else { limits::COMPARE_MS };
        if !pause(&handle, ms).await {
            return;
        }
        for (from, remembered) in arrived(&mut asked) {
            if remembered.is_some() {
                answered.insert(from);
            }
            let told = handle.ask(|reply| Input::Recollected { from, remembered, reply });
            let Ok(recalled) = told.await else { return };
            if remembered.is_some() && said.is_news(recalled) {
                say(&handle, recalled);
            }
        }
    }
}

/// What was said of what came of the questions.
#[derive(Default)]
struct Said {
    last: Option<Recalled>,
    /// Whose memory showed that this member forgot something: they go on being asked, and go on showing it.
    by: BTreeSet<MemberId>,
}

impl Said {
    fn is_news(&mut self, recalled: Recalled) -> bool {
        match recalled {
            Recalled::Forgets { from, .. } => self.by.insert(from),
            other => self.last.replace(other) != Some(other),
        }
    }
}

fn inquire<E: Env>(handle: &Handle<E>, other: MemberId) -> oneshot::Receiver<Option<Remembered>> {
    let (tell, told) = oneshot::channel();
    let asking = handle.clone();
    handle.env().tasks().spawn_light("recollecting", async move {
        let _ = tell.send(asking.ask_recollection(other).await);
    });
    told
}

/// What has come of the questions under way, each by who was asked.
fn arrived(asked: &mut Asked) -> Vec<(MemberId, Option<Remembered>)> {
    let mut arrived = Vec::new();
    asked.retain(|other, told| match told.try_recv() {
        Ok(None) => true,
        Ok(Some(remembered)) => {
            arrived.push((*other, remembered));
            false
        }
        Err(oneshot::Canceled) => false,
    });
    arrived
}

fn say<E: Env>(handle: &Handle<E>, recalled: Recalled) {
    let (id, name) = (handle.identity().member, &handle.identity().name);
    let own = handle.status().members.into_iter().find(|member| member.id == id);
    let replacing = replacing(id, name, &own.map(|own| own.peer_urls).unwrap_or_default());
    match recalled {
        Recalled::Waits => {}
        Recalled::Whole => tracing::info!("local-member-id" = %id, "{recalled}"),
        Recalled::Restored => tracing::warn!("local-member-id" = %id, "{recalled}"),
        Recalled::Forgets { leads, .. } => tracing::error!(
            "local-member-id" = %id,
            leads,
            "{recalled}. It votes for nobody and waits for a leader that the others elect. If they cannot, replace it: \
             {replacing}. Removing takes a majority without this \
             member: start those that are down first. Where that cannot be, stop all and start the one that holds \
             most with --force-new-cluster: what only the others hold is lost"
        ),
    }
}

/// As the leader, until the member ends.
async fn tell_around<E: Env>(handle: Handle<E>) {
    let mut last: Option<Promises> = None;
    while pause(&handle, limits::REMEMBER_TELL_MS).await {
        if !handle.facts().leads() {
            last = None;
            continue;
        }
        let Ok(promises) = handle.ask(|reply| Input::PromisesWanted { reply }).await else { return };
        let Some(promises) = promises.filter(|promises| last.as_ref() != Some(promises)) else { continue };
        for other in others(&handle) {
            let (telling, question) = (handle.clone(), Question::Promises(promises.clone()));
            handle.env().tasks().spawn_light("telling promises", async move {
                // Who cannot be reached hears it the next time.
                let _ = telling.ask_member(other, question).await;
            });
        }
        last = Some(promises);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Forgotten;

    #[test]
    fn each_who_remembers_more_is_told_of_once() {
        let forgets = |from| {
            let what = Forgotten::Term { spoke: 3, knows: 2 };
            Recalled::Forgets { from: MemberId(from), what, leads: false }
        };
        let mut said = Said::default();
        let mut told = |recalled| said.is_news(recalled);
        assert_eq!([told(Recalled::Waits), told(Recalled::Waits)], [true, false]);
        assert_eq!(
            [told(forgets(1)), told(forgets(2)), told(forgets(1)), told(forgets(2))],
            [true, true, false, false]
        );
        assert_eq!([told(Recalled::Restored), told(Recalled::Restored), told(Recalled::Whole)], [true, false, true]);
    }
}
