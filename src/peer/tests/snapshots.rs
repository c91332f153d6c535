//! What comes in as a snapshot and is none, or comes too slowly (F4).

use super::*;

/// A request that a snapshot comes in, with this body behind its head.
fn receiving(cluster: &str, length: usize) -> Vec<u8> {
    let head = format!("Content-Length: {length}\r\nX-Quorate-Snapshot: 0\r\n");
    String::from_utf8_lossy(&post("/raft/snapshot", B, cluster, b"")).replace("Content-Length: 0\r\n", &head).into()
}

fn introduction(manifest: &[u8]) -> Vec<u8> {
    let mut introduction = Vec::new();
    super::super::message_codec::put_message(&snapshot(B, A, 9, 50), &mut introduction);
    super::super::snapshot_frames::put_manifest(manifest, &mut introduction);
    introduction
}

#[test]
fn who_belongs_elsewhere_or_promises_too_much_sends_no_snapshot() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let a = &members[0];
        let answered = async |cluster: &str, body: &[u8]| {
            let answer = raw(&world, A, &[receiving(cluster, body.len()), body.to_vec()].concat()).await;
            answer.lines().next().unwrap_or_default().to_string()
        };
        assert!(answered("2b", &introduction(b"wanted")).await.contains(" 412 "), "another cluster");
        // No length is believed, and no memory is taken for it.
        let mut long_manifest = introduction(b"");
        let at = long_manifest.len() - 8;
        long_manifest[at..at + 4].copy_from_slice(&(limits::SNAPSHOT_MANIFEST_BYTES as u32 + 1).to_be_bytes());
        assert!(answered("2a", &long_manifest).await.contains(" 400 "), "a manifest beyond its limit");
        let mut long_chunk = introduction(b"wanted");
        long_chunk.extend_from_slice(&(limits::SNAPSHOT_FRAME_BYTES as u32 + 1).to_be_bytes());
        long_chunk.extend_from_slice(&[0; 4]);
        assert!(answered("2a", &long_chunk).await.contains(" 400 "), "a chunk beyond its limit");
        let mut long_head = (u64::MAX / 2).to_be_bytes().to_vec();
        long_head.extend_from_slice(&[0; 64]);
        assert!(answered("2a", &long_head).await.contains(" 400 "), "a head beyond its limit");
        let mut empty = introduction(b"wanted");
        super::super::snapshot_frames::put_chunk(b"", &mut empty);
        assert!(answered("2a", &empty).await.contains(" 400 "), "a chunk of nothing");
        // Cut in the middle of a chunk: there is nobody to answer.
        let mut cut = introduction(b"wanted");
        super::super::snapshot_frames::put_chunk(&[1; 1_000], &mut cut);
        cut.truncate(cut.len() - 1);
        assert_eq!(answered("2a", &cut).await, "");
        a.door.told(|told| assert!(told.arrived.is_empty() && told.chunks.is_empty() && told.finished == 0));
        // Every place is free again.
        let (chunks, _) = source("wanted", 3, 1_000);
        members[1].transport.send_snapshot(snapshot(B, A, 9, 50), chunks);
        world.pass(Duration::from_secs(1)).await;
        a.door.told(|told| assert_eq!((told.chunks.len(), told.finished), (3, 1)));
    });
}

/// Whether the connection is given up within this time; until then nothing is said but that the receiver is there.
async fn given_up_within(world: &VirtualEnv, reader: &mut impl NetReader, time: Duration) -> bool {
    let until = world.now().plus(time);
    loop {
        let mut buf = [0; 1_000];
        match crate::env::virtual_timeout(until.since(world.now()), reader.read(&mut buf)).await {
            Err(_) => return false,
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(n)) => assert!(buf[..n].starts_with(b"HTTP/1.1 102 "), "it is answered nothing"),
        }
    }
}

