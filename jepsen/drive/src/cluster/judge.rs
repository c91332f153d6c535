//! The verdict: what all members hold at the end, against each other and against what the clients were told.
//!
//! Invariants held: every acknowledged write is on every member with its revision and its count of puts, one without an
//! answer whole or not at all; members are equal, revision and HashKV included; nobody counted to a number twice; every
//! answer to a read is what the history says of its revision; the watcher saw each change once, in order. Needs the
//! clients gone. Does not know what was done to the members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::client::Client;
use quorate::wire::etcdserverpb as pb;

use super::members::{Cluster, SETTLE_LIMIT, until_allowed};
use super::traffic::{COUNTER, Read, Told, number_of};
use crate::ledger::Held;
use crate::process::Trouble;

/// Time without any change after which nothing of what the clients sent is still on its way: a member keeps a request for seven
/// seconds by its flags here, while it looks for a leader.
const QUIET: Duration = Duration::from_secs(10);

/// Everything there is, as one member has it.
type Contents = BTreeMap<String, Held>;

/// Every broken promise, in words.
pub async fn judge(
    cluster: &Cluster,
    mut told: Told,
    probes: &BTreeMap<String, (i64, i64)>,
) -> Result<Vec<String>, Trouble> {
    let mut broken = std::mem::take(&mut told.broken);
    let mut clients = Vec::new();
    for member in &cluster.members {
        clients.push((member.launch.name.clone(), member.client().await?.within(Some(Duration::from_secs(60)))));
    }
    let revision = quiet(&clients).await?;
    if revision < told.floor {
        broken.push(format!("the revision is {revision}; clients were told of {}", told.floor));
    }
    let contents = equal_contents(&clients, &mut broken).await?;
    broken.extend(equal_hashes(&clients, revision).await);
    broken.extend(of_ledgers(&mut told, &contents));
    broken.extend(of_probes(probes, &contents));
    broken.extend(of_counter(&told, contents.get(COUNTER)));
    broken.extend(of_events(&told, &contents));
    for (number, read) in told.reads.iter().enumerate() {
        let (name, client) = &clients[number % clients.len()];
        broken.extend(of_read(name, client, read).await);
    }
    Ok(broken)
}

