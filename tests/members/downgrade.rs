//! A cluster goes down by a minor version, and comes back.

use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;

use crate::cluster::{LIMIT, Member, Process, start_all};

async fn ask(process: &Process, action: i32, version: &str) -> Result<String, String> {
    let request = pb::DowngradeRequest { action, version: version.to_string() };
    match process.maintenance().downgrade(request).await {
        Ok(answer) => Ok(answer.into_inner().version),
        Err(status) => Err(status.message().to_string()),
    }
}

/// Waits until a member says that these are the version of its form, and the target.
async fn until_it_is(process: &Process, wanted: (&str, &str)) {
    let began = Instant::now();
    loop {
        let status = process.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
        let downgrade = status.downgrade_info.unwrap();
        assert_eq!(downgrade.enabled, !downgrade.target_version.is_empty());
        let told = (&status.storage_version[..], &downgrade.target_version[..]);
        if told == wanted {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{told:?} in place of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_down_and_comes_back() {
    let (validate, enable, cancel) = (0, 1, 2);
    let members = Member::several(["a", "b", "c"]);
    let all: Vec<&Member> = members.iter().collect();
    let mut processes = start_all(&members, &[]);
    for (member, process) in members.iter().zip(&processes) {
        until_it_is(process, ("3.7.0", "")).await;
        assert_eq!(member.ask_peer_port("/downgrade/enabled", ""), "false");
    }
    assert_eq!(ask(&processes[0], validate, "3.6").await, Ok("3.7".to_string()));
    assert_eq!(ask(&processes[1], enable, "3.6.0").await, Ok("3.7".to_string()));
    for (member, process) in members.iter().zip(&processes) {
        assert_eq!(member.ask_peer_port("/downgrade/enabled", ""), "true", "as of now, whoever is asked");
        until_it_is(process, ("3.6.0", "3.6.0")).await;
    }
    // One that starts anew knows it from its log.
    processes.pop().unwrap().stop();
    processes.push(members[2].start(&all, &[]));
    until_it_is(&processes[2], ("3.6.0", "3.6.0")).await;
    let refused = |text: &str| Err(format!("etcdserver: {text}"));
    for action in [validate, enable] {
        assert_eq!(ask(&processes[2], action, "3.5").await, refused("cluster has a downgrade job in progress"));
        assert_eq!(ask(&processes[2], action, "3.6").await, refused("invalid downgrade target version"));
    }
    assert_eq!(ask(&processes[2], cancel, "").await, Ok("3.6".to_string()));
    for (member, process) in members.iter().zip(&processes) {
        assert_eq!(member.ask_peer_port("/downgrade/enabled", ""), "false");
        until_it_is(process, ("3.7.0", "")).await;
    }
}
