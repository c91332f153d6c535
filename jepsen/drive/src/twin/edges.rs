//! Fixed walks to two servers that random sequences hardly meet: fragments, many events at once, and a real full quota.
//!
//! Invariant: each walk starts on fresh servers. Does not know which side is right. In the quota walk the two sides may
//! be full at different moments, since the bytes on disk are their own business: from there on the answers are compared
//! without revisions.

use std::sync::Arc;

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::request_op::Request;

use super::args::{Tally, TwinArgs};
use super::digests;
use super::lane::Lane;
use super::plan::{FIRST_KEY, STREAMS};
use super::reply::Reply;
use super::side::{Heard, Side};
use super::step::Step;
use super::table::Table;
use crate::process::Trouble;
use crate::sides::Sides;

/// The quota of the quota walk.
const QUOTA: usize = 16 << 20;
/// Values that fill it.
const FILL: usize = 256 << 10;

/// Options of the edges.
#[derive(clap::Args, Clone, Debug)]
pub struct EdgesArgs {
    #[command(flatten)]
    sides: Sides,
}

/// Runs the walks; true when none differed.
pub async fn run(args: EdgesArgs) -> Result<bool, Trouble> {
    let home = args.sides.home("edges")?;
    let mut equal = true;
    let walks =
        [("fragments", fragments()), ("many revisions", many_revisions()), ("one wide revision", wide_revision())];
    for (name, steps) in walks {
        let lane = lane(&args, &home.join(name.replace(' ', "-")), &[]);
        let mut table = lane.open(0).await?;
        let outcome = walk(&mut table, steps).await;
        equal &= report(name, outcome);
    }
    let quota = [format!("--quota-backend-bytes={QUOTA}")];
    let table = lane(&args, &home.join("quota"), &quota).open(0).await?;
    equal &= report("full quota", full_quota(&table).await);
    drop(table);
    let digests =
        digests::walk(&args.sides.left_bin, &args.sides.right_bin, &home.join("digests"), &args.sides.flags).await;
    equal &= report("digests of compactions", digests);
    if equal {
        std::fs::remove_dir_all(&home)?;
    }
    Ok(equal)
}

fn report(name: &str, outcome: Result<usize, String>) -> bool {
    match &outcome {
        Ok(count) => println!("edges: {name}: {count} answers or events, equal"),
        Err(text) => println!("DIFFERENCE: edges: {name}\n{text}"),
    }
    outcome.is_ok()
}

fn lane(args: &EdgesArgs, home: &std::path::Path, flags: &[String]) -> Lane {
    let args = TwinArgs {
        left: None,
        right: None,
        left_bin: Some(args.sides.left_bin.clone()),
        right_bin: Some(args.sides.right_bin.clone()),
        flags: args.sides.flags.iter().chain(flags).cloned().collect(),
        left_flags: Vec::new(),
        right_flags: Vec::new(),
        seeds: 0..1,
        requests: 0,
        seeds_per_server: 1,
        lanes: 1,
        users: false,
        tls: false,
        keep_going: false,
        trace: false,
        record: None,
        against: None,
        base: None,
    };
    Lane { args: Arc::new(args), tally: Arc::new(Tally::default()), seal: None, home: home.to_path_buf() }
}

async fn walk(table: &mut Table, steps: Vec<Step>) -> Result<usize, String> {
    table.watching.reopen((&table.left, &table.right), STREAMS, FIRST_KEY, table.current).await?;
    let mut count = 0;
    for step in steps {
        count += table.take(&step).await?.len();
        count += table.watching.drain(table.current).await?;
    }
    Ok(count + table.watching.settle(table.current).await?)
}

fn put(key: &str, size: usize) -> Request {
    let value = Bytes::from(vec![b'x'; size]);
    Request::RequestPut(pb::PutRequest { key: key.to_owned().into(), value, ..Default::default() })
}

fn txn(requests: Vec<Request>) -> Step {
    let success = requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect();
    Step::Txn(pb::TxnRequest { success, ..Default::default() })
}

fn watch(start: i64, fragment: bool, prev_kv: bool) -> Step {
    let (key, range_end) = ("e/".into(), "e0".into());
    let start_revision = start;
    Step::Watch(0, pb::WatchCreateRequest { key, range_end, start_revision, fragment, prev_kv, ..Default::default() })
}

/// One revision of 2.8 MiB with previous values, to watchers that stand by and to watchers that come later.
fn fragments() -> Vec<Step> {
    let wide = || txn((0..7).map(|at| put(&format!("e/{at}"), 200 << 10)).collect());
    let mut steps = vec![wide(), watch(0, true, true), watch(0, false, true), wide(), wide()];
    steps.extend([watch(2, true, true), watch(3, true, false), watch(2, false, true), watch(2, false, false)]);
    let (key, range_end) = ("e/".into(), "e0".into());
    steps.push(Step::Delete(pb::DeleteRangeRequest { key, range_end, prev_kv: true }));
    steps.push(watch(4, true, true));
    steps
}

/// More revisions than one catch-up response holds, then a watcher from the first.
fn many_revisions() -> Vec<Step> {
    let one = |at: usize| txn(vec![put(&format!("e/{}", at % 7), at % 50)]);
    let mut steps: Vec<Step> = (0..2_500).map(one).collect();
    steps.extend([watch(2, false, false), watch(2, true, true), watch(1_000, false, true)]);
    steps.push(Step::Compact(pb::CompactionRequest { revision: 1_500, physical: false }));
    steps.extend([watch(1_500, false, true), watch(1_501, false, true)]);
    steps.push(Step::HashKv(0));
    steps.push(Step::HashKv(1_600));
    steps
}

