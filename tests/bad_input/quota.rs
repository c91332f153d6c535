//! A used-up quota, and the way out of it that every operator of etcd knows.

use std::time::Duration;

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;

use super::street::{Server, bytes};

const PUT: &str = "/etcdserverpb.KV/Put";

#[tokio::test(flavor = "multi_thread")]
async fn deleting_compacting_defragmenting_and_disarming_make_room_again() {
    let server = Server::start_with(&["--quota-backend-bytes=3000000"]).await;
    let put = |n: usize| pb::PutRequest {
        key: Bytes::from(format!("f/{n}").into_bytes()),
        value: Bytes::from(vec![7; 100_000]),
        ..Default::default()
    };
    let mut stored = 0;
    let refused = loop {
        match server.call::<_, pb::PutResponse>(PUT, &put(stored)).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
        assert!(stored < 100, "the quota is a bound");
    };
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    let everything = pb::DeleteRangeRequest { key: bytes("f/"), range_end: bytes("f0"), ..Default::default() };
    let deleted: pb::DeleteRangeResponse = server.call("/etcdserverpb.KV/DeleteRange", &everything).await.unwrap();
    assert_eq!(deleted.deleted, stored as i64);
    let revision = deleted.header.unwrap().revision;
    let compact = pb::CompactionRequest { revision, physical: false };
    let _: pb::CompactionResponse = server.call("/etcdserverpb.KV/Compact", &compact).await.unwrap();
    let defragment = pb::DefragmentRequest {};
    let _: pb::DefragmentResponse = server.call("/etcdserverpb.Maintenance/Defragment", &defragment).await.unwrap();
    // The answer comes at once, the space a little later; disarming is asked again where it came too early.
    for _ in 0..1_000 {
        let disarm = pb::AlarmRequest { action: 2, member_id: server.member().await, alarm: 1 };
        let _: pb::AlarmResponse = server.call("/etcdserverpb.Maintenance/Alarm", &disarm).await.unwrap();
        if server.call::<_, pb::PutResponse>(PUT, &put(0)).await.is_ok() {
            return server.must_be_well_at(revision + 1).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no room was made");
}
