//! What lies behind the point where a log stops verifying.
//!
//! A torn tail and damage look the same at that point; what tells them apart is what still verifies behind it.
//! This file finds that; it does not judge, because it does not know what the records promise.

use super::frame::{self, FRAME_HEADER_BYTES, FrameWrong, Framed, Place};
use super::segment::WholeSegment;

/// Calls `found` for every frame of this log and segment that verifies in `whole`, at or behind `from` and at
/// multiples of `step`. Returns the end of the last frame, or of the last header whose body does not
/// verify, as far as the bytes reach; `from` if there is none.
pub fn search(
    log: u32,
    segment: u64,
    whole: &WholeSegment,
    from: u64,
    step: u64,
    mut found: impl FnMut(u64, Framed),
) -> u64 {
    let bytes = &whole.bytes;
    assert!(step.is_multiple_of(frame::FRAME_ALIGN as u64) && step > 0, "frames start at aligned places");
    let mut end = from;
    let mut offset = from.next_multiple_of(step);
    // A header is never all zero, so none begins behind the last byte that is not zero; its body may end there.
    while offset < whole.written {
        let rest = bytes.slice(offset as usize..);
        let place = Place { log, segment, offset };
        if let Ok(head) = frame::decode_head(place, &rest) {
            let total = frame::total_len(head.body_len) as u64;
            end = end.max((offset + total).min(bytes.len() as u64));
            match frame::decode(place, &rest) {
                Ok(framed) => found(offset, framed),
                Err(FrameWrong::End | FrameWrong::Short { .. } | FrameWrong::Damaged(_)) => {}
            }
        }
        // Not by the frame's length: a frame that verifies may itself hold what looks like the start of one,
        // but its place would not match.
        offset += step;
    }
    end
}

/// Whether a frame may stand at `from` of which something cannot be read: then nobody can say that there is none.
pub fn hides(log: u32, segment: u64, whole: &WholeSegment, from: u64) -> bool {
    let rest = whole.bytes.slice((from as usize).min(whole.bytes.len())..);
    let head = frame::decode_head(Place { log, segment, offset: from }, &rest);
    let total = head.map_or(FRAME_HEADER_BYTES, |head| frame::total_len(head.body_len));
    whole.is_unreadable(from, from + total as u64)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::segment::end_of_writing;
    use super::*;
    use crate::log::LOG_WAL;

    #[test]
    fn finds_what_verifies_behind_damage() {
        let mut segment = BytesMut::new();
        let mut starts = Vec::new();
        for kind in 1..=4 {
            starts.push(segment.len() as u64);
            let place = Place { log: LOG_WAL, segment: 3, offset: segment.len() as u64 };
            frame::encode(&mut segment, place, kind, &[&[kind; 21]]);
        }
        let end = segment.len() as u64;
        segment[starts[1] as usize + 20] ^= 1;
        segment.extend_from_slice(&[0; 40]);
        let written = end_of_writing(&segment);
        let whole = WholeSegment { written, bytes: segment.freeze(), ..WholeSegment::default() };
        let mut found = Vec::new();
        let reach = search(LOG_WAL, 3, &whole, starts[1], 8, |at, framed| found.push((at, framed.kind)));
        assert_eq!(found, [(starts[2], 3), (starts[3], 4)]);
        assert_eq!(reach, end);
        assert_eq!(search(LOG_WAL, 4, &whole, 0, 8, |_, _| panic!("another segment")), 0);
        assert_eq!(whole.written, end - 3);
        assert_eq!(end_of_writing(&[0; 9]), 0);
    }
}
