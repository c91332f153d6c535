//! The lease service.

use bytes::Bytes;
use prost::Message;
use quorate::wire::etcdserverpb as pb;

use super::street::Server;

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";

#[tokio::test(flavor = "multi_thread")]
async fn grants_at_their_edges() {
    let server = Server::start().await;
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    let too_long = "etcdserver: too large lease TTL";
    server.refuses(GRANT, &grant(0, 9_000_000_001), 11, too_long).await;
    server.refuses(GRANT, &grant(0, i64::MAX), 11, too_long).await;
    let longest: pb::LeaseGrantResponse = server.call(GRANT, &grant(5, 9_000_000_000)).await.unwrap();
    assert_eq!((longest.id, longest.ttl), (5, 9_000_000_000));
    server.refuses(GRANT, &grant(5, 10), 9, "etcdserver: lease already exists").await;
    for ttl in [0, -1, i64::MIN] {
        let shortest: pb::LeaseGrantResponse = server.call(GRANT, &grant(0, ttl)).await.unwrap();
        assert!(shortest.id > 0 && shortest.ttl > 0, "{shortest:?}");
    }
    let revoke = pb::LeaseRevokeRequest { id: 999 };
    server.refuses("/etcdserverpb.Lease/LeaseRevoke", &revoke, 5, "etcdserver: requested lease not found").await;
    let unknown = pb::LeaseTimeToLiveRequest { id: 999, keys: true };
    let standing: pb::LeaseTimeToLiveResponse =
        server.call("/etcdserverpb.Lease/LeaseTimeToLive", &unknown).await.unwrap();
    assert_eq!((standing.ttl, standing.granted_ttl), (-1, 0));
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_are_answered_one_by_one() {
    let server = Server::start().await;
    let request = |id| Bytes::from(pb::LeaseKeepAliveRequest { id }.encode_to_vec());
    let requests = tokio_stream::iter((0..1_000).map(move |_| request(999)));
    let mut answers = server.stream("/etcdserverpb.Lease/LeaseKeepAlive", requests).await.unwrap();
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let answer = pb::LeaseKeepAliveResponse::decode(answer).unwrap();
        assert_eq!((answer.id, answer.ttl), (999, 0));
        count += 1;
    }
    assert_eq!(count, 1_000);
    server.must_be_well_at(1).await;
}
