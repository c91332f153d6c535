//! `elect`: standing for election, and hearing who leads.

use clap::{ArgMatches, Args, FromArgMatches};

use crate::client::{self, Candidate, Client, DEFAULT_SESSION_SECONDS};

use super::lock::{both, cancelled, close, fail, give_back, in_session};
use crate::ctl::command::{Command, Deed, Section, no_flags, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::session::{Session, bytes};
use crate::ctl::stop::Stop;

/// `elect`
pub const COMMAND: Command = Command {
    name: "elect",
    usage: "<election-name> [proposal]",
    short: "Observes and participates in leader election",
    example: "quoratectl elect primary \"$(hostname)\"",
    section: Some(Section::Concurrency),
    flags: |command| Elect::augment_args(no_flags(command)),
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Elect {
    /// observation mode
    #[arg(long, short)]
    listen: bool,
}

/// What the client library says of a candidate whose session has ended.
const NOT_LEADER: &str = "election: not leader";

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Elect::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let words = words(matches);
    match (&words[..], flags.listen) {
        ([name], true) => {
            let client = session.client().await?;
            observe(session, &client, &bytes(name)).await
        }
        ([_], false) => {
            session.client().await?;
            Err(Failure::bad_args("no proposal argument but -l not set"))
        }
        ([_, _], true) => {
            session.client().await?;
            Err(Failure::bad_args("proposal given but -l is set"))
        }
        ([name, proposal], false) => {
            let client = session.client().await?;
            campaign(session, &client, &bytes(name), bytes(proposal)).await
        }
        _ => Err(Failure::bad_args("elect takes one election name argument and an optional proposal argument")),
    }
}

/// Shows every leader's word until it is stopped.
async fn observe(session: &mut Session, client: &Client, name: &[u8]) -> Result<(), Failure> {
    let mut stop = Stop::with_interrupt()?;
    let mut observer = client.observe(name);
    loop {
        match stop.or(observer.next()).await {
            None => return Ok(()),
            Some(Ok(word)) => session.show(&word)?,
            Some(Err(error)) => {
                session.complain(error);
                return Err(Failure::new(Exit::Error, "elect: observer lost"));
            }
        }
    }
}

/// Leads from when it is elected until it is stopped.
async fn campaign(session: &mut Session, client: &Client, name: &[u8], proposal: bytes::Bytes) -> Result<(), Failure> {
    let mut stop = Stop::with_interrupt()?;
    let client = client.within(None);
    let held = stop.or(client.session(DEFAULT_SESSION_SECONDS)).await.unwrap_or_else(cancelled)?;
    let name_shown = String::from_utf8_lossy(name);
    let left = format!("the place in election {name_shown} is left until its lease {:016x} expires", held.lease());
    let Some(stood) = stop.or(held.stand(name, proposal)).await else {
        give_back(session, &mut stop, &left, held.close()).await?;
        return Ok(cancelled()?);
    };
    let candidate = match stood {
        Ok(candidate) => candidate,
        Err(error) => return fail(held, error).await,
    };
    match stop.or(in_session(&held, NOT_LEADER, candidate.elected())).await {
        Some(Ok(())) => {}
        Some(Err(error)) => return fail(held, error).await,
        None => {
            give_back(session, &mut stop, &left, resigned(candidate, held)).await?;
            return Ok(cancelled()?);
        }
    }
    let done = lead(session, &mut stop, &candidate, &held).await;
    if !held.is_alive() {
        return done;
    }
    let given_back = give_back(session, &mut stop, &left, resigned(candidate, held)).await;
    both(session, done, given_back)
}

/// Shows the office, and holds it until the tool is stopped.
async fn lead(
    session: &mut Session,
    stop: &mut Stop,
    candidate: &Candidate,
    held: &client::Session,
) -> Result<(), Failure> {
    let Some(shown) = stop.or(candidate.read()).await else { return Ok(()) };
    session.show(&shown?)?;
    match stop.or(held.ended()).await {
        Some(()) => Err(Failure::new(Exit::Error, "elect: session expired")),
        None => Ok(()),
    }
}

async fn resigned(candidate: Candidate, held: client::Session) -> Result<(), client::Error> {
    candidate.resign().await?;
    close(held).await;
    Ok(())
}
