//! The page of a run: one HTML file that people look at, with everything in it and nothing fetched.
//!
//! Here a run becomes data; `page.html`, `page.css` and `page.js` draw it. Invariant: every operation on record is on the
//! page, and what is wrong is marked where it is.

mod lanes;
mod verdicts;
mod words;

use std::collections::BTreeMap;

use quorate_spec::history::{Call, Operation, Outcome};
use quorate_spec::request::Answer;
use serde::Serialize;

use crate::chronicle::{Happening, Noted};
use crate::oracles::ledger::Entry;
use crate::plan::Plan;
use crate::told::Told;
use lanes::{Band, Lane, nanos};
#[cfg(test)]
pub use verdicts::promise_of;
use verdicts::{Judgement, Order, Searched};
pub use words::readable;

/// Operations told in the story of an order that ends.
const STUCK: usize = 6;

/// One operation, drawn as an interval on the lane of its client.
#[derive(Debug, Serialize)]
struct Drawn {
    client: usize,
    member: Option<usize>,
    kind: &'static str,
    writes: bool,
    from: u64,
    to: u64,
    outcome: &'static str,
    ask: String,
    got: String,
    revision: Option<i64>,
    index: Option<u64>,
    /// Why it is marked as wrong.
    wrong: Option<String>,
}

/// One entry of the log, drawn as a line on the lane of the log.
#[derive(Debug, Serialize)]
struct Logged {
    index: u64,
    term: u64,
    at: u64,
    ask: String,
    revision: i64,
    wrong: bool,
}

/// What went wrong.
#[derive(Debug, Serialize)]
struct Wrong {
    at: Option<u64>,
    words: String,
    story: String,
}

/// Everything the page draws.
#[derive(Debug, Serialize)]
struct Page {
    seed: u64,
    end: u64,
    trace: String,
    wrong: Option<Wrong>,
    promises: Vec<Judgement>,
    marks: BTreeMap<&'static str, u64>,
    members: Vec<Lane>,
    clients: Vec<String>,
    bands: Vec<Band>,
    operations: Vec<Drawn>,
    entries: Vec<Logged>,
    order: Order,
    plan: Shown,
}

/// What of the plan is shown.
#[derive(Debug, Serialize)]
struct Shown {
    members: serde_json::Value,
    setting: serde_json::Value,
    keys: u64,
    watching: usize,
    steps: usize,
    troubles: usize,
}

/// The page.
pub fn html(told: &Told) -> String {
    let data = serde_json::to_string(&page(told)).expect("a page is plain data");
    // Within a script element only `<` could end it.
    let data = data.replace('<', "\\u003c");
    let mut html = include_str!("page.html").to_string();
    let parts = [
        ("{{seed}}", told.plan.seed.to_string()),
        ("{{style}}", include_str!("page.css").to_string()),
        ("{{script}}", include_str!("page.js").to_string()),
        // Last: what is in it is not looked at again.
        ("{{data}}", data),
    ];
    for (place, part) in parts {
        html = html.replacen(place, &part, usize::MAX);
    }
    html
}

fn page(told: &Told) -> Page {
    let Told { plan, report, violation, operations, noted, entries } = told;
    let searched = verdicts::search(operations);
    let wrong = wrong(told, &searched);
    let end = end(told);
    let mut clients: Vec<u32> = operations.iter().map(|operation| operation.client).collect();
    clients.sort_unstable();
    clients.dedup();
    Page {
        seed: plan.seed,
        end,
        trace: report.trace.clone(),
        promises: verdicts::judgements(&searched, violation.as_ref(), report.failure.is_none(), &report.marks),
        marks: report.marks.clone(),
        members: lanes::lanes(noted, plan.members.len(), end),
        bands: lanes::bands(noted, plan.members.len(), end),
        operations: drawn(told, &searched, &clients),
        clients: clients.into_iter().map(lanes::client).collect(),
        entries: entries.iter().map(|(index, entry)| logged(noted, *index, entry)).collect(),
        order: searched.order,
        wrong,
        plan: shown(plan),
    }
}

/// Alters a value that a linearizable read told, one in the middle of the run if it can be; `false` where there is none.
pub fn falsify(operations: &mut [Operation]) -> bool {
    let middle = operations.len() / 2;
    let (early, late) = operations.split_at_mut(middle);
    let read =
        early.iter_mut().rev().chain(late).find_map(|operation| match (&operation.call, &mut operation.outcome) {
            (Call::Range { serializable: false, .. }, Outcome::Done { answer: Answer::Range(answer), .. }) => {
                answer.kvs.iter_mut().find(|kv| !kv.value.is_empty())
            }
            _ => None,
        });
    let found = read.is_some();
    if let Some(read) = read {
        read.value = b"falsified".to_vec();
    }
    found
}

