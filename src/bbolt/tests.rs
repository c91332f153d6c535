//! Files that were written are read as they were meant; files that were damaged are read as they are, or refused.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::page::{BRANCH, ELEMENT_BYTES, Head, LEAF};
use super::pages::read_page;
use super::*;
use crate::base::Wrong;

type Buckets = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

fn fill(writer: &mut Writer, buckets: &Buckets) -> Layout {
    for (name, entries) in buckets {
        writer.begin(name);
        for (key, value) in entries {
            writer.put(key, value.len(), |out| out.put_slice(value));
        }
        writer.end();
    }
    writer.finish()
}

fn written(buckets: &Buckets) -> Vec<u8> {
    let layout = fill(&mut Writer::measure(), buckets);
    let mut writer = Writer::new(layout);
    fill(&mut writer, buckets);
    let mut file = Vec::new();
    while writer.ready() > 0 {
        file.extend_from_slice(&writer.take(1000));
    }
    assert_eq!(file.len() as u64, layout.bytes());
    file
}

fn read(file: Vec<u8>) -> Result<Buckets, Wrong> {
    let database = Database::open(Memory(file), "db")?;
    let (mut seen, mut found) = (database.unseen(), Buckets::new());
    let names: Vec<Bytes> = database.buckets().cloned().collect();
    for name in names {
        let mut walk = database.walk(&name, &mut seen);
        let entries = found.entry(name.to_vec()).or_default();
        while let Some((key, value)) = walk.next_entry()? {
            entries.insert(key.to_vec(), value.to_vec());
        }
    }
    Ok(found)
}

/// Entries as they are in etcd: many small ones in order, now and then a large one.
fn numbered(entries: u64, value: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let value = |number: u64| if number % 50 == 7 { vec![b'L'; 9000] } else { vec![b'v'; value] };
    (0..entries).map(|number| (number.to_be_bytes().to_vec(), value(number))).collect()
}

fn some() -> Buckets {
    some_of(600)
}

fn some_of(keys: u64) -> Buckets {
    let few = BTreeMap::from([(b"one".to_vec(), b"1".to_vec()), (b"two".to_vec(), Vec::new())]);
    [(b"alarm".to_vec(), BTreeMap::new()), (b"key".to_vec(), numbered(keys, 20)), (b"meta".to_vec(), few)].into()
}

#[test]
fn a_tree_of_three_levels_is_read_as_it_was_written() {
    let buckets = some_of(20_000);
    assert!(read(written(&buckets)).expect("it is whole") == buckets);
}

#[test]
fn what_is_no_database_is_refused_by_name() {
    for (file, what) in [
        (Vec::new(), "it ends after 0 bytes"),
        (vec![0; 8192], "it is no bbolt database"),
        (b"SQLite format 3\0".repeat(512), "it is no bbolt database"),
    ] {
        let refused = read(file).expect_err("no database").to_string();
        assert!(refused.contains(what), "{refused}");
    }
    let mut later = written(&some());
    for meta in [0, PAGE_BYTES] {
        later[meta + 20] = 3;
    }
    assert!(read(later).expect_err("of the future").to_string().contains("version 3"));
    let whole = written(&some());
    let cut = read(whole[..whole.len() - 1].to_vec()).expect_err("cut").to_string();
    assert!(cut.contains("it ends after"), "{cut}");
}

#[test]
fn one_meta_page_is_enough_and_the_newer_counts() {
    let buckets = some();
    for meta in [0, PAGE_BYTES] {
        let mut file = written(&buckets);
        file[meta + 40] ^= 1;
        assert!(read(file).expect("the other is whole") == buckets);
    }
}

#[test]
fn a_page_in_two_places_of_the_tree_is_noticed() {
    let mut two: Buckets = some();
    two.insert(b"other".to_vec(), numbered(10, 5));
    let file = written(&two);
    // The root is the last page: where a bucket's head says where it begins, another's is put.
    let root = file.len() - PAGE_BYTES;
    let at = |name: &[u8]| {
        root + file[root..].windows(name.len()).position(|bytes| bytes == name).expect("it is there") + name.len()
    };
    let (key, other) = (at(b"key"), at(b"other"));
    let mut shared = file.clone();
    shared.copy_within(key..key + 8, other);
    let refused = read(shared).expect_err("shared").to_string();
    assert!(refused.contains("two places"), "{refused}");
    let mut circle = file.clone();
    circle[other..other + 8].copy_from_slice(&(root as u64 / PAGE_BYTES as u64).to_le_bytes());
    assert!(read(circle).is_err(), "a bucket that begins where all do");
}

