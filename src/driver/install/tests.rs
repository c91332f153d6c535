//! Power failures and ends of the process between every two changes of the disk while a snapshot is installed; and what a
//! start makes of checkpoints that are damaged or another's.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex};

use crate::base::{ClusterId, Dice, Fault, LogIndex, MemberId, SeededDice, Term, Wrong};
use crate::driver::boot::{Booted, boot, own_identity};
use crate::driver::config::DriverConfig;
use crate::driver::kept_half::{KeptHalf, SnapshotName};
use crate::driver::{checkpoint_files, cut_log, forget_older, make_durable};
use crate::env::{
    Clock, CrashingDisk, CrashingFile, Disk, DiskFile, Env, Instant, MemoryDisk, OpenMode, Tasks, TokioNet, run_ready,
};
use crate::machine::{Command, Image, Machine, Member, Put, State, codec};
use crate::mvcc::{HistoryWriter, SnapshotBuilder, SnapshotSource, StoreOptions};
use crate::node::{Facts, NodeConfig, NodeStatus};
use crate::wal::{Batch, EntryKind, HardState, Journal, LogEntry, WalIdentity};

/// The receiver's own checkpoint.
const OWN: LogIndex = 4;
/// The snapshot.
const SNAPSHOT: (LogIndex, Term) = (9, 5);

/// A world that stands still: booting waits for syncs alone.
#[derive(Clone)]
struct Still<D>(D);

impl<D: Disk> Clock for Still<D> {
    fn now(&self) -> Instant {
        Instant(1)
    }

    fn wall_ms(&self) -> u64 {
        1
    }

    async fn sleep_until(&self, _: Instant) {}
}

impl<D: Disk> Tasks for Still<D> {
    fn spawn(&self, _: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        run_ready(future);
    }

    fn spawn_light(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, future);
    }
}

impl<D: Disk> Env for Still<D> {
    type Clock = Self;
    type Disk = D;
    type Net = TokioNet;
    type Tasks = Self;

    fn clock(&self) -> &Self {
        self
    }

    fn disk(&self) -> &D {
        &self.0
    }

    fn net(&self) -> &TokioNet {
        static PLAIN: TokioNet = TokioNet::plain();
        &PLAIN
    }

    fn tasks(&self) -> &Self {
        self
    }

    fn dice(&self) -> Box<dyn Dice> {
        Box::new(SeededDice::new(1))
    }
}

/// Copies of a disk as power failures and ends of the process would leave it, with how far the installation was.
struct Camera {
    stage: Option<u8>,
    dice: SeededDice,
    copies: Vec<(u8, CrashingDisk)>,
}

/// A disk that is copied before each of its changes and syncs.
#[derive(Clone)]
struct Filmed {
    disk: CrashingDisk,
    camera: Arc<Mutex<Camera>>,
}

struct FilmedFile {
    file: CrashingFile,
    disk: Filmed,
}

impl Filmed {
    fn new() -> Self {
        let camera = Camera { stage: None, dice: SeededDice::new(3), copies: Vec::new() };
        Self { disk: CrashingDisk::default(), camera: Arc::new(Mutex::new(camera)) }
    }

    fn stage(&self, stage: u8) {
        self.film();
        self.camera.lock().unwrap().stage = Some(stage);
        self.film();
    }

    fn film(&self) {
        let camera = &mut *self.camera.lock().unwrap();
        let Some(stage) = camera.stage else { return };
        for _ in 0..4 {
            camera.copies.push((stage, self.disk.crash(&mut camera.dice, true)));
        }
    }
}

impl Disk for Filmed {
    type File = FilmedFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<FilmedFile, Fault> {
        self.film();
        Ok(FilmedFile { file: self.disk.open(name, mode)?, disk: self.clone() })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.film();
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.film();
        self.disk.remove(name)
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        self.disk.exists(name)
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        self.film();
        self.disk.sync_dir(dir).await
    }
}

impl DiskFile for FilmedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.disk.film();
        self.file.write_at(offset, data)
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.disk.film();
        self.file.set_len(len)
    }

    async fn sync(&self) -> Result<(), Fault> {
        self.disk.film();
        self.file.sync().await
    }
}

fn options() -> StoreOptions {
    StoreOptions { cache_bytes: 0, segment_bytes: 700 }
}

fn config(token: &str) -> DriverConfig {
    let own = DriverConfig::alone("one", "http://p");
    DriverConfig {
        cluster_token: token.to_string(),
        wal_segment_bytes: 4096,
        store: options(),
        node: NodeConfig { checkpoint_entries: 1_000, ..own.node },
        ..own
    }
}