/// As many operations as a transaction may hold, and their delete at one revision.
fn wide_revision() -> Vec<Step> {
    let mut steps = vec![watch(0, false, true), watch(0, true, true)];
    for _ in 0..3 {
        steps.push(txn((0..128).map(|at| put(&format!("e/{at:03}"), 100)).collect()));
    }
    let (key, range_end) = ("e/".into(), "e0".into());
    steps.push(Step::Delete(pb::DeleteRangeRequest { key, range_end, prev_kv: true }));
    steps.extend([watch(2, false, true), watch(5, true, true), Step::HashKv(0)]);
    steps
}

/// Fills both sides until they refuse, compares what a full server still does, makes room and goes on.
async fn full_quota(table: &Table) -> Result<usize, String> {
    let (left, right) = tokio::join!(fill(&table.left), fill(&table.right));
    let ((left_count, left_said), (right_count, right_said)) = (left?, right?);
    println!("edges: full after {left_count} puts of {FILL} bytes left, {right_count} right");
    if left_said != right_said {
        return Err(format!("refusals differ\n  left  {left_said:?}\n  right {right_said:?}"));
    }
    let small = || pb::PutRequest { key: "q/small".into(), value: "x".into(), ..Default::default() };
    let delete = |key: &str| pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
    let get = pb::RangeRequest { key: "q/0".into(), count_only: true, ..Default::default() };
    let failure = vec![pb::RequestOp { request: Some(Request::RequestDeleteRange(delete("q/1"))) }];
    let success = vec![pb::RequestOp { request: Some(Request::RequestPut(small())) }];
    let compare = vec![pb::Compare { key: "no".into(), target: 1, result: 3, ..Default::default() }];
    let mixed = pb::TxnRequest { compare, success, failure: failure.clone() };
    let steps = [
        Step::Status,
        Step::Put(small()),
        Step::Txn(mixed),
        Step::Txn(pb::TxnRequest { success: failure, ..Default::default() }),
        Step::Grant(pb::LeaseGrantRequest { ttl: 5_000, id: 77 }),
        Step::Range(get),
        Step::Delete(delete("q/0")),
        Step::Delete(pb::DeleteRangeRequest { range_end: "q0".into(), ..delete("q/") }),
    ];
    let mut count = 0;
    for step in &steps {
        let (left, right) = tokio::join!(table.left.ask(step), table.right.ask(step));
        let (left, right) = (timeless(left), timeless(right));
        if left != right {
            return Err(format!("asked {step:?}\n  left  {left:?}\n  right {right:?}"));
        }
        count += left.len();
    }
    let (left, right) = tokio::join!(make_room(&table.left), make_room(&table.right));
    left.map_err(|why| format!("left: {why}"))?;
    right.map_err(|why| format!("right: {why}"))?;
    Ok(count)
}

/// Puts until refused; how many, and the refusal.
async fn fill(side: &Side) -> Result<(usize, Vec<Reply>), String> {
    for count in 0..10 * QUOTA / FILL {
        let (key, value) = (format!("q/{count}").into(), Bytes::from(vec![b'q'; FILL]));
        let heard = side.ask(&Step::Put(pb::PutRequest { key, value, ..Default::default() })).await;
        if !heard.is_ok() {
            // A server that takes less than a quarter of its quota, or refuses only long after, is not as etcd.
            let fair = count * FILL * 4 > QUOTA && count * FILL < QUOTA * 4;
            return if fair { Ok((count, heard.replies)) } else { Err(format!("full after {count} puts")) };
        }
    }
    Err("never full".to_owned())
}

/// Compacts, defragments, disarms and puts, each as soon as the one before is answered: the way out must lead out.
async fn make_room(side: &Side) -> Result<(), String> {
    let revision = side.ask(&Step::HashKv(0)).await.revision;
    let compact = Step::Compact(pb::CompactionRequest { revision, physical: true });
    for step in [compact, Step::Defragment] {
        let heard = side.ask(&step).await;
        if !heard.is_ok() {
            return Err(format!("asked {step:?}: {:?}", heard.replies));
        }
    }
    for member_id in alarmed(side).await? {
        side.ask(&Step::Alarm(pb::AlarmRequest { action: 2, member_id, alarm: 1 })).await;
    }
    let put = pb::PutRequest { key: "q/again".into(), value: "x".into(), ..Default::default() };
    let heard = side.ask(&Step::Put(put)).await;
    if heard.is_ok() {
        return Ok(());
    }
    Err(format!("no room after compaction, defragmentation and disarming: {:?}", heard.replies))
}

async fn alarmed(side: &Side) -> Result<Vec<u64>, String> {
    let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 0 };
    let answer = side.maintenance.clone().alarm(request).await.map_err(|why| why.to_string())?;
    Ok(answer.into_inner().alarms.iter().map(|alarm| alarm.member_id).collect())
}

/// Replies without what hangs on how many puts fitted.
fn timeless(heard: Heard) -> Vec<Reply> {
    let plain = |reply: Reply| match reply {
        Reply::Range(range) => Reply::Other(format!("range {} {}", range.count, range.more)),
        Reply::Put(_) => Reply::Other("put".to_owned()),
        Reply::Delete(delete) => Reply::Other(format!("delete {}", delete.deleted.min(2))),
        Reply::Txn(txn) => Reply::Other(format!("txn {} {}", txn.succeeded, txn.responses.len())),
        // The status text names its header first.
        Reply::Other(text) => Reply::Other(text.split_once("), ").map_or(text.clone(), |(_, rest)| rest.to_owned())),
        refused @ Reply::Refused { .. } => refused,
    };
    heard.replies.into_iter().map(plain).collect()
}
