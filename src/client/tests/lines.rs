//! Standing in line, and leaving it, at a member that does late what it is asked.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::*;
use crate::wire::etcdserverpb::compare::TargetUnion;
use crate::wire::etcdserverpb::range_request::SortOrder;
use crate::wire::etcdserverpb::request_op::Request as Part;
use crate::wire::etcdserverpb::response_op::Response as Done;

/// A member with as much of a store as lines need. Clones are the same member.
#[derive(Clone, Default)]
struct Store {
    shelf: Arc<Mutex<Shelf>>,
    /// How many deletions it will put off yet until that is ordered, whoever waits.
    puts_off: Arc<AtomicUsize>,
    goes_on: Arc<Notify>,
    /// How many of them are done.
    late: Arc<AtomicUsize>,
    watched: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Shelf {
    keys: BTreeMap<Bytes, mvccpb::KeyValue>,
    revision: i64,
    leases: i64,
}

impl Shelf {
    fn range(&self, asked: &pb::RangeRequest) -> pb::RangeResponse {
        let is_asked = |key: &Bytes| match asked.range_end.is_empty() {
            true => *key == asked.key,
            false => *key >= asked.key && *key < asked.range_end,
        };
        let is_old =
            |kv: &&mvccpb::KeyValue| asked.max_create_revision == 0 || kv.create_revision <= asked.max_create_revision;
        let mut kvs: Vec<_> = self.keys.values().filter(|kv| is_asked(&kv.key)).filter(is_old).cloned().collect();
        kvs.sort_by_key(|kv| kv.create_revision);
        if asked.sort_order == SortOrder::Descend as i32 {
            kvs.reverse();
        }
        kvs.truncate(usize::try_from(asked.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX));
        pb::RangeResponse { header: Some(self.header()), kvs, ..Default::default() }
    }

    fn header(&self) -> pb::ResponseHeader {
        pb::ResponseHeader { revision: self.revision, ..Default::default() }
    }

    fn created(&self, key: &Bytes) -> i64 {
        self.keys.get(key).map_or(0, |kv| kv.create_revision)
    }

    fn txn(&mut self, request: &pb::TxnRequest) -> pb::TxnResponse {
        let succeeded = request
            .compare
            .iter()
            .all(|compare| compare.target_union == Some(TargetUnion::CreateRevision(self.created(&compare.key))));
        let parts = if succeeded { &request.success } else { &request.failure };
        let mut responses = Vec::new();
        for part in parts {
            let done = match part.request.as_ref().expect("a part") {
                Part::RequestRange(range) => Done::ResponseRange(self.range(range)),
                Part::RequestPut(put) => {
                    self.revision += 1;
                    let kv =
                        mvccpb::KeyValue { key: put.key.clone(), create_revision: self.revision, ..Default::default() };
                    self.keys.insert(put.key.clone(), kv);
                    Done::ResponsePut(Default::default())
                }
                Part::RequestDeleteRange(delete) => {
                    self.revision += 1;
                    self.keys.remove(&delete.key);
                    Done::ResponseDeleteRange(Default::default())
                }
                Part::RequestTxn(_) => unreachable!("no line asks so"),
            };
            responses.push(pb::ResponseOp { response: Some(done) });
        }
        pb::TxnResponse { header: Some(self.header()), succeeded, responses }
    }
}

impl Store {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = Server::builder()
            .add_service(KvServer::new(self.clone()))
            .add_service(LeaseServer::new(self.clone()))
            .add_service(WatchServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn at<T>(&self, deed: impl FnOnce(&mut Shelf) -> T) -> T {
        deed(&mut self.shelf.lock().expect("no test panics while holding it"))
    }

    /// How many stand in line.
    fn stand(&self) -> usize {
        self.at(|shelf| shelf.keys.len())
    }

    /// It does what it put off: this is so much by then.
    async fn does_it(&self, times: usize) {
        while self.late.load(Ordering::SeqCst) < times {
            self.goes_on.notify_waiters();
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tonic::async_trait]
impl Kv for Store {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        Ok(Response::new(self.at(|shelf| shelf.range(request.get_ref()))))
    }
    type RangeStreamStream = Answers<pb::RangeStreamResponse>;
    async fn range_stream(&self, _: Request<pb::RangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("range stream"))
    }
    async fn put(&self, _: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        Err(Status::unimplemented("put"))
    }
    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("delete"))
    }
    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (store, request) = (self.clone(), request.into_inner());
        let first = request.success.first().and_then(|part| part.request.as_ref());
        if matches!(first, Some(Part::RequestDeleteRange(_))) && tokens::is_due(&self.puts_off) {
            let doing = tokio::spawn(async move {
                store.goes_on.notified().await;
                let answer = store.at(|shelf| shelf.txn(&request));
                store.late.fetch_add(1, Ordering::SeqCst);
                answer
            });
            return Ok(Response::new(doing.await.expect("done")));
        }
        Ok(Response::new(self.at(|shelf| shelf.txn(&request))))
    }
    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Result<Response<pb::CompactionResponse>, Status> {
        Err(Status::unimplemented("compact"))
    }
}

