//! Honesty: what was on the platter in the moment a promise left.
//!
//! At some promises (an answer to a client, to an append, a vote) the platter is copied as a loss of power that drops
//! everything would leave it. The copy's log is read later, by itself: it must hold what was promised. Where a member
//! stands alone the copy is booted as well: it must know every entry up to the one acknowledged, as it was.

use std::sync::{Arc, Mutex};

use quorate::base::SeededDice;
use quorate::consensus::{MessageKind, PeerMessage};
use quorate::env::{Disk, Env};
use quorate::machine::{Applied, Command};
use quorate::node::Observer;
use quorate::wal::UnrecoveredWal;

use super::Violation;
use super::ledger::Ledger;
use crate::config::{PORTS, driver_config, host};
use crate::convert;
use crate::env::{Marks, SimClock, SimDisk, SimEnv, SimNet, Trace, true_sleep};
use crate::plan::Plan;

/// What a member promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promised {
    /// That it holds an entry.
    Entry {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// Its vote.
    Vote {
        /// In this term.
        term: u64,
        /// For this member.
        candidate: u64,
    },
}

impl Promised {
    /// What a message promises, if anything; `term_at` knows the sender's log.
    pub fn of(message: &PeerMessage, term_at: impl Fn(u64) -> Option<u64>) -> Option<Self> {
        match message.kind() {
            MessageKind::AppendResponse if !message.rejects() => {
                let index = message.index();
                Some(Self::Entry { index, term: term_at(index)? })
            }
            MessageKind::VoteResponse if !message.rejects() => {
                Some(Self::Vote { term: message.term(), candidate: message.to().0 })
            }
            _ => None,
        }
    }
}

/// A copy of the platter, and what was promised.
pub struct Promise {
    disk: SimDisk,
    member: usize,
    promised: Promised,
}

impl Promise {
    /// What the platter holds as the promise leaves.
    pub fn now(disk: &SimDisk, member: usize, promised: Promised) -> Self {
        Self { disk: disk.fork_platter(), member, promised }
    }

    /// Who promised.
    pub fn member(&self) -> usize {
        self.member
    }

    /// Reads the copy's log, and boots the copy where the member stands alone.
    pub async fn look(self, plan: &Plan, ledger: Arc<Mutex<Ledger>>, marks: &Marks) -> Result<(), Violation> {
        let copy = self.disk.clone();
        let verdict = self.looked_at(plan, ledger, marks).await;
        copy.empty();
        verdict
    }

    async fn looked_at(self, plan: &Plan, ledger: Arc<Mutex<Ledger>>, marks: &Marks) -> Result<(), Violation> {
        let read = self.disk.fork_platter();
        self.read(read, plan).await.map_err(|story| {
            Violation::now(PROMISE, format!("member {} promised {:?}, but {story}", self.member, self.promised))
        })?;
        marks.hit(match self.promised {
            Promised::Entry { .. } => "honesty: a copy of the log held the entry",
            Promised::Vote { .. } => "honesty: a copy of the log held the vote",
        });
        match self.promised {
            Promised::Entry { index, .. } if plan.members.len() == 1 => self.boot(index, plan, ledger, marks).await,
            _ => Ok(()),
        }
    }

    /// Whether the copy's log holds what was promised; else the story.
    async fn read(&self, copy: SimDisk, plan: &Plan) -> Result<(), String> {
        let copy = copy.power_on();
        let wal = UnrecoveredWal::open(copy.clone(), "wal").map_err(|wrong| format!("its log: {wrong}"))?;
        let wal = wal.with_segment_bytes(plan.setting.wal_segment_bytes);
        let identity = wal.identity().ok_or("it has no log")?;
        let after = match self.promised {
            Promised::Entry { index, .. } => index.saturating_sub(1),
            Promised::Vote { .. } => u64::MAX / 2,
        };
        if let Promised::Entry { index, .. } = self.promised
            && Self::newest_image(&copy)?.is_some_and(|image| image >= index)
        {
            // The log may be gone up to there.
            return Ok(());
        }
        let recovered = wal.recover(identity, after).await.map_err(|wrong| format!("its log: {wrong}"))?;
        let (first, state) = (recovered.entries.first(), recovered.hard_state);
        let holds = match self.promised {
            Promised::Entry { index, term } => first.is_some_and(|entry| (entry.index, entry.term) == (index, term)),
            Promised::Vote { term, candidate } => state.term > term || (state.term, state.vote) == (term, candidate),
        };
        let found = first.map(|entry| (entry.index, entry.term));
        if holds { Ok(()) } else { Err(format!("its log holds {found:?} (index, term) there, and {state:?}")) }
    }