fn start<D: Disk>(disk: &D) -> Result<(Booted<D>, NodeStatus), Wrong> {
    let facts = Arc::new(Facts::default());
    let env = Still(disk.clone());
    let booted = run_ready(boot(&env, &config("token"), facts.clone(), Arc::new(|| {})))?;
    let status = facts.status();
    Ok((booted, status))
}

fn entry(index: LogIndex, term: Term) -> LogEntry {
    // Two members may hold another entry of another term at one index.
    let put = Put { key: format!("k{}", index % 3).into(), value: format!("{index}.{term}").into(), ..Put::default() };
    LogEntry { index, term, kind: EntryKind::Normal, data: codec::encode(index, &Command::Put(put)) }
}

fn apply<D: Disk>(machine: &mut Machine<D>, entries: &[LogEntry]) {
    for entry in entries {
        machine.apply(entry.index, entry.term, &entry.data, &|_| false).unwrap();
    }
}

/// A machine with its first member in it, and nothing else.
fn founded<D: Disk>(disk: &D, identity: WalIdentity) -> Machine<D> {
    let image = Image { identity, ..Image::default() };
    let mut machine = Machine::open(disk.clone(), options(), &image, &[]).unwrap();
    let member = Member { id: identity.member, name: "one".to_string(), ..Member::default() };
    machine.found_member(1, 1, member);
    machine
}

fn checkpoint<D: Disk>(disk: &D, machine: &mut Machine<D>) -> Image {
    machine.store_mut().pad();
    let mut writer = HistoryWriter::new(disk.clone());
    if let Some(mark) = writer.write(&machine.store_mut().take_writes()).unwrap() {
        machine.store_mut().written(mark);
    }
    run_ready(writer.sync()).unwrap();
    let image = machine.image();
    run_ready(checkpoint_files::write(disk, image.state.applied.0, &image.encode())).unwrap();
    image
}

/// A member whose log reaches `last`; up to its own checkpoint as the sender's, behind it not.
fn receiver<D: Disk>(disk: &D, last: LogIndex) -> (WalIdentity, Journal<D>, Machine<D>) {
    let (Booted { mut journal, report, node: _, .. }, _) = start(disk).unwrap();
    let entries: Vec<LogEntry> = (2..=last).map(|index| entry(index, if index > OWN { 3 } else { 1 })).collect();
    let hard_state = HardState { term: 3, vote: 0, commit: OWN };
    journal.append(&Batch { hard_state: Some(hard_state), entries: entries.clone() }).unwrap();
    run_ready(journal.sync()).unwrap();
    let mut machine = founded(disk, report.identity);
    apply(&mut machine, &entries[..OWN as usize - 1]);
    checkpoint(disk, &mut machine);
    (report.identity, journal, machine)
}

/// The leader's machine at the snapshot.
fn sender(identity: WalIdentity) -> Machine<MemoryDisk> {
    let mut machine = founded(&MemoryDisk::new(), identity);
    let entries: Vec<LogEntry> =
        (2..=SNAPSHOT.0).map(|index| entry(index, if index > OWN { SNAPSHOT.1 } else { 1 })).collect();
    apply(&mut machine, &entries);
    machine.store_mut().compact(6).unwrap();
    machine
}

/// A record for each.
const CHUNK_BYTES: usize = 1;
/// A note for each chunk, and several segments.
const BUILT_SEGMENT_BYTES: u64 = 200;

fn name_of(source: &SnapshotSource<MemoryDisk>) -> SnapshotName {
    SnapshotName::of(SNAPSHOT, source.manifest()).unwrap()
}

fn built<D: Disk>(disk: &D, from: &Machine<MemoryDisk>, identity: WalIdentity, to: &mut Machine<D>) -> Image {
    let source = from.snapshot(CHUNK_BYTES);
    let generation = to.store_mut().fresh_generation();
    let builder = SnapshotBuilder::new(disk.clone(), source.id(), generation, BUILT_SEGMENT_BYTES);
    finished(builder.kept_for(name_of(&source).encode(identity)), source, identity)
}

/// Takes in what is missing.
fn finished<D: Disk>(
    mut builder: SnapshotBuilder<D>,
    mut source: SnapshotSource<MemoryDisk>,
    identity: WalIdentity,
) -> Image {
    source.seek(builder.progress().chunk).unwrap();
    while let Some(chunk) = source.next_chunk().unwrap() {
        run_ready(builder.take(&chunk)).unwrap();
    }
    let done = run_ready(builder.finish()).unwrap();
    Image::new(identity, State::decode(done.state).unwrap(), done.position).unwrap()
}

