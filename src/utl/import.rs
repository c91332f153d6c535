//! `migrate --from-etcd`: the data directory of a stopped etcd becomes one of ours, of the same member of the same cluster.
//!
//! Invariants: the files of etcd are read and left as they are; what its log holds behind its database, committed or not, is in the
//! new log, to be applied by the ordinary path: an acknowledged write may be known to be committed to others alone. Nothing is
//! made where the log or the database does not hold, or where they do not belong together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::arguments::Given;
use super::beside::{Beside, Stop, check_free, now, run};
use super::failure::{Exit, Failure};
use super::history::{Build, Built, told_of_loose};
use super::old_keys::old_keys;
use super::old_requests::translated;
use super::site::real;
use super::source::{FileSource, check_there, read_whole};
use super::telling::tell;
use crate::backend::{Foreign, ForeignLog};
use crate::base::{Fault, Wrong, limits};
use crate::bbolt::Database;
use crate::consensus::ConfChange;
use crate::driver::{Seedling, plant, prepare};
use crate::machine::{Image, State, codec};
use crate::node::change_of;
use crate::wal::{EntryKind, LogEntry};

/// What becomes what.
struct Plan {
    /// The data directory of etcd.
    from: PathBuf,
    /// Where its log is.
    log: PathBuf,
    to: PathBuf,
    /// How long etcd is waited for, should it still run.
    patience: Duration,
}

/// Makes the directory.
pub fn import(given: &Given) -> Result<(), Failure> {
    let plan = plan(given)?;
    run(move |stop| make(&plan, &stop))
}

fn plan(given: &Given) -> Result<Plan, Failure> {
    let bad = |text: &str| Err(Failure::new(Exit::BadArguments, text));
    if let Some(flag) = ["target-version", "force"].into_iter().find(|flag| given.is_given(flag)) {
        return bad(&format!("--{flag} is of a data directory that is to stay in its place, and not for --from-etcd"));
    }
    if given.text("data-dir").is_empty() {
        return bad("--data-dir names no directory: give the one to be made");
    }
    let (from, to) = (PathBuf::from(given.text("from-etcd")), PathBuf::from(given.text("data-dir")));
    check_there(&from)?;
    check_there(&from.join("member/snap/db"))?;
    let log = match given.text("from-wal-dir") {
        "" => {
            let log = from.join("member/wal");
            let advice = "if etcd ran with --wal-dir, name that directory by --from-wal-dir";
            check_there(&log).map_err(|failure| refuse(format!("{}: {advice}", failure.text())))?;
            log
        }
        log => PathBuf::from(log),
    };
    check_there(&log)?;
    if [&from, &log].iter().any(|dir| real(&to).starts_with(real(dir))) {
        return bad("--data-dir lies in what is read of etcd, and nothing is written there: give another place");
    }
    check_free(&to)?;
    Ok(Plan { from, log, to, patience: given.time("timeout") })
}

fn make(plan: &Plan, stop: &Stop) -> Result<(), Failure> {
    let (beside, told) = build(plan, stop).map_err(|failure| failure.in_making(&plan.to))?;
    stop.check()?;
    beside.keep()?;
    told.iter().for_each(tell);
    Ok(())
}