/// A small bucket lies in the page of its head: damage in it is told with that place.
#[test]
fn damage_in_a_small_bucket_is_told_with_its_place() {
    let file = written(&some());
    let root = file.len() - PAGE_BYTES;
    let name = file[root..].windows(4).position(|bytes| bytes == b"meta").expect("it is there");
    let begins = root + name + 4;
    // Its entries, as its head says now, follow the head; nothing does.
    let mut small = file.clone();
    small[begins..begins + 8].fill(0);
    match read(small).expect_err("it is cut short") {
        Wrong::Corruption(told) => {
            assert_eq!((told.offset, told.file.as_str()), (root as u64, "db"));
            assert!(told.what.ends_with("a small bucket: it is cut short"), "{}", told.what);
        }
        other @ Wrong::Fault(_) => panic!("{other}"),
    }
}

/// bbolt takes a branch away with its last child: one without any hides what was below.
#[test]
fn a_branch_leads_somewhere() {
    let page = |flags: u16| {
        let mut page = BytesMut::new();
        Head { id: 3, flags, count: 0, overflow: 0 }.encode(&mut page);
        page.put_bytes(0, 100);
        read_page(&page.freeze())
    };
    assert_eq!(page(BRANCH).expect_err("it has none"), "it is a branch that leads nowhere");
    assert!(page(LEAF).expect("a bucket may be empty").elements.is_empty());
}

/// A page may say of few bytes that they are many elements'.
#[test]
fn elements_are_not_longer_than_their_page() {
    let page = |elements: u32, len: u32, bytes: u32| {
        let mut page = BytesMut::new();
        Head { id: 3, flags: LEAF, count: elements as u16, overflow: 0 }.encode(&mut page);
        for number in 0..elements {
            // Each begins behind the heads, one byte behind the one before.
            page.put_u32_le(0);
            page.put_u32_le((elements - number) * ELEMENT_BYTES as u32 + number);
            page.put_u32_le(1);
            page.put_u32_le(len - 1);
        }
        page.put_bytes(b'x', bytes as usize);
        read_page(&page.freeze())
    };
    assert_eq!(page(20, 50, 1000).expect("as many bytes").elements.len(), 20);
    for (elements, len, bytes) in [(21, 50, 1000), (20, 50, 999), (2, 900, 1000)] {
        let refused = page(elements, len, bytes).expect_err("more than there is");
        assert_eq!(refused, "its elements are longer than it is");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn round_trips(
        buckets in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 1..20),
            prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 1..300),
                prop::collection::vec(any::<u8>(), 0..6000),
                0..40,
            ),
            0..6,
        ),
    ) {
        prop_assert!(read(written(&buckets)).expect("it is whole") == buckets);
    }

    /// Damage anywhere: what is read ends, and is an answer or a typed error. Numbers that decide about memory and ways
    /// are changed more often than others.
    #[test]
    fn a_damaged_file_ends_in_an_answer_or_a_typed_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..80, any::<u64>(), 1_usize..9), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = written(&some());
        for (page, within, number, len) in changes {
            let at = page.index(file.len() / PAGE_BYTES) * PAGE_BYTES + within;
            file[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Err(wrong) = read(file) {
            prop_assert!(matches!(wrong, Wrong::Corruption(_)), "{}", wrong);
        }
    }
}

/// Every bit of the pages that hold the tree together.
#[test]
fn no_flipped_bit_of_a_branch_is_followed_blindly() {
    let file = written(&some());
    let pages = file.len() / PAGE_BYTES;
    let is_branch = |page: &usize| file[page * PAGE_BYTES + 8] == 1;
    let branches: Vec<usize> = (2..pages).filter(is_branch).collect();
    assert!(!branches.is_empty(), "there are two levels");
    let top = branches[branches.len() - 1] * PAGE_BYTES;
    for bit in 0..(16 + 16 * 2 + 17) * 8 {
        let mut file = file.clone();
        file[top + bit / 8] ^= 1 << (bit % 8);
        let _ = read(file);
    }
}
