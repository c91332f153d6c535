//! The client against who speaks HTTP/2 by hand, and breaks off, sends away, or answers with what no member would.

use std::net::TcpStream;

use super::*;

/// Says what a server says first.
pub fn greets(line: &mut TcpStream) {
    let _ = line.write_all(&frame(4, 0, 0, &[]));
}

/// The stream of the next request, once its headers are there; settings and pings are answered. None where there comes none.
pub fn asked(line: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        line.read_exact(&mut head).ok()?;
        // The preface of a connection is no frame.
        if head.starts_with(b"PRI * HTT") {
            line.read_exact(&mut [0; 15]).ok()?;
            continue;
        }
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        line.read_exact(&mut body).ok()?;
        match (head[3], head[4] & 1) {
            (1, _) => return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
            (4, 0) => line.write_all(&frame(4, 1, 0, &[])).ok()?,
            (6, 0) => line.write_all(&frame(6, 1, 0, &body)).ok()?,
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// A port where each request is answered by these frames on its stream; then nothing is said any more.
async fn answers(with: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> String {
    let with = Arc::new(with);
    port(move |mut line| {
        let with = Arc::clone(&with);
        std::thread::spawn(move || {
            greets(&mut line);
            while let Some(stream) = asked(&mut line) {
                let _ = line.write_all(&with(stream));
            }
        });
    })
    .await
}

/// The number by which a server says that it is asked too much.
const CALM: u8 = 11;

fn sends_away(reason: u8) -> impl Fn(u32) -> Vec<u8> {
    move |_| frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, reason])
}

fn resets(reason: u8) -> impl Fn(u32) -> Vec<u8> {
    move |stream| frame(3, 0, stream, &[0, 0, 0, reason])
}

async fn client_of(endpoints: &[String]) -> Client {
    Client::connect(endpoints, patient()).await.expect("good")
}

#[test]
fn who_is_sent_away_goes_elsewhere_and_takes_no_write_there() {
    in_runtime(async {
        for reason in [0, CALM, 12] {
            let flaky = Flaky::default();
            flaky.ranges.store(1, Ordering::SeqCst);
            let endpoints = [answers(sends_away(reason)).await, serve(flaky.clone(), Breaking::default()).await];
            client_of(&endpoints).await.range(pb::RangeRequest::default()).await.expect("the other");
            let mut watcher =
                client_of(&endpoints).await.watch(WatchRange { key: "k".into(), ..WatchRange::default() });
            assert!(!watcher.next().await.expect("not over").expect("no refusal").events.is_empty());
            let error =
                client_of(&endpoints).await.put(pb::PutRequest::default()).await.expect_err("it may have been seen");
            assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
            assert_eq!(flaky.puts.load(Ordering::SeqCst), 0);
        }
    });
}

#[test]
fn what_no_member_says_is_told_as_etcds_client_does() {
    in_runtime(async {
        // A response of HTTP alone: a literal field, and no more.
        let unavailable = |stream| frame(1, 5, stream, b"\x00\x07:status\x03503");
        for (endpoint, text) in [
            (
                answers(resets(CALM)).await,
                "ResourceExhausted desc = stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM",
            ),
            (
                answers(resets(7)).await,
                "Unavailable desc = stream terminated by RST_STREAM with error code: REFUSED_STREAM",
            ),
            (
                answers(unavailable).await,
                "Unavailable desc = unexpected HTTP status code received from server: 503 (Service Unavailable)",
            ),
        ] {
            let client = client_of(&[endpoint]).await;
            let error = client.put(pb::PutRequest::default()).await.expect_err("no answer of a member");
            assert_eq!(error.to_string(), format!("rpc error: code = {text}"));
        }
    });
}

#[test]
fn a_read_is_asked_of_the_third_where_one_is_silent_and_one_cannot_serve() {
    in_runtime(async {
        let silent = answers(|_| Vec::new()).await;
        let (unable, healthy) = (Flaky::default(), Flaky::default());
        healthy.ranges.store(1, Ordering::SeqCst);
        let [second, third] = [&unable, &healthy].map(|member| serve(member.clone(), Breaking::default()));
        let client = client_of(&[silent, second.await, third.await]).await;
        client.range(pb::RangeRequest::default()).await.expect("the third");
        let asked = [&unable, &healthy].map(|member| member.ranges.load(Ordering::SeqCst));
        assert_eq!(asked, [1, 2], "each once");
    });
}

/// Nobody's turn passes over who had no time to answer.
#[test]
fn who_is_not_waited_for_is_not_said_to_be_away() {
    in_runtime(async {
        let endpoints = [answers(|_| Vec::new()).await, answers(|_| Vec::new()).await];
        let client = client_of(&endpoints).await;
        for _ in 0..4 {
            let moment = Duration::from_millis(100);
            assert!(tokio::time::timeout(moment, client.range(pb::RangeRequest::default())).await.is_err());
        }
        let turns = [client.endpoints().passes_the_turn(), client.endpoints().passes_the_turn()];
        assert_ne!(turns[0], turns[1], "given up by who asked");
        assert_eq!(client.unreached(), []);
        // The other is asked, too, and both had the time.
        let long = Duration::from_millis(2_500);
        assert!(tokio::time::timeout(long, client.range(pb::RangeRequest::default())).await.is_err());
        assert_eq!(client.unreached().len(), 2);
    });
}

/// One answers late, and another was asked meanwhile.
#[test]
fn who_was_asked_when_another_answers_is_not_said_to_be_away() {
    in_runtime(async {
        let (late, other) = (Flaky::default(), answers(|_| Vec::new()).await);
        late.ranges.store(1, Ordering::SeqCst);
        let client = client_of(&[serve(late.clone(), Breaking::default()).await, other]).await;
        client.endpoints().dial_ahead(0).await;
        client.range(pb::RangeRequest { key: "later".into(), ..Default::default() }).await.expect("the first");
        assert_eq!(client.unreached(), []);
        assert_eq!(late.ranges.load(Ordering::SeqCst), 2);
        let turns = [client.endpoints().passes_the_turn(), client.endpoints().passes_the_turn()];
        assert!(turns.contains(&1), "{turns:?}");
    });
}

#[test]
fn a_member_that_says_nothing_gives_no_answer() {
    in_runtime(async {
        let silent = answers(|_| Vec::new()).await;
        let client = client_of(std::slice::from_ref(&silent)).await.within(Some(Duration::from_millis(200)));
        assert!(matches!(client.put(pb::PutRequest::default()).await, Err(Error::Deadline)));
        assert_eq!(client.unreached(), [(silent, "no answer".to_owned())]);
    });
}
