//! More puts than a server can carry out: offered at a fixed rate, whatever becomes of them (an open loop).
//!
//! First a closed loop says what the server can do with a hundred clients; then so many times that is offered. A put is timed
//! from when it was due, and is good when it was carried out within the client's patience. The clients are honest ones: no more
//! puts are under way than the server allows; one that is not answered in time is reset, as a gRPC client does at its
//! deadline; one that could not be sent within half of its time, because the server takes no more, is given up (who
//! sent those that are nearly over first would be answered too late by any server).
//! Invariants: both sides get the same flags, a fresh directory on the same disk, and turns that alternate; what is offered
//! is counted by when it was due, so that what was never answered counts as not good. Judges nothing.

use std::time::{Duration, Instant};

use quorate::base::SeededDice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lean::{self, HEAD, Lane};
use super::load::{SMALL_STORE, fill};
use super::median;
use super::members::Puts;
use crate::process::{Cost, Launch, Server, Trouble};
use crate::sides::Sides;

/// Options of the bench of overload.
#[derive(clap::Args, Clone, Debug)]
pub struct OverloadArgs {
    #[command(flatten)]
    sides: Sides,
    /// Measurements of each side.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// How many times the rate of the closed loop is offered.
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// How long a client waits, in milliseconds from when its put was due.
    #[arg(long, default_value_t = 1_000)]
    patience: u64,
    /// Connections that carry the load.
    #[arg(long, default_value_t = 4)]
    connections: usize,
}

/// What became of an offered load.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Puts a second in a closed loop.
    closed: f64,
    /// Puts a second that were offered, carried out in time, refused, carried out too late, and given up unsent.
    offered: f64,
    good: f64,
    refused: f64,
    late: f64,
    unsent: f64,
    /// The same of the last half of the window: without what it takes to come to rest.
    good_at_rest: f64,
    /// Of the good ones, in milliseconds.
    p50: f64,
    p99: f64,
    /// How soon the refused were told so, in milliseconds.
    refusal_p99: f64,
    /// Most resident memory of the server, in MiB: in the closed loop, and in the open one.
    resident_before: f64,
    resident: f64,
    /// Processor seconds a second, of the server and of this program.
    server: f64,
    own: f64,
}