/// A receiver whose disk takes long is waited for, and one that is not there any more is not: the connection is silent in
/// both cases but for what the receiver says meanwhile.
#[test]
fn who_works_on_a_snapshot_is_told_from_who_is_gone() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        let wait = |time: Duration| {
            let env = world.at("disk");
            let until = world.now().plus(time);
            let slow: BoxFuture<'static, ()> = Box::pin(async move { env.clock().sleep_until(until).await });
            b.door.told(|told| told.finishes_after = Some(slow));
        };
        // As long as it may take, and longer.
        let most = Duration::from_millis(limits::SNAPSHOT_FINISH_MS);
        let (second, arrives) = (Duration::from_secs(1), |takes| takes < most);
        for takes in [Duration::from_secs(20), most - second, most + 2 * second] {
            b.door.told(|told| told.chunks.clear());
            wait(takes);
            a.transport.send_snapshot(snapshot(A, B, 9, 50), source("wanted", 3, 1_000).0);
            world.pass(takes.min(most) - second).await;
            a.door.told(|told| assert!(told.snapshots.is_empty(), "it is waited for: {takes:?}"));
            world.pass(2 * second).await;
            let became = a.door.told(|told| std::mem::take(&mut told.snapshots));
            assert_eq!(became, [(B, arrives(takes))], "{takes:?}");
        }

        b.door.told(|told| told.chunks.clear());
        world.pass(10 * second).await;
        wait(Duration::from_secs(200));
        a.transport.send_snapshot(snapshot(A, B, 10, 50), source("wanted", 3, 1_000).0);
        world.pass(Duration::from_secs(1)).await;
        b.door.told(|told| assert_eq!(told.chunks.len(), 3));
        world.net().cut(&host(A), &host(B));
        world.pass(Duration::from_millis(limits::PEER_READ_TIMEOUT_MS + 1_000)).await;
        a.door.told(|told| assert_eq!(told.snapshots, [(B, false)], "nobody is there"));
    });
}

/// However long a receiver reads what it has: it is asked again, in one attempt, and what it has then counts.
#[test]
fn who_still_reads_what_it_has_is_asked_again() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        // More than three offers, each for as long as one may take.
        let offers = 4 * limits::SNAPSHOT_STALL_MS / limits::SNAPSHOT_ASK_AGAIN_MS;
        b.door.told(|told| {
            told.reads_for = offers;
            told.chunks = vec![Bytes::from_static(b"it has one")];
        });
        let (chunks, asked) = source("wanted", 3, 1_000);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        world.pass(Duration::from_millis((offers - 1) * limits::SNAPSHOT_ASK_AGAIN_MS)).await;
        assert!(b.door.told(|told| told.reads_for) > 0, "it is not asked in haste");
        a.door.told(|told| assert!(told.snapshots.is_empty() && told.unreachable.is_empty(), "it is waited for"));
        world.pass(Duration::from_secs(5)).await;
        a.door.told(|told| assert_eq!((&told.snapshots[..], &told.unreachable[..]), (&[(B, true)][..], &[][..])));
        b.door.told(|told| assert_eq!((told.chunks.len(), told.finished), (3, 1)));
        assert_eq!(*asked.lock().unwrap(), [1, 2, 3], "what it has is not sent");
        // One that is gone meanwhile is not waited for.
        b.door.told(|told| told.reads_for = u64::MAX);
        a.transport.send_snapshot(snapshot(A, B, 10, 50), source("wanted", 3, 1_000).0);
        world.pass(Duration::from_secs(10)).await;
        world.net().cut(&host(A), &host(B));
        world.pass(Duration::from_millis(limits::PEER_READ_TIMEOUT_MS + 2_000)).await;
        a.door.told(|told| assert_eq!(told.snapshots, [(B, true), (B, false)], "nobody is there"));
    });
}

/// Who is silent, and who says a byte now and then, has a place for a time and no longer.
#[test]
fn a_slow_sender_of_a_snapshot_is_given_up() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let a = &members[0];
        let mut body = introduction(b"wanted");
        super::super::snapshot_frames::put_chunk(&[7; 2_000], &mut body);
        let whole = body.len();
        super::super::snapshot_frames::put_chunk(&[8; 2_000], &mut body);
        let most = Duration::from_millis(limits::SNAPSHOT_FRAME_MS);
        let silence = Duration::from_millis(limits::SNAPSHOT_STALL_MS);
        for (pause, least, most) in
            [(silence - Duration::from_secs(1), most - silence, most + silence), (most, silence / 2, silence * 2)]
        {
            a.door.told(|told| told.chunks.clear());
            let stream = world.at("slow").net().dial(&format!("{}:2380", host(A))).await.expect("it listens");
            let (mut reader, mut writer) = stream.split();
            writer.write(&receiving("2a", body.len())).await.expect("sent");
            writer.write(&body[..whole]).await.expect("sent");
            world.pass(Duration::from_secs(1)).await;
            a.door.told(|told| assert_eq!(told.chunks.len(), 1, "what came is taken in"));
            let began = world.now();
            for byte in &body[whole..] {
                if writer.write(&[*byte]).await.is_err() {
                    break;
                }
                if given_up_within(&world, &mut reader, pause).await {
                    break;
                }
            }
            let took = world.now().since(began);
            assert!(took >= least && took <= most, "given up after {took:?}");
        }
        a.door.told(|told| assert!(told.finished == 0 && told.arrived.is_empty()));
    });
}
