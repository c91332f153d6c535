//! `check datascale`: how much memory a member takes for so much data.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::load::{self, Stopped, Took};
use crate::client::Client;
use crate::ctl::command::{Command, Deed, no_flags};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::Session;
use crate::ctl::stop::Stop;
use crate::progress::{Progress, Unit};

/// `check datascale`
pub const COMMAND: Command = Command {
    name: "datascale",
    usage: "[options]",
    short: "Check the memory usage of holding data for different workloads on a given server endpoint.",
    long: "If no endpoint is provided, localhost will be used. If multiple endpoints are provided, first endpoint will be used.",
    example: "quoratectl check datascale --load s --auto-compact",
    flags: |command| Scale::augment_args(no_flags(command)),
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Scale {
    /// The datascale check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge)
    #[arg(long, value_name = "string", default_value = "s")]
    load: String,
    #[arg(
        long,
        value_name = "string",
        default_value = "/etcdctl-check-datascale/",
        help = "The prefix for writing the datascale check's keys."
    )]
    prefix: String,
    #[arg(long, help = "Compact storage with last revision after test is finished.")]
    auto_compact: bool,
    #[arg(long, help = "Defragment storage after test is finished.")]
    auto_defrag: bool,
}

/// Keys and clients, from small to very large.
const LOADS: [(u64, usize); 4] = [(10_000, 50), (100_000, 200), (1_000_000, 500), (3_000_000, 1_000)];

const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 512;

/// Longest wait for a page of metrics, and its largest size.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
const PAGE_BYTES: u64 = 64 * 1024 * 1024;

const RESIDENT: &str = "process_resident_memory_bytes";

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Scale::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let (keys, count) = LOADS[load::load(&flags.load)?];
    let prefix = Bytes::from(flags.prefix.clone());
    let clients = load::clients(session, count).await?;
    let first = clients[0].clone();
    let hint = format!(
        "prefix {1} has keys. Delete with etcdctl del --prefix {0} first",
        flags.prefix,
        go::quote(&flags.prefix)
    );
    let mut stop = Stop::with_interrupt()?;
    let endpoint = session.global.endpoints.first().cloned().unwrap_or_default();
    let looked = stop.or(async {
        load::must_be_empty(&first, &prefix, &hint).await?;
        resident(session, &first, &endpoint, "before").await
    });
    let Some(before) = looked.await else { return Err(Failure::silent(Exit::Stopped(stop.code()))) };
    let before = before?;
    let size = KEY_BYTES + VALUE_BYTES;
    session.say(format_args!(
        "Start data scale check for work load [{keys} key-value pairs, {size} bytes per key-value, {count} concurrent clients]."
    ))?;
    let took = match writes(&mut stop, clients, prefix.clone(), keys).await {
        Ok(took) => took,
        Err(stopped) => return Err(load::clear(session, &mut stop, &first, &prefix, stopped).await),
    };
    load::unless_stopped(&mut stop, &prefix, async {
        let after = resident(session, &first, &endpoint, "after").await?;
        let revision = load::delete_all(&first, &prefix).await?;
        if flags.auto_compact {
            load::compact(session, &first, revision).await?;
        }
        if flags.auto_defrag {
            load::defragment(session).await?;
        }
        if load::tell_failures(session, &took)? {
            return Err(Failure::silent(Exit::Error));
        }
        let used = (after - before) / (1024.0 * 1024.0);
        session.say(format_args!("PASS: Approximate system memory used : {used:.2} MB."))
    })
    .await
}

async fn writes(stop: &mut Stop, clients: Vec<Client>, prefix: Bytes, count: u64) -> Result<Took, Stopped> {
    let (asked, keys) = mpsc::channel(clients.len());
    let counter = Arc::new(AtomicU64::new(0));
    let asking = async move {
        for number in 0..count {
            if asked.send(load::key(&prefix, KEY_BYTES, number)).await.is_err() {
                return;
            }
        }
    };
    let writing = load::write_all(clients, keys, Bytes::from(vec![0; VALUE_BYTES]), Arc::clone(&counter));
    let progress = Progress::new(Unit::Of("keys"), count);
    load::written(stop, (asking, writing), &counter, progress).await
}

/// The memory a member's process takes, as its metrics tell it.
async fn resident(session: &mut Session, client: &Client, endpoint: &str, when: &str) -> Result<f64, Failure> {
    let page = match endpoint.split_once("://") {
        Some(("http", host)) => plain(host).await,
        None if client.options().tls.is_none() => plain(endpoint).await,
        // By the first endpoint of the client's list, which is this one, as it is reached for everything else.
        _ => client.page(0, "/metrics").await.map(text).map_err(|error| error.to_string()),
    };
    match page {
        Ok(page) => {
            let line = page.lines().find_map(|line| line.strip_prefix(RESIDENT));
            match line.map(|value| value.trim().parse::<f64>()) {
                Some(Ok(bytes)) if bytes > 0.0 => return Ok(bytes),
                Some(_) => session.say(format_args!("parse error: {RESIDENT}"))?,
                None => session.say(format_args!("could not find: {RESIDENT}"))?,
            }
        }
        Err(why) => session.say(format_args!("fetch error: {endpoint}: {why}"))?,
    }
    session.say(format_args!("FAIL: Could not read {RESIDENT} {when} the put operations."))?;
    Err(Failure::silent(Exit::Error))
}

fn text(page: Bytes) -> String {
    String::from_utf8_lossy(&page).into_owned()
}

/// A member's page of metrics, without TLS.
async fn plain(host: &str) -> Result<String, String> {
    // A host that is left out is this machine.
    let host = &*if host.starts_with(':') { format!("localhost{host}") } else { host.to_owned() };
    timeout(PAGE_WITHIN, metrics(host)).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn metrics(host: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(host).await.map_err(failed)?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES).read_to_end(&mut answer).await.map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, page) = answer.split_once("\r\n\r\n").ok_or("no page of metrics")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(page.to_owned()),
        code => Err(format!("/metrics answered {}", code.unwrap_or("nothing"))),
    }
}