/// What a start goes on with: from which chunk on, where it has anything.
fn goes_on_from<D: Disk>(disk: &D, kept: &KeptHalf) -> Option<SnapshotBuilder<D>> {
    SnapshotBuilder::resume(disk.clone(), &kept.half, BUILT_SEGMENT_BYTES, &|| true).unwrap()
}

fn all_names<D: Disk>(disk: &D) -> Vec<String> {
    ["history", "checkpoint"].iter().flat_map(|dir| disk.list(dir).unwrap()).collect()
}

#[test]
fn every_moment_of_an_installation_can_be_the_last() {
    for last in [6, SNAPSHOT.0, 12] {
        let disk = Filmed::new();
        let (identity, mut journal, mut machine) = receiver(&disk, last);
        let from = sender(identity);
        let expected = from.store().view().hash_kv(0).unwrap();
        disk.stage(0);
        let image = built(&disk, &from, identity, &mut machine);
        run_ready(checkpoint_files::reserve(&disk, &image)).unwrap();
        disk.stage(1);
        let durable = run_ready(make_durable(&disk, &image)).unwrap();
        disk.stage(2);
        let installed = run_ready(cut_log(&mut journal, durable)).unwrap().unwrap();
        disk.stage(3);
        forget_older(&disk, &installed).unwrap();
        disk.stage(3);
        let copies = std::mem::take(&mut disk.camera.lock().unwrap().copies);
        let mut seen = [0; 2];
        for (number, (stage, copy)) in copies.into_iter().enumerate() {
            let context = format!("copy {number} at stage {stage} of a log up to {last}");
            let (booted, status) = start(&copy).unwrap_or_else(|wrong| panic!("{context}: {wrong}"));
            let at = booted.report.checkpoint;
            assert!(at == OWN && stage <= 1 || at == SNAPSHOT.0 && stage >= 1, "{context}: begins at {at}");
            if at == OWN {
                seen[0] += 1;
                assert_eq!((booted.report.replayed as u64, status.applied), (last - OWN, OWN), "{context}");
            } else {
                seen[1] += 1;
                assert_eq!((booted.report.replayed, status.applied), (0, SNAPSHOT.0), "{context}");
                assert!(status.committed == SNAPSHOT.0 && status.term == SNAPSHOT.1, "{context}: {status:?}");
                assert_eq!(booted.journal.last_index(), SNAPSHOT.0, "{context}");
                let found = run_ready(checkpoint_files::newest(&copy)).unwrap().image.unwrap().image;
                let state = Machine::load(copy.clone(), options(), &found, &[]).unwrap();
                assert_eq!(state.store().view().hash_kv(0).unwrap(), expected, "{context}");
                assert_eq!(state.state(), from.state(), "{context}");
            }
            // What was not finished and is no half is gone, and the next start finds the same.
            let found = run_ready(checkpoint_files::newest(&copy)).unwrap();
            let named = found.image.iter().chain(&found.older).flat_map(|found| found.image.position.files());
            let half = booted.half.iter().flat_map(|kept| kept.half.files());
            let mut named: Vec<String> = named.map(|(name, _)| name).chain(half).collect();
            named.sort();
            named.dedup();
            let files: Vec<String> =
                copy.list("history").unwrap().iter().map(|name| format!("history/{name}")).collect();
            assert!(files.iter().all(|file| named.contains(file)), "{context}: {files:?}");
            assert!(!all_names(&copy).iter().any(|name| name.ends_with("reserve")), "{context}: room is held on");
            drop(booted);
            assert_eq!(start(&copy).unwrap().0.report.checkpoint, at, "{context}");
        }
        assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
    }
}

