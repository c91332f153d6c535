//! A pair of servers, and one step put to both.
//!
//! Invariant: when [`Table::take`] returns nothing is in flight but events. Does not know where steps come from.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;

use super::reply::Reply;
use super::side::{Heard, Side};
use super::step::Step;
use super::watching::Watching;
use crate::process::{Server, Trouble};

/// A compaction must have made its digest within this time.
const DIGEST_LIMIT: Duration = Duration::from_secs(60);

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
pub enum Stop {
    /// The sides differ.
    Differs(Difference),
    /// The run cannot go on.
    Trouble(Trouble),
}

/// A pair of servers as a lane sees it.
pub(super) struct Table {
    pub(super) left: Side,
    pub(super) right: Side,
    pub(super) watching: Watching,
    pub(super) current: i64,
    pub(super) compact: i64,
    /// Every revision a compaction was made at.
    pub(super) compactions: BTreeSet<i64>,
    /// Held for their lives; none for servers someone else runs.
    pub(super) servers: Vec<Server>,
}

impl Table {
    /// That both servers run on, where they are this run's.
    pub(super) fn still_alive(&mut self) -> Result<(), Stop> {
        match self.servers.iter_mut().find_map(|server| (!server.is_alive()).then(|| server.url.clone())) {
            Some(url) => Err(Stop::Trouble(format!("the server at {url} ended").into())),
            None => Ok(()),
        }
    }

    /// Puts one step to both sides and compares. Returns the answer both gave.
    pub(super) async fn take(&mut self, step: &Step) -> Result<Vec<Reply>, String> {
        match step {
            Step::Watch(stream, request) => {
                let created =
                    self.watching.create(*stream, request.clone(), None, (self.current, self.compact)).await?;
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
