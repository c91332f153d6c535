//! A message beside the bytes that it came as, for who tells of it later. Does not know what is told.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};

/// Decodes messages, and keeps what they came as: no byte is copied, for their keys and values are slices of it too.
pub struct FramedDecoder<Q>(PhantomData<fn() -> Q>);

impl<Q> Default for FramedDecoder<Q> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q: Message + Default> Decoder for FramedDecoder<Q> {
    type Item = (Q, Bytes);
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let frame = buf.copy_to_bytes(buf.remaining());
        // As the library's own decoder refuses.
        let message = Q::decode(frame.clone()).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some((message, frame)))
    }
}