    /// The newest state on the copy: the log up to there may be gone.
    fn newest_image(copy: &SimDisk) -> Result<Option<u64>, String> {
        let files = copy.list("checkpoint").map_err(|fault| fault.to_string())?;
        let index = |file: &String| u64::from_str_radix(file.strip_suffix(".image")?.split('.').next()?, 16).ok();
        Ok(files.iter().filter_map(index).max())
    }

    /// Boots the copy of a lone member and looks.
    async fn boot(self, index: u64, plan: &Plan, ledger: Arc<Mutex<Ledger>>, marks: &Marks) -> Result<(), Violation> {
        let witness = Arc::new(CopyWitness { ledger, promised: index, seen: Mutex::default() });
        let net = SimNet::new(index, Trace::default(), Marks::default()).boot(&host(self.member));
        let node = madsim::runtime::Handle::current().create_node().name("copy").build();
        let env = SimEnv::new(node.clone(), SimClock::exact(), self.disk.power_on(), net, SeededDice::new(index));
        let config = driver_config(plan, (self.member, None, &PORTS), env.dice().next_u64(), witness.clone());
        let started = node.spawn(quorate::driver::start(env, config)).await;
        let handle = match started {
            Ok(Ok((handle, _))) => handle,
            Ok(Err(wrong)) => return Err(Violation::now(PROMISE, format!("the copy does not boot: {wrong}"))),
            Err(_) => return Err(Violation::now(PROMISE, "the copy's boot did not end".to_string())),
        };
        for _ in 0..1_000 {
            if handle.status().applied >= index {
                break;
            }
            true_sleep(std::time::Duration::from_millis(10)).await;
        }
        let applied = handle.status().applied;
        drop(handle);
        madsim::runtime::Handle::current().kill(node.id());
        let seen = std::mem::take(&mut *witness.seen.lock().expect("no holder of this lock panics"));
        if let Some(story) = seen.wrong {
            return Err(Violation::now(PROMISE, story));
        }
        // The copy's own first entry has an index behind everything it found.
        if applied < index || seen.own.is_some_and(|own| own <= index) {
            let story = format!(
                "entry {} was acknowledged; had the power gone then, the log would end at {:?} (applied {applied})",
                index, seen.own
            );
            return Err(Violation::now(PROMISE, story));
        }
        marks.hit("honesty: a copy of the platter held its promise");
        Ok(())
    }
}

const PROMISE: &str = "what is acknowledged is on the platter (honesty)";

#[derive(Default)]
struct Seen {
    wrong: Option<String>,
    /// The first entry the copy made itself.
    own: Option<u64>,
}

struct CopyWitness {
    ledger: Arc<Mutex<Ledger>>,
    /// What comes behind it the copy may have made itself, be it in the same term as the original.
    promised: u64,
    seen: Mutex<Seen>,
}

impl Observer for CopyWitness {
    fn applied(&self, (index, term): (u64, u64), _: Option<u64>, command: Option<&Command>, _: &Applied) {
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        if seen.own.is_some() || index > self.promised {
            return;
        }
        let ledger = self.ledger.lock().expect("no judge panics");
        let request = command.map(convert::request);
        match ledger.entry(index) {
            Some(known) if known.term == term && known.request == request => {}
            // A leader's first entry is the first that is not the log's.
            _ if command.is_none() => seen.own = Some(index),
            known => {
                seen.wrong = Some(format!("entry {index} is {request:?} on the copy, and was {known:?}"));
            }
        }
    }
}
