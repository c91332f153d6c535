//! The mark of a watch, without a server.

use crate::wire::mvccpb::{Event, KeyValue};

use super::super::options::Options;
use super::*;

fn watcher(start_revision: i64) -> Watcher {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let endpoints = ["127.0.0.1:1".to_owned()];
    let client = runtime.block_on(Client::connect(&endpoints, Options::default())).expect("an address");
    client.watch(WatchRange { start_revision, ..WatchRange::default() })
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn events(revisions: &[i64]) -> pb::WatchResponse {
    let events = revisions
        .iter()
        .map(|&mod_revision| Event { kv: Some(KeyValue { mod_revision, ..Default::default() }), ..Default::default() })
        .collect();
    pb::WatchResponse { header: header(100), events, ..Default::default() }
}

fn seen(response: Option<pb::WatchResponse>) -> Vec<i64> {
    response.map(|response| response.events.iter().map(mod_revision).collect()).unwrap_or_default()
}

#[test]
fn from_now_on_is_fixed_by_the_creation() {
    let mut watcher = watcher(0);
    let created = pb::WatchResponse { header: header(41), created: true, ..Default::default() };
    assert!(watcher.take(created.clone()).is_none());
    assert_eq!(watcher.next_revision(), 42);
    // A second stream's creation, later, must not skip what happened between.
    assert!(watcher.take(pb::WatchResponse { header: header(50), ..created }).is_none());
    assert_eq!(watcher.next_revision(), 42);
}

#[test]
fn events_already_delivered_are_dropped_after_a_break() {
    let mut watcher = watcher(5);
    assert_eq!(seen(watcher.take(events(&[5, 6, 6]))), [5, 6, 6]);
    assert!(seen(watcher.take(events(&[5, 6]))).is_empty());
    assert_eq!(seen(watcher.take(events(&[6, 7, 9]))), [7, 9]);
    assert_eq!(watcher.next_revision(), 10);
}

#[test]
fn progress_moves_the_mark_and_never_back() {
    let mut watcher = watcher(5);
    let progress = |revision| pb::WatchResponse { header: header(revision), ..Default::default() };
    assert!(watcher.take(progress(8)).is_some());
    assert_eq!(watcher.next_revision(), 9);
    assert!(watcher.take(progress(7)).is_some());
    assert_eq!(watcher.next_revision(), 9);
}

#[test]
fn a_cancellation_is_delivered_and_is_the_last() {
    let mut watcher = watcher(1);
    let cancel = pb::WatchResponse { canceled: true, compact_revision: 7, ..Default::default() };
    assert_eq!(watcher.take(cancel).expect("delivered").compact_revision, 7);
    assert!(watcher.over);
}

#[test]
fn a_creation_alone_makes_the_next_break_worth_no_less_of_a_pause() {
    let mut watcher = watcher(5);
    watcher.broken = 3;
    let invalid = crate::client::refreshes::STALE_TOKEN[0];
    assert!(
        watcher.refreshes.one_more(invalid, std::time::Duration::ZERO)
            && !watcher.refreshes.one_more(invalid, std::time::Duration::ZERO)
    );
    let created = pb::WatchResponse { header: header(41), created: true, ..Default::default() };
    assert!(watcher.hears(created).is_none());
    assert_eq!(watcher.broken, 3, "nothing was delivered");
    assert!(watcher.refreshes.one_more(invalid, std::time::Duration::ZERO), "the token was taken");
    assert!(watcher.hears(events(&[6])).is_some());
    assert_eq!(watcher.broken, 0);
}

#[test]
fn only_a_lost_server_is_worth_another_stream() {
    for ends_without_leader in [false, true] {
        let may = |status: &Status| may_resume(status, ends_without_leader);
        assert!(may(&Status::unavailable("connection reset")));
        assert!(may(&Status::unavailable("etcdserver: server stopped")));
        assert!(may(&Status::internal("h2 protocol error")));
        assert_eq!(may(&Status::unavailable("etcdserver: no leader")), !ends_without_leader);
        assert!(!may(&Status::unauthenticated("etcdserver: invalid auth token")));
        // Nobody's words are an answer, somebody's are one, whatever their code.
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(may(&Status::from_error(Box::new(reset))));
        assert!(!may(&Status::unknown("boom")));
        assert!(!may(&Status::cancelled("boom")));
    }
}

/// A stream that finds nobody tells it as a request does, and how it goes on is not for the caller to see.
#[tokio::test]
async fn who_finds_nobody_to_watch_at_knows_why() {
    // Listened at by nobody: it was given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number");
    let client = Client::connect(&[address.to_string()], Options::default()).await.expect("an address");
    assert_eq!(client.unreached(), []);
    let mut watcher = client.watch(WatchRange::default());
    let mut renewals = client.keep_alive(7);
    let why = |client: &Client| client.unreached().pop().map(|(endpoint, why)| (endpoint == address.to_string(), why));
    for stream in ["watch", "keep-alive"] {
        let began = tokio::time::Instant::now();
        loop {
            let moment = std::time::Duration::from_millis(20);
            let came = match stream {
                "watch" => tokio::time::timeout(moment, watcher.next()).await.is_ok(),
                _ => tokio::time::timeout(moment, renewals.next()).await.is_ok_and(|renewed| renewed.is_some()),
            };
            assert!(!came, "nobody is there");
            match why(&client) {
                Some((true, why)) if why.contains("refused") => break,
                // It may not have come to be refused by then.
                other => assert!(other.is_none_or(|(is_it, why)| is_it && why == "no answer"), "{stream}"),
            }
            assert!(began.elapsed() < std::time::Duration::from_secs(180), "{stream} knows nothing");
        }
        // Somebody answers, in whatever words.
        client.endpoints().stream_was_told(0, &Ok(()));
        assert_eq!(client.unreached(), []);
        client.endpoints().stream_was_told::<()>(0, &Err(Status::permission_denied("etcdserver: permission denied")));
        assert_eq!(client.unreached(), []);
        client.endpoints().stream_was_told::<()>(0, &Err(Status::unavailable("the watch stream ended")));
        assert_eq!(why(&client), Some((true, "the watch stream ended".to_owned())));
        client.endpoints().stream_was_given_up(0);
        assert_eq!(why(&client), Some((true, "the watch stream ended".to_owned())), "it knows no better");
        client.endpoints().stream_was_told(0, &Ok(()));
        // A proxy may have no words for it.
        client.endpoints().stream_was_told::<()>(0, &Err(Status::unavailable("")));
        assert_eq!(why(&client), Some((true, "no answer".to_owned())));
        client.endpoints().stream_was_told(0, &Ok(()));
    }
}
