//! One lane of the twin: a pair of servers and the seeds it works through.
//!
//! Invariant: one request at a time, to both sides at once; the next step is chosen only when both have answered. Does
//! not know the other lanes, except for the shared count.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::args::{Tally, TwinArgs};
use super::plan::{FIRST_KEY, Plan, STREAMS};
use super::reply::Reply;
use super::seal::Seal;
use super::side::Side;
use super::step::Step;
use super::table::{Difference, Stop, Table};
use super::users;
use super::watching::Watching;
use crate::process::{Launch, Trouble};

/// Events are drained and compared at least every so many steps.
const DRAIN_EVERY: u64 = 40;
/// A pair of servers must serve within this time.
const START_LIMIT: Duration = Duration::from_secs(180);

/// One lane.
pub(super) struct Lane {
    pub(super) args: Arc<TwinArgs>,
    pub(super) tally: Arc<Tally>,
    /// Where everything goes over TLS.
    pub(super) seal: Option<Arc<Seal>>,
    pub(super) home: PathBuf,
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
                let outcome = if self.args.users {
                    users::sequence(table_now, seed, &self.args, &self.tally).await
                } else {
                    self.sequence(table_now, seed).await
                };
                match outcome {
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
        let users = if self.args.users { " --users" } else { "" };
        let tls = if self.args.tls { " --tls" } else { "" };
        let again = format!("cargo run -p quorate-jepsen -- twin{users}{tls} {sides}");
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
                    let mut flags: Vec<String> = self.args.flags.iter().chain(flags).cloned().collect();
                    if self.args.users {
                        flags.extend(users::FLAGS.map(str::to_owned));
                    }
                    flags.extend(self.seal.iter().flat_map(|seal| seal.flags()));
                    let mut launch = Launch::new(binary, &self.home.join(format!("{name}-{seed}")), &flags)?;
                    launch.tls = self.seal.as_ref().map(|seal| seal.shown());
                    servers.push(launch.start()?);
                }
                for server in &mut servers {
                    server.ready(START_LIMIT).await?;
                }
                (servers[0].url.clone(), servers[1].url.clone())
            }
            _ => (self.args.left.clone().unwrap_or_default(), self.args.right.clone().unwrap_or_default()),
        };
        let tls = self.seal.as_ref().map(|seal| seal.shown());
        let (left, right) = (Side::connect(&urls.0, tls.as_ref()).await?, Side::connect(&urls.1, tls.as_ref()).await?);
        let (heard, other) = tokio::join!(left.ask(&Step::HashKv(0)), right.ask(&Step::HashKv(0)));
        if heard != other {
            return Err(format!("the two sides do not start equal: {heard:?}, {other:?}").into());
        }
        let current = heard.revision;
        let watching = Watching::begin(&left, &right, current).await?;
        Ok(Table { left, right, watching, current, compact: 0, compactions: BTreeSet::new(), servers })
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
                asked += self.tally.count(&answer);
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
            asked += self.tally.count(&answer);
        }
        let drained = table.watching.settle(table.current).await;
        events += drained.map_err(|text| differs(self.args.requests - 1, format!("at the end\n{text}")))?;
        table.still_alive()?;
        self.tally.finished(seed, asked, events, table.current);
        Ok(())
    }
}
