//! A connection whose requests may name any `:authority` and `:scheme`.
//!
//! gRPC servers do not look at these, and clients put there what they like: the Go client 3.5.0 sends
//! `#initially=[http://host:2379]`. The HTTP/2 library reads them as parts of a URI and resets the stream when they are
//! none; it cannot be told not to. Nothing in this house reads them either, so every literal value of the two is
//! overwritten with letters before the library sees it.
//!
//! Overwriting needs no tables: a field's name is known by its number in HPACK's static table, the value stays as long on
//! the wire, and it is marked as not Huffman-coded. A coder uses Huffman's code only where that is shorter, so the new value
//! is no longer than the old one; the library's dynamic table then holds at least what the client's holds, at the same
//! numbers. What stays refused: an empty value, and a name that is spelled out instead of numbered.
//!
//! Invariants: no byte is added or taken away; bytes of other frames pass as they are. Does not know where frames begin.

use crate::server::frames::{CONTINUATION, HEADERS, Head, PADDED, PRIORITY};

const PRIORITY_BYTES: usize = 5;

/// `:authority`, `:scheme http` and `:scheme https` in HPACK's static table (RFC 7541, appendix A).
const UNREAD_NAMES: [u8; 3] = [1, 6, 7];

/// What stands in place of such a value: a letter may stand in either.
const FILLER: u8 = b'x';

/// Where the payload of a frame stands.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Nothing of it is looked at any more.
    Rest,
    /// The length of its padding comes next.
    PadLength { left: usize, priority: bool },
    /// So much is skipped before a block of header fields.
    Skip { skip: usize, block: usize },
    /// A block of header fields.
    Block { left: usize },
}

/// Where a block of header fields stands. It may go on in another frame.
#[derive(Clone, Copy, Debug)]
enum Field {
    Begin,
    /// The rest of a number, and what follows it.
    Number(After),
    NameLength,
    /// More bytes of a length, so far read.
    Length {
        length: usize,
        shift: u32,
        after: Part,
    },
    Text {
        left: usize,
        part: Part,
    },
    ValueLength,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    Begin,
    Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Name,
    Value,
}

/// Finds and overwrites the values.
#[derive(Debug)]
pub struct Filler {
    at: At,
    field: Field,
    /// Whether the value that comes is one that nobody reads.
    unread: bool,
}

impl Filler {
    /// Before the first frame.
    pub fn new() -> Self {
        Self { at: At::Rest, field: Field::Begin, unread: false }
    }

    /// The head of a frame has come.
    pub fn begin_frame(&mut self, head: &Head) {
        let priority = head.flags & PRIORITY != 0;
        let skip = if priority { PRIORITY_BYTES } else { 0 }.min(head.length);
        self.at = match head.kind {
            HEADERS if head.flags & PADDED != 0 && head.length > 0 => At::PadLength { left: head.length, priority },
            HEADERS => skipped(skip, head.length - skip),
            CONTINUATION => skipped(0, head.length),
            _ => At::Rest,
        };
        if head.kind == HEADERS {
            self.field = Field::Begin;
        }
    }

    /// Passes over the next bytes of that frame's payload.
    pub fn pass(&mut self, mut payload: &mut [u8]) {
        while !payload.is_empty() && !matches!(self.at, At::Rest) {
            let used = self.pass_some(payload);
            payload = &mut payload[used..];
        }
    }

    /// Passes over some bytes; how many.
    fn pass_some(&mut self, bytes: &mut [u8]) -> usize {
        match self.at {
            At::Rest => bytes.len(),
            At::PadLength { left, priority } => {
                let left = left - 1;
                let skip = if priority { PRIORITY_BYTES } else { 0 }.min(left);
                let padding = usize::from(bytes[0]).min(left - skip);
                self.at = skipped(skip, left - skip - padding);
                1
            }
            At::Skip { skip, block } => {
                let part = skip.min(bytes.len());
                self.at = skipped(skip - part, block);
                part
            }
            At::Block { left } => {
                let part = left.min(bytes.len());
                self.fields(&mut bytes[..part]);
                self.at = skipped(0, left - part);
                part
            }
        }
    }

    fn fields(&mut self, mut block: &mut [u8]) {
        while !block.is_empty() {
            let used = self.some_fields(block);
            block = &mut block[used..];
        }
    }

