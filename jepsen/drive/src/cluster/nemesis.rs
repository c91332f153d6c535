//! What is done to the members, and how long nobody could write because of it.
//!
//! Invariants: one mishap at a time, and the members are whole and of one mind before and after it; at most a minority is
//! away, except where all are stopped. Does not know what clients write and what they were told.

use std::time::{Duration, Instant};

use quorate::base::{Dice, SeededDice};
use quorate::client::Client;
use quorate::wire::etcdserverpb as pb;
use rustix::process::Signal;
use tokio::sync::watch;

use super::judge::equal_hashes;
use super::members::{Cluster, END_LIMIT, Member, SETTLE_LIMIT, until_allowed};
use super::probe::Probe;
use crate::process::Trouble;

/// Time that is still looked at after writing goes on again: a second gap belongs to the same mishap.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Times the leadership is moved until it is where it was wanted: on a busy machine others may be elected meanwhile.
const MOVES: usize = 20;

/// A thing to do to the members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Mishap {
    /// kill -9 of the leader, and a restart.
    KillLeader,
    /// kill -9 of a follower, and a restart.
    KillFollower,
    /// SIGSTOP of the leader for longer than an election timeout, then SIGCONT.
    PauseLeader,
    /// SIGSTOP of a follower, then SIGCONT.
    PauseFollower,
    /// SIGTERM of the leader, and a restart.
    StopLeader,
    /// SIGTERM of all at once, and a restart of all.
    StopAll,
    /// kill -9 of all at once, and a restart of all.
    KillAll,
    /// The leadership handed to another member on request.
    MoveLeader,
    /// kill -9 of a member; it is removed, and another is added as a learner and promoted.
    ReplaceDead,
    /// A living member is removed and must end by itself; another is added as a learner and promoted.
    ReplaceLiving,
}

impl Mishap {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::PauseLeader,
        Self::PauseFollower,
        Self::StopLeader,
        Self::StopAll,
        Self::KillAll,
        Self::MoveLeader,
        Self::ReplaceDead,
        Self::ReplaceLiving,
    ];
}

/// What came of a mishap.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The longest time without an acknowledged put because of it.
    pub gap: Duration,
    /// The longest time without an acknowledged put while the members became whole again.
    pub mending: Duration,
}

/// Who does it.
#[derive(Debug)]
pub struct Nemesis {
    /// The members.
    pub cluster: Cluster,
    /// The measure.
    pub probe: Probe,
    /// Chance.
    pub dice: SeededDice,
    /// Tells the clients who is there.
    pub endpoints: watch::Sender<Vec<String>>,
    /// `--election-timeout` of the members.
    pub election_timeout: Duration,
}

impl Nemesis {
    /// Does it and makes the members whole again.
    ///
    /// # Errors
    /// The members did not recover, or one of them ended by itself.
    pub async fn strike(&mut self, mishap: Mishap) -> Result<Outcome, Trouble> {
        // The figures are of a cluster at rest, at no particular moment of its clocks.
        tokio::time::sleep(Duration::from_millis(300 + self.dice.below(400))).await;
        let leader = self.cluster.leader().await?;
        let follower = self.follower(leader);
        let began = Instant::now();
        match mishap {
            Mishap::KillLeader => self.cluster.members[leader].kill().await?,
            Mishap::KillFollower => self.cluster.members[follower].kill().await?,
            Mishap::StopLeader => drop(self.cluster.members[leader].stop().await?),
            Mishap::PauseLeader => self.pause(leader).await?,
            Mishap::PauseFollower => self.pause(follower).await?,
            Mishap::StopAll | Mishap::KillAll => self.all_at_once(mishap == Mishap::StopAll).await?,
            Mishap::MoveLeader => self.move_leader(leader, follower).await?,
            Mishap::ReplaceDead | Mishap::ReplaceLiving => {
                let victim = if self.dice.one_in(2) { leader } else { follower };
                self.replace(victim, mishap == Mishap::ReplaceDead).await?;
            }
        }
        let again = self.probe.success_after(Instant::now(), SETTLE_LIMIT).await?;
        tokio::time::sleep_until((again + AFTERMATH).into()).await;
        let whole = Instant::now();
        let gap = self.probe.longest_gap(began, whole);
        self.cluster.start_all()?;
        self.cluster.settle().await?;
        tokio::time::sleep(self.election_timeout).await;
        Ok(Outcome { gap, mending: self.probe.longest_gap(whole, Instant::now()) })
    }

