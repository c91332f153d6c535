//! The heads of HTTP/2's frames, found in the bytes of one direction of a connection (RFC 9113, sections 3.4, 4.1 and 6).
//!
//! Invariants: each byte is passed over once, wherever bytes are cut; of another protocol nothing is found. Does not know
//! what the frames mean.

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a head.
pub const FRAME_HEAD_BYTES: usize = 9;

/// Types of frames.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const ACK: u8 = 0x01;
/// See [`ACK`].
pub const END_STREAM: u8 = 0x01;
/// See [`ACK`].
pub const PADDED: u8 = 0x08;
/// See [`ACK`].
pub const PRIORITY: u8 = 0x20;

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Bytes of its payload.
    pub length: usize,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
}

/// Where one direction of a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// So much of the preface was seen.
    Preface(usize),
    /// This is no HTTP/2.
    Other,
    /// So much of a frame's head was seen.
    Head(usize),
    /// So much of a payload is left.
    Payload(usize),
}

/// What bytes were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A part of a head or of the preface, or nothing of HTTP/2.
    Nothing,
    /// The last part of a head.
    Head(Head),
    /// A part of the payload of the frame whose head was found last.
    Payload,
}

/// Reads one direction.
#[derive(Debug)]
pub struct Frames {
    at: At,
    head: [u8; FRAME_HEAD_BYTES],
}

impl Frames {
    /// Of a client, who begins with a preface.
    pub fn of_client() -> Self {
        Self { at: At::Preface(0), head: [0; FRAME_HEAD_BYTES] }
    }

    /// Of a server, whose first byte begins a frame.
    pub fn of_server() -> Self {
        Self { at: At::Head(0), head: [0; FRAME_HEAD_BYTES] }
    }

    /// Whether the next byte begins a frame.
    pub fn is_between_frames(&self) -> bool {
        self.at == At::Head(0)
    }

    /// Whether frames come: the preface is over, where there is one.
    pub fn has_begun(&self) -> bool {
        !matches!(self.at, At::Preface(_) | At::Other)
    }

    /// As much as there is of a head that is not whole yet.
    pub fn part_of_head(&self) -> &[u8] {
        if let At::Head(done) = self.at { &self.head[..done] } else { &[] }
    }

    /// Passes over some of these bytes, which are not none: how many, and what they were.
    pub fn next(&mut self, bytes: &[u8]) -> (usize, Found) {
        match self.at {
            At::Other => (bytes.len(), Found::Nothing),
            At::Preface(done) => {
                self.at = match done + 1 {
                    _ if bytes[0] != PREFACE[done] => At::Other,
                    all if all == PREFACE.len() => At::Head(0),
                    some => At::Preface(some),
                };
                (1, Found::Nothing)
            }
            At::Head(done) => {
                let part = bytes.len().min(FRAME_HEAD_BYTES - done);
                self.head[done..done + part].copy_from_slice(&bytes[..part]);
                if done + part < FRAME_HEAD_BYTES {
                    self.at = At::Head(done + part);
                    return (part, Found::Nothing);
                }
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                self.at = payload(length);
                let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                (part, Found::Head(Head { length, kind, flags, stream }))
            }
            At::Payload(left) => {
                let part = left.min(bytes.len());
                self.at = payload(left - part);
                (part, Found::Payload)
            }
        }
    }

    /// Passes over all of these bytes; `seen` is told of each head that is complete with them.
    pub fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let (used, found) = self.next(bytes);
            if let Found::Head(head) = found {
                seen(head);
            }
            bytes = &bytes[used..];
        }
    }
}

fn payload(left: usize) -> At {
    if left == 0 { At::Head(0) } else { At::Payload(left) }
}

/// What tests of those who look at frames share.
#[cfg(test)]
pub mod testing {
    /// A frame.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::frame;
    use super::*;

    #[test]
    fn heads_are_found_wherever_bytes_are_cut() {
        let frames = [frame(4, 0, 0, &[]), frame(HEADERS, 4, 1, &[7; 300]), frame(PING, 0, 0, &[6; 8])].concat();
        for cut in [1, 2, 8, 9, 10, 1_000] {
            let (mut heads, mut kinds) = (Frames::of_client(), Vec::new());
            for part in [PREFACE, &frames].concat().chunks(cut) {
                heads.pass(part, |head| kinds.push((head.kind, head.length, head.stream)));
            }
            assert_eq!(kinds, [(4, 0, 0), (HEADERS, 300, 1), (PING, 8, 0)], "{cut}");
            assert!(heads.is_between_frames() && heads.has_begun());
            let mut heads = Frames::of_client();
            heads.pass(b"PRX * HTTP/2.0\r\n", |head| panic!("{head:?}"));
            heads.pass(&frames, |head| panic!("{head:?}"));
            assert!(!heads.has_begun());
        }
    }

    #[test]
    fn payloads_are_told_from_heads() {
        let bytes = [frame(HEADERS, 4, 1, b"abc"), frame(DATA, 1, 1, b"defgh")].concat();
        for cut in 1..bytes.len() {
            let (mut frames, mut payloads) = (Frames::of_server(), Vec::new());
            for mut part in bytes.chunks(cut) {
                while !part.is_empty() {
                    let (used, found) = frames.next(part);
                    if found == Found::Payload {
                        payloads.extend_from_slice(&part[..used]);
                    }
                    part = &part[used..];
                }
            }
            assert_eq!(payloads, b"abcdefgh", "{cut}");
        }
    }
}
