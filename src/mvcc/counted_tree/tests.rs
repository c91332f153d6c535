//! The tree against a plain map, and its own invariants after every change.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::heads::shared_prefix;
use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Word {
    key: Vec<u8>,
    live: bool,
    stamp: i64,
}

impl Entry for Word {
    fn key(&self) -> &[u8] {
        &self.key
    }
    fn is_live(&self) -> bool {
        self.live
    }
    fn stamp(&self) -> i64 {
        self.stamp
    }
}

/// Checks every invariant of the module's head below `node`; returns depth and entries.
fn check(node: &Node<Word>, low: Option<&[u8]>, high: Option<&[u8]>) -> (usize, usize) {
    match node {
        Node::Leaf(leaf) => {
            let keys: Vec<_> = leaf.entries().iter().flatten().map(|e| e.key.clone()).collect();
            assert_eq!(keys.len(), leaf.len());
            assert!(keys.is_sorted_by(|a, b| a < b));
            assert!(keys.iter().all(|k| low.is_none_or(|l| l <= &k[..]) && high.is_none_or(|h| &k[..] < h)));
            for (i, key) in keys.iter().enumerate() {
                assert!(key.starts_with(&keys[0][..leaf.heads.prefix]));
                if leaf.heads.sure {
                    let (low, high) = (low.expect("sure"), high.expect("sure"));
                    assert!(leaf.heads.prefix <= shared_prefix(low, high));
                }
                assert_eq!(leaf.heads.heads[i], head_of(key, leaf.heads.prefix));
            }
            (1, keys.len())
        }
        Node::Fork(inner) => {
            let mut sum = 0;
            let mut depth = None;
            for i in 0..inner.len() {
                let child = inner.child(i);
                let exact = child.tally();
                assert_eq!(exact.live, inner.tallies()[i].live);
                assert!(exact.newest <= inner.tallies()[i].newest);
                let l = if i == 0 { low } else { Some(&inner.fences()[i - 1][..]) };
                let h = inner.fences().get(i).map_or(high, |fence| Some(&fence[..]));
                let (d, n) = check(child, l, h);
                assert_eq!(*depth.get_or_insert(d), d);
                sum += n;
            }
            (depth.expect("an inner node has children") + 1, sum)
        }
    }
}

fn assert_same(tree: &CountedTree<Word>, twin: &BTreeMap<Vec<u8>, Word>) {
    let (_, entries) = check(&tree.root, None, None);
    assert_eq!(entries, twin.len());
    assert_eq!(tree.len(), twin.len());
    let mut seen = Vec::new();
    tree.walk(&KeyRange::all(), Visit::All, &mut |_, _| false, &mut |e| {
        seen.push(e.clone());
        ControlFlow::Continue(())
    });
    assert_eq!(seen, twin.values().cloned().collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, bool),
    Remove(Vec<u8>),
    Clone,
    Count(Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Short alphabets make prefixes, zero bytes and equal heads common.
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b')], 1..14),
        (0u32..900).prop_map(|n| format!("/registry/pods/{n:06}").into_bytes()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), any::<bool>()).prop_map(|(k, live)| Step::Put(k, live)),
        4 => key().prop_map(Step::Remove),
        1 => Just(Step::Clone),
        2 => (key(), key()).prop_map(|(a, b)| Step::Count(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn does_what_a_btreemap_does(steps in prop::collection::vec(step(), 1..1500)) {
        let (mut tree, mut twin) = (CountedTree::default(), BTreeMap::new());
        let mut clones = Vec::new();
        for (stamp, step) in (1..).zip(steps) {
            match step {
                Step::Put(key, live) => {
                    let word = Word { key: key.clone(), live, stamp };
                    tree.put(&key, |old| match old {
                        Some(old) => { *old = word.clone(); None }
                        None => Some(word.clone()),
                    });
                    twin.insert(key, word);
                }
                Step::Remove(key) => assert_eq!(tree.remove(&key), twin.remove(&key)),
                Step::Clone => clones.push((tree.clone(), twin.clone())),
                Step::Count(a, b) => {
                    let range = KeyRange { start: Bytes::from(a.clone()), end: RangeEnd::Before(Bytes::from(b.clone())) };
                    let expected: Vec<_> = twin.values().filter(|w| range.contains(&w.key)).collect();
                    assert_eq!(tree.count(&range), expected.iter().filter(|w| w.live).count() as u64);
                    let mut seen = Vec::new();
                    tree.walk(&range, Visit::Live, &mut |_, _| false, &mut |e| {
                        if e.live { seen.push(e); }
                        ControlFlow::Continue(())
                    });
                    assert_eq!(seen, expected.into_iter().filter(|w| w.live).collect::<Vec<_>>());
                    assert_eq!(tree.get(&a), twin.get(&a));
                }
            }
        }
        assert_same(&tree, &twin);
        for (tree, twin) in clones {
            assert_same(&tree, &twin);
        }
    }

    #[test]
    fn built_at_once_is_as_built_by_puts(
        keys in prop::collection::btree_set(key(), 0..2000),
        after in prop::collection::vec((key(), any::<bool>()), 0..300),
    ) {
        let word = |key: &Vec<u8>, stamp| Word { key: key.clone(), live: !key.len().is_multiple_of(3), stamp };
        let mut twin: BTreeMap<_, _> = keys.iter().zip(1..).map(|(k, stamp)| (k.clone(), word(k, stamp))).collect();
        let mut tree = CountedTree::from_ascending(twin.values().cloned());
        assert_same(&tree, &twin);
        for (key, remove) in after {
            if remove {
                assert_eq!(tree.remove(&key), twin.remove(&key));
            } else {
                tree.put(&key, |old| match old {
                    Some(old) => { *old = word(&key, 9_999); None }
                    None => Some(word(&key, 9_999)),
                });
                twin.insert(key.clone(), word(&key, 9_999));
            }
        }
        assert_same(&tree, &twin);
    }
}

#[test]
fn subtrees_are_skipped_only_when_whole_and_dealt_with() {
    let mut tree = CountedTree::default();
    for n in 0..5_000i64 {
        let word = Word { key: format!("{n:05}").into_bytes(), live: n % 3 != 0, stamp: n };
        tree.put(&word.key.clone(), |_| Some(word));
    }
    let range = KeyRange { start: Bytes::from_static(b"00100"), end: RangeEnd::Before(Bytes::from_static(b"04900")) };
    let (mut in_subtrees, mut by_entry) = (0, 0);
    tree.walk(
        &range,
        Visit::LiveOrNewerThan(2_500),
        &mut |live, newest| {
            let old = newest <= 2_500;
            in_subtrees += if old { live } else { 0 };
            old
        },
        &mut |entry| {
            by_entry += u64::from(entry.live);
            ControlFlow::Continue(())
        },
    );
    assert_eq!(in_subtrees + by_entry, tree.count(&range));
    assert!(in_subtrees > 1_000 && by_entry > 1_000);
}

#[test]
fn emptied_tree_is_as_new() {
    let mut tree = CountedTree::default();
    for n in 0..3_000 {
        let word = Word { key: format!("{n}").into_bytes(), live: true, stamp: 1 };
        tree.put(&word.key.clone(), |_| Some(word));
    }
    for n in 0..3_000 {
        assert!(tree.remove(format!("{n}").as_bytes()).is_some());
    }
    assert_eq!((tree.len(), tree.live(), tree.count(&KeyRange::all())), (0, 0, 0));
    assert!(matches!(&tree.root, Node::Leaf(_)));
}