    /// HashKV of all members at a revision that all of them have.
    pub async fn check_hashes(&self) -> Result<Vec<String>, Trouble> {
        let mut clients: Vec<(String, Client)> = Vec::new();
        let mut revision = i64::MAX;
        for member in &self.cluster.members {
            let client = member.client().await?;
            let probe = pb::RangeRequest { key: "hash?".into(), ..Default::default() };
            let read = until_allowed("a read", async || client.range(probe.clone()).await).await?;
            revision = revision.min(read.header.map_or(0, |header| header.revision));
            clients.push((member.launch.name.clone(), client));
        }
        // Each of them has read at this revision or a later one.
        Ok(equal_hashes(&clients, revision).await)
    }

    fn follower(&mut self, leader: usize) -> usize {
        let count = self.cluster.members.len();
        (leader + 1 + self.dice.below(count as u64 - 1) as usize) % count
    }

    async fn pause(&mut self, place: usize) -> Result<(), Trouble> {
        let server = self.cluster.members[place].server.as_ref().ok_or("it does not run")?;
        server.signal(Signal::STOP)?;
        let time = self.election_timeout * 2 + Duration::from_millis(self.dice.below(1500));
        tokio::time::sleep(time).await;
        server.signal(Signal::CONT)
    }

    async fn all_at_once(&mut self, in_order: bool) -> Result<(), Trouble> {
        if in_order {
            // Asked at once; each is then waited for.
            for member in &self.cluster.members {
                member.server.as_ref().ok_or("it does not run")?.signal(Signal::TERM)?;
            }
        }
        for member in &mut self.cluster.members {
            if in_order {
                member.server.take().ok_or("it does not run")?.end(END_LIMIT).await?;
            } else {
                member.kill().await?;
            }
        }
        self.cluster.start_all()
    }

    async fn move_leader(&mut self, from: usize, to: usize) -> Result<(), Trouble> {
        let target_id = self.cluster.members[to].id().await?;
        let mut leads = from;
        for _ in 0..MOVES {
            let client = self.cluster.members[leads].client().await?;
            let moved = client.move_leader(pb::MoveLeaderRequest { target_id }).await;
            leads = self.cluster.leader().await?;
            // One that came to lead by itself has it moved to where it is.
            if moved.is_ok() && leads == to {
                return Ok(());
            }
        }
        Err(format!("asked {MOVES} times to move to {target_id:x}, and {leads} leads").into())
    }

    async fn replace(&mut self, victim: usize, is_dead: bool) -> Result<(), Trouble> {
        let id = self.cluster.members[victim].id().await?;
        let mut gone = self.cluster.members.remove(victim);
        if is_dead {
            gone.kill().await?;
        }
        let _ = self.endpoints.send(self.cluster.urls());
        let client = self.cluster.client().await?;
        // Whose answer was lost is asked again, and was done.
        let removed = async || match client.member_remove(pb::MemberRemoveRequest { id }).await {
            Err(why) if why.text() == "etcdserver: member not found" => Ok(()),
            outcome => outcome.map(drop),
        };
        until_allowed("member remove", removed).await?;
        if !is_dead {
            ends_by_itself(&mut gone).await?;
        }
        let launch = self.cluster.next_launch()?;
        let add = pb::MemberAddRequest { peer_ur_ls: vec![launch.peer_url()], is_learner: true };
        let added = async || match client.member_add(add.clone()).await {
            Err(why) if why.text() == "etcdserver: Peer URLs already exists" => Ok(()),
            outcome => outcome.map(drop),
        };
        until_allowed("member add", added).await?;
        let list = async || client.member_list(pb::MemberListRequest { linearizable: true }).await;
        let mut listed = until_allowed("member list", list).await?.members.into_iter();
        let added = listed.find(|member| member.peer_ur_ls == add.peer_ur_ls);
        let id = added.ok_or("the member that was added is not listed")?.id;
        self.cluster.join(launch)?;
        let promoted = async || match client.member_promote(pb::MemberPromoteRequest { id }).await {
            Err(why) if why.text() == "etcdserver: can only promote a learner member" => Ok(()),
            outcome => outcome.map(drop),
        };
        until_allowed("member promote", promoted).await?;
        let _ = self.endpoints.send(self.cluster.urls());
        Ok(())
    }
}

async fn ends_by_itself(removed: &mut Member) -> Result<(), Trouble> {
    let began = Instant::now();
    while removed.server.as_mut().is_some_and(|server| server.is_alive()) {
        if began.elapsed() > END_LIMIT {
            return Err(format!("{} was removed and goes on for {END_LIMIT:?}", removed.launch.name).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