/// The disk stops at every moment while a snapshot arrives: the member is then as it was, and what is there of the snapshot is
/// gone on with from a place that rises with the moment; nothing else of it is left, and a start after that finds the same.
#[test]
fn every_moment_of_an_arrival_can_be_the_last() {
    let disk = Filmed::new();
    let (identity, _journal, mut machine) = receiver(&disk, 6);
    let from = sender(identity);
    let whole = from.snapshot(CHUNK_BYTES);
    disk.stage(0);
    let image = built(&disk, &from, identity, &mut machine);
    let copies = std::mem::take(&mut disk.camera.lock().unwrap().copies);
    let (mut begun, mut places) = (0, std::collections::BTreeMap::<u64, usize>::new());
    for (number, (_, copy)) in copies.iter().enumerate() {
        let context = format!("copy {number}");
        let (booted, status) = start(copy).unwrap_or_else(|wrong| panic!("{context}: {wrong}"));
        assert_eq!((booted.report.checkpoint, status.applied), (OWN, OWN), "{context}");
        let Some(kept) = booted.half else {
            begun += 1;
            assert!(copy.list("history").unwrap().len() == 1, "{context}: {:?}", all_names(copy));
            continue;
        };
        assert_eq!(kept.name, name_of(&whole), "{context}");
        let Some(builder) = goes_on_from(copy, &kept) else {
            kept.half.remove(copy).unwrap();
            assert!(copy.list("history").unwrap().len() == 1, "{context}: {:?}", all_names(copy));
            continue;
        };
        *places.entry(builder.progress().chunk).or_default() += 1;
        // The next life ends at once, too: nothing that was good is lost by that.
        let at = builder.progress();
        drop(builder);
        let again = copy.crash(&mut SeededDice::new(number as u64), true);
        let (booted, _) = start(&again).unwrap();
        let builder = goes_on_from(&again, &booted.half.expect("it is still there")).expect("it is still good");
        assert_eq!(builder.progress(), at, "{context}");
        let goes_on = finished(builder, whole.again(), identity);
        assert_eq!(goes_on, image, "{context}");
        let state = Machine::load(again.clone(), options(), &goes_on, &[]).unwrap();
        assert_eq!(state.store().view().hash_kv(0).unwrap(), from.store().view().hash_kv(0).unwrap(), "{context}");
        assert!(!all_names(&again).iter().any(|name| name.ends_with(".half")), "{context}: it is whole");
    }
    let chunks = whole.again().header().state_bytes.div_ceil(CHUNK_BYTES as u64) + 1;
    assert!(begun > 5 && places.len() > 4 && places.keys().all(|chunk| *chunk > chunks), "{begun}, {places:?}");
}

/// A log that holds the very entry a checkpoint ends with goes on behind it, whoever made the checkpoint.
#[test]
fn a_log_that_agrees_with_the_checkpoint_is_kept() {
    let disk = CrashingDisk::default();
    let (_, _, machine) = receiver(&disk, 12);
    drop(machine);
    let (booted, _) = start(&disk).unwrap();
    assert_eq!((booted.report.checkpoint, booted.report.replayed, booted.journal.last_index()), (OWN, 8, 12));
}

/// A checkpoint that contradicts what this member knows to be committed is damage, and nothing is cut for it.
#[test]
fn a_checkpoint_against_what_was_committed_is_refused() {
    let disk = CrashingDisk::default();
    let (identity, mut journal, mut machine) = receiver(&disk, 12);
    let hard_state = HardState { term: 3, vote: 0, commit: 10 };
    journal.append(&Batch { hard_state: Some(hard_state), entries: Vec::new() }).unwrap();
    run_ready(journal.sync()).unwrap();
    let image = built(&disk, &sender(identity), identity, &mut machine);
    let _ = run_ready(make_durable(&disk, &image)).unwrap();
    for _ in 0..2 {
        let wrong = start(&disk).err().expect("refused");
        assert!(wrong.to_string().contains("entry 9 was committed"), "{wrong}");
    }
}

/// The running state is replaced in one move, and what it goes on with is a store like any other.
#[test]
fn a_machine_is_replaced_by_what_was_installed() {
    let disk = CrashingDisk::default();
    let (identity, mut journal, mut machine) = receiver(&disk, 6);
    let from = sender(identity);
    let view = machine.store().view();
    let before = view.hash_kv(0).unwrap();
    let image = built(&disk, &from, identity, &mut machine);
    let durable = run_ready(make_durable(&disk, &image)).unwrap();
    let installed = run_ready(cut_log(&mut journal, durable)).unwrap().unwrap();
    forget_older(&disk, &installed).unwrap();
    assert_eq!(installed.applied(), SNAPSHOT.0);
    let next = Machine::load(disk.clone(), options(), &image, &[]).unwrap();
    drop(machine.replace(next));
    assert_eq!((machine.state(), machine.applied()), (from.state(), SNAPSHOT));
    assert_eq!(machine.image(), image);
    for file in machine.store_mut().garbage(&[&image.position]) {
        disk.remove(&file).unwrap();
    }
    assert_eq!(all_names(&disk).len(), image.position.files().count() + 1, "{:?}", all_names(&disk));
    assert_eq!(view.hash_kv(0).unwrap(), before, "who reads the old state goes on reading it");
    apply(&mut machine, &[entry(10, 5), entry(11, 6)]);
    checkpoint(&disk, &mut machine);
    let entries = vec![entry(10, 5), entry(11, 6)];
    journal.append(&Batch { hard_state: Some(HardState { term: 6, vote: 0, commit: 11 }), entries }).unwrap();
    run_ready(journal.sync()).unwrap();
    let (booted, status) = start(&disk).unwrap();
    assert_eq!((booted.report.checkpoint, status.revision), (11, machine.store().revision()));
}

