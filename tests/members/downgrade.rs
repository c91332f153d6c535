//! A cluster goes down by a minor version, and comes back.

use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;
use tonic::Code;

use crate::cluster::{LIMIT, Member, Process, start_all, until};
use crate::granted::granted;

/// Asks until there is an answer of the cluster's: none comes where it has no leader at the moment, or not in time.
async fn ask(process: &Process, action: i32, version: &str) -> Result<String, String> {
    let request = pb::DowngradeRequest { action, version: version.to_string() };
    granted(async || match process.maintenance().downgrade(request.clone()).await {
        Ok(answer) => Ok(Ok(answer.into_inner().version)),
        Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => Err(status),
        Err(status) => Ok(Err(status.message().to_string())),
    })
    .await
}

/// Waits until a member says so as of now, which it may be unable to for a moment.
fn until_enabled(member: &Member, enabled: &str) {
    until(
        || format!("{enabled} is said by {}", member.name),
        || member.ask_peer_port("/downgrade/enabled", "") == enabled,
    );
}

/// Waits until a member says that these are the version of its form, and the target.
async fn until_it_is(process: &Process, wanted: (&str, &str)) {
    let began = Instant::now();
    loop {
        let status = granted(async || process.maintenance().status(pb::StatusRequest {}).await).await.into_inner();
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
    let enabled = ask(&processes[1], enable, "3.6.0").await;
    // Where it was asked twice, for want of an answer.
    let in_progress = "etcdserver: cluster has a downgrade job in progress";
    assert!(enabled.as_deref() == Ok("3.7") || enabled.as_deref() == Err(&in_progress.to_string()), "{enabled:?}");
    for (member, process) in members.iter().zip(&processes) {
        until_enabled(member, "true");
        until_it_is(process, ("3.6.0", "3.6.0")).await;
    }
    // One that starts anew knows it from its log.
    processes.pop().unwrap().stop();
    processes.push(members[2].start(&all, &[]));
    until_it_is(&processes[2], ("3.6.0", "3.6.0")).await;
    let refused = |text: &str| Err(format!("etcdserver: {text}"));
    for action in [validate, enable] {
        for target in ["3.5", "3.6"] {
            assert_eq!(ask(&processes[2], action, target).await, refused("cluster has a downgrade job in progress"));
        }
        assert_eq!(ask(&processes[2], action, "3.7").await, refused("invalid downgrade target version"));
    }
    let canceled = ask(&processes[2], cancel, "").await;
    assert!(canceled.as_ref().is_ok_and(|version| ["3.6", "3.7"].contains(&&version[..])), "{canceled:?}");
    for (member, process) in members.iter().zip(&processes) {
        until_enabled(member, "false");
        until_it_is(process, ("3.7.0", "")).await;
    }
}