    /// Passes over some bytes of a block; how many.
    fn some_fields(&mut self, block: &mut [u8]) -> usize {
        let byte = block[0];
        match self.field {
            Field::Begin => self.begin(byte),
            Field::Number(_) if byte & 0x80 != 0 => {}
            Field::Number(After::Begin) => self.field = Field::Begin,
            Field::Number(After::Value) => self.field = Field::ValueLength,
            Field::NameLength => self.length(byte, Part::Name),
            Field::ValueLength => {
                self.length(byte, Part::Value);
                if self.unread {
                    block[0] &= 0x7f;
                }
            }
            Field::Length { length, shift, after } => {
                // A length that no block can have is refused by the library; it must only do no harm here.
                let length = length.saturating_add(usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX));
                self.field = if byte & 0x80 != 0 {
                    Field::Length { length, shift: shift.saturating_add(7), after }
                } else {
                    text(length, after)
                };
            }
            Field::Text { left, part } => {
                let some = left.min(block.len());
                if part == Part::Value && self.unread {
                    block[..some].fill(FILLER);
                }
                self.field = text(left - some, part);
                return some;
            }
        }
        1
    }

    /// The first byte of a field.
    fn begin(&mut self, byte: u8) {
        // Indexed; literal to be remembered; change of the table's size; literal not to be.
        let (bits, has_value) = match byte {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let most = (1_u8 << bits) - 1;
        let number = byte & most;
        self.unread = has_value && UNREAD_NAMES.contains(&number);
        self.field = match (has_value, number) {
            (false, number) if number == most => Field::Number(After::Begin),
            (false, _) => Field::Begin,
            (true, 0) => Field::NameLength,
            (true, number) if number == most => Field::Number(After::Value),
            (true, _) => Field::ValueLength,
        };
    }

    fn length(&mut self, byte: u8, part: Part) {
        let length = byte & 0x7f;
        self.field = if length == 0x7f {
            Field::Length { length: length.into(), shift: 0, after: part }
        } else {
            text(length.into(), part)
        };
    }
}

/// What stands before so much of a block of fields; behind it there is padding at most.
fn skipped(skip: usize, block: usize) -> At {
    match (skip, block) {
        (0, 0) => At::Rest,
        (0, left) => At::Block { left },
        (skip, block) => At::Skip { skip, block },
    }
}

/// What comes when so much of a text is left.
fn text(left: usize, part: Part) -> Field {
    match (left, part) {
        (0, Part::Name) => Field::ValueLength,
        (0, Part::Value) => Field::Begin,
        (left, part) => Field::Text { left, part },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::frames::{Found, Frames, PREFACE, testing};
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        testing::frame(kind, flags, 1, payload)
    }

    fn passed(bytes: &[u8], cut: usize) -> Vec<u8> {
        let (mut bytes, mut frames, mut filler) = (bytes.to_vec(), Frames::of_client(), Filler::new());
        for mut part in bytes.chunks_mut(cut) {
            while !part.is_empty() {
                let (used, found) = frames.next(part);
                match found {
                    Found::Nothing => {}
                    Found::Head(head) => filler.begin_frame(&head),
                    Found::Payload => filler.pass(&mut part[..used]),
                }
                part = &mut part[used..];
            }
        }
        bytes
    }

    /// A literal field: how its name is told, then a value with or without Huffman's code.
    fn literal(name: &[u8], huffman: bool, value: &[u8]) -> Vec<u8> {
        let mark = if huffman { 0x80 } else { 0 };
        let length = match value.len() {
            length @ ..127 => vec![mark | length as u8],
            length => vec![mark | 127, ((length - 127) & 0x7f) as u8 | 0x80, ((length - 127) >> 7) as u8],
        };
        [name, &length, value].concat()
    }

    /// A block of every kind of field; `authority` stands in two of them.
    fn block(huffman: bool, authority: &[u8], scheme: &[u8]) -> Vec<u8> {
        [
            vec![0x3f, 0xe1, 0x1f, 0x83],
            literal(&[0x41], huffman, authority),
            literal(&[0x06], false, scheme),
            literal(&[0x44], true, b"/etcdserverpb.KV/Put"),
            literal(&[0x0f, 0x80, 0x01], false, b"a name beyond the static table"),
            literal(&[0x40, 3, b'a', b'b', b'c'], false, b"a name that is spelled out"),
            literal(&[0x11], false, authority),
            vec![0xff, 0x03, 0xbe],
        ]
        .concat()
    }

    #[test]
    fn unread_values_are_overwritten_wherever_they_are_cut() {
        for length in [0, 1, 40, 126, 127, 128, 300] {
            let before = block(true, &vec![b'#'; length], b"http");
            let after = block(false, &vec![FILLER; length], b"xxxx");
            let data = frame(0, 1, &[0x41, 3, 1, 2, 3]);
            let connection = |block: &[u8]| {
                let (one, other) = block.split_at(block.len() / 2);
                let padded = [&[3][..], &[0; 5], block, &[0x41, 1, 7]].concat();
                [
                    PREFACE,
                    &frame(4, 0, &[]),
                    &frame(HEADERS, 4, block),
                    &data,
                    &frame(HEADERS, 0x2c, &padded),
                    &frame(HEADERS, 0x20, &[&[0; 5], one].concat()),
                    &frame(CONTINUATION, 4, other),
                    &data,
                ]
                .concat()
            };
            for cut in [1, 2, 7, 64, 1 << 20] {
                assert!(passed(&connection(&before), cut) == connection(&after), "{length} {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_no_http2_stays_and_nothing_at_all_panics(bytes in any::<Vec<u8>>(), cut in 1..9_usize) {
            prop_assert_eq!(passed(&bytes, cut), bytes.clone());
            let noise = [PREFACE, &bytes].concat();
            prop_assert_eq!(passed(&noise, cut).len(), noise.len());
            let headers = [PREFACE, &frame(HEADERS, bytes.first().copied().unwrap_or(0), &bytes), &frame(0, 0, b"A")].concat();
            let all = passed(&headers, cut);
            prop_assert_eq!(&all[all.len() - 1..], b"A");
        }
    }
}
