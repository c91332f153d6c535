//! Backups of a member in virtual time.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::backend::hash_kv;
use crate::bbolt::{Database, Memory};
use crate::driver::{DriverConfig, start};
use crate::env::{Tasks, VirtualEnv};
use crate::machine::{Command, Put};

async fn member(env: &VirtualEnv) -> Handle<VirtualEnv> {
    let config = DriverConfig::alone("one", "http://localhost:2380");
    let (handle, _) = start(env.clone(), config).await.expect("it starts");
    while !handle.status().ready {
        env.pass(Duration::from_millis(1)).await;
    }
    handle
}

fn put(number: usize) -> Command {
    let (key, value) = (format!("key{number}").into(), vec![b'v'; 3000].into());
    Command::Put(Put { key, value, lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false })
}

#[test]
fn a_backup_is_of_the_moment_it_was_asked_for() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for number in 0..500 {
            handle.propose(put(number)).await.expect("written");
        }
        let digest = handle.view(true).await.expect("led").hash_kv(0).expect("read");
        let mut backup = handle.back_up().await.expect("begun");
        let mut blobs = Vec::new();
        loop {
            handle.propose(put(blobs.len())).await.expect("nothing is held up");
            let some = backup.next().await.expect("made");
            if some.is_empty() {
                break;
            }
            blobs.extend(some);
        }
        let sizes: Vec<usize> = blobs.iter().map(|blob| blob.bytes.len()).collect();
        let (last, file) = sizes.split_last().expect("a digest");
        assert_eq!(*last, 32);
        assert!(file[..file.len() - 1].iter().all(|bytes| *bytes == limits::BACKUP_BLOB_BYTES), "{file:?}");
        assert_eq!(blobs[0].remaining, file[1..].iter().sum::<usize>() as u64);
        let bytes = blobs.iter().take(file.len()).flat_map(|blob| blob.bytes.to_vec()).collect();
        let database = Database::open(Memory(bytes), "backup").expect("whole");
        assert_eq!(hash_kv(&database, "backup", 0).expect("whole"), digest);
        handle.stop().await;
    });
}

#[test]
fn few_are_made_at_once_and_who_goes_away_leaves_a_place() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        handle.propose(put(1)).await.expect("written");
        let mut held = Vec::new();
        for _ in 0..limits::BACKUPS {
            held.push(handle.back_up().await.expect("begun"));
        }
        assert!(matches!(handle.back_up().await, Err(Refusal::TooManyRequests)));
        let mut half = held.pop().expect("several");
        assert!(!half.next().await.expect("made").is_empty());
        drop(half);
        let mut next = handle.back_up().await.expect("there is a place again");
        assert!(!next.next().await.expect("made").is_empty());
        handle.stop().await;
    });
}

/// All of a backup; how long it took, and its bytes.
async fn taken(env: &VirtualEnv, handle: &Handle<VirtualEnv>) -> (Duration, u64) {
    let (began, mut bytes) = (env.now(), 0);
    let mut backup = handle.back_up().await.expect("begun");
    loop {
        let blobs = backup.next().await.expect("made");
        if blobs.is_empty() {
            return (env.now().since(began), bytes);
        }
        bytes += blobs.iter().map(|blob| blob.bytes.len() as u64).sum::<u64>();
    }
}

#[test]
fn it_keeps_to_its_pace_while_somebody_writes_and_to_none_while_nobody_does() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        let value: Bytes = vec![b'v'; 400_000].into();
        for number in 0..150 {
            let (key, value) = (format!("key{number}").into(), value.clone());
            let put = Put { key, value, lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false };
            handle.propose(Command::Put(put)).await.expect("written");
        }
        let look = Duration::from_millis(limits::SNAPSHOT_PACE_MS);
        let (took, bytes) = taken(&env, &handle).await;
        let bound = Duration::from_micros(bytes * 1_000_000 / limits::BACKUP_BYTES_PER_SECOND_BESIDE_WRITES);
        assert!(took < bound.mul_f64(0.8), "nobody writes: {took:?} for {bytes}");
        let (writer, world) = (handle.clone(), env.clone());
        env.tasks().spawn("writer", async move {
            // Until the member stops.
            while writer.propose(put(0)).await.is_ok() {
                world.pass(Duration::from_millis(3)).await;
            }
        });
        let (took, bytes) = taken(&env, &handle).await;
        let at = |per_second: u64| Duration::from_micros(bytes * 1_000_000 / per_second);
        let least = at(limits::BACKUP_BYTES_PER_SECOND_BESIDE_WRITES);
        let most = at(limits::BACKUP_BYTES_PER_SECOND_AT_LEAST) + 2 * look;
        assert!(least.mul_f64(0.9) <= took && took <= most, "{took:?} for {bytes}: {least:?} to {most:?}");
        handle.stop().await;
    });
}
