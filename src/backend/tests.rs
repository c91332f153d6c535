//! What a machine shows is written, read again, and is the same.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;

use super::content::LeaseEntry;
use super::*;
use crate::auth::{AuthCommand, PasswordHash, Permission, PermissionKind};
use crate::base::{KeyRange, MemberId, Refusal, Wrong};
use crate::bbolt::{Database, Memory, PAGE_BYTES, Writer};
use crate::env::{MemoryDisk, run_ready};
use crate::machine::{AlarmAction, AlarmKind, Command, Image, Machine, Member, Shown, codec};
use crate::mvcc::{Import, ReadFailure, StoreOptions, StorePosition};

type Disk = MemoryDisk;

/// A machine and what was applied to it.
struct Bench {
    disk: Disk,
    machine: Machine<Disk>,
}

impl Bench {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let mut image = Image::default();
        let member = |id: u64, is_learner| Member {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: vec![format!("http://10.0.0.{id}:2380")],
            client_urls: vec![],
            is_learner,
        };
        image.state.members = vec![member(1, false), member(2, true)];
        image.state.cluster_version = Some("3.7.0".to_string());
        let machine = Machine::open(disk.clone(), StoreOptions::default(), &image, &[]).unwrap();
        Self { disk, machine }
    }

    fn apply(&mut self, command: &Command) {
        let index = self.machine.applied().0 + 1;
        let outcome = self.machine.apply(index, 3, &codec::encode(index, command), &|_| false).unwrap();
        assert!(outcome.applied.answer.is_ok(), "{command:?}");
    }

    fn put(&mut self, key: &str, value: usize, lease: i64) {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), vec![b'v'; value].into());
        self.apply(&Command::Put(crate::machine::Put { key, value, lease, ..Default::default() }));
    }

    fn delete(&mut self, key: &str) {
        let range = crate::base::KeyRange::single(Bytes::copy_from_slice(key.as_bytes()));
        self.apply(&Command::DeleteRange(crate::machine::DeleteRange { range, prev_kv: false }));
    }

    /// Many keys, changed, deleted, with leases, compacted half-way.
    fn busy() -> Self {
        let mut bench = Self::new();
        bench.apply(&Command::LeaseGrant { id: 77, ttl: 600 });
        for number in 0..3000 {
            bench.put(&format!("key{:04}", number * 7 % 900), number % 90, if number % 9 == 0 { 77 } else { 0 });
            if number % 11 == 0 {
                bench.delete(&format!("key{:04}", number * 3 % 900));
            }
        }
        bench.delete("key0001");
        let at = bench.machine.store().revision();
        bench.apply(&Command::Compact { revision: at, physical: false });
        for number in 0..500 {
            bench.put(&format!("key{:04}", number * 5 % 1200), 40_000 * usize::from(number == 250), 0);
        }
        bench.delete("key0005");
        let member = MemberId(9);
        bench.apply(&Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::NoSpace });
        bench
    }

    fn shown(&self) -> Shown<Disk> {
        self.machine.show()
    }

    fn file(&self) -> Vec<u8> {
        let mut backup = Backup::measure(&self.shown(), &|| false).unwrap().unwrap();
        let (mut file, bytes) = (Vec::new(), backup.bytes());
        while let Some(blob) = backup.next(32 * 1024).unwrap() {
            file.extend_from_slice(&blob.bytes);
            assert_eq!(blob.remaining, bytes.saturating_sub(file.len() as u64));
        }
        assert_eq!(file.len() as u64, bytes + 32);
        file
    }
}

fn open(file: Vec<u8>) -> Database<Memory> {
    Database::open(Memory(file), "snapshot").unwrap()
}

fn import(database: &Database<Memory>) -> (Disk, StorePosition) {
    let (disk, position, _) = imported(database);
    (disk, position)
}

fn imported(database: &Database<Memory>) -> (Disk, StorePosition, u64) {
    let disk = MemoryDisk::new();
    crate::env::Disk::create_dir(&disk, "history").unwrap();
    let foreign = Foreign::read(database, "snapshot", &mut database.unseen()).unwrap();
    let mut import = Import::new(disk.clone(), foreign.compacted);
    let mut seen = database.unseen();
    let mut records = Records::of(database, &mut seen);
    let (position, fingerprint) = run_ready(async {
        while let Some((record, _, _)) = records.next_record().unwrap() {
            import.put(record).await.unwrap();
        }
        import.finish().await.unwrap()
    });
    (disk, position, fingerprint)
}