fn shown(plan: &Plan) -> Shown {
    let plain = "a plan is plain data";
    Shown {
        members: serde_json::to_value(&plan.members).expect(plain),
        setting: serde_json::to_value(&plan.setting).expect(plain),
        keys: plan.keys,
        watching: plan.watching.len(),
        steps: plan.clients.iter().map(Vec::len).sum(),
        troubles: plan.timeline.len(),
    }
}

/// The last moment of anything recorded.
fn end(told: &Told) -> u64 {
    let operations = told.operations.iter().map(|operation| operation.returned_at);
    let noted = told.noted.iter().map(|noted| nanos(noted.at));
    let broken = told.violation.iter().map(|violation| nanos(violation.at));
    let end = operations.chain(noted).chain(broken).max().unwrap_or(0);
    end.max(nanos(told.report.virtual_time)).max(1)
}

fn wrong(told: &Told, searched: &Searched) -> Option<Wrong> {
    if let Some(violation) = &told.violation {
        let words = violation.promise.to_string();
        return Some(Wrong { at: Some(nanos(violation.at)), words, story: readable(&violation.story) });
    }
    if let Some(failure) = &told.report.failure {
        return Some(Wrong { at: None, words: "the run did not end well".to_string(), story: readable(failure) });
    }
    let stuck: Vec<&Operation> =
        searched.order.stuck.iter().chain(&searched.stuck_old).map(|at| &told.operations[*at]).collect();
    let at = Some(stuck.iter().map(|operation| operation.returned_at).min()?);
    let [(_, linear), (_, old)] = &searched.stands;
    let mut story = if searched.order.stuck.is_empty() { old.clone() } else { linear.clone() };
    for operation in stuck.iter().take(STUCK) {
        let (ask, (_, got)) = (words::call(&operation.call), words::outcome(&operation.outcome));
        story.push_str(&format!("\n\n{} asked: {ask}\nand heard: {got}", lanes::client(operation.client)));
    }
    Some(Wrong { at, words: "no order explains every answer".to_string(), story })
}

fn drawn(told: &Told, searched: &Searched, clients: &[u32]) -> Vec<Drawn> {
    let mut asked = told.noted.iter().filter(|noted| matches!(noted.happening, Happening::Answers));
    let objects: Vec<u64> = objected(&told.noted).collect();
    let mut drawn: Vec<Drawn> = Vec::new();
    for operation in &told.operations {
        let (outcome, got) = words::outcome(&operation.outcome);
        let revision = match &operation.outcome {
            Outcome::Done { revision, .. } => Some(*revision),
            _ => None,
        };
        // A client's judge speaks in the moment of the answer.
        let judged = told.violation.as_ref().filter(|violation| nanos(violation.at) == operation.returned_at);
        let entry = operation.index.filter(|index| objects.contains(index));
        let wrong = judged.map(|violation| violation.promise.to_string());
        drawn.push(Drawn {
            client: clients.binary_search(&operation.client).expect("every client is listed"),
            member: asked.next().and_then(|noted| noted.member),
            kind: words::kind(&operation.call),
            writes: matches!(operation.call, Call::Change(_)),
            from: operation.called_at,
            to: operation.returned_at,
            outcome,
            ask: words::call(&operation.call),
            got,
            revision,
            index: operation.index,
            wrong: wrong.or_else(|| entry.map(|index| format!("a judge objects to its entry {index}"))),
        });
    }
    for at in &searched.order.stuck {
        drawn[*at].wrong.get_or_insert_with(|| "cannot be next in any order".to_string());
    }
    for at in &searched.stuck_old {
        drawn[*at].wrong.get_or_insert_with(|| "shows no moment before its answer".to_string());
    }
    drawn
}

/// The entries to which a judge objected as they were applied.
fn objected(noted: &[Noted]) -> impl Iterator<Item = u64> {
    noted.iter().filter_map(|noted| match noted.happening {
        Happening::Objects(index) => Some(index),
        _ => None,
    })
}

fn logged(noted: &[Noted], index: u64, entry: &Entry) -> Logged {
    let ask = match (&entry.request, entry.expiry) {
        (Some(request), None) => words::request_in_words(request),
        (Some(request), Some(_)) => format!("{}: its time is up", words::request_in_words(request)),
        (None, _) => "first entry of a leader".to_string(),
    };
    let wrong = objected(noted).any(|objected| objected == index);
    Logged { index, term: entry.term, at: nanos(entry.at), ask, revision: entry.step.revision, wrong }
}

#[cfg(test)]
mod tests;
