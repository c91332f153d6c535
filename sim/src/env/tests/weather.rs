//! Streams in bad weather: each fault of the network's models happens, and nothing else does.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use madsim::runtime::Runtime;
use quorate::env::{Net, NetListener, NetReader, NetWriter};

use super::super::clock::{true_now, true_sleep};
use super::super::partition;
use super::super::pipe::CAPACITY;
use super::super::{Calls, Latency, LinkMood, Marks, SimNet, Trace};
use super::net::{Halves, net, pair, pattern, read_all, read_to_end, within};

fn constant(micros: u64) -> LinkMood {
    LinkMood { latency: Latency::Constant(micros), ..LinkMood::calm() }
}

async fn connected(seed: u64) -> (SimNet, Halves, Halves) {
    let net = SimNet::new(seed, Trace::default(), Marks::default());
    let (a, b) = (net.boot("a"), net.boot("b"));
    let (near, far) = pair(&a, &b, "b:1").await;
    (net, near, far)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long each of many single writes takes to arrive, in microseconds.
fn ways(mood: LinkMood, count: usize) -> Vec<u64> {
    Runtime::new().block_on(async {
        let (net, (_reader, mut writer), (mut far_reader, _far_writer)) = connected(3).await;
        net.set_link("a", "b", mood);
        let mut ways = Vec::new();
        for nth in 0..count {
            let sent = true_now();
            writer.write(&[nth as u8]).await.unwrap();
            let mut buf = [0; 9];
            assert_eq!(far_reader.read(&mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], nth as u8);
            ways.push((true_now() - sent).as_micros() as u64);
        }
        ways
    })
}

#[test]
fn a_packet_takes_as_long_as_the_link_says() {
    assert!(ways(constant(700), 50).iter().all(|way| (700..705).contains(way)));
    let uniform = ways(LinkMood { latency: Latency::Uniform(100, 900), ..LinkMood::calm() }, 300);
    assert!(uniform.iter().all(|way| (100..905).contains(way)));
    assert!(uniform.iter().any(|way| *way < 200) && uniform.iter().any(|way| *way > 800));
    let latency = Latency::LongTail { usual: (100, 200), rare: (50_000, 90_000), rare_one_in: 10 };
    let tail = ways(LinkMood { latency, ..LinkMood::calm() }, 300);
    let long = tail.iter().filter(|way| **way >= 50_000).count();
    assert!((10..60).contains(&long) && tail.iter().filter(|way| **way < 205).count() == 300 - long);
}

#[test]
fn a_lost_packet_is_late_and_the_others_wait_for_it() {
    let late = ways(LinkMood { loss_one_in: 5, ..constant(500) }, 300);
    let lost = late.iter().filter(|way| **way >= 200_000).count();
    assert!((20..150).contains(&lost) && late.iter().any(|way| *way >= 600_000), "lost twice: 200 + 400 ms");
    Runtime::new().block_on(async {
        let (net, (_reader, mut writer), (mut far_reader, _far_writer)) = connected(3).await;
        net.set_link("a", "b", LinkMood { loss_one_in: 10, ..constant(500) });
        let sent = pattern(20_000);
        let wanted = sent.clone();
        let writing = madsim::task::spawn(async move {
            for piece in sent.chunks(100) {
                writer.write(piece).await.unwrap();
            }
            drop(writer);
        });
        assert!(read_all(&mut far_reader).await.unwrap() == wanted, "in order, whatever was lost");
        writing.await.unwrap();
    });
}

#[test]
fn streams_share_the_bandwidth_of_their_link() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let mut listener = b.listen("b:1").await.unwrap();
        let (one, other) = (a.dial("b:1").await.unwrap(), a.dial("b:1").await.unwrap());
        net.set_link("a", "b", LinkMood { bytes_per_second: 100_000, ..constant(100) });
        let start = true_now();
        let mut reading = Vec::new();
        for stream in [one, other] {
            let (reader, mut writer) = quorate::env::NetStream::split(stream);
            let far = quorate::env::NetStream::split(listener.accept().await.unwrap().0);
            madsim::task::spawn(async move {
                writer.write(&vec![1; 500_000]).await.unwrap();
                drop((reader, writer));
            });
            reading.push(madsim::task::spawn(async move {
                let (mut reader, _writer) = far;
                read_all(&mut reader).await.unwrap().len()
            }));
        }
        for read in reading {
            assert_eq!(read.await.unwrap(), 500_000);
        }
        let took = true_now() - start;
        assert!(took >= secs(10) && took < Duration::from_millis(10_100), "{took:?}");
    });
}