/// An entry that says what none can is told with the page it lies in.
#[test]
fn a_wrong_entry_is_told_with_its_place() {
    let file = Bench::busy().file();
    let place = |file: &[u8], text: &[u8]| file.windows(text.len()).position(|bytes| bytes == text).unwrap();
    let told = |file: Vec<u8>| match status(&open(file), "snapshot", &mut |_| {}).unwrap_err() {
        Wrong::Corruption(told) => (told.offset, told.what),
        other @ Wrong::Fault(_) => panic!("{other}"),
    };
    let page = |at: usize| (at / PAGE_BYTES * PAGE_BYTES) as u64;
    // A record whose key is longer than the record.
    let record = place(&file, b"\x0a\x07key0");
    let mut long = file.clone();
    long[record + 1] = 0x7f;
    let (offset, what) = told(long);
    assert!(offset == page(record) && what.starts_with("bucket key: "), "{offset}: {what}");
    let version = place(&file, b"storageVersion3.7.0");
    let mut later = file;
    later[version + 14] = b'9';
    // Sound, and of a version to come.
    let told = status(&open(later), "snapshot", &mut |_| {}).unwrap_err().to_string();
    assert_eq!(told, "cannot read snapshot: the database is of version 9.7.0, and forms up to 3.7 are known");
}

#[test]
fn what_is_shown_comes_back_with_the_same_digest_at_every_revision() {
    let bench = Bench::busy();
    let database = open(bench.file());
    let view = bench.machine.store().view();
    let state = bench.machine.state();
    let (disk, position) = import(&database);
    assert_eq!((position.revision(), position.compact_revision()), (state.revision, state.compact_revision));
    let image = Image { state: state.clone(), position, ..Image::default() };
    let again = Machine::open(disk, StoreOptions::default(), &image, &[]).unwrap();
    for at in [0, state.compact_revision, state.compact_revision + 1, state.revision - 7, state.revision] {
        let expected = view.fresh_hash_kv(at).unwrap();
        assert_eq!(hash_kv(&database, "snapshot", at).unwrap(), expected, "of the file at {at}");
        assert_eq!(again.store().view().fresh_hash_kv(at).unwrap(), expected, "of what was built at {at}");
    }
    for (at, refusal) in
        [(state.compact_revision - 1, Refusal::Compacted), (state.revision + 1, Refusal::FutureRevision)]
    {
        let refused = hash_kv(&database, "snapshot", at);
        assert!(matches!(refused, Err(ReadFailure::Refused(why)) if why == refusal), "{at}");
    }
    let before_all = hash_kv(&database, "snapshot", -1).unwrap();
    assert_eq!((before_all.hash, before_all.hash_revision), (1_084_519_789, -1), "as etcd's of nothing");
    let told = status(&database, "snapshot", &mut |_| ()).unwrap();
    assert_eq!((told.revision, told.keys), (state.revision, bench.machine.store().key_count()));
    assert_eq!((told.bytes, &told.version[..]), (database.bytes(), STORAGE_VERSION));
    drop(bench.disk);
}

#[test]
fn the_small_buckets_say_what_the_state_does() {
    let mut bench = Bench::busy();
    let (root, role) = (|| "root".to_string(), || "r".to_string());
    let range = KeyRange { start: "a".into(), ..KeyRange::all() };
    let permission = Some(Permission { kind: PermissionKind::Write, range });
    for command in [
        AuthCommand::UserAdd { name: root(), password: PasswordHash("$2a$".into()), no_password: false },
        AuthCommand::UserGrantRole { user: root(), role: root() },
        AuthCommand::RoleAdd { name: role() },
        AuthCommand::RoleGrantPermission { role: role(), permission },
        AuthCommand::Enable,
    ] {
        bench.apply(&Command::Auth(command));
    }
    bench.apply(&Command::SetDowngrade(Some("3.6.0".to_string())));
    bench.apply(&Command::SetClusterVersion("3.6.0".to_string()));
    let (state, database) = (bench.machine.state(), open(bench.file()));
    let foreign = Foreign::read(&database, "snapshot", &mut database.unseen()).unwrap();
    assert_eq!(foreign.applied, state.applied);
    assert_eq!(foreign.compacted, state.compact_revision);
    assert_eq!((foreign.members, foreign.removed), (state.members, state.removed));
    assert_eq!((foreign.alarms, foreign.cluster_version), (state.alarms, state.cluster_version));
    assert_eq!((foreign.downgrade.as_deref(), foreign.storage_version.as_deref()), (Some("3.6.0"), Some("3.6.0")));
    assert_eq!((foreign.leases.len(), foreign.leases[0].ttl), (1, 600));
    assert_eq!(foreign.auth, *state.auth);
    assert!(foreign.auth.is_enabled() && foreign.auth.role("r").is_some_and(|role| role.len() == 1));
}

