//! `lock`: a named lock, held until the tool is stopped or a command has run.

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::{self, DEFAULT_SESSION_SECONDS, Lock};

use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::execute;
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::{Session, bytes};
use crate::ctl::stop::Stop;

/// `lock`
pub const COMMAND: Command = Command {
    name: "lock",
    usage: "<lockname> [exec-command arg1 arg2 ...]",
    short: "Acquires a named lock",
    example: "quoratectl lock backup -- sh -c 'tar cf backup.tar data'",
    section: Some(Section::Concurrency),
    flags: Words::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Words {
    /// timeout for session
    #[arg(long, value_name = "int", default_value = "10", value_parser = go::parse_flag_int)]
    ttl: i64,
    args: Vec<OsString>,
}

/// What etcd's client says where the user stopped it.
const CANCELLED: &str = "context canceled";

/// And where the session of who waits for a lock has ended.
const EXPIRED: &str = "mutex: session is expired";

/// Longest wait for a session's end to be told; by itself it ends later.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Giving something back is not talked of, unless it lasts so long.
const SOON: Duration = Duration::from_secs(1);

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Words::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let Some((name, command)) = flags.args.split_first() else {
        return Err(Failure::bad_args("lock takes a lock name argument and an optional command to execute"));
    };
    // A lock is waited for as long as it takes.
    let client = session.client().await?.within(None);
    // Without a command nothing but a signal ends it. One would inherit what is passed over.
    let mut stop = if command.is_empty() { Stop::with_interrupt()? } else { Stop::new()? };
    let seconds = if flags.ttl > 0 { flags.ttl } else { DEFAULT_SESSION_SECONDS };
    let held = stop.or(client.session(seconds)).await.unwrap_or_else(cancelled)?;
    let left = format!("lock {} is left until its lease {:016x} expires", name.to_string_lossy(), held.lease());
    let Some(queued) = stop.or(held.queue(bytes(name))).await else {
        give_back(session, &mut stop, &left, held.close()).await?;
        return Ok(cancelled()?);
    };
    let mut lock = match queued {
        Ok(lock) => lock,
        Err(error) => return fail(held, error).await,
    };
    match stop.or(in_session(&held, EXPIRED, lock.acquire())).await {
        Some(Ok(())) => {}
        Some(Err(error)) => return fail(held, error).await,
        None => {
            give_back(session, &mut stop, &left, released(lock, held)).await?;
            return Ok(cancelled()?);
        }
    }
    let done = match command.split_first() {
        Some((program, words)) => run_holding(&lock, program.clone(), words.to_vec()).await,
        None => hold(session, &mut stop, &lock, &held).await,
    };
    if command.is_empty() && !held.is_alive() {
        return done;
    }
    let given_back = give_back(session, &mut stop, &left, released(lock, held)).await;
    both(session, done, given_back)
}

/// What came of some work, and of giving back what it held. The first failure is the tool's; what is left by the second is told.
///
/// # Errors
/// One of them failed.
pub fn both(session: &mut Session, done: Result<(), Failure>, given_back: Result<(), Failure>) -> Result<(), Failure> {
    if let (Err(_), Err(second)) = (&done, &given_back) {
        session.complain(&second.text);
    }
    done.and(given_back)
}

/// Waits as long as the session lives: whose place is gone with it would otherwise wait for all who stood before it, and they may
/// stay for ever.
///
/// # Errors
/// Those of the wait, or that the session has `expired`, in these words.
pub async fn in_session(
    held: &client::Session,
    expired: &'static str,
    wait: impl Future<Output = Result<(), client::Error>>,
) -> Result<(), client::Error> {
    match select(std::pin::pin!(wait), std::pin::pin!(held.ended())).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(client::Error::Lost(expired)),
    }
}

/// Shows a lock, and holds it until the tool is stopped.
async fn hold(session: &mut Session, stop: &mut Stop, lock: &Lock, held: &client::Session) -> Result<(), Failure> {
    let Some(shown) = stop.or(lock.read()).await else { return Ok(()) };
    let shown = shown?;
    if shown.kvs.is_empty() {
        return Err(Failure::new(Exit::Error, "lock lost on init"));
    }
    session.show(&shown)?;
    match stop.or(held.ended()).await {
        Some(()) => Err(Failure::new(Exit::Error, "session expired")),
        None => Ok(()),
    }
}

/// The user stopped it, in the words of etcd's client.
pub fn cancelled<T>() -> Result<T, client::Error> {
    Err(client::Error::Lost(CANCELLED))
}

async fn released(lock: Lock, held: client::Session) -> Result<(), client::Error> {
    lock.release().await?;
    close(held).await;
    Ok(())
}

/// Gives back what is held: within the time of a command, for nobody may answer, and no longer than the user has the patience.
/// `left` is what there is to say of what is not given back.
///
/// # Errors
/// It was refused, or nobody answered in time, or the user stopped it.
pub async fn give_back(
    session: &mut Session,
    stop: &mut Stop,
    left: &str,
    work: impl Future<Output = Result<(), client::Error>>,
) -> Result<(), Failure> {
    // A time-out that is shorter is for what somebody waits for.
    let longest = session.global.command_timeout.max(SOON);
    let end = Instant::now() + longest;
    let mut work = std::pin::pin!(work);
    if let Ok(done) = timeout(SOON, &mut work).await {
        return Ok(done?);
    }
    // What came before this is said asked for nothing.
    stop.forget().await;
    let most = go::show_duration(longest);
    session.complain(format_args!("giving back what is held, for {most} at most; another Ctrl-C leaves it"));
    match stop.or(timeout_at(end, work)).await {
        Some(Ok(done)) => Ok(done?),
        Some(Err(_)) => Err(Failure::new(Exit::Error, format!("nobody answered within {most}: {left}"))),
        None => Err(Failure::new(Exit::Stopped(stop.code()), format!("stopped at once: {left}"))),
    }
}

/// Fails of what went wrong on the way: whatever stands in line goes with the session. Where that cannot be told now it ends by itself.
///
/// # Errors
/// Always.
pub async fn fail(session: client::Session, error: client::Error) -> Result<(), Failure> {
    close(session).await;
    Err(error.into())
}

/// Ends a session whose keys are gone already. That it ends by itself later does no harm.
pub async fn close(session: client::Session) {
    let _ = timeout(CLOSE_WITHIN, session.close()).await;
}

/// Runs a command while the lock is held; its failure is the tool's.
async fn run_holding(lock: &Lock, program: OsString, words: Vec<OsString>) -> Result<(), Failure> {
    let mut command = std::process::Command::new(&program);
    command
        .args(words)
        .env("ETCD_LOCK_KEY", OsString::from_vec(lock.key().to_vec()))
        .env("ETCD_LOCK_REV", lock.header().revision.to_string());
    // The runtime goes on renewing the session meanwhile.
    let ended = tokio::task::spawn_blocking(move || execute::execute(&mut command)).await;
    let ended = ended.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    ended.map_err(|unwell| {
        let code = unwell.code().map_or(u8::MAX, |code| u8::try_from(code).unwrap_or(u8::MAX));
        let exit = if unwell.was_run() { Exit::Of(code) } else { Exit::Error };
        Failure::new(exit, unwell.to_string())
    })
}
