//! Two of three members are gone for good.

use crate::cluster::{Member, start_all, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_third_goes_on_with_its_data_and_the_cluster_grows_again() {
    let members = Member::several(["m0", "m1", "m2"]);
    let mut processes = start_all(&members, &[]);
    processes[0].put_many(0..50).await;
    processes[2].until_it_holds(0..50).await;
    let third = processes.pop().unwrap();
    processes.into_iter().for_each(|process| process.kill());
    third.kill();

    let [m0, m1, m2] = &members;
    let third = m2.start(&[m0, m1, m2], &["--force-new-cluster"]);
    m2.wait_for_log(&["\"msg\":\"forcing restart member\"", "local-member-id", "commit-index"]);
    m2.wait_for_log(&["\"level\":\"warn\"", "the other members were removed: this one goes on alone with its data"]);
    third.until_it_holds(0..50).await;
    third.put_many(50..80).await;
    assert_eq!(third.members().await.len(), 1);
    third.stop();
    // Left on.
    let third = m2.start(&[m0, m1, m2], &["--force-new-cluster"]);
    m2.wait_for_log(&["--force-new-cluster does nothing: there is no other member"]);
    third.put_many(80..90).await;

    let [m3, m4] = Member::several(["m3", "m4"]);
    third.add(&m3, false).await;
    let fourth = m3.start(&[m2, &m3], &["--initial-cluster-state=existing"]);
    third.add(&m4, false).await;
    let fifth = m4.start(&[m2, &m3, &m4], &["--initial-cluster-state=existing"]);
    fifth.put_many(90..100).await;
    for process in [&third, &fourth, &fifth] {
        process.until_it_holds(0..100).await;
    }
    let hashes = || [m2, &m3, &m4].map(|member| member.ask_peer_port("/members/hashkv", "{}"));
    until(
        || format!("{:?}", hashes()),
        || {
            let hashes = hashes();
            hashes[0].contains("\"hash\":") && hashes.iter().all(|hash| *hash == hashes[0])
        },
    );

    // Left on while the others are there, it removes nobody.
    third.stop();
    let third = m2.start(&[m0, m1, m2], &["--force-new-cluster"]);
    m2.wait_for_log(&["--force-new-cluster does nothing: a majority of the members answers"]);
    assert_eq!(third.members().await.len(), 3);

    // One that was lost comes back with what it had: it is told, and let in no more.
    let (code, said) = m0.spawn(&[m0, m1, m2], &[]).ended();
    assert_eq!(code, Some(0), "{said}");
    third.put_many(100..110).await;
    assert_eq!(third.members().await.len(), 3);
}
