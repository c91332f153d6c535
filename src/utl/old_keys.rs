//! Keys of etcd's version 2 store, which its snapshot files alone hold: etcd up to 3.5 wrote them there, 3.6 forgets them.
//!
//! Invariant: they are counted, to be told of, and nothing else: what cannot be read changes nothing of what is taken over. Source: etcd
//! server/etcdserver/api/v2store/{store,node}.go and snap/snappb/snap.proto.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value};

use super::source::read_whole;
use crate::base::limits;

/// A snapshot file: a checksum, and what raft has of a snapshot.
#[derive(Clone, PartialEq, Message)]
struct SnapshotFile {
    #[prost(bytes = "bytes", tag = "2")]
    snapshot: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotMessage {
    #[prost(bytes = "bytes", tag = "1")]
    store: Bytes,
}

/// Where users' keys are; the members' are beside them.
const KEYS: &str = "1";

/// How many keys the newest snapshot file of a directory holds; none where there is no such file, or none that can be read.
pub fn old_keys(dir: &Path) -> u64 {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    // Named by term and index, in digits that sort.
    let newest = names.filter(|path| path.extension().is_some_and(|end| end == "snap")).max();
    let fits = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() <= limits::MAX_FOREIGN_LOG_BYTES);
    newest.filter(|path| fits(path)).and_then(|path| read_whole(&path).ok()).map_or(0, |bytes| keys_in(bytes.into()))
}

fn keys_in(file: Bytes) -> u64 {
    let store = SnapshotFile::decode(file).and_then(|file| SnapshotMessage::decode(file.snapshot));
    let store: Option<Value> = store.ok().and_then(|snapshot| serde_json::from_slice(&snapshot.store).ok());
    let below = |node: &Value| node.get("Children").and_then(Value::as_object).cloned();
    let keys = store.and_then(|store| below(store.get("Root")?)?.get(KEYS).and_then(below));
    let mut directories: Vec<Map<String, Value>> = keys.into_iter().collect();
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for node in directory.values() {
            match below(node) {
                Some(nodes) => directories.push(nodes),
                None => count += 1,
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(store: &str) -> Bytes {
        let snapshot = SnapshotMessage { store: store.to_owned().into() }.encode_to_vec().into();
        SnapshotFile { snapshot }.encode_to_vec().into()
    }

    /// As etcd 3.4 writes them.
    const NONE: &str = r#"{"Root":{"Path":"/","CreatedIndex":0,"Value":"","Children":{"0":{"Path":"/0","Children":{"version":
        {"Path":"/0/version","Value":"3.4.0","Children":null}}},"1":{"Path":"/1","Children":{}}}},"CurrentIndex":3}"#;
    const THREE: &str = r#"{"Root":{"Path":"/","Children":{"0":{"Path":"/0","Children":{}},"1":{"Path":"/1","Children":{
        "a":{"Path":"/1/a","Value":"1","Children":null},"d":{"Path":"/1/d","Children":{
        "b":{"Path":"/1/d/b","Value":"2","Children":null},"c":{"Path":"/1/d/c","Value":"3","Children":null},
        "empty":{"Path":"/1/d/empty","Children":{}}}}}}}}}"#;

    #[test]
    fn users_keys_are_counted_in_the_newest_and_what_cannot_be_read_has_none() {
        assert_eq!((keys_in(file(NONE)), keys_in(file(THREE))), (0, 3));
        for bad in [Bytes::new(), Bytes::from_static(b"\xff\xff"), file("{"), file("[]"), file(r#"{"Root":7}"#)] {
            assert_eq!(keys_in(bad), 0);
        }
        let dir = tempfile::tempdir().expect("made");
        assert_eq!((old_keys(dir.path()), old_keys(&dir.path().join("nowhere"))), (0, 0));
        for (name, store) in
            [("0000000000000002-0000000000000010.snap", NONE), ("0000000000000002-000000000000000f.snap", THREE)]
        {
            fs::write(dir.path().join(name), file(store)).expect("written");
        }
        assert_eq!(old_keys(dir.path()), 0, "the newest has none");
        fs::write(dir.path().join("0000000000000003-0000000000000011.snap"), file(THREE)).expect("written");
        fs::write(dir.path().join("db"), "").expect("written");
        assert_eq!(old_keys(dir.path()), 3);
    }
}