/// Waits until all members have the same revision and it does not move.
async fn quiet(clients: &[(String, Client)]) -> Result<i64, Trouble> {
    let began = Instant::now();
    let (mut last, mut since) = (Vec::new(), Instant::now());
    while began.elapsed() < SETTLE_LIMIT {
        let mut revisions = Vec::new();
        for (_, client) in clients {
            let probe = pb::RangeRequest { key: "quiet?".into(), serializable: true, ..Default::default() };
            let read = until_allowed("a read", async || client.range(probe.clone()).await).await?;
            revisions.push(read.header.map_or(0, |header| header.revision));
        }
        if revisions != last {
            (last, since) = (revisions, Instant::now());
        } else if since.elapsed() > QUIET && last.iter().all(|revision| *revision == last[0]) {
            return Ok(last[0]);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the members do not come to one revision within {SETTLE_LIMIT:?}: {last:?}").into())
}

async fn equal_contents(clients: &[(String, Client)], broken: &mut Vec<String>) -> Result<Contents, Trouble> {
    let mut first: Option<(i64, Contents)> = None;
    for (name, client) in clients {
        for serializable in [false, true] {
            let all = Bytes::from_static(&[0]);
            let everything = pb::RangeRequest { key: all.clone(), range_end: all, serializable, ..Default::default() };
            let answer = until_allowed("a read", async || client.range(everything.clone()).await).await?;
            let revision = answer.header.map_or(0, |header| header.revision);
            let there: Contents = answer
                .kvs
                .iter()
                .map(|entry| (String::from_utf8_lossy(&entry.key).into_owned(), Held::of(entry)))
                .collect();
            let (first_revision, first) = first.get_or_insert_with(|| (revision, there.clone()));
            if *first_revision != revision {
                broken.push(format!(
                    "{name}: revision {revision} (serializable: {serializable}), elsewhere {first_revision}"
                ));
            }
            let keys: BTreeSet<&String> = first.keys().chain(there.keys()).collect();
            let different = keys.into_iter().filter(|key| first.get(*key) != there.get(*key));
            broken.extend(different.take(5).map(|key| {
                let (here, elsewhere) = (there.get(key), first.get(key));
                format!("{name}: {key}: {here:?} (serializable: {serializable}), elsewhere {elsewhere:?}")
            }));
        }
    }
    Ok(first.map(|(_, contents)| contents).unwrap_or_default())
}

/// HashKV at one revision says the same everywhere.
pub async fn equal_hashes(clients: &[(String, Client)], revision: i64) -> Vec<String> {
    let mut broken = Vec::new();
    let mut hashes = BTreeSet::new();
    for (name, client) in clients {
        match until_allowed("HashKV", async || client.hash_kv(pb::HashKvRequest { revision }).await).await {
            Ok(answer) => drop(hashes.insert((answer.hash, answer.compact_revision))),
            Err(why) => broken.push(format!("{name}: {why}")),
        }
    }
    if hashes.len() > 1 {
        broken.push(format!("HashKV at revision {revision} differs: (hash, compacted) {hashes:?}"));
    }
    broken
}

fn of_ledgers(told: &mut Told, contents: &Contents) -> Vec<String> {
    let mut broken = Vec::new();
    for (prefix, ledger) in &mut told.ledgers {
        let own = contents.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(prefix.as_str()));
        broken.extend(ledger.judge(&own.map(|(key, held)| (key.clone(), held.clone())).collect()));
    }
    for key in contents.keys() {
        let of_writer = key.split_once('/').is_some_and(|(owner, _)| told.ledgers.contains_key(&format!("{owner}/")));
        if !of_writer && !key.starts_with("p/") && key != COUNTER {
            broken.push(format!("{key}: nobody writes this key"));
        }
    }
    broken
}

/// A key of the probe was put at least as often as was acknowledged, and at most as often as was sent.
fn of_probes(probes: &BTreeMap<String, (i64, i64)>, contents: &Contents) -> Vec<String> {
    let times = |key: &String| contents.get(key).map_or(0, |held| held.version);
    let wrong = probes.iter().filter(|(key, (sent, acknowledged))| !(*acknowledged..=*sent).contains(&times(key)));
    wrong
        .map(|(key, (sent, acknowledged))| {
            format!("{key}: put {} times; {sent} were sent, {acknowledged} acknowledged", times(key))
        })
        .collect()
}

/// No two were told the same number, none beyond the last, and every number came of somebody's step.
fn of_counter(told: &Told, counter: Option<&Held>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut numbers = BTreeSet::new();
    let twice = told.counted.iter().filter(|number| !numbers.insert(**number));
    broken.extend(twice.map(|number| format!("{COUNTER}: two clients were told that they counted to {number}")));
    let (last, version) = counter.map_or((0, 0), |held| (number_of(&held.value), held.version));
    if numbers.last().is_some_and(|number| *number > last) {
        broken.push(format!("{COUNTER}: it is {last}, a client was told {:?}", numbers.last()));
    }
    let unknown = last - i64::try_from(numbers.len()).unwrap_or(i64::MAX);
    if version != last || unknown > told.uncounted {
        broken.push(format!(
            "{COUNTER}: it is {last} after {version} puts; {} steps were acknowledged, {} are unknown",
            numbers.len(),
            told.uncounted
        ));
    }
    broken
}

fn of_events(told: &Told, contents: &Contents) -> Vec<String> {
    let mut broken = Vec::new();
    let seen: BTreeSet<(&str, i64)> = told.events.iter().map(|(key, revision)| (key.as_str(), *revision)).collect();
    if seen.len() != told.events.len() {
        broken.push(format!("the watcher saw {} events twice", told.events.len() - seen.len()));
    }
    let backward = told.events.windows(2).filter(|pair| pair[1].1 < pair[0].1);
    broken.extend(backward.map(|pair| format!("the watcher saw {:?} before {:?}", pair[0], pair[1])));
    let there =
        contents.iter().filter(|(key, _)| key.starts_with('w')).map(|(key, held)| (key.as_str(), held.revision));
    let changes = told.changes.iter().map(|(key, revision)| (key.as_str(), *revision)).chain(there);
    broken.extend(
        changes
            .filter(|change| !seen.contains(change))
            .take(5)
            .map(|change| format!("the watcher did not see {change:?}")),
    );
    broken
}

/// An answer to a read is what the history says of its revision.
async fn of_read(name: &str, client: &Client, read: &Read) -> Option<String> {
    let request = pb::RangeRequest { key: read.key.clone().into(), revision: read.revision, ..Default::default() };
    match until_allowed("a read", async || client.range(request.clone()).await).await {
        Ok(answer) => {
            let found = answer.kvs.first().map(Held::of);
            (found != read.found)
                .then(|| format!("{read:?} was answered, and {name} says now that it was {found:?} at that revision"))
        }
        Err(why) => Some(format!("{name}: {} at revision {} cannot be read: {why}", read.key, read.revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(value: &str, revision: i64, version: i64) -> Held {
        Held { value: value.to_owned().into(), revision, version }
    }

    #[test]
    fn a_counter_that_lost_a_step_or_made_one_twice_is_broken() {
        let told = |counted: &[i64], uncounted| Told { counted: counted.to_vec(), uncounted, ..Told::default() };
        assert!(of_counter(&told(&[1, 2, 4], 1), Some(&held("4", 9, 4))).is_empty());
        assert_eq!(of_counter(&told(&[1, 2, 4], 0), Some(&held("4", 9, 4))).len(), 1, "a step of nobody");
        assert_eq!(of_counter(&told(&[1, 2, 2], 1), Some(&held("3", 9, 3))).len(), 1, "told twice");
        assert_eq!(of_counter(&told(&[1, 2, 3], 0), Some(&held("2", 9, 2))).len(), 1, "lost");
        assert_eq!(of_counter(&told(&[1, 2], 0), Some(&held("2", 9, 3))).len(), 1, "put twice");
        assert!(of_counter(&told(&[], 0), None).is_empty());
    }

    #[test]
    fn an_event_that_is_missing_doubled_or_late_is_broken() {
        let change = |key: &str, revision| (key.to_owned(), revision);
        let of = |events: &[(String, i64)]| {
            let changes = vec![change("w0g0/01", 4), change("w0g0/02", 5)];
            let told = Told { changes, events: events.to_vec(), ..Told::default() };
            of_events(&told, &BTreeMap::from([("w0g0/02".to_owned(), held("v", 5, 1))])).len()
        };
        let (one, two) = (change("w0g0/01", 4), change("w0g0/02", 5));
        assert_eq!(of(&[one.clone(), two.clone()]), 0);
        assert_eq!(of(std::slice::from_ref(&two)), 1);
        assert_eq!(of(&[two.clone(), one.clone()]), 1);
        assert_eq!(of(&[one.clone(), one, two]), 1);
    }

    #[test]
    fn a_probe_that_was_put_too_often_or_not_often_enough_is_broken() {
        let of = |version| {
            of_probes(
                &BTreeMap::from([("p/1".to_owned(), (5, 3))]),
                &BTreeMap::from([("p/1".to_owned(), held("5", 9, version))]),
            )
        };
        assert_eq!([2, 3, 5, 6].map(|version| of(version).len()), [1, 0, 0, 1]);
    }
}
