//! One lane of the twin: a pair of servers and the seeds it works through.
//!
//! Invariant: one request at a time, to both sides at once; the next step is chosen only when both have answered. Does
//! not know the other lanes, except for the shared count.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::args::{Tally, TwinArgs};
use super::plan::{FIRST_KEY, Plan, STREAMS};
use super::reply::Reply;
use super::side::{Heard, Side};
use super::step::Step;
use super::watching::Watching;
use crate::process::{Launch, Server, Trouble};

use quorate::wire::etcdserverpb as pb;

/// Events are drained and compared at least every so many steps.
const DRAIN_EVERY: u64 = 40;
/// A compaction must have made its digest within this time.
const DIGEST_LIMIT: Duration = Duration::from_secs(5);
/// A pair of servers must serve within this time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Two answers that are not equal.
#[derive(Debug)]
pub struct Difference {
    /// The sequence.
    pub seed: u64,
    /// The step in it, from 0.
    pub step: u64,
    /// What was asked, and both answers.
    pub text: String,
}

/// Why a sequence ended early.
enum Stop {
    Differs(Difference),
    Trouble(Trouble),
}

/// One lane.
pub(super) struct Lane {
    pub(super) args: Arc<TwinArgs>,
    pub(super) tally: Arc<Tally>,
    pub(super) home: PathBuf,
}

/// A pair of servers as a lane sees it.
pub(super) struct Table {
    pub(super) left: Side,
    pub(super) right: Side,
    pub(super) watching: Watching,
    pub(super) current: i64,
    pub(super) compact: i64,
    /// Every revision a compaction was made at.
    compactions: BTreeSet<i64>,
    /// Held for their lives; none for servers someone else runs.
    servers: Vec<Server>,
}

impl Lane {
    /// Works until no seed is left or a difference stops the run.
    pub(super) async fn run(self) -> Result<Vec<Difference>, Trouble> {
        let mut found = Vec::new();
        let batch = if self.args.left_bin.is_some() { self.args.seeds_per_server.max(1) } else { u64::MAX };
        loop {
            let number = self.tally.next_batch.fetch_add(1, Ordering::Relaxed);
            let first = number.saturating_mul(batch).saturating_add(self.args.seeds.start);
            let end = first.saturating_add(batch).min(self.args.seeds.end);
            if first >= end || self.tally.stop.load(Ordering::Relaxed) {
                return Ok(found);
            }
            let mut table: Option<Table> = None;
            let mut opened_at = first;
            for seed in first..end {
                if self.tally.stop.load(Ordering::Relaxed) {
                    return Ok(found);
                }
                let table_now = match &mut table {
                    Some(table) => table,
                    None => {
                        opened_at = seed;
                        table.insert(self.open(seed).await?)
                    }
                };
                match self.sequence(table_now, seed).await {
                    Ok(()) => {}
                    Err(Stop::Trouble(why)) => return Err(format!("seed {seed}: {why}").into()),
                    Err(Stop::Differs(mut difference)) => {
                        for server in
                            table_now.servers.iter_mut().filter_map(|server| (!server.is_alive()).then_some(&*server))
                        {
                            difference.text.push_str(&format!("\nthe server at {} has ended", server.url));
                        }
                        self.report(&difference, opened_at);
                        found.push(difference);
                        if !self.args.keep_going {
                            self.tally.stop.store(true, Ordering::Relaxed);
                        }
                        // The two sides have parted; what follows would only repeat that.
                        table = None;
                    }
                }
            }
        }
    }

    fn report(&self, difference: &Difference, opened_at: u64) {
        let Difference { seed, step, text } = difference;
        println!("DIFFERENCE: seed {seed}, step {step}\n{text}");
        let sides = match (&self.args.left_bin, &self.args.right_bin, &self.args.left, &self.args.right) {
            (Some(left), Some(right), ..) => format!("--left-bin {} --right-bin {}", left.display(), right.display()),
            (.., Some(left), Some(right)) => format!("--left {left} --right {right}"),
            _ => String::new(),
        };
        let flags =
            |name: &str, flags: &[String]| flags.iter().map(|flag| format!(" --{name}={flag}")).collect::<String>();
        let sides = sides
            + &flags("flag", &self.args.flags)
            + &flags("left-flag", &self.args.left_flags)
            + &flags("right-flag", &self.args.right_flags);
        let again = format!("cargo run -p quorate-jepsen -- twin {sides}");
        println!("again: {again} --lanes 1 --seeds {seed}..{} --requests {}", seed + 1, step + 1);
        if opened_at != *seed {
            let all = self.args.requests;
            println!(
                "or, if it hangs on what went before: {again} --lanes 1 --seeds {opened_at}..{} --requests {all}",
                seed + 1
            );
        }
    }

    /// Starts (or finds) the two servers and the witness.
    pub(super) async fn open(&self, seed: u64) -> Result<Table, Trouble> {
        let mut servers = Vec::new();
        let urls = match (&self.args.left_bin, &self.args.right_bin) {
            (Some(left), Some(right)) => {
                let sides = [("left", left, &self.args.left_flags), ("right", right, &self.args.right_flags)];
                for (name, binary, flags) in sides {
                    let flags: Vec<String> = self.args.flags.iter().chain(flags).cloned().collect();
                    let launch = Launch::new(binary, &self.home.join(format!("{name}-{seed}")), &flags)?;
                    servers.push(launch.start()?);
                }
                for server in &mut servers {
                    server.ready(START_LIMIT).await?;
                }
                (servers[0].url.clone(), servers[1].url.clone())
            }
            _ => (self.args.left.clone().unwrap_or_default(), self.args.right.clone().unwrap_or_default()),
        };
        let (left, right) = (Side::connect(&urls.0).await?, Side::connect(&urls.1).await?);
        let (heard, other) = tokio::join!(left.ask(&Step::HashKv(0)), right.ask(&Step::HashKv(0)));
        if heard != other {
            return Err(format!("the two sides do not start equal: {heard:?}, {other:?}").into());
        }
        let current = heard.revision;
        let watching = Watching::begin(&left, &right, current).await?;
        Ok(Table { left, right, watching, current, compact: 0, compactions: BTreeSet::new(), servers })
    }

