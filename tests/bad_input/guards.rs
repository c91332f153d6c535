//! What one HTTP/2 connection may do: just within each bound it goes on, just beyond it is told and ends, or its stream does.
//!
//! Of pings that is held by `transport.rs`. Streams that are given up before they were looked at are counted where it depends on
//! the moment which these are: so many are always within the bound; what lies beyond it is held there, too.

use std::time::Duration;

use quorate::base::limits;
use quorate::wire::etcdserverpb as pb;

use super::street::{Server, bytes};
use super::wire::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RESET, WINDOW_UPDATE, Wire, frame, framed, head};

/// Longest any step may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// What became of a request.
#[derive(PartialEq, Eq, Debug)]
enum End {
    /// It was answered.
    Answered,
    /// Its head is too long: HTTP's status 431.
    HeadTooLong,
    /// Its stream was reset, with this code.
    Reset(u32),
    /// The connection was ended, with this code and word.
    Away(u32, String),
}

fn away(code: u32, word: &str) -> End {
    End::Away(code, word.to_string())
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

/// Waits until a stream ends, or the connection.
async fn end_of(wire: &mut Wire, stream: u32) -> End {
    let mut end = None;
    loop {
        let frame = wire.frame(LIMIT).await.expect("it is told");
        match frame.kind {
            GOAWAY => {
                return End::Away(code(&frame.payload[4..8]), String::from_utf8(frame.payload[8..].to_vec()).unwrap());
            }
            // The server's own static tables: 431 has no number there, and is spelled out or coded.
            HEADERS if frame.stream == stream => {
                let is_answer = frame.payload[0] == 0x88;
                let known = end.get_or_insert(if is_answer { End::Answered } else { End::HeadTooLong });
                if frame.flags & END_STREAM != 0 {
                    return std::mem::replace(known, End::Answered);
                }
            }
            RESET if frame.stream == stream => return End::Reset(code(&frame.payload)),
            _ => {}
        }
    }
}

/// Whether the connection goes on, and how it was ended if it does not.
async fn goes_on(wire: &mut Wire) -> Result<(), End> {
    wire.try_send(&frame(PING, 0, 0, b"are-well")).await;
    loop {
        let frame = wire.frame(LIMIT).await.expect("it is told");
        match frame.kind {
            PING if frame.flags & ACK != 0 => return Ok(()),
            GOAWAY => {
                let word = String::from_utf8(frame.payload[8..].to_vec()).unwrap();
                return Err(End::Away(code(&frame.payload[4..8]), word));
            }
            _ => {}
        }
    }
}

/// A put on this stream, with its head.
fn put(stream: u32) -> Vec<u8> {
    [head(stream, PUT, "x", &[]), body(stream)].concat()
}

fn body(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &framed(&pb::PutRequest { key: bytes("k"), ..Default::default() }))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &CANCEL.to_be_bytes())
}

/// A number of HPACK behind `first`, whose low bits are its prefix.
fn number(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let (mut out, mut rest) = (vec![first | most as u8], value - most);
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
    out
}

/// A literal field; `first` says whether it is remembered.
fn literal(first: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [vec![first], number(0, 7, name.len()), name.into(), number(0, 7, value.len()), value.to_vec()].concat()
}

/// How HTTP/2 counts a field.
fn size(name: &str, value: usize) -> usize {
    name.len() + value + 32
}

