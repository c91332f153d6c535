//! Streams: what is written arrives, whole and in order, or the stream ends.

use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::base::Fault;
use quorate::env::{Net, NetListener, NetReader, NetStream, NetWriter};

use super::super::clock::{true_now, true_sleep};
use super::super::net::{SimReader, SimWriter};
use super::super::pipe::CAPACITY;
use super::super::{Marks, SimNet, Trace};

fn net() -> SimNet {
    SimNet::new(7, Trace::default(), Marks::default())
}

type Halves = (SimReader, SimWriter);

/// A connection from one to the other.
async fn pair(from: &SimNet, to: &SimNet, address: &str) -> (Halves, Halves) {
    let mut listener = to.listen(address).await.unwrap();
    let dialled = from.dial(address).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    (dialled.split(), accepted.split())
}

async fn read_all(reader: &mut SimReader) -> Result<Vec<u8>, Fault> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 10_000]);
    loop {
        match reader.read(&mut buf).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
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
fn nobody_listens_nobody_answers_and_a_death_is_told() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        assert!(a.dial("b:2").await.is_err());
        assert!(a.listen("b:1").await.is_err(), "not a's address");
        let ((mut reader, mut writer), mut far) = pair(&a, &b, "b:1").await;
        net.kill("b");
        assert!(reader.read(&mut [0; 9]).await.is_err());
        assert!(writer.write(b"x").await.is_err());
        assert!(far.0.read(&mut [0; 9]).await.is_err() && far.1.write(b"x").await.is_err());
        assert!(a.dial("b:1").await.is_err(), "its addresses are closed");
        let again = net.boot("b");
        drop(far);
        let _ = pair(&a, &again, "b:1").await;
    });
}
