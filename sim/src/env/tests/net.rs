//! Streams in good weather: what is written arrives, whole and in order, or the stream ends.

use std::task::Poll;
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::base::Fault;
use quorate::env::{Net, NetListener, NetReader, NetStream, NetWriter};

use super::super::clock::{true_now, true_sleep};
use super::super::net::{SimReader, SimWriter};
use super::super::pipe::CAPACITY;
use super::super::{Marks, SimNet, Trace};

pub fn net() -> SimNet {
    SimNet::new(7, Trace::default(), Marks::default())
}

/// Both halves of an end.
pub type Halves = (SimReader, SimWriter);

/// A connection from one to the other.
pub async fn pair(from: &SimNet, to: &SimNet, address: &str) -> (Halves, Halves) {
    let mut listener = to.listen(address).await.unwrap();
    let dialled = from.dial(address).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    (dialled.split(), accepted.split())
}

/// Everything until the end of the stream.
pub async fn read_all(reader: &mut SimReader) -> Result<Vec<u8>, Fault> {
    let (all, end) = read_to_end(reader).await;
    end.map(|()| all)
}

/// Everything until the end of the stream, and how it ended.
pub async fn read_to_end(reader: &mut SimReader) -> (Vec<u8>, Result<(), Fault>) {
    let (mut all, mut buf) = (Vec::new(), vec![0; 10_000]);
    loop {
        match reader.read(&mut buf).await {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(end) => return (all, Err(end)),
        }
    }
}

/// What comes within so many seconds; nothing if nothing does.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> Option<T> {
    madsim::time::timeout(Duration::from_secs(seconds), future).await.ok()
}

/// Bytes that show when one is missing.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn bytes_arrive_in_order_both_ways_and_the_stream_ends() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = pair(&a, &b, "b:1").await;
        let sent = pattern(3 * CAPACITY + 5);
        let echo = madsim::task::spawn(async move {
            let got = read_all(&mut far_reader).await.unwrap();
            far_writer.write(&got).await.unwrap();
            far_writer.finish().await.unwrap();
            got
        });
        let wanted = sent.clone();
        let writing = madsim::task::spawn(async move {
            for piece in sent.chunks(777) {
                writer.write(piece).await.unwrap();
            }
            writer.finish().await.unwrap();
        });
        let back = read_all(&mut reader).await.unwrap();
        writing.await.unwrap();
        assert!(echo.await.unwrap() == wanted && back == wanted);
    });
}

#[test]
fn a_writer_waits_while_nobody_reads() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let ((_reader, mut writer), (mut far_reader, _far_writer)) = pair(&a, &b, "b:1").await;
        writer.write(&vec![1; CAPACITY]).await.unwrap();
        let more = madsim::task::spawn(async move {
            writer.write(&[2; 1000]).await.unwrap();
            true_now()
        });
        true_sleep(Duration::from_secs(9)).await;
        let mut buf = vec![0; CAPACITY];
        far_reader.read(&mut buf).await.unwrap();
        assert!(more.await.unwrap() >= Duration::from_secs(9));
    });
}

#[test]
fn a_stream_ends_for_one_half_and_goes_on_for_the_other() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = pair(&a, &b, "b:1").await;
        writer.write(b"question").await.unwrap();
        drop(writer);
        assert_eq!(read_all(&mut far_reader).await.unwrap(), b"question");
        far_writer.write(b"answer").await.unwrap();
        drop((far_writer, far_reader));
        assert_eq!(read_all(&mut reader).await.unwrap(), b"answer");
    });
}

#[test]
fn who_closes_with_something_unread_or_still_to_come_resets() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let ((mut reader, mut writer), far) = pair(&a, &b, "b:1").await;
        writer.write(b"unread").await.unwrap();
        true_sleep(Duration::from_millis(5)).await;
        drop(far);
        assert!(read_all(&mut reader).await.is_err());
        let ((mut reader, mut writer), far) = pair(&a, &b, "b:1").await;
        drop(far);
        assert_eq!(read_all(&mut reader).await.unwrap(), b"");
        writer.write(b"too late").await.unwrap();
        true_sleep(Duration::from_millis(5)).await;
        assert!(writer.write(b"x").await.is_err());
    });
}