/// The block of header fields of a put, whose list is as long as this: one field that is remembered and named again and again, and
/// one more.
fn block(list: usize) -> Vec<u8> {
    // Fills the table of what is remembered.
    let large = vec![b'l'; 4_096 - size("x", 0)];
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let mut block = [&[0x83, 0x86][..], &literal(0, ":path", PUT.as_bytes()), &literal(0, ":authority", b"x")].concat();
    let mut left = list - size(":method", 4) - size(":scheme", 4) - size(":path", PUT.len()) - size(":authority", 1);
    for (name, value) in fields {
        block.extend(literal(0, name, value.as_bytes()));
        left -= size(name, value.len());
    }
    let times = (left - size("y", 0)) / 4_096;
    block.extend(literal(0x40, "x", &large));
    block.extend(vec![0xbe; times - 1]);
    block.extend(literal(0, "y", &vec![b'm'; left - times * 4_096 - size("y", 0)]));
    block
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_header_fields_is_as_long_as_it_may_be_and_no_longer() {
    let server = Server::start().await;
    let most = limits::MAX_HEADER_BYTES as usize;
    for (list, expected) in [
        (most - 1, End::Answered),
        (most, End::HeadTooLong),
        (4 * most, End::HeadTooLong),
        (4 * most + 1, away(ENHANCE_YOUR_CALM, "header_list_way_too_large")),
    ] {
        let mut wire = Wire::open(&server).await;
        wire.try_send(&[frame(HEADERS, END_HEADERS, 1, &block(list)), body(1)].concat()).await;
        let end = end_of(&mut wire, 1).await;
        assert_eq!(end, expected, "{list}");
        if !matches!(end, End::Away(..)) {
            wire.send_all(&put(3)).await;
            assert_eq!(end_of(&mut wire, 3).await, End::Answered, "behind {list}");
        }
    }
    server.must_be_well_at(5).await;
}

/// Frames on a new connection that it bears, and such that it ends with.
struct Row {
    what: &'static str,
    within: Vec<u8>,
    beyond: Vec<u8>,
    end: End,
}

fn setting(name: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, name][..], &value.to_be_bytes()].concat())
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// The head of a put in so many frames that do not end it, and one that does.
fn continued(count: usize) -> Vec<u8> {
    let whole = head(1, PUT, "x", &[]);
    let block = &whole[9..];
    let parts = frame(CONTINUATION, 0, 1, &[]).repeat(count - 1);
    let (one, other) = block.split_at(block.len() / 2);
    let begin = [frame(HEADERS, 0, 1, one), frame(CONTINUATION, 0, 1, &other[..1])].concat();
    [begin, parts, frame(CONTINUATION, END_HEADERS, 1, &other[1..]), body(1)].concat()
}

/// A watch that asks for nothing, then so many frames of data that say nothing.
fn says_nothing(count: usize) -> Vec<u8> {
    [head(1, WATCH, "x", &[]), frame(DATA, 0, 1, &[]).repeat(count)].concat()
}

/// So many requests, each given up in the same breath.
fn given_up(count: u32) -> Vec<u8> {
    (0..count)
        .map(|nth| 2 * nth + 1)
        .flat_map(|stream| [head(stream, PUT, "x", &[]), reset(stream)])
        .flatten()
        .collect()
}