/// Runs the bench and prints a table. True always: a bench measures, it does not judge.
pub async fn run_overload(args: OverloadArgs) -> Result<bool, Trouble> {
    let home = args.sides.introduce("overload")?;
    println!(
        "{} measurements of {} s each side, in turns; {} times the closed loop's rate over {} connections; good within {} ms\n",
        args.pairs, args.seconds, args.times, args.connections, args.patience
    );
    let mut seen = [Vec::new(), Vec::new()];
    for turn in 0..args.pairs * 2 {
        let right = turn % 2 == 1;
        let (_, binary) = args.sides.one(right);
        let launch = Launch::new(binary, &home.join(format!("{turn}")), &args.sides.flags)?;
        let mut server = launch.start()?;
        server.ready(Duration::from_secs(60)).await?;
        fill(&server, SMALL_STORE).await?;
        let outcome = measure(&args, &server).await?;
        eprintln!("  {}: {outcome:.1?}", if right { "right" } else { "left" });
        seen[usize::from(right)].push(outcome);
        server.kill().await?;
        std::fs::remove_dir_all(&launch.home)?;
    }
    print(&seen);
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

fn print(seen: &[Vec<Outcome>; 2]) {
    println!("| what | left | right |\n|---|---|---|");
    let row = |name: &str, pick: &dyn Fn(&Outcome) -> f64, digits: usize| {
        let of = |side: usize| median(&seen[side].iter().map(pick).collect::<Vec<_>>());
        println!("| {name} | {:.digits$} | {:.digits$} |", of(0), of(1));
    };
    row("closed loop, 100 clients, puts/s", &|o| o.closed, 0);
    row("offered, puts/s", &|o| o.offered, 0);
    row("good, puts/s", &|o| o.good, 0);
    row("good, of the closed loop's", &|o| o.good / o.closed, 2);
    row("the same of the last half", &|o| o.good_at_rest / o.closed, 2);
    row("refused, puts/s", &|o| o.refused, 0);
    row("too late, puts/s", &|o| o.late, 0);
    row("given up unsent, puts/s", &|o| o.unsent, 0);
    row("p50 of the good, ms", &|o| o.p50, 1);
    row("p99 of the good, ms", &|o| o.p99, 1);
    row("p99 until refused, ms", &|o| o.refusal_p99, 1);
    row("most RSS in the closed loop, MiB", &|o| o.resident_before, 0);
    row("most RSS under overload, MiB", &|o| o.resident, 0);
    row("cores of the server", &|o| o.server, 2);
    row("cores of the load", &|o| o.own, 2);
}

fn address(server: &Server) -> String {
    server.url.trim_start_matches("http://").to_owned()
}

fn dice(number: usize) -> SeededDice {
    SeededDice::new(77 + number as u64)
}

async fn measure(args: &OverloadArgs, server: &Server) -> Result<Outcome, Trouble> {
    let window = Duration::from_secs(args.seconds);
    let (from, until) = window_of(window);
    let mut tasks = Vec::new();
    for number in 0..args.connections {
        let clients = 100 / args.connections;
        tasks.push(tokio::spawn(lean::calls(address(server), Puts(dice(number)), clients, from, until)));
    }
    let resident_before = watch_memory(server, until).await;
    let mut done = 0;
    for task in tasks {
        done += task.await??.len();
    }
    let closed = done as f64 / args.seconds as f64;

    let (from, until) = window_of(window);
    let load = Load {
        every: Duration::from_secs_f64(args.connections as f64 / (closed * args.times)),
        patience: Duration::from_millis(args.patience),
        from,
        until,
    };
    let mut tasks = Vec::new();
    for number in 0..args.connections {
        tasks.push(tokio::spawn(offer(address(server), Puts(dice(100 + number)), load)));
    }
    tokio::time::sleep_until(from.into()).await;
    let before = (costs(server)?, Instant::now());
    let resident = watch_memory(server, until).await;
    let (after, took) = (costs(server)?, before.1.elapsed().as_secs_f64());
    let mut told = Told::default();
    for task in tasks {
        let one = task.await??;
        told.offered += one.offered;
        told.unsent += one.unsent;
        told.good.extend(one.good);
        told.refused.extend(one.refused);
        told.late += one.late;
        told.good_at_rest += one.good_at_rest;
    }
    told.good.sort_unstable();
    let good_at_rest = told.good_at_rest as f64 * 2.0 / args.seconds as f64;
    told.refused.sort_unstable();
    let rate = |count: usize| count as f64 / args.seconds as f64;
    let at =
        |of: &[u32], share: f64| of.get((of.len() as f64 * share) as usize).map_or(0.0, |us| f64::from(*us) / 1_000.0);
    Ok(Outcome {
        closed,
        offered: rate(told.offered),
        good: rate(told.good.len()),
        refused: rate(told.refused.len()),
        late: rate(told.late),
        unsent: rate(told.unsent),
        good_at_rest,
        p50: at(&told.good, 0.50),
        p99: at(&told.good, 0.99),
        refusal_p99: at(&told.refused, 0.99),
        resident_before,
        resident,
        server: (after.0.cpu - before.0.0.cpu).as_secs_f64() / took,
        own: (after.1.cpu - before.0.1.cpu).as_secs_f64() / took,
    })
}

/// A second of warm-up, then the window.
fn window_of(window: Duration) -> (Instant, Instant) {
    let from = Instant::now() + Duration::from_secs(1);
    (from, from + window)
}

fn costs(server: &Server) -> Result<(Cost, Cost), Trouble> {
    let of_server = server.cost().ok_or("the server's costs cannot be read here (no /proc)")?;
    Ok((of_server, Cost::of(std::process::id()).ok_or("no /proc/self")?))
}

/// The most resident memory until then, in MiB.
async fn watch_memory(server: &Server, until: Instant) -> f64 {
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(server.cost().map_or(0, |cost| cost.resident));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most as f64 / f64::from(1 << 20)
}

/// What one connection offers.
#[derive(Clone, Copy)]
struct Load {
    every: Duration,
    patience: Duration,
    from: Instant,
    until: Instant,
}

/// What became of it, of what was due within the window; times in microseconds from when it was due.
#[derive(Default)]
struct Told {
    offered: usize,
    unsent: usize,
    good: Vec<u32>,
    refused: Vec<u32>,
    late: usize,
    /// Of the good those that were due in the second half of the window.
    good_at_rest: usize,
}

/// Offers puts over one connection until the window and the patience are over.
async fn offer(address: String, puts: Puts, load: Load) -> Result<Told, Trouble> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = stream.into_split();
    let mut lane = Lane::with_patience(puts, address, load.patience);
    let mut told = Told::default();
    let mut due = Instant::now();
    let (mut bytes, mut held, mut written) = (vec![0; 1 << 18], 0, 0);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    loop {
        let now = Instant::now();
        if now >= load.until + load.patience || (now >= load.until && lane.under_way() == 0) {
            return Ok(told);
        }
        told.late += lane.give_up(now, load.from);
        while due <= now && due < load.until {
            let counts = due >= load.from;
            let waits = written < lane.out.len() || !lane.has_room();
            if now > due + load.patience / 2 {
                told.unsent += usize::from(counts);
            } else if waits {
                break;
            } else {
                lane.begin(due)?;
            }
            told.offered += usize::from(counts);
            due += load.every;
            if lane.out.len() > 1 << 16 {
                break;
            }
        }
        tokio::select! {
            _ = tick.tick() => {}
            sent = writing.write(&lane.out[written..]), if written < lane.out.len() => {
                written += sent?;
                if written == lane.out.len() {
                    lane.out.clear();
                    written = 0;
                }
            }
            read = reading.read(&mut bytes[held..]) => {
                let read = read?;
                if read == 0 {
                    return Err("the server closed the connection".into());
                }
                held += read;
                let used = take(&mut lane, &bytes[..held], load, &mut told)?;
                bytes.copy_within(used..held, 0);
                held -= used;
            }
        }
    }
}

/// Takes the frames that are whole; how many bytes they were.
fn take(lane: &mut Lane<Puts>, bytes: &[u8], load: Load, told: &mut Told) -> Result<usize, Trouble> {
    let (mut at, now) = (0, Instant::now());
    while bytes.len() - at >= HEAD {
        let length = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
        if bytes.len() - at < HEAD + length {
            break;
        }
        let (head, payload) = bytes[at..at + HEAD + length].split_at(HEAD);
        at += HEAD + length;
        let Some((due, whole)) = lane.take(head, payload)? else { continue };
        if due < load.from {
            continue;
        }
        let took = now - due;
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        match whole {
            false => told.refused.push(micros),
            true if took <= load.patience => {
                told.good.push(micros);
                told.good_at_rest += usize::from(due >= load.until - (load.until - load.from) / 2);
            }
            true => told.late += 1,
        }
    }
    Ok(at)
}