#[test]
fn nothing_passes_a_clogged_link_until_it_is_released() {
    Runtime::new().block_on(async {
        let (net, (mut reader, mut writer), (mut far_reader, mut far_writer)) = connected(3).await;
        net.set_link("a", "b", constant(10_000));
        writer.write(b"on its way").await.unwrap();
        true_sleep(Duration::from_millis(5)).await;
        net.set_link("a", "b", LinkMood::clogged());
        writer.write(b", and later").await.unwrap();
        far_writer.write(b"the other way").await.unwrap();
        let mut buf = [0; 99];
        assert_eq!(reader.read(&mut buf).await.unwrap(), 13, "the other direction passes");
        assert!(within(100, far_reader.read(&mut buf)).await.is_none());
        net.set_link("a", "b", constant(10_000));
        drop(writer);
        let released = true_now();
        assert_eq!(read_all(&mut far_reader).await.unwrap(), b"on its way, and later");
        assert!(true_now() - released < Duration::from_millis(2_100), "the sender tries again within two seconds");
    });
}

#[test]
fn what_is_read_is_not_heard_of_over_a_clogged_way_back() {
    Runtime::new().block_on(async {
        let (net, (_reader, mut writer), (mut far_reader, _far_writer)) = connected(3).await;
        net.partition(&partition::one_way("b", "a"));
        let writing = madsim::task::spawn(async move {
            writer.write(&vec![1; 2 * CAPACITY]).await.unwrap();
            writer
        });
        let (mut got, mut buf) = (0, vec![0; 2 * CAPACITY]);
        while let Some(n) = within(100, far_reader.read(&mut buf)).await {
            got += n.unwrap();
        }
        assert_eq!(got, CAPACITY, "what the buffers hold, and no more");
        net.end_partition();
        while got < 2 * CAPACITY {
            got += within(10, far_reader.read(&mut buf)).await.unwrap().unwrap();
        }
        writing.await.unwrap();
    });
}