/// Makes all of it, and says what there is to say of it.
fn build(plan: &Plan, stop: &Stop) -> Result<(Beside, Vec<String>), Failure> {
    let source = FileSource::open(&plan.from.join("member/snap/db"), plan.patience, stop)?;
    let name = source.name().to_string();
    let database = Database::open(source, &name)?;
    let foreign = Foreign::read(&database, &name, &mut database.unseen())?;
    let mut log = read_log(&plan.log, foreign.applied.0, stop)?;
    let identity = log.identity.ok_or_else(|| refuse("its log does not say whose it is"))?;
    let applied = (foreign.applied.0, term_of(&foreign, &log)?);
    take_entries(&mut log.entries)?;
    if !foreign.members.iter().any(|member| member.id == identity.member) {
        return Err(refuse("its database does not name the member whose log it has: was it removed from its cluster?"));
    }
    let beside = Beside::begin(&plan.to, None)?;
    now(prepare(beside.disk()))?;
    let build = Build { disk: beside.disk(), database: &database, compacted: foreign.compacted, marked: None, stop };
    let Built { position, records, loose, .. } = build.build(&foreign.leases)?;
    let revision = position.revision();
    let mut state = State {
        applied,
        members: foreign.members,
        removed: foreign.removed,
        alarms: foreign.alarms,
        cluster_version: foreign.cluster_version,
        downgrade: foreign.downgrade,
        leases: foreign.leases,
        revision,
        compact_revision: position.compact_revision(),
        // Members that were stopped apart from each other have no digest in common.
        digest: None,
        auth: Arc::new(foreign.auth),
    };
    state.leases.iter_mut().for_each(|lease| lease.granted_at = applied.0);
    let image = Image::new(identity, state, position).map_err(Failure::from)?;
    let mut told = left_behind(plan, log.torn_bytes);
    told.extend(told_of_loose(loose));
    told.push(format!(
        "made {} of {}: member {} of cluster {}, revision {revision} with {records} records at entry {}, and {} entries behind it",
        plan.to.display(),
        plan.from.display(),
        identity.member,
        identity.cluster,
        applied.0,
        log.entries.len()
    ));
    now(plant(beside.disk(), Seedling { image, hard_state: log.hard_state, entries: log.entries }))?;
    Ok((beside, told))
}

/// What of etcd's files is not in the new directory.
fn left_behind(plan: &Plan, torn: usize) -> Vec<String> {
    let mut told = Vec::new();
    let left = old_keys(&plan.from.join("member/snap"));
    if left > 0 {
        told.push(format!(
            "{left} keys of the version 2 API are left behind, as by etcd 3.6: what is still wanted of them is to be copied with a \
             client of that API"
        ));
    }
    if torn > 0 {
        told.push(format!("{torn} bytes at the end of its log were written in part and are left out, as etcd does"));
    }
    told
}

fn refuse(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, text)
}

/// The term of the last entry in the database: itself says it since 3.5, before it is in the log.
fn term_of(foreign: &Foreign, log: &ForeignLog) -> Result<u64, Failure> {
    let (index, term) = foreign.applied;
    if index == 0 {
        return Err(refuse("nothing was ever applied to its database: there is nothing to take over"));
    }
    if let Some(entry) = log.entries.first().filter(|entry| entry.term < term) {
        let (behind, in_log) = (entry.index, entry.term);
        return Err(refuse(format!(
            "its database has entry {index} of term {term}, its log entry {behind} of term {in_log}: terms never go back"
        )));
    }
    match (term, log.term_at) {
        (0, None) => Err(refuse(format!("neither its database nor its log says the term of entry {index}"))),
        (0, Some(term)) | (term, None) => Ok(term),
        (term, Some(in_log)) if term == in_log => Ok(term),
        (term, Some(in_log)) => {
            Err(refuse(format!("its database has entry {index} of term {term}, its log one of term {in_log}")))
        }
    }
}