#[test]
fn a_read_given_up_has_taken_nothing() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let ((_reader, mut writer), (mut far_reader, _far_writer)) = pair(&a, &b, "b:1").await;
        let mut given_up = 0;
        let writing = madsim::task::spawn(async move {
            for nth in 0..50 {
                writer.write(&[nth]).await.unwrap();
                true_sleep(Duration::from_micros(700)).await;
            }
            writer
        });
        let mut got = Vec::new();
        while got.len() < 50 {
            let mut buf = [0; 4];
            let first = {
                let patience = true_sleep(Duration::from_micros(90));
                let (mut patience, mut read) = (std::pin::pin!(patience), std::pin::pin!(far_reader.read(&mut buf)));
                std::future::poll_fn(|context| match read.as_mut().poll(context) {
                    Poll::Ready(read) => Poll::Ready(Some(read.unwrap())),
                    Poll::Pending => patience.as_mut().poll(context).map(|()| None),
                })
                .await
            };
            match first {
                Some(n) => got.extend_from_slice(&buf[..n]),
                None => given_up += 1,
            }
        }
        assert_eq!(got, (0..50).collect::<Vec<u8>>());
        assert!(given_up > 50, "{given_up}");
        drop(writing.await.unwrap());
    });
}

#[test]
fn addresses_belong_to_a_host_and_are_open_once() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        assert!(a.listen("b:1").await.is_err(), "not a's address");
        let listener = b.listen("b:1").await.unwrap();
        assert!(b.listen("b:1").await.is_err());
        let any = b.listen("b:0").await.unwrap();
        assert!(any.address() != "b:0" && a.dial(&any.address()).await.is_ok());
        drop(listener);
        let refused = a.dial("b:1").await.err().unwrap();
        assert_eq!(refused.source.kind(), std::io::ErrorKind::ConnectionRefused);
        b.listen("b:1").await.unwrap();
    });
}

#[test]
fn a_dead_life_does_nothing() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let (mut near, mut far) = pair(&a, &b, "b:1").await;
        let old_listener = b.listen("b:2").await.unwrap();
        net.kill("b");
        assert!(far.0.read(&mut [0; 9]).await.is_err() && far.1.write(b"x").await.is_err());
        assert!(far.1.finish().await.is_err() && b.dial("a:1").await.is_err() && b.listen("b:9").await.is_err());
        let again = net.boot("b");
        let mut listener = again.listen("b:2").await.unwrap();
        drop(old_listener);
        drop(far);
        assert!(within(1, near.0.read(&mut [0; 9])).await.is_some());
        assert!(a.dial("b:2").await.is_ok(), "the old life's listener closed the new one's address");
        listener.accept().await.unwrap();
    });
}

/// How long each step of a fixed exchange takes, and the trace.
fn exchange(seed: u64, with_others: bool) -> (Vec<u128>, (String, u64)) {
    Runtime::new().block_on(async {
        let trace = Trace::default();
        let net = SimNet::new(seed, trace.clone(), Marks::default());
        if with_others {
            net.boot("c");
        }
        let (a, b) = (net.boot("a"), net.boot("b"));
        if with_others {
            let d = net.boot("d");
            let _ = pair(&d, &a, "a:7").await;
        }
        let ((_reader, mut writer), (mut far_reader, _far_writer)) = pair(&a, &b, "b:1").await;
        let mut took = Vec::new();
        for nth in 0..100 {
            let start = true_now();
            writer.write(&[nth; 10]).await.unwrap();
            far_reader.read(&mut [0; 100]).await.unwrap();
            took.push((true_now() - start).as_micros());
        }
        (took, trace.digest())
    })
}

#[test]
fn the_same_seed_gives_the_same_network_and_a_host_more_changes_no_link() {
    assert_eq!(exchange(1, false).0, exchange(1, false).0);
    assert_ne!(exchange(1, false).0, exchange(2, false).0);
    let apart = exchange(1, false).0.into_iter().zip(exchange(1, true).0).map(|(one, other)| one.abs_diff(other));
    assert!(apart.max().unwrap() <= 1, "but for the executor's nanoseconds");
}
