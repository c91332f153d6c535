//! One of three members whose data differ is named: by what it did, and by what lies on its disk.

use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;

use crate::cluster::{LIMIT, Member, Process, key, start_all, until};
use crate::granted::granted;
use crate::plant;

/// Three members with thirty keys, the last one stopped; and its id.
async fn two_and_one_stopped(members: &[Member; 3], flags: &[&str]) -> (Vec<Process>, u64) {
    let mut processes = start_all(members, flags);
    processes[0].put_many(0..30).await;
    let id = processes[0].id_of(&members[2]).await;
    let third = processes.pop().unwrap();
    third.until_it_holds(0..30).await;
    third.stop();
    (processes, id)
}

/// Whether a member says of itself that its data are wrong, in place of an answer.
async fn is_refused(member: &Process) -> bool {
    let answer = member.kv().range(pb::RangeRequest { key: key(7), ..Default::default() }).await;
    answer.is_err_and(|status| status.message().contains("corrupt"))
}

/// Lines are written beside what is done, so the log may come a little later.
fn told(members: &[Member], words: &[&str]) {
    let says = |member: &Member| member.log_text().lines().any(|line| words.iter().all(|word| line.contains(word)));
    let texts = || members.iter().map(Member::log_text).collect::<Vec<_>>();
    until(|| format!("nobody's log has {words:?}: {:#?}", texts()), || members.iter().any(says));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_did_another_thing_is_named_by_the_running_digest() {
    let members = Member::several(["m0", "m1", "m2"]);
    let (processes, id) = two_and_one_stopped(&members, &[]).await;
    assert_eq!(processes[0].corrupt().await, [0; 0]);
    plant::in_its_log(&members[2].data(), &key(7)).await;
    let [m0, m1, m2] = &members;
    let third = m2.spawn(&[m0, m1, m2], &[]);
    processes[0].until_named(id).await;
    told(&members[..2], &["members' states differ", &format!("{id:x}")]);
    // Once it has heard of it: who leads knows it first.
    let began = Instant::now();
    while !is_refused(&third).await {
        assert!(began.elapsed() < LIMIT, "it answers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_data_changed_as_they_lay_is_named_on_the_interval() {
    let members = Member::several(["m0", "m1", "m2"]);
    let flags = ["--corrupt-check-time=1s"];
    let (processes, id) = two_and_one_stopped(&members, &flags).await;
    plant::in_its_data(&members[2].data(), &key(7)).await;
    let [m0, m1, m2] = &members;
    let _third = m2.start(&[m0, m1, m2], &flags);
    processes[0].until_named(id).await;
    told(&members[..2], &["same compact revision then hashes must match", &format!("{id:x}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_data_changed_as_they_lay_is_refused_at_its_start_and_named_at_a_compaction() {
    let members = Member::several(["m0", "m1", "m2"]);
    let flags = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=1s"];
    let (processes, id) = two_and_one_stopped(&members, &flags).await;
    let [m0, m1, m2] = &members;
    let checked = ["--feature-gates=InitialCorruptCheck=true"];
    m2.start(&[m0, m1, m2], &checked).stop();
    m2.wait_for_log(&["initial corruption checking passed; no corruption"]);

    plant::in_its_data(&m2.data(), &key(7)).await;
    let (code, said) = m2.spawn(&[m0, m1, m2], &checked).ended();
    assert!(
        code == Some(1) && said.contains(&format!("{id:x} found data inconsistency with peers")),
        "{code:?} {said}"
    );
    m2.wait_for_log(&["found different hash values from remote peer"]);

    let third = m2.start(&[m0, m1, m2], &flags);
    third.until_it_holds(0..30).await;
    let compact = pb::CompactionRequest { revision: 20, ..Default::default() };
    granted(async || match processes[0].kv().compact(compact).await {
        // It was done, and the answer was lost.
        Err(status) if status.message().contains("has been compacted") => Ok(()),
        outcome => outcome.map(drop),
    })
    .await;
    processes[0].until_named(id).await;
    told(&members[..2], &["Detected compaction hash mismatch", "quorum-exist", &format!("{id:x}")]);
}
