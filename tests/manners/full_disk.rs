//! A disk that runs full: needs the right to mount a small file system, and says so where it has none.

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate::wire::etcdserverpb as pb;

use crate::process::{Home, key, put};

/// A small file system of its own; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&at).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What is refused is refused as etcd refuses it, what was acknowledged is read, also after a restart, and writing goes on
/// when there is room again and the alarm is disarmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_state() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.path().join("small"), "200m") else {
        eprintln!("SKIPPED: no right to mount a file system");
        return;
    };
    let flag = format!("--data-dir={}", disk.0.join("data").display());
    let flags = [&flag[..], "--snapshot-count=5"];
    let mut server = home.start_with(&flags);
    let mut kv = server.kv();
    let value = "x".repeat(1_000_000);
    let mut acknowledged = 0;
    let refused = loop {
        match put(&mut kv, key(acknowledged), value.clone()).await {
            Ok(_) => acknowledged += 1,
            Err(status) => break status,
        }
    };
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    assert!(acknowledged > 20);
    for again in [false, true] {
        if again {
            server.stop();
            server = home.start_with(&flags);
            kv = server.kv();
        }
        for number in 0..acknowledged {
            let request = pb::RangeRequest { key: key(number).into(), ..Default::default() };
            let answer = kv.range(request).await.unwrap().into_inner();
            assert_eq!(answer.kvs.first().map(|kv| &kv.value[..]), Some(value.as_bytes()), "key {number}");
        }
        let delete = pb::DeleteRangeRequest { key: key(acknowledged).into(), ..Default::default() };
        kv.delete_range(delete).await.unwrap();
        assert!(put(&mut kv, "more".to_string(), value.clone()).await.is_err());
    }
    disk.grow("600m");
    let mut maintenance = server.maintenance();
    let alarms = maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms;
    assert_eq!(alarms.len(), 1);
    for pb::AlarmMember { member_id, alarm } in alarms {
        let action = pb::alarm_request::AlarmAction::Deactivate.into();
        maintenance.alarm(pb::AlarmRequest { action, member_id, alarm }).await.unwrap();
    }
    put(&mut kv, "more".to_string(), value).await.unwrap();
    server.stop();
}

/// Compact, defragment, disarm, put, one behind the other: that is the way out, whatever the log holds ahead and wherever in it the
/// disk ended.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_way_out_of_a_full_disk_wherever_it_ends() {
    let home = Home::new();
    for size in [244, 252, 260, 262, 264] {
        let Some(disk) = SmallDisk::mount(home.path().join(format!("small{size}")), &format!("{size}m")) else {
            eprintln!("SKIPPED: no right to mount a file system");
            return;
        };
        let flag = format!("--data-dir={}", disk.0.join("data").display());
        let server = home.start_with(&[&flag]);
        let (mut kv, mut maintenance) = (server.kv(), server.maintenance());
        let value = "x".repeat(200_000);
        // Of the same keys over and over: most of what fills the disk is dead.
        let mut written = 0;
        while put(&mut kv, key(written % 50), value.clone()).await.is_ok() {
            written += 1;
        }
        assert!(written > 60, "{size}: {written}");
        let revision = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner().header.unwrap().revision;
        kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
        maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
        for pb::AlarmMember { member_id, alarm } in
            maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms
        {
            let action = pb::alarm_request::AlarmAction::Deactivate.into();
            maintenance.alarm(pb::AlarmRequest { action, member_id, alarm }).await.unwrap();
        }
        for number in 0..50 {
            let outcome = put(&mut kv, key(number), value.clone()).await;
            assert!(outcome.is_ok(), "{size}, {number}: {outcome:?}");
        }
        server.stop();
    }
}
