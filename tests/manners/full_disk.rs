//! A disk that runs full: needs the right to mount a small file system, and says so where it has none.

use std::path::PathBuf;
use std::process::Command;

use quorate::wire::etcdserverpb as pb;

use crate::process::{Home, key, put};

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&at).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_server_and_loses_nothing() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.path().join("small"), "12m") else {
        eprintln!("SKIPPED: no right to mount a file system");
        return;
    };
    let flag = format!("--data-dir={}", disk.0.join("data").display());
    let mut server = home.start_with(&[&flag, "--snapshot-count=5"]);
    let mut kv = server.kv();
    let value = "x".repeat(400_000);
    let mut acknowledged = 0;
    while put(&mut kv, key(acknowledged), value.clone()).await.is_ok() {
        acknowledged += 1;
    }
    assert_eq!(server.wait().code(), Some(3));
    let text = server.stderr();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("No space left on device") && text.contains("free some space"), "{text}");
    assert!(acknowledged > 0);
    disk.grow("200m");
    let server = home.start_with(&[&flag, "--snapshot-count=5"]);
    let mut kv = server.kv();
    for number in 0..acknowledged {
        let request = pb::RangeRequest { key: key(number).into(), ..Default::default() };
        let answer = kv.range(request).await.unwrap().into_inner();
        assert_eq!(answer.kvs.first().map(|kv| &kv.value[..]), Some(value.as_bytes()), "key {number}");
    }
    put(&mut kv, "more".to_string(), value).await.unwrap();
    server.stop();
}