#[tonic::async_trait]
impl Watch for Store {
    type WatchStream = Answers<pb::WatchResponse>;
    async fn watch(&self, _: Request<Streaming<pb::WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        self.watched.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(Box::pin(stream::pending())))
    }
}

#[tonic::async_trait]
impl Lease for Store {
    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;
    async fn lease_keep_alive(
        &self,
        requests: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        Mute { ttls: vec![600], ..Mute::default() }.lease_keep_alive(requests).await
    }
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let id = self.at(|shelf| {
            shelf.leases += 1;
            shelf.leases
        });
        Ok(Response::new(pb::LeaseGrantResponse { id, ttl: request.get_ref().ttl, ..Default::default() }))
    }
    async fn lease_revoke(
        &self,
        _: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        Err(Status::unimplemented("revoke"))
    }
    async fn lease_time_to_live(
        &self,
        _: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        Err(Status::unimplemented("time to live"))
    }
    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("leases"))
    }
}

/// Waits for a lock until it is waited for at the member, and no longer.
async fn stands_in_line(client: &Client, store: &Store) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let session = client.session(600).await.expect("granted");
    let watched = store.watched.load(Ordering::SeqCst);
    let mut waiting = Box::pin(async move {
        drop(session.lock("printer").await);
        // Whose session it is goes on.
        std::future::pending::<()>().await;
        drop(session);
    });
    while store.watched.load(Ordering::SeqCst) == watched {
        let _ = timeout(Duration::from_millis(20), waiting.as_mut()).await;
    }
    waiting
}

#[test]
fn a_place_is_left_wherever_who_waited_for_it_is_dropped() {
    let home = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let store = Store::default();
    let (client, holder) = home.block_on(async {
        let client = Client::connect(&[store.serve().await], patient()).await.expect("good");
        let holder = client.session(600).await.expect("granted");
        drop(holder.lock("printer").await.expect("nobody has it"));
        (client, holder)
    });
    for inside_another in [false, true] {
        let waiting = home.block_on(stands_in_line(&client, &store));
        assert_eq!(store.stand(), 2);
        match inside_another {
            false => drop(waiting),
            true => in_runtime(async { drop(waiting) }),
        }
        let began = std::time::Instant::now();
        while store.stand() > 1 {
            assert!(began.elapsed() < Duration::from_secs(60), "it stands in line: {inside_another}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    drop(holder);
}

#[test]
fn a_lock_is_not_found_where_a_member_may_delete_it_yet() {
    in_runtime(async {
        let store = Store::default();
        let client = Client::connect(&[store.serve().await], patient()).await.expect("good");
        let session = client.within(Some(Duration::from_secs(3))).session(600).await.expect("granted");
        let lock = session.lock("printer").await.expect("nobody has it");
        store.puts_off.store(1, Ordering::SeqCst);
        assert!(matches!(lock.release().await, Err(Error::Deadline)));
        let lock = session.lock("printer").await.expect("nobody else has it");
        store.does_it(1).await;
        let there = lock.read().await.expect("an answer");
        assert_eq!(there.kvs.first().map(|kv| kv.create_revision), Some(lock.revision()));

        // So it is where whoever gives it back is dropped on the way, and nobody hears what became of it.
        store.puts_off.store(2, Ordering::SeqCst);
        let mut releasing = Box::pin(lock.release());
        while store.puts_off.load(Ordering::SeqCst) > 1 {
            assert!(timeout(Duration::from_millis(5), releasing.as_mut()).await.is_err());
        }
        drop(releasing);
        let lock = session.lock("printer").await.expect("nobody else has it");
        store.does_it(3).await;
        let there = lock.read().await.expect("an answer");
        assert_eq!(there.kvs.first().map(|kv| kv.create_revision), Some(lock.revision()));
    });
}

#[test]
fn a_lock_that_is_being_given_back_is_asked_for_once_it_is() {
    in_runtime(async {
        let store = Store::default();
        let client = Client::connect(&[store.serve().await], patient()).await.expect("good");
        let session = client.session(600).await.expect("granted");
        let lock = session.lock("printer").await.expect("nobody has it");
        store.puts_off.store(1, Ordering::SeqCst);
        let releasing = tokio::spawn(lock.release());
        while store.puts_off.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut next = Box::pin(session.lock("printer"));
        assert!(timeout(Duration::from_millis(300), next.as_mut()).await.is_err(), "it is being left");
        store.does_it(1).await;
        releasing.await.expect("no panic").expect("left");
        let lock = next.await.expect("nobody has it");
        let there = lock.read().await.expect("an answer");
        assert_eq!(there.kvs.first().map(|kv| kv.create_revision), Some(lock.revision()));
    });
}