fn spoil<D: Disk>(disk: &D, file: &str, at: u64) {
    let file = disk.open(file, OpenMode::Write).unwrap();
    let mut byte = [0];
    assert_eq!(file.read_full_at(at, &mut byte).unwrap(), 1);
    file.write_at(at, &[!byte[0]]).unwrap();
}

#[test]
fn damage_behind_the_older_checkpoint_costs_a_replay_and_not_the_data() {
    let disk = CrashingDisk::default();
    let (_, mut journal, mut machine) = receiver(&disk, OWN);
    let entries: Vec<LogEntry> = (5..=8).map(|index| entry(index, 3)).collect();
    let hard_state = HardState { term: 3, vote: 0, commit: 8 };
    journal.append(&Batch { hard_state: Some(hard_state), entries: entries.clone() }).unwrap();
    run_ready(journal.sync()).unwrap();
    let older = machine.store().position();
    apply(&mut machine, &entries);
    let newest = checkpoint(&disk, &mut machine);
    let whole = |disk: &CrashingDisk| disk.crash(&mut SeededDice::new(1), false);
    let mut fallen_back = 0;
    for (file, len) in newest.position.files() {
        let safe = older.files().find(|(name, _)| *name == file).map_or(0, |(_, len)| len);
        for at in (0..len).step_by(40) {
            let disk = whole(&disk);
            spoil(&disk, &file, at);
            match start(&disk) {
                Ok((booted, _)) => {
                    assert!(at >= safe, "{file} at {at}");
                    assert_eq!((booted.report.checkpoint, booted.report.replayed), (OWN, 4));
                    assert!(booted.report.damaged[0].what.contains(&file), "{:?}", booted.report.damaged);
                    assert!(all_names(&disk).iter().any(|name| name.ends_with(super::super::DAMAGED_SUFFIX)));
                    assert_eq!(start(&disk).unwrap().0.report.checkpoint, OWN);
                    fallen_back += 1;
                }
                Err(wrong) => {
                    assert!(at < safe, "{file} at {at}: {wrong}");
                    assert!(matches!(&wrong, Wrong::Corruption(c) if c.file == file), "{wrong}");
                }
            }
        }
    }
    assert!(fallen_back > 4, "{fallen_back}");
}

#[test]
fn anothers_checkpoint_is_refused_and_left_alone() {
    let disk = CrashingDisk::default();
    let (own, _, mut machine) = receiver(&disk, 12);
    let other_cluster = WalIdentity { cluster: ClusterId(own.cluster.0 + 1), ..own };
    let other_member = WalIdentity { member: MemberId(own.member.0 + 1), ..own };
    let image = built(&disk, &sender(own), own, &mut machine);
    for identity in [other_cluster, other_member] {
        let disk = disk.crash(&mut SeededDice::new(1), false);
        let image = Image { identity, ..image.clone() };
        let _ = run_ready(make_durable(&disk, &image)).unwrap();
        let before = all_names(&disk);
        let wrong = start(&disk).err().expect("refused").to_string();
        let (member, cluster) = (identity.member, identity.cluster);
        assert!(wrong.contains(&format!("it is of member {member} of cluster {cluster}")), "{wrong}");
        assert_eq!(all_names(&disk), before);
    }
}

/// A member that was added has nothing until the others send it something, however often it starts before that.
#[test]
fn who_has_joined_founds_nothing_at_a_later_start() {
    let disk = MemoryDisk::new();
    assert_eq!(own_identity(&disk).unwrap(), None);
    let joined = WalIdentity { cluster: ClusterId(77), member: MemberId(78) };
    for joins in [Some(joined), None] {
        let config = DriverConfig { joins, ..config("token") };
        let env = Still(disk.clone());
        let booted = run_ready(boot(&env, &config, Arc::new(Facts::default()), Arc::new(|| {}))).unwrap();
        assert_eq!((booted.report.identity, booted.report.replayed), (joined, 0));
        assert_eq!(own_identity(&disk).unwrap(), Some(joined));
    }
}
