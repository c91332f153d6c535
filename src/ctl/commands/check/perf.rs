//! `check perf`: a minute of writes at a steady rate.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::load::{self, Stopped, Took};
use crate::client::Client;
use crate::ctl::command::{Command, Deed, no_flags};
use crate::ctl::commands::lock::cancelled;
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::Session;
use crate::ctl::stop::Stop;
use crate::progress::{Progress, Unit};

/// `check perf`
pub const COMMAND: Command = Command {
    name: "perf",
    usage: "[options]",
    short: "Check the performance of the etcd cluster",
    example: "quoratectl check perf --load m --auto-compact",
    flags: |command| Perf::augment_args(no_flags(command)),
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Perf {
    #[arg(
        long,
        value_name = "string",
        default_value = "s",
        help = "The performance check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge). Different workload models use different configurations in terms of number of clients and expected throughput."
    )]
    load: String,
    #[arg(
        long,
        value_name = "string",
        default_value = "/etcdctl-check-perf/",
        help = "The prefix for writing the performance check's keys."
    )]
    prefix: String,
    #[arg(long, help = "Compact storage with last revision after test is finished.")]
    auto_compact: bool,
    #[arg(long, help = "Defragment storage after test is finished.")]
    auto_defrag: bool,
}

/// Writes a second and clients, from small to very large.
const LOADS: [(u64, usize); 4] = [(150, 50), (1_000, 200), (8_000, 500), (15_000, 1_000)];

/// How long writes are made.
const DURATION: Duration = Duration::from_secs(60);

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1_024;

/// What a cluster must keep up with: nine tenths of the rate, the slowest write and the spread, in seconds.
const RATE_SHARE: f64 = 0.9;
const SLOWEST: f64 = 0.5;
const DEVIATION: f64 = 0.1;

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Perf::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let (rate, count) = LOADS[load::load(&flags.load)?];
    let prefix = Bytes::from(flags.prefix.clone());
    let clients = load::clients(session, count).await?;
    let first = clients[0].clone();
    let hint = format!(
        "prefix {1} has keys. Delete with 'etcdctl del --prefix {0}' first",
        flags.prefix,
        go::quote(&flags.prefix)
    );
    let mut stop = Stop::with_interrupt()?;
    match stop.or(load::must_be_empty(&first, &prefix, &hint)).await {
        Some(is_empty) => is_empty?,
        None if stop.is_interrupt() => return Ok(cancelled()?),
        None => return Err(Failure::silent(Exit::Stopped(stop.code()))),
    }
    let took = match writes(&mut stop, clients, prefix.clone(), rate).await {
        Ok(took) => took,
        // Ctrl-C cuts it short: what was measured by then is judged.
        Err(Stopped::Waited(Some(took))) if stop.is_interrupt() => took,
        Err(stopped) => return Err(load::clear(session, &mut stop, &first, &prefix, stopped).await),
    };
    load::unless_stopped(&mut stop, &prefix, async {
        tidy(session, &first, &prefix, flags.auto_compact).await?;
        if flags.auto_defrag {
            load::defragment(session).await?;
        }
        judge(session, &took, rate)
    })
    .await
}

/// Writes at a steady rate.
async fn writes(stop: &mut Stop, clients: Vec<Client>, prefix: Bytes, rate: u64) -> Result<Took, Stopped> {
    let (asked, keys) = mpsc::channel(clients.len());
    let counter = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    // Starting where nobody started before keeps the keys of two runs apart.
    let start = std::process::id().into();
    let asking = async move {
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut number: u64 = start;
        while begun.elapsed() < DURATION {
            ticks.tick().await;
            number += 1;
            if asked.send(load::key(&prefix, KEY_BYTES, number)).await.is_err() {
                return;
            }
        }
    };
    let writing = load::write_all(clients, keys, Bytes::from(vec![0; VALUE_BYTES]), Arc::clone(&counter));
    let progress = Progress::new(Unit::Of("writes"), rate * DURATION.as_secs());
    load::written(stop, (asking, writing), &counter, progress).await
}

async fn tidy(session: &mut Session, client: &Client, prefix: &Bytes, compact: bool) -> Result<(), Failure> {
    match load::delete_all(client, prefix).await {
        Ok(revision) if compact => load::compact(session, client, revision).await,
        Ok(_) => Ok(()),
        Err(error) => session.say(format_args!("FAIL: Cleanup failed during key deletion: ERROR({error})")),
    }
}

fn judge(session: &mut Session, took: &Took, rate: u64) -> Result<(), Failure> {
    let mut failed = load::tell_failures(session, took)?;
    let writes = took.rate() as u64 + 1;
    if took.rate() / rate as f64 <= RATE_SHARE {
        session.say(format_args!("FAIL: Throughput too low: {writes} writes/s"))?;
        failed = true;
    } else {
        session.say(format_args!("PASS: Throughput is {writes} writes/s"))?;
    }
    if took.slowest() > SLOWEST {
        session.say(format_args!("Slowest request took too long: {:.6}s", took.slowest()))?;
        failed = true;
    } else {
        session.say(format_args!("PASS: Slowest request took {:.6}s", took.slowest()))?;
    }
    if took.deviation() > DEVIATION {
        session.say(format_args!("Stddev too high: {:.6}s", took.deviation()))?;
        failed = true;
    } else {
        session.say(format_args!("PASS: Stddev is {:.6}s", took.deviation()))?;
    }
    session.say(if failed { "FAIL" } else { "PASS" })?;
    if failed { Err(Failure::silent(Exit::Error)) } else { Ok(()) }
}
