//! The key-values of an answer as they are encoded: one after the other, a large value as it lies in the store.
//!
//! Invariant: the bytes are those of a repeated field of `KeyValue`. Does not know of what message.

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::api::transport::pieces::{Step, is_full};
use crate::base::limits::UNCOPIED_VALUE_BYTES;
use crate::wire::mvccpb::KeyValue;

/// The field number of `KeyValue.value`.
const VALUE: u32 = 5;

/// Key-values on their way out.
pub struct Rows {
    field: u32,
    rows: std::vec::IntoIter<KeyValue>,
    /// The one that did not fit, or of which the value was just sent.
    kept: Option<Kept>,
}

enum Kept {
    Next(KeyValue),
    /// What follows the value of one.
    Rest(KeyValue),
}

/// What a field in front of so many bytes takes.
pub fn len_within(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

impl Rows {
    /// Those of the field with this number.
    pub fn new(field: u32, rows: Vec<KeyValue>) -> Self {
        Self { field, rows: rows.into_iter(), kept: None }
    }

    /// Bytes of all; to be asked before the first step.
    pub fn len(&self) -> usize {
        self.rows.as_slice().iter().map(|row| len_within(self.field, row.encoded_len())).sum()
    }

    /// As [`crate::api::transport::pieces::Pieces::step`].
    pub fn step(&mut self, buf: &mut BytesMut, target: usize) -> Step {
        match self.kept.take() {
            Some(Kept::Rest(rest)) => {
                rest.encode_raw(buf);
                Step::Wrote
            }
            Some(Kept::Next(row)) => self.row(row, buf, target),
            None => match self.rows.next() {
                Some(row) => self.row(row, buf, target),
                None => Step::End,
            },
        }
    }

    /// The next; a large value leaves as it is.
    fn row(&mut self, row: KeyValue, buf: &mut BytesMut, target: usize) -> Step {
        let len = row.encoded_len();
        let lump = row.value.len() >= UNCOPIED_VALUE_BYTES;
        let copied = len_within(self.field, len) - if lump { row.value.len() } else { 0 };
        if is_full(buf, copied, target) {
            self.kept = Some(Kept::Next(row));
            return Step::Full;
        }
        buf.reserve(copied);
        encode_key(self.field, WireType::LengthDelimited, buf);
        encode_varint(len as u64, buf);
        if !lump {
            row.encode_raw(buf);
            return Step::Wrote;
        }
        let KeyValue { value, lease, .. } = row;
        KeyValue { value: Bytes::new(), lease: 0, ..row }.encode_raw(buf);
        encode_key(VALUE, WireType::LengthDelimited, buf);
        encode_varint(value.len() as u64, buf);
        self.kept = Some(Kept::Rest(KeyValue { lease, ..Default::default() }));
        Step::Lump(value)
    }
}
