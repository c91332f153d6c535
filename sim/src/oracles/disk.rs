//! Honesty: what was on the platter in the moment an answer left.
//!
//! At some acknowledgements the platter is copied as a loss of power that drops everything would leave it. The
//! copy is booted later, by itself: it must know every entry up to the one acknowledged, as it was.

use std::sync::{Arc, Mutex};

use quorate::base::SeededDice;
use quorate::env::Env;
use quorate::machine::{Applied, Command};
use quorate::node::Observer;

use super::Violation;
use super::ledger::Ledger;
use crate::config::driver_config;
use crate::convert;
use crate::env::{Marks, SimClock, SimDisk, SimEnv, SimNet, Trace, true_sleep};
use crate::plan::Plan;

/// A copy of the platter, and the entry that was acknowledged.
pub struct Promise {
    disk: SimDisk,
    member: usize,
    index: u64,
}

impl Promise {
    /// What the platter holds as the answer for `index` leaves.
    pub fn now(disk: &SimDisk, member: usize, index: u64) -> Self {
        Self { disk: disk.fork_platter(), member, index }
    }

    /// Boots the copy of a lone member and looks.
    pub async fn look(self, plan: &Plan, ledger: Arc<Mutex<Ledger>>, marks: &Marks) -> Result<(), Violation> {
        let witness = Arc::new(CopyWitness { ledger, promised: self.index, seen: Mutex::default() });
        let net = SimNet::new(self.index, Trace::default(), Marks::default()).boot("copy");
        let env = SimEnv::new(SimClock::exact(), self.disk.power_on(), net, SeededDice::new(self.index));
        let config = driver_config(plan, self.member, env.dice().next_u64(), witness.clone());
        let node = madsim::runtime::Handle::current().create_node().name("copy").build();
        let started = node.spawn(quorate::driver::start(env, config)).await;
        let handle = match started {
            Ok(Ok((handle, _))) => handle,
            Ok(Err(wrong)) => return Err(Violation::now(PROMISE, format!("the copy does not boot: {wrong}"))),
            Err(_) => return Err(Violation::now(PROMISE, "the copy's boot did not end".to_string())),
        };
        for _ in 0..1_000 {
            if handle.status().applied >= self.index {
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
        if applied < self.index || seen.own.is_some_and(|own| own <= self.index) {
            let story = format!(
                "entry {} was acknowledged; had the power gone then, the log would end at {:?} (applied {applied})",
                self.index, seen.own
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