fn rows() -> Vec<Row> {
    let most = (1_u32 << 31) - 1;
    let larger = |bytes: usize| [head(1, WATCH, "x", &[]), frame(DATA, 0, 1, &vec![0; bytes])].concat();
    vec![
        Row {
            what: "frames that a head goes on in",
            within: continued(5),
            beyond: continued(6),
            end: away(ENHANCE_YOUR_CALM, "too_many_continuations"),
        },
        Row {
            what: "empty frames of data",
            within: says_nothing(100),
            beyond: says_nothing(101),
            end: away(ENHANCE_YOUR_CALM, "too_many_data_frames"),
        },
        Row {
            what: "the window of the connection",
            within: window(0, most - 65_535),
            beyond: window(0, most - 65_534),
            end: away(FLOW_CONTROL_ERROR, ""),
        },
        Row { what: "no more window", within: window(0, 1), beyond: window(0, 0), end: away(PROTOCOL_ERROR, "") },
        // The library's word; HTTP/2 has another one for it.
        Row {
            what: "the window of streams",
            within: setting(4, most),
            beyond: setting(4, most + 1),
            end: away(PROTOCOL_ERROR, ""),
        },
        Row {
            what: "the least frame that is taken",
            within: setting(5, 16_384),
            beyond: setting(5, 16_383),
            end: away(PROTOCOL_ERROR, ""),
        },
        Row {
            what: "the largest frame that is taken",
            within: setting(5, (1 << 24) - 1),
            beyond: setting(5, 1 << 24),
            end: away(PROTOCOL_ERROR, ""),
        },
        Row {
            what: "the length of a frame",
            within: larger(16_384),
            beyond: larger(16_385),
            end: away(FRAME_SIZE_ERROR, ""),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_within_a_bound_goes_on_and_what_is_beyond_it_ends_the_connection() {
    let server = Server::start().await;
    for row in rows() {
        let mut wire = Wire::open(&server).await;
        wire.try_send(&row.within).await;
        assert_eq!(goes_on(&mut wire).await, Ok(()), "{} within", row.what);
        let mut wire = Wire::open(&server).await;
        wire.try_send(&row.beyond).await;
        assert_eq!(goes_on(&mut wire).await, Err(row.end), "{} beyond", row.what);
    }
    server.put("other", "v").await;
    // The put in five frames is carried out.
    server.must_be_well_at(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_may_be_given_up_unseen_as_the_bound_says() {
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    wire.send_all(&given_up(limits::RESET_STREAMS as u32)).await;
    assert_eq!(goes_on(&mut wire).await, Ok(()));
    server.must_be_well_at(1).await;
}

/// They have no bound: no more is read than is answered.
#[tokio::test(flavor = "multi_thread")]
async fn settings_in_any_number_are_acknowledged_one_by_one() {
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    wire.send_all(&setting(4, 65_535).repeat(5_000)).await;
    wire.send_all(&put(1)).await;
    let (mut acknowledged, mut is_answered) = (0, false);
    // One more: that of the beginning.
    while acknowledged < 5_001 || !is_answered {
        let frame = wire.frame(LIMIT).await.expect("each is acknowledged");
        match frame.kind {
            SETTINGS if frame.flags & ACK != 0 => acknowledged += 1,
            HEADERS if frame.flags & END_STREAM != 0 => is_answered = true,
            GOAWAY => panic!("sent away after {acknowledged}"),
            _ => {}
        }
    }
    server.put("other", "v").await;
    drop(wire);
    server.must_be_well_at(3).await;
}

/// More are refused, which a client may ask again, and one that ends leaves its place.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_are_open_as_the_flag_says() {
    let server = Server::start_with(&["--max-concurrent-streams=4"]).await;
    let mut wire = Wire::open(&server).await;
    for stream in [1, 3, 5, 7] {
        wire.send_all(&head(stream, WATCH, "x", &[])).await;
    }
    assert_eq!(goes_on(&mut wire).await, Ok(()));
    wire.send_all(&put(9)).await;
    assert_eq!(end_of(&mut wire, 9).await, End::Reset(REFUSED_STREAM));
    wire.send_all(&[reset(5), put(11)].concat()).await;
    assert_eq!(end_of(&mut wire, 11).await, End::Answered);
    wire.send_all(&head(13, WATCH, "x", &[])).await;
    wire.send_all(&put(15)).await;
    assert_eq!(end_of(&mut wire, 15).await, End::Reset(REFUSED_STREAM));
    drop(wire);
    server.must_be_well_at(2).await;
}

/// Over the life of a connection, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_again_and_again_is_sent_away() {
    let server = Server::start_with(&["--max-concurrent-streams=1"]).await;
    let most = limits::RESET_STREAMS as u32;
    let mut wire = Wire::open(&server).await;
    wire.send_all(&head(1, WATCH, "x", &[])).await;
    let refused = |count: u32| (0..count).flat_map(|nth| head(2 * nth + 3, PUT, "x", &[])).collect::<Vec<u8>>();
    wire.send_all(&refused(most)).await;
    assert_eq!(goes_on(&mut wire).await, Ok(()));
    wire.try_send(&head(2 * most + 3, PUT, "x", &[])).await;
    assert_eq!(goes_on(&mut wire).await, Err(away(ENHANCE_YOUR_CALM, "too_many_internal_resets")));
    server.must_be_well_at(1).await;
}
