//! Who leads, since when, and who waits for it to be another.

use super::input::Reply;
use crate::base::{MemberId, Refusal};
use crate::consensus::{Group, Role};
use crate::env::Instant;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    leader: Option<MemberId>,
    /// When this leader was first known here.
    since: Instant,
    changes: u64,
    moving: Option<Moving>,
}

#[derive(Debug)]
struct Moving {
    to: MemberId,
    give_up_at: Instant,
    replies: Vec<Reply<Result<(), Refusal>>>,
}

impl Leadership {
    /// Looks at who leads; whether it is another than before, and somebody.
    pub(super) fn observe(&mut self, leader: Option<MemberId>, now: Instant) -> bool {
        if leader == self.leader {
            return false;
        }
        self.leader = leader;
        if leader.is_none() {
            return false;
        }
        self.since = now;
        self.changes += 1;
        if let Some(moving) = self.moving.take() {
            let outcome = if leader == Some(moving.to) { Ok(()) } else { Err(Refusal::TimeoutTransfer) };
            moving.replies.into_iter().for_each(|reply| reply.send(outcome.clone()));
        }
        true
    }

    /// Leaders seen since start.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// When the present leader was first known here.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Hands the leadership over, to whom it is to go or to whoever is furthest, and answers when it is done. To be
    /// asked of the leader.
    pub(super) fn hand_over(
        &mut self,
        group: &mut Group,
        to: Option<MemberId>,
        give_up_at: Instant,
        reply: Reply<Result<(), Refusal>>,
    ) {
        let standing = group.standing();
        if standing.role != Role::Leader {
            return reply.send(Err(Refusal::NotLeader));
        }
        if to == standing.leader {
            return reply.send(Ok(()));
        }
        let to = match to {
            Some(to) => group.electorate().voters.contains(&to).then_some(to),
            None => group.heir(),
        };
        let Some(to) = to else {
            return reply.send(Err(Refusal::BadTransferee));
        };
        group.transfer(to);
        match &mut self.moving {
            Some(moving) if moving.to == to => moving.replies.push(reply),
            moving => {
                let before = moving.replace(Moving { to, give_up_at, replies: vec![reply] });
                let replies = before.into_iter().flat_map(|moving| moving.replies);
                replies.for_each(|reply| reply.send(Err(Refusal::TimeoutTransfer)));
            }
        }
    }

    /// Tells those who waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(moving) = self.moving.take_if(|moving| moving.give_up_at <= now) {
            moving.replies.into_iter().for_each(|reply| reply.send(Err(Refusal::TimeoutTransfer)));
        }
    }
}
