//! `elect`: standing for election, and hearing who leads.

use clap::{ArgMatches, Args, FromArgMatches};

use crate::client::{Client, DEFAULT_SESSION_SECONDS};

use super::lock::{CANCELLED, close};
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
    let mut stop = Stop::new()?;
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
    let mut stop = Stop::new()?;
    let held = client.within(None).session(DEFAULT_SESSION_SECONDS).await?;
    let candidate = held.stand(name, proposal).await?;
    let elected = stop.or(candidate.elected()).await;
    match elected {
        Some(elected) => elected?,
        None => {
            candidate.resign().await?;
            close(held).await;
            return Err(Failure::new(Exit::Error, CANCELLED));
        }
    }
    session.show(&candidate.read().await?)?;
    if stop.or(held.ended()).await.is_some() {
        return Err(Failure::new(Exit::Error, "elect: session expired"));
    }
    candidate.resign().await?;
    close(held).await;
    Ok(())
}