    /// How many requests an answer stands for; refusals are counted for the summary.
    fn count(&self, answer: &[Reply]) -> u64 {
        let refused = answer.iter().filter(|reply| !reply.is_ok()).count();
        self.tally.refused.fetch_add(refused as u64, Ordering::Relaxed);
        answer.len().max(1) as u64
    }

    async fn sequence(&self, table: &mut Table, seed: u64) -> Result<(), Stop> {
        let mut plan = Plan::new(seed, table.current, table.compact, table.watching.base);
        let sides = (&table.left, &table.right);
        let opened = table.watching.reopen(sides, STREAMS, FIRST_KEY, table.current).await;
        let differs = |step, text| Stop::Differs(Difference { seed, step, text });
        opened.map_err(|text| differs(0, text))?;
        let mut asked = 0;
        let mut events = 0;
        for number in 0..self.args.requests {
            (plan.current, plan.compact) = (table.current, table.compact);
            plan.watchers = (0..STREAMS).map(|stream| table.watching.ids(stream)).collect();
            let step = plan.next_step();
            if self.args.trace {
                println!("seed {seed} step {number}: {step:?}");
            }
            let asking = |text| differs(number, format!("asked {step:?}\n{text}"));
            let answer = table.take(&step).await.map_err(asking)?;
            if answer.iter().any(Reply::is_unbuilt) {
                self.tally.unbuilt.fetch_add(1, Ordering::Relaxed);
            } else {
                self.tally.book.take(seed, number, || format!("{answer:?}")).map_err(asking)?;
                asked += self.count(&answer);
            }
            if number % DRAIN_EVERY == DRAIN_EVERY - 1 {
                let drained = table.watching.drain(table.current).await;
                events += drained.map_err(|text| differs(number, format!("draining after {step:?}\n{text}")))?;
            }
        }
        for step in plan.last_steps() {
            let outcome = table.take(&step).await;
            let answer =
                outcome.map_err(|text| differs(self.args.requests - 1, format!("at the end {step:?}\n{text}")))?;
            asked += self.count(&answer);
        }
        let drained = table.watching.settle(table.current).await;
        events += drained.map_err(|text| differs(self.args.requests - 1, format!("at the end\n{text}")))?;
        for server in &mut table.servers {
            if !server.is_alive() {
                return Err(Stop::Trouble(format!("the server at {} ended", server.url).into()));
            }
        }
        self.tally.requests.fetch_add(asked, Ordering::Relaxed);
        self.tally.events.fetch_add(events as u64, Ordering::Relaxed);
        self.tally.seeds.fetch_add(1, Ordering::Relaxed);
        println!("seed {seed}: {asked} requests, {events} events, revision {}: equal", table.current);
        Ok(())
    }
}

impl Table {
    /// Puts one step to both sides and compares. Returns the answer both gave.
    pub(super) async fn take(&mut self, step: &Step) -> Result<Vec<Reply>, String> {
        match step {
            Step::Watch(stream, request) => {
                let created = self.watching.create(*stream, request.clone(), (self.current, self.compact)).await?;
                return Ok(vec![Reply::Other(created)]);
            }
            Step::Cancel(stream, id) => {
                let known = self.watching.cancel(*stream, *id, self.current).await?;
                return Ok(vec![Reply::Other(format!("cancel answered: {known}"))]);
            }
            Step::Progress(stream) => {
                self.watching.progress(*stream, self.current).await?;
                return Ok(vec![Reply::Other("progress".to_owned())]);
            }
            Step::Compact(_) => {
                // A compaction races with watchers that are still catching up.
                self.watching.settle(self.current).await?;
            }
            _ => {}
        }
        let (mut left, mut right) = tokio::join!(self.left.ask(step), self.right.ask(step));
        if matches!(step, Step::Refused(_)) && right.is_unbuilt() {
            return Ok(right.replies);
        }
        let since = Instant::now();
        while left != right && self.may_be_due(step) && since.elapsed() < DIGEST_LIMIT {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (left, right) = tokio::join!(self.left.ask(step), self.right.ask(step));
        }
        if left != right {
            return Err(format!("  left  {}\n  right {}", shown(&left), shown(&right)));
        }
        if left.revision != 0 && left.revision < self.current && left.is_ok() {
            return Err(format!("both sides went back from revision {}: {}", self.current, shown(&left)));
        }
        self.current = self.current.max(left.revision);
        if let Step::Compact(pb::CompactionRequest { revision, .. }) = step
            && left.is_ok()
        {
            self.compact = *revision;
            self.compactions.insert(*revision);
        }
        Ok(left.replies)
    }

    /// Whether a digest may honestly differ for a moment: a compaction makes one while it is carried out, after it was
    /// answered where it is not a physical one.
    fn may_be_due(&self, step: &Step) -> bool {
        matches!(step, Step::HashKv(revision) if self.compactions.contains(revision))
    }
}

fn shown(heard: &Heard) -> String {
    format!("{:?}", heard.replies)
}