/// All members that are made of one snapshot begin alike, and those of two that differ in anything do not.
#[test]
fn imports_of_the_same_have_one_fingerprint() {
    let of = |changed: Option<(usize, u8)>, more: usize| {
        let mut bench = Bench::new();
        for number in 0..200 + more {
            let value = vec![changed.filter(|(at, _)| *at == number).map_or(b'v', |(_, byte)| byte); 30];
            let (key, value) = (format!("key{}", number % 70).into(), value.into());
            bench.apply(&Command::Put(crate::machine::Put { key, value, ..Default::default() }));
        }
        imported(&open(bench.file())).2
    };
    let one = of(None, 0);
    assert_eq!(of(None, 0), one);
    let mut all = vec![one, of(None, 1), of(Some((0, b'w')), 0), of(Some((199, b'w')), 0), of(Some((100, b'u')), 0)];
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn an_empty_store_is_a_file_as_well() {
    let bench = Bench::new();
    let database = open(bench.file());
    assert_eq!(hash_kv(&database, "snapshot", 0).unwrap().hash, 1_084_519_789, "etcd's, of an empty database");
    let (_, position) = import(&database);
    assert_eq!((position.revision(), position.compact_revision()), (1, -1));
}

/// What is written meanwhile is not in it, and what is compacted meanwhile is.
#[test]
fn a_file_is_of_one_moment_whatever_happens_meanwhile() {
    let mut bench = Bench::busy();
    let (member, kind) = (MemberId(9), AlarmKind::NoSpace);
    bench.apply(&Command::Alarm { action: AlarmAction::Deactivate, member, kind });
    let whole = bench.file();
    let mut backup = Backup::measure(&bench.shown(), &|| false).unwrap().unwrap();
    let mut file = Vec::new();
    let mut number = 0;
    while let Some(blob) = backup.next(4096).unwrap() {
        file.extend_from_slice(&blob.bytes);
        number += 1;
        bench.put(&format!("later{number}"), 10, 0);
        if number == 20 {
            let at = bench.machine.store().revision();
            bench.apply(&Command::Compact { revision: at, physical: false });
        }
    }
    assert!(number > 20 && file == whole);
}

#[test]
fn a_database_of_others_is_refused() {
    let written = |writer: &mut Writer| {
        writer.begin(b"key");
        writer.end();
        writer.finish()
    };
    let mut writer = Writer::new(written(&mut Writer::measure()));
    written(&mut writer);
    let database = open(writer.take(writer.ready()).to_vec());
    let refused = Foreign::read(&database, "snapshot", &mut database.unseen()).unwrap_err();
    assert!(refused.to_string().contains("no bucket meta"), "{refused}");
    assert!(status(&database, "snapshot", &mut |_| ()).is_err());
}

/// It would be refused when a member starts.
#[test]
fn a_lease_longer_than_any_is_refused() {
    let mut bench = Bench::new();
    bench.apply(&Command::LeaseGrant { id: 77, ttl: 9_000_000_000 });
    let mut file = bench.file();
    let ttl = |seconds: u64| prost::Message::encode_to_vec(&LeaseEntry { id: 77, ttl: seconds as i64, remaining: 0 });
    let (most, more) = (ttl(9_000_000_000), ttl(9_000_000_001));
    let at = file.windows(most.len()).position(|some| some == most).unwrap();
    file[at..at + more.len()].copy_from_slice(&more);
    let database = open(file);
    let refused = Foreign::read(&database, "snapshot", &mut database.unseen()).unwrap_err();
    assert!(refused.to_string().contains("lease 4d is of 9000000001 seconds"), "{refused}");
}

#[test]
fn a_form_of_the_future_is_refused() {
    let bench = Bench::new();
    let mut file = bench.file();
    let at = file.windows(5).position(|bytes| bytes == b"3.7.0").unwrap();
    let all: Vec<usize> = (at..file.len() - 5).filter(|at| &file[*at..at + 5] == b"3.7.0").collect();
    for at in all {
        file[at + 2] = b'8';
    }
    let database = open(file);
    let refused = Foreign::read(&database, "snapshot", &mut database.unseen()).unwrap_err();
    assert!(matches!(&refused, Wrong::Fault(_)) && refused.to_string().contains("3.8.0"), "{refused}");
}
