//! Holding the members against each other: once in a while the leader asks all of them for the digest of what they have
//! applied up to one index, and a majority names who differs. A member that waits for another's state asks for it here, too.
//!
//! Invariants: an index is noted one round before it is asked for, so that who is not behind has applied it; a member that
//! does not answer, or does not know, says nothing about itself; who differs is named by an alarm in the log, as etcd does,
//! and once for as long as it stands. Does not know what becomes of who was named.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;

use super::handle::Handle;
use super::questions::{Question, Told};
use crate::base::{LogIndex, MemberId, limits};
use crate::env::{Clock, Env, Tasks};
use crate::machine::{AlarmAction, AlarmKind, Command};
use crate::node::{Input, Verdict, judge_all};

/// The member an alarm is raised for where nobody can be named: all of them, as in etcd.
pub(super) const EVERYBODY: MemberId = MemberId(0);

/// Watches until the member ends.
pub(super) async fn watch<E: Env>(handle: Handle<E>) {
    let mut comparison = Comparison::default();
    while !ended_while(&handle, Duration::from_millis(limits::COMPARE_MS)).await {
        let facts = handle.facts();
        if facts.waits_for_state() {
            // Refused, or nobody leads: asked again.
            let _ = handle.ask_for_state().await;
        }
        if facts.leads() {
            comparison.round(&handle).await;
        } else {
            comparison = Comparison::default();
        }
    }
}

/// Waits for so long or for the member's end; whether it has ended.
pub(super) async fn ended_while<E: Env>(handle: &Handle<E>, time: Duration) -> bool {
    let clock = handle.env().clock();
    let pause = clock.sleep_until(clock.now().plus(time));
    let (mut ended, mut pause) = (pin!(handle.ending().wait()), pin!(pause));
    poll_fn(|cx| {
        if ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        pause.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// The leader's, from round to round.
#[derive(Default)]
struct Comparison {
    /// The index the next round asks for, with the digest here.
    noted: Option<(LogIndex, Option<u64>)>,
    /// Rounds in a row that found a difference and no majority.
    undecided: u32,
}

impl Comparison {
    async fn round<E: Env>(&mut self, handle: &Handle<E>) {
        let since = self.noted.map_or(0, |(at, _)| at);
        let Ok(noted) = handle.ask(|reply| Input::DigestNoted { since, reply }).await else { return };
        let Some((at, Some(own))) = self.noted.replace(noted) else { return };
        let member = handle.identity().member;
        let status = handle.status();
        let mut digests = vec![(member, own)];
        let others = status.members.iter().map(|member| member.id).filter(|other| *other != member);
        digests.extend(ask_all(handle, others, at).await);
        let voting = status.members.iter().filter(|member| !member.is_learner).map(|member| member.id);
        let verdict = judge_all(&digests, &voting.collect::<Vec<_>>());
        self.undecided = if matches!(verdict, Verdict::Undecided(_)) { self.undecided + 1 } else { 0 };
        let is_named = |id| status.alarms.contains(&(id, AlarmKind::Corrupt));
        match verdict {
            // Since then a majority may have been made by handing a wrong state on: whoever disarms the alarm has looked.
            Verdict::Differ { .. } if is_named(EVERYBODY) => {}
            Verdict::Alike => {}
            Verdict::Differ { majority, others } => {
                for (id, digest) in others.into_iter().filter(|(id, _)| !is_named(*id)) {
                    tracing::error!(
                        "corrupted-member-id" = %id,
                        "applied-index" = at,
                        digest = format!("{digest:016x}"),
                        "majority-digest" = format!("{majority:016x}"),
                        "a member's state differs from that of the majority"
                    );
                    raise(handle, id).await;
                }
            }
            Verdict::Undecided(digests) => {
                if self.undecided >= limits::COMPARISONS_WITHOUT_MAJORITY && !is_named(EVERYBODY) {
                    let digests: Vec<String> =
                        digests.iter().map(|(id, digest)| format!("{id}: {digest:016x}")).collect();
                    tracing::error!(
                        "applied-index" = at,
                        digests = digests.join(", "),
                        "the members' states differ, and no majority says which are right"
                    );
                    raise(handle, EVERYBODY).await;
                }
            }
        }
    }
}

/// What comes to nothing is found again in the next round.
pub(super) async fn raise<E: Env>(handle: &Handle<E>, member: MemberId) {
    let command = Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::Corrupt };
    let _ = handle.propose(command).await;
}

/// The digests of those who are reached, asked at once.
async fn ask_all<E: Env>(
    handle: &Handle<E>,
    others: impl Iterator<Item = MemberId>,
    at: LogIndex,
) -> Vec<(MemberId, u64)> {
    let reached = others.filter(|other| handle.connected_for(*other).is_some());
    let asked: Vec<_> = reached
        .map(|other| {
            let (tell, told) = oneshot::channel();
            let asking = handle.clone();
            handle.env().tasks().spawn_light("comparing", async move {
                let _ = tell.send(asking.ask_member(other, Question::Digest(at)).await);
            });
            (other, told)
        })
        .collect();
    let mut digests = Vec::with_capacity(asked.len());
    for (other, told) in asked {
        if let Ok(Ok(Told::Digest(Some(digest)))) = told.await {
            digests.push((other, digest));
        }
    }
    digests
}
