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
use crate::base::{LogIndex, MemberId, Refusal, limits};
use crate::env::{Clock, Env, Tasks};
use crate::machine::{AlarmAction, AlarmKind, Command};
use crate::node::{Input, Verdict, judge_all};

/// The member an alarm is raised for where nobody can be named: all of them, as in etcd.
pub(super) const EVERYBODY: MemberId = MemberId(0);

/// Watches until the member ends.
pub(super) async fn watch<E: Env>(handle: Handle<E>) {
    let (mut comparison, mut requests, mut refuted) = (Comparison::default(), Requests::default(), 0);
    while !ended_while(&handle, Duration::from_millis(limits::COMPARE_MS)).await {
        let facts = handle.facts();
        if facts.waits_for_state() {
            let answer = handle.ask_for_state().await;
            if let Some(refusal) = requests.tells(answer.err()) {
                tracing::warn!(
                    "local-member-id" = %handle.identity().member,
                    "other-voters" = other_voters(&handle),
                    error = %refusal,
                    "still waiting for another member's state, without which nobody is served here; where no other voter is \
                     left, restore this member from a backup, or remove it and let a new one join"
                );
            }
        }
        let seen = std::mem::replace(&mut refuted, handle.status().states_refuted);
        if seen < refuted {
            tracing::error!(
                "local-member-id" = %handle.identity().member,
                "this member had revisions that the cluster does not have; a snapshot has replaced its state"
            );
        }
        if facts.leads() {
            comparison.round(&handle).await;
        } else {
            comparison = Comparison::default();
        }
    }
}

/// How many other members vote.
pub(super) fn other_voters<E: Env>(handle: &Handle<E>) -> usize {
    let own = handle.identity().member;
    handle.status().members.iter().filter(|other| other.id != own && !other.is_learner).count()
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

/// Requests for a state, while nobody gives one.
#[derive(Default)]
struct Requests {
    in_vain: u64,
}

impl Requests {
    /// One was answered, or refused so: whether it should be told now, which is so rarely.
    fn tells(&mut self, refusal: Option<Refusal>) -> Option<Refusal> {
        self.in_vain = if refusal.is_some() { self.in_vain + 1 } else { 0 };
        let since_first = self.in_vain.checked_sub(limits::STATE_REQUESTS_UNTOLD)?;
        refusal.filter(|_| since_first.is_multiple_of(limits::STATE_REQUESTS_BETWEEN_TWO_TELLINGS))
    }
}

/// The leader's, from round to round.
#[derive(Default)]
struct Comparison {
    /// The index the next round asks for, with the digest here.
    noted: Option<(LogIndex, Option<u64>)>,
    /// What was applied then.
    applied: Option<LogIndex>,
    /// Rounds in a row that found a difference and no majority.
    undecided: u32,
}

impl Comparison {
    async fn round<E: Env>(&mut self, handle: &Handle<E>) {
        let since = self.applied;
        let Ok((applied, at, own)) = handle.ask(|reply| Input::DigestNoted { since, reply }).await else { return };
        self.applied = Some(applied);
        let Some((at, Some(own))) = self.noted.replace((at, own)) else { return };
        let member = handle.identity().member;
        let status = handle.status();
        let mut digests = vec![(member, own)];
        let others = status.members.iter().map(|member| member.id).filter(|other| *other != member);
        digests.extend(ask_all(handle, others, at).await);
        let voting = status.members.iter().filter(|member| !member.is_learner).map(|member| member.id);
        let verdict = judge_all(&digests, &voting.collect::<Vec<_>>());
        self.undecided = if matches!(verdict, Verdict::Undecided(_)) { self.undecided + 1 } else { 0 };
        for id in to_name(&verdict, self.undecided, &status.alarms) {
            tracing::error!(
                "corrupted-member-id" = %id,
                "applied-index" = at,
                verdict = describe(&verdict),
                "members' states differ"
            );
            raise(handle, id).await;
        }
    }
}

/// Who is to be named, of those who are not: everybody where for long no majority says who is right.
fn to_name(verdict: &Verdict, undecided: u32, alarms: &[(MemberId, AlarmKind)]) -> Vec<MemberId> {
    let is_named = |id| alarms.contains(&(id, AlarmKind::Corrupt));
    // While all are named nobody is: a majority may have been made since by handing a wrong state on. Whoever disarms the
    // alarm has looked.
    if is_named(EVERYBODY) {
        return Vec::new();
    }
    match verdict {
        Verdict::Differ { others, .. } => others.iter().map(|(id, _)| *id).filter(|id| !is_named(*id)).collect(),
        Verdict::Undecided(_) if undecided >= limits::COMPARISONS_WITHOUT_MAJORITY => vec![EVERYBODY],
        Verdict::Undecided(_) | Verdict::Alike => Vec::new(),
    }
}

/// For the log: each with its digest.
fn describe(verdict: &Verdict) -> String {
    let list = |digests: &[(MemberId, u64)]| {
        let digests: Vec<String> = digests.iter().map(|(id, digest)| format!("{id}: {digest:016x}")).collect();
        digests.join(", ")
    };
    match verdict {
        Verdict::Alike => String::new(),
        Verdict::Differ { majority, others } => format!("the majority has {majority:016x}; {}", list(others)),
        Verdict::Undecided(digests) => format!("no majority says which are right; {}", list(digests)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_all_are_named_nobody_is_and_no_one_twice() {
        let differ = Verdict::Differ { majority: 7, others: vec![(MemberId(2), 8), (MemberId(3), 9)] };
        let alarm = |id| (MemberId(id), AlarmKind::Corrupt);
        assert_eq!(to_name(&differ, 0, &[]), [MemberId(2), MemberId(3)]);
        assert_eq!(to_name(&differ, 0, &[alarm(2), (MemberId(3), AlarmKind::NoSpace)]), [MemberId(3)]);
        assert_eq!(to_name(&differ, 0, &[alarm(0)]), [], "whoever disarms it has looked");
        let undecided = Verdict::Undecided(vec![(MemberId(1), 7), (MemberId(2), 8)]);
        let enough = limits::COMPARISONS_WITHOUT_MAJORITY;
        assert_eq!(to_name(&undecided, enough - 1, &[]), []);
        assert_eq!(to_name(&undecided, enough, &[]), [EVERYBODY]);
        assert_eq!(to_name(&undecided, enough, &[alarm(0)]), []);
        assert_eq!(to_name(&Verdict::Alike, enough, &[]), []);
    }

    #[test]
    fn who_waits_for_a_state_in_vain_says_so_again_and_again_but_seldom() {
        let mut requests = Requests::default();
        let mut told = |times: u64, refusal: Option<Refusal>| {
            (0..times).filter(|_| requests.tells(refusal.clone()).is_some()).count()
        };
        let refused = Some(Refusal::NoLeader);
        assert_eq!(told(limits::STATE_REQUESTS_UNTOLD - 1, refused.clone()), 0);
        assert_eq!(told(1, refused.clone()), 1);
        assert_eq!(told(3 * limits::STATE_REQUESTS_BETWEEN_TWO_TELLINGS, refused.clone()), 3);
        assert_eq!(told(1, None), 0, "one was sent");
        assert_eq!(told(limits::STATE_REQUESTS_UNTOLD - 1, refused), 0, "it begins anew");
    }
}