/// Reads the segments in order of their number.
fn read_log(dir: &Path, after: u64, stop: &Stop) -> Result<ForeignLog, Failure> {
    let fault = |source| Fault::new("read", dir.display().to_string(), source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(".wal").and_then(|stem| stem.split_once('-'));
        if let Some(number) = number.and_then(|(number, _)| u64::from_str_radix(number, 16).ok()) {
            names.push((number, dir.join(name)));
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(refuse(format!("{} holds no log", dir.display())));
    }
    if let Some(pair) = names.windows(2).find(|pair| pair[1].0.checked_sub(pair[0].0) != Some(1)) {
        return Err(refuse(format!("{}: a part of the log behind it is missing", pair[0].1.display())));
    }
    let mut log = ForeignLog::behind(after);
    let last = names.len() - 1;
    for (at, (_, path)) in names.iter().enumerate() {
        let fault = |source| Fault::new("read", path.display().to_string(), source);
        let len = fs::metadata(path).map_err(fault)?.len();
        if len > limits::MAX_FOREIGN_LOG_BYTES {
            return Err(refuse(format!("{}: {len} bytes are more than a part of the log has", path.display())));
        }
        let bytes = Bytes::from(read_whole(path).map_err(fault)?);
        stop.check()?;
        log.take_segment(&path.display().to_string(), &bytes, at == last).map_err(|wrong| match log.gap_behind() {
            Some(snapshot) => refuse(not_in_place(snapshot, after)),
            None => wrong.into(),
        })?;
    }
    check_whole(&log, dir, after)?;
    Ok(log)
}

/// That the log goes on from a snapshot that the database does not have.
fn not_in_place(snapshot: u64, database: u64) -> String {
    format!(
        "its log begins behind entry {snapshot}, and its database ends at entry {database}: a snapshot of another member was not \
         put in place yet. Start etcd once, and stop it"
    )
}

/// Whether the log leads from where the database ends to where it must.
fn check_whole(log: &ForeignLog, dir: &Path, after: u64) -> Result<(), Failure> {
    if let Some(snapshot) = log.missing_snapshot() {
        return Err(refuse(not_in_place(snapshot, after)));
    }
    let lost = |needed: &str, unless: &str| {
        Err(refuse(format!(
            "its log in {} ends at entry {}, and {needed}: the end of the log is lost, and with it what this member acknowledged \
             last, and for whom it voted. Take the files of a copy that is whole, or another member's, or make a new cluster of a \
             snapshot or of the database (docs/migration.md, way 1).{unless}",
            dir.display(),
            log.last
        )))
    };
    if log.last < after {
        // etcd has entries applied while it writes them to its log.
        return lost(
            &format!("its database at entry {after}"),
            " Where power failed while it ran nothing need be lost: start etcd once beside the other members, and stop it.",
        );
    }
    if log.hard_state.commit > log.end() {
        return lost(&format!("says that entry {} was committed", log.hard_state.commit), "");
    }
    Ok(())
}

/// What is in the log must be what can be applied here: better to say so now than when the server starts. What an earlier
/// version said in the words of the version 2 API is said in today's, alike on all members.
fn take_entries(entries: &mut [LogEntry]) -> Result<(), Failure> {
    for entry in entries {
        let index = entry.index;
        let read = match entry.kind {
            EntryKind::Normal => match (codec::decode(&entry.data), translated(&entry.data)) {
                (Ok(_), _) => Ok(()),
                (Err(_), Some(today)) => today.map(|today| entry.data = today),
                (Err(wrong), None) => Err(wrong.0),
            },
            EntryKind::ConfChange => {
                let change = ConfChange::decode(&entry.data).ok_or_else(|| "it cannot be read".to_string());
                change.and_then(|change| change_of(&change)).map(drop)
            }
            EntryKind::ConfChangeV2 => Err("it changes several members at once".to_string()),
        };
        read.map_err(|what| {
            let advice = "stop etcd again after it ran for a while without such requests, or restore a snapshot";
            Failure::from(Wrong::corrupt("member/wal", 0, format!("entry {index}: {what}; {advice}")))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;
    use crate::consensus::ConfChangeKind;

    #[test]
    fn a_log_says_no_more_than_it_has() {
        let mut log = ForeignLog::behind(16);
        log.last = 16;
        for (commit, is_whole) in [(15, true), (16, true), (17, false)] {
            log.hard_state.commit = commit;
            let checked = check_whole(&log, Path::new("wal"), 16);
            assert_eq!(checked.is_ok(), is_whole, "{commit}");
            let says_why = |failure: &Failure| failure.text().contains("and says that entry 17 was committed");
            assert!(checked.err().as_ref().is_none_or(says_why), "{commit}");
        }
    }

    #[test]
    fn a_change_of_the_members_is_read_to_its_end() {
        let entry = |context: &'static [u8]| {
            let context = Bytes::from_static(context);
            let change = ConfChange { id: 7, kind: ConfChangeKind::Add, member: MemberId(5), context };
            LogEntry { index: 9, term: 2, kind: EntryKind::ConfChange, data: change.encode() }
        };
        let whole = entry(br#"{"id":5,"peerURLs":["http://127.0.0.1:1"],"name":"a"}"#);
        assert!(take_entries(&mut [whole]).is_ok());
        for broken in [&b"{"[..], b"", br#"{"id":6,"peerURLs":["http://127.0.0.1:1"],"name":"a"}"#] {
            let refused = take_entries(&mut [entry(broken)]).expect_err("nobody could apply it");
            assert!(refused.text().contains("entry 9: "), "{}", refused.text());
        }
    }
}
