//! What the store costs, in nanoseconds of processor time: `cargo bench --no-default-features --features tokio-env --bench mvcc`.
//!
//! One thread, 1 M keys of 38 bytes with values of 256 bytes, on a real disk in a temporary directory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use quorate::base::{Dice, KeyRange, RangeEnd, SeededDice, limits};
use quorate::env::TokioDisk;
use quorate::mvcc::{HistoryWriter, NO_PREV, NewValue, RangeQuery, Store, StoreOptions, StorePosition};

const KEYS: u64 = 1_000_000;

/// Counts the bytes the program holds.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator that counts; it hands every call on unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(n: u64) -> Bytes {
    // Spread like hashed names: neighbours in time are not neighbours in the tree.
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    Bytes::from(format!("/registry/pods/namespace-{:02}/{spread:010}", spread % 50).into_bytes())
}

/// Nanoseconds this thread was on a processor: other load on the machine does not count. Wall time where the
/// system does not say.
fn cpu_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(wall)
}

fn each(name: &str, times: u64, mut work: impl FnMut(u64)) {
    let start = cpu_ns();
    (0..times).for_each(&mut work);
    let ns = (cpu_ns() - start) as f64 / times as f64;
    println!("{name:<44} {ns:>14.0} ns/op");
}

fn once<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let start = cpu_ns();
    let made = work();
    println!("{name:<44} {:>14.1} ms", (cpu_ns() - start) as f64 / 1e6);
    made
}

struct Bench {
    store: Store<TokioDisk>,
    writer: HistoryWriter<TokioDisk>,
}

impl Bench {
    fn put(&mut self, key: Bytes, value: Bytes) {
        let mut txn = self.store.begin(NO_PREV);
        txn.put(NewValue { key, value, lease: 0, backing_bytes: 300 }).expect("no value is read");
        txn.commit();
    }

    fn write_out(&mut self) {
        let writes = self.store.take_writes();
        if let Some(mark) = self.writer.write(&writes).expect("the disk writes") {
            self.store.written(mark);
        }
    }
}

fn values() -> Vec<Bytes> {
    (0..KEYS).map(|n| Bytes::from(vec![n as u8; 256])).collect()
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = TokioDisk::open(dir.path().to_path_buf()).expect("the directory opens");
    let options = StoreOptions { cache_bytes: 1 << 30, ..StoreOptions::default() };
    let store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).expect("a fresh store opens");
    let mut bench = Bench { store, writer: HistoryWriter::new(disk.clone()) };
    let keys: Vec<Bytes> = (0..KEYS).map(key).collect();
    load_and_read(&mut bench, &keys);
    bench.write_out();
    // A second store on the same files, as after a kill; the position names all of them, so none is touched.
    let position = bench.store.position();
    drop(once("reopen, 1 M keys, 1 M records", || Store::open(disk.clone(), options, &position, &[]).expect("opens")));
    overwrite_and_compact(&mut bench, &keys);
    reopen(bench, disk, &keys);
}

fn load_and_read(bench: &mut Bench, keys: &[Bytes]) {
    let fresh = values();
    each("put, new keys, 0 to 1 M", KEYS, |n| {
        bench.put(keys[n as usize].clone(), fresh[n as usize].clone());
        if n % 10_000 == 9_999 {
            bench.write_out();
        }
    });
    drop(fresh);
    let mut dice = SeededDice::new(1);
    let view = bench.store.view();
    each("get, cached", 500_000, |_| {
        black_box(view.get(&keys[dice.below(KEYS) as usize]).expect("reads"));
    });
    let page = |start: &Bytes, revision| RangeQuery {
        limit: 500,
        revision,
        ..RangeQuery::plain(KeyRange { start: start.clone(), end: RangeEnd::Open })
    };
    let current = view.revision();
    each("page of 500, cached, first time", 1_000, |_| {
        black_box(view.range(&page(&keys[dice.below(KEYS) as usize], 0)).expect("reads"));
    });
    let hot = page(&keys[7], 0);
    each("page of 500, cached, the same again", 1_000, |_| {
        black_box(view.range(&hot).expect("reads"));
    });
    let half = KeyRange { start: keys[3].clone(), end: RangeEnd::Open };
    let count = |revision| RangeQuery { count_only: true, revision, ..RangeQuery::plain(half.clone()) };
    each("count", 100_000, |_| {
        black_box(view.range(&count(0)).expect("reads"));
    });
    each("view()", 1_000_000, |_| {
        black_box(bench.store.view());
    });
    drop(view);
    for n in 0..10_000 {
        bench.put(keys[n as usize * 3].clone(), Bytes::from_static(b"changed"));
    }
    let view = bench.store.view();
    each("page of 500, 10 k revisions ago", 300, |_| {
        black_box(view.range(&page(&keys[dice.below(KEYS) as usize], current)).expect("reads"));
    });
}

fn overwrite_and_compact(bench: &mut Bench, keys: &[Bytes]) {
    let mut dice = SeededDice::new(2);
    let fresh = values();
    each("put over 1 M keys", 500_000, |n| {
        bench.put(keys[dice.below(KEYS) as usize].clone(), fresh[n as usize].clone());
        if n % 10_000 == 9_999 {
            bench.write_out();
        }
    });
    each("put over 1 M keys, a view before each", 200_000, |n| {
        let view = bench.store.view();
        bench.put(keys[dice.below(KEYS) as usize].clone(), fresh[n as usize].clone());
        drop(view);
        if n % 10_000 == 9_999 {
            bench.write_out();
        }
    });
    bench.store.compact(bench.store.revision()).expect("it is new");
    let mut worst = 0;
    once("compaction of 710 k old revisions, in slices", || {
        loop {
            let start = cpu_ns();
            let more = bench.store.compaction_step(limits::COMPACTION_SLICE).expect("reads");
            worst = worst.max((cpu_ns() - start) / 1_000);
            if !more {
                return;
            }
        }
    });
    println!("{:<44} {worst:>14} us", "  longest slice");
}

fn reopen(mut bench: Bench, disk: TokioDisk, keys: &[Bytes]) {
    let position = bench.store.position();
    bench.write_out();
    drop(bench);
    let before = HELD.load(Ordering::Relaxed);
    let store = once("reopen, 1 M keys, 1.7 M records", || {
        Store::open(disk, StoreOptions { cache_bytes: 1 << 30, ..StoreOptions::default() }, &position, &[])
            .expect("opens")
    });
    let held = HELD.load(Ordering::Relaxed) - before;
    println!("{:<44} {:>14.1} bytes", "memory for each key, values not cached", held as f64 / KEYS as f64);
    let mut dice = SeededDice::new(3);
    let view = store.view();
    each("get, not cached", 100_000, |_| {
        black_box(view.get(&keys[dice.below(KEYS) as usize]).expect("reads"));
    });
    once("hash_kv of everything", || black_box(view.hash_kv(0).expect("reads")));
}