#[test]
fn a_death_is_told_if_a_packet_can_cross_and_otherwise_when_one_is_answered() {
    Runtime::new().block_on(async {
        let (net, (mut reader, _writer), _far) = connected(3).await;
        net.kill("b");
        assert!(within(1, read_all(&mut reader)).await.is_some(), "told at once");

        for there_cut in [true, false] {
            let (net, (mut reader, mut writer), _far) = connected(4).await;
            net.partition(&partition::isolate(&["a", "b"], 0));
            net.kill("b");
            assert!(within(1_000, reader.read(&mut [0; 9])).await.is_none(), "half open");
            net.end_partition();
            assert!(within(1_000, reader.read(&mut [0; 9])).await.is_none(), "still: nobody says a word");
            if there_cut {
                net.partition(&partition::one_way("a", "b"));
            } else {
                net.partition(&partition::one_way("b", "a"));
            }
            writer.write(b"anyone there?").await.unwrap();
            assert!(within(1_000, reader.read(&mut [0; 9])).await.is_none(), "no answer can come");
            net.end_partition();
            let told = within(10, reader.read(&mut [0; 9])).await.unwrap().unwrap_err();
            assert_eq!(told.source.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_reset_on_its_way_meets_the_partition_too() {
    Runtime::new().block_on(async {
        let (net, (mut reader, mut writer), _far) = connected(4).await;
        net.set_link("b", "a", constant(50_000));
        writer.write(b"unread").await.unwrap();
        true_sleep(Duration::from_millis(5)).await;
        net.kill("b");
        true_sleep(Duration::from_millis(5)).await;
        net.partition(&partition::isolate(&["a", "b"], 0));
        assert!(within(100, reader.read(&mut [0; 9])).await.is_none(), "it was lost");
        net.end_partition();
        writer.write(b"anyone there?").await.unwrap();
        assert!(within(100, reader.read(&mut [0; 9])).await.unwrap().is_err());
    });
}

#[test]
fn a_machine_without_power_says_nothing_until_it_is_back() {
    Runtime::new().block_on(async {
        let (net, (mut reader, mut writer), _far) = connected(3).await;
        net.lose_power("b");
        writer.write(&pattern(CAPACITY)).await.unwrap();
        assert!(within(100, reader.read(&mut [0; 9])).await.is_none());
        assert!(within(100, writer.write(b"no room")).await.is_none(), "nobody takes what is written");
        let _again = net.boot("b");
        assert!(within(1, reader.read(&mut [0; 9])).await.unwrap().is_err());
    });
}

/// How a cut in the middle of what is on its way ends: what arrived, and who heard.
fn cut(seed: u64, act: impl AsyncFnOnce(&SimNet, &mut super::super::net::SimWriter)) -> (Vec<u8>, bool, bool) {
    Runtime::new().block_on(async {
        let (net, (mut reader, mut writer), (mut far_reader, mut far_writer)) = connected(seed).await;
        net.set_link("a", "b", constant(5_000));
        act(&net, &mut writer).await;
        let mut got = Vec::new();
        let mut buf = [0; 500];
        let far_heard = loop {
            match within(60, far_reader.read(&mut buf)).await {
                Some(Ok(n)) => got.extend_from_slice(&buf[..n]),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        let heard = within(60, reader.read(&mut buf)).await.is_some_and(|read| read.is_err());
        assert!(heard || far_heard, "one side always hears");
        // Who did not hear does when it writes.
        net.heal();
        let _ = (writer.write(b"x").await, far_writer.write(b"x").await);
        assert!(within(1, reader.read(&mut buf)).await.unwrap().is_err());
        assert!(within(1, far_reader.read(&mut buf)).await.unwrap().is_err());
        (got, heard, far_heard)
    })
}

#[test]
fn a_cut_connection_delivers_a_prefix_and_then_an_error_on_one_side_or_both() {
    let sent = pattern(3_000);
    let (mut heard, mut lengths) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let (got, near, far) = if seed % 2 == 0 {
            cut(seed, async |net, writer| {
                for piece in sent.chunks(100) {
                    writer.write(piece).await.unwrap();
                }
                net.cut_connections("a", "b");
            })
        } else {
            cut(seed, async |net, writer| {
                net.set_link("a", "b", LinkMood { cut_one_in: 4, ..constant(5_000) });
                for piece in sent.chunks(100) {
                    let _ = writer.write(piece).await;
                    true_sleep(Duration::from_micros(10)).await;
                }
            })
        };
        assert!(sent.starts_with(&got), "a prefix");
        heard.insert((near, far));
        lengths.insert(got.len());
    }
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(lengths.len() > 60 && lengths.iter().any(|len| len % 100 != 0), "in the middle of a write");
}

#[test]
fn calls_are_refused_swallowed_or_come_through_later() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let mut listener = b.listen("b:1").await.unwrap();
        net.set_link("a", "b", LinkMood { calls: Calls::Refused, ..LinkMood::calm() });
        assert_eq!(a.dial("b:1").await.err().unwrap().source.kind(), ErrorKind::ConnectionRefused);
        net.set_link("a", "b", LinkMood { calls: Calls::Swallowed, ..LinkMood::calm() });
        let start = true_now();
        assert_eq!(a.dial("b:1").await.err().unwrap().source.kind(), ErrorKind::TimedOut);
        assert!(true_now() - start >= secs(60));
        // In a partition of either direction: once it has ended, a later attempt gets through.
        for cut in [partition::one_way("a", "b"), partition::one_way("b", "a")] {
            net.set_link("a", "b", LinkMood::calm());
            net.partition(&cut);
            let caller = a.clone();
            let dialling = madsim::task::spawn(async move { caller.dial("b:1").await.map(|_| true_now()) });
            true_sleep(secs(5)).await;
            net.end_partition();
            let ended = true_now();
            let dialled = dialling.await.unwrap().unwrap();
            assert!(dialled > ended && dialled - ended < secs(5));
            listener.accept().await.unwrap();
        }
        net.lose_power("b");
        assert!(within(30, a.dial("b:1")).await.is_none(), "a machine without power");
        assert!(within(30, a.dial("nowhere:1")).await.is_none(), "one that never was");
    });
}

#[test]
fn a_listener_may_vanish_and_its_backlog_is_bounded() {
    Runtime::new().block_on(async {
        let net = net();
        let (a, b) = (net.boot("a"), net.boot("b"));
        let mut listener = b.listen("b:1").await.unwrap();
        let mut waiting = Vec::new();
        while let Some(stream) = within(1, a.dial("b:1")).await {
            waiting.push(stream.unwrap());
            assert!(waiting.len() <= 1_000);
        }
        assert_eq!(waiting.len(), 128);
        assert!(net.close_listener("b:1") && !net.close_listener("b:1"));
        assert!(listener.accept().await.is_err());
        let mut first = quorate::env::NetStream::split(waiting.swap_remove(0));
        assert!(within(1, first.0.read(&mut [0; 9])).await.is_some(), "who waits to be accepted is told");
        assert!(a.dial("b:1").await.is_err());
        let _again = b.listen("b:1").await.unwrap();
        drop(listener);
        assert!(a.dial("b:1").await.is_ok(), "the vanished listener has nothing to do with the new one");
    });
}

#[test]
fn healing_ends_moods_and_partitions_and_ending_a_partition_ends_no_mood() {
    Runtime::new().block_on(async {
        let (net, (_reader, mut writer), (mut far_reader, _far_writer)) = connected(3).await;
        net.set_link("a", "b", constant(900_000));
        net.partition(&partition::isolate(&["a", "b"], 0));
        assert!(!net.passes("a", "b").0 && !net.passes("b", "a").0);
        net.end_partition();
        assert!(net.passes("a", "b").0 && net.mood("a", "b") == constant(900_000));
        net.partition(&partition::one_way("a", "b"));
        writer.write(b"x").await.unwrap();
        net.set_all_links(constant(800_000));
        assert!(!net.passes("a", "b").0 && net.mood("c", "a") == constant(800_000), "also those to come");
        net.heal();
        assert!(net.mood("a", "b") == LinkMood::calm() && net.mood("c", "d") == LinkMood::calm());
        assert!(within(3, far_reader.read(&mut [0; 9])).await.is_some());
        let (got, end) = {
            drop(writer);
            read_to_end(&mut far_reader).await
        };
        assert!(got.is_empty() && end.is_ok());
    });
}

#[test]
fn partitions_have_the_shapes_they_are_named_after() {
    let all = ["a", "b", "c", "d", "e", "f", "g"];
    for count in 2..=7 {
        let hosts = &all[..count];
        let reached = |cuts: &partition::Cuts, from: usize| -> Vec<usize> {
            let cut = |to: usize| cuts.contains(&(hosts[from].to_string(), hosts[to].to_string()));
            (0..count).filter(|to| !cut(*to)).collect()
        };
        let isolated = partition::isolate(hosts, 1);
        assert_eq!(reached(&isolated, 1), [1]);
        assert!(!reached(&isolated, 0).contains(&1) && reached(&isolated, 0).len() == count - 1);
        let halves = partition::halves(hosts, 1);
        assert_eq!((reached(&halves, 0), reached(&halves, 1).len()), (vec![0], count - 1));
        assert_eq!(reached(&partition::deaf(hosts, 0), 0).len(), count);
        assert!((1..count).all(|from| !reached(&partition::deaf(hosts, 0), from).contains(&0)));
        assert_eq!(reached(&partition::mute(hosts, 0), 0), [0]);
        assert!((1..count).all(|from| reached(&partition::mute(hosts, 0), from).len() == count));
        assert_eq!(reached(&partition::one_way("a", "b"), 1).len(), count);
        if count >= 3 {
            let bridge = partition::bridge(hosts, 1);
            assert_eq!(reached(&bridge, 1).len(), count);
            assert!((0..count).all(|from| reached(&bridge, from).contains(&1)));
            assert!(reached(&bridge, 0).len() < count && !reached(&bridge, 0).contains(&(count - 1)));
        }
        let ring = partition::majority_ring(hosts);
        let sets: BTreeSet<_> = (0..count).map(|from| reached(&ring, from)).collect();
        assert!(sets.iter().all(|set| set.len() > count / 2), "each reaches a majority: {count} {sets:?}");
        assert!(count < 4 || sets.len() == count, "no two the same: {count} {sets:?}");
    }
}

/// Not a promise but a figure, printed with `--nocapture`: messages a second of real time there and back, one at a
/// time. The bound is a tenth of what a slow machine does.
#[test]
fn how_fast_messages_go() {
    let count = 50_000;
    // Outside of the runtime the clock is the real one.
    let start = std::time::Instant::now();
    Runtime::new().block_on(async {
        let (_net, (mut reader, mut writer), (mut far_reader, mut far_writer)) = connected(3).await;
        let echo = madsim::task::spawn(async move {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = far_reader.read(&mut buf).await {
                far_writer.write(&buf[..n]).await.unwrap();
            }
        });
        for _ in 0..count / 2 {
            writer.write(&[7; 100]).await.unwrap();
            reader.read(&mut [0; 4096]).await.unwrap();
        }
        drop((reader, writer));
        echo.await.unwrap();
    });
    let speed = f64::from(count) / start.elapsed().as_secs_f64();
    println!("{speed:.0} messages a second");
    assert!(speed > 20_000.0, "{speed}");
}
