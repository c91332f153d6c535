//! Requests without number on one connection: all are answered or refused, others are served meanwhile, and nobody waits for
//! ever, whatever a client takes its time with.
//!
//! Nothing is said of times. How many are taken in at once is held where it is counted (`api/intake.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::base::limits;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::watch_request::RequestUnion;

use super::street::{Server, bytes};
use super::wire::{DATA, END_STREAM, GOAWAY, HEADERS, Wire, frame, framed, head, settings};

const LIMIT: Duration = Duration::from_secs(120);

/// More than one connection has taken in at once.
const MANY: u32 = limits::REQUESTS_TAKEN_IN as u32;

fn put() -> Vec<u8> {
    framed(&pb::PutRequest { key: bytes("k"), value: bytes("v"), ..Default::default() })
}

/// The numbers of so many streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// A call that is sent as a whole.
fn whole(stream: u32, path: &str, message: &[u8]) -> Vec<u8> {
    [head(stream, path, "x", &[]), frame(DATA, END_STREAM, stream, message)].concat()
}

/// Waits until all of these streams have ended; how many had an answer.
async fn all_end(wire: &mut Wire, streams: impl Iterator<Item = u32>) -> usize {
    let (mut open, mut answered): (BTreeSet<u32>, _) = (streams.collect(), BTreeSet::new());
    while !open.is_empty() {
        let frame = wire.frame(LIMIT).await.expect("each is answered");
        match frame.kind {
            DATA => drop(answered.insert(frame.stream)),
            HEADERS if frame.flags & END_STREAM != 0 => drop(open.remove(&frame.stream)),
            GOAWAY => panic!("sent away"),
            _ => {}
        }
    }
    answered.len()
}

/// A ping that is answered, whatever comes before.
async fn is_heard(wire: &mut Wire) {
    wire.send_all(&frame(6, 0, 0, b"are-well")).await;
    while wire.frame(LIMIT).await.expect("pings are answered").kind != 6 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_answered_to_its_end_and_others_are_served_meanwhile() {
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    wire.takes_all().await;
    let flood: Vec<u8> = streams(2 * MANY).flat_map(|stream| whole(stream, "/etcdserverpb.KV/Put", &put())).collect();
    let flooding = tokio::spawn(async move {
        wire.send_all(&flood).await;
        all_end(&mut wire, streams(2 * MANY)).await
    });
    let mut served = 0;
    while !flooding.is_finished() || served == 0 {
        server.put("other", "v").await;
        served += 1;
    }
    let carried_out = flooding.await.unwrap();
    server.must_be_well_at(1 + (carried_out + served) as i64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_wait_for_their_client_hold_nothing_up() {
    let server = Server::start().await;
    server.put("k", "v").await;
    let mut wire = Wire::open_with(&server, 0).await;
    let get = framed(&pb::RangeRequest { key: bytes("k"), ..Default::default() });
    let gets: Vec<u8> = streams(2 * MANY).flat_map(|stream| whole(stream, "/etcdserverpb.KV/Range", &get)).collect();
    wire.send_all(&gets).await;
    is_heard(&mut wire).await;
    wire.takes_all().await;
    wire.send_all(&settings(65_535)).await;
    assert_eq!(all_end(&mut wire, streams(2 * MANY)).await, 2 * MANY as usize);
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_come_after_all_heads_are_waited_for() {
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    wire.takes_all().await;
    let (mut heads, mut messages) = (Vec::new(), Vec::new());
    for stream in streams(MANY) {
        heads.extend(head(stream, "/etcdserverpb.KV/Put", "x", &[]));
        messages.extend(frame(DATA, END_STREAM, stream, &put()));
    }
    wire.send_all(&heads).await;
    is_heard(&mut wire).await;
    wire.send_all(&messages).await;
    let carried_out = all_end(&mut wire, streams(MANY)).await;
    server.must_be_well_at(1 + carried_out as i64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_watches_on_one_connection_are_told_and_leave_room() {
    const WATCHES: u32 = 5_000;
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    wire.takes_all().await;
    let create = pb::WatchCreateRequest { key: bytes("k"), ..Default::default() };
    let create = framed(&pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    let watch = |stream| [head(stream, "/etcdserverpb.Watch/Watch", "x", &[]), frame(DATA, 0, stream, &create)];
    wire.send_all(&streams(WATCHES).flat_map(watch).flatten().collect::<Vec<u8>>()).await;
    told(&mut wire, streams(WATCHES)).await;
    wire.send_all(&whole(2 * WATCHES + 1, "/etcdserverpb.KV/Put", &put())).await;
    told(&mut wire, streams(WATCHES + 1)).await;
    server.must_be_well_at(2).await;
}

/// Waits until something was said on each of these streams.
async fn told(wire: &mut Wire, streams: impl Iterator<Item = u32>) {
    let mut silent: BTreeSet<u32> = streams.collect();
    while !silent.is_empty() {
        let frame = wire.frame(LIMIT).await.expect("each is told");
        assert!(frame.kind != GOAWAY && frame.kind != 3, "{frame:?}");
        if frame.kind == DATA {
            silent.remove(&frame.stream);
        }
    }
}
