//! A member that was added is started without `--initial-cluster-state=existing`.

use crate::cluster::Member;

#[tokio::test(flavor = "multi_thread")]
async fn who_was_added_and_would_found_another_cluster_is_told_what_to_do() {
    let [first, added] = Member::several(["m0", "m1"]);
    let running = first.start(&[&first], &[]);
    running.put_many(0..5).await;
    running.add(&added, false).await;
    let (code, said) = added.spawn(&[&first, &added], &[]).ended();
    assert_eq!(code, Some(1), "{said}");
    let url = first.peer_url();
    assert!(said.contains(&format!("was added to the cluster at {url} under this member's peer URLs")), "{said}");
    assert!(said.contains("start it with --initial-cluster-state=existing"), "{said}");
    // Nothing was begun that stands in the way of doing so.
    let joined = added.start(&[&first, &added], &["--initial-cluster-state=existing"]);
    joined.until_it_holds(0..5).await;
}
