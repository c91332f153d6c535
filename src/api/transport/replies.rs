//! A gRPC answer as the HTTP library wants it: messages in their frames, and the status behind them.
//!
//! Invariants: no more than a piece is encoded before the client has room for it; messages that are ready together
//! leave together; the status is the last thing said. Does not know what the messages are.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::Empty;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use tonic::{Code, Status};

use crate::api::transport::pieces::{Pieces, Step};
use crate::base::limits::PIECE_BYTES;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Answers on their way to a client.
pub struct Replies<S, P> {
    /// Answers to come; `None` when the last was taken.
    answers: Option<S>,
    /// The one that is being encoded.
    current: Option<P>,
    /// Bytes of it that are not encoded yet.
    left: usize,
    buf: BytesMut,
    lump: Bytes,
    /// What is said at the end, until it is said.
    status: Option<Status>,
}

/// The answers of a method that gives one.
pub type Reply<P> = Replies<Empty<Result<P, Status>>, P>;

impl<P: Pieces> Reply<P> {
    /// One answer.
    pub fn one(answer: P) -> Self {
        let mut reply = Self::new(None);
        reply.begin(answer);
        reply
    }
}

impl<S, P: Pieces> Replies<S, P> {
    /// All answers of a stream.
    pub fn all(answers: S) -> Self {
        Self::new(Some(answers))
    }

    fn new(answers: Option<S>) -> Self {
        let (buf, lump) = (BytesMut::new(), Bytes::new());
        Self { answers, current: None, left: 0, buf, lump, status: Some(Status::ok("")) }
    }

    fn begin(&mut self, answer: P) {
        let len = answer.len();
        self.left = self.buf.len() + PREFIX_BYTES + len;
        self.make_room();
        self.buf.put_u8(0);
        // A message of 4 GiB or more has no frame: clients take 2 GiB at most, and so ends the stream.
        match u32::try_from(len) {
            Ok(len) => self.buf.put_u32(len),
            Err(_) => return self.end(Status::resource_exhausted("grpc: message too large")),
        }
        self.current = Some(answer);
    }

    fn end(&mut self, status: Status) {
        self.answers = None;
        self.status = Some(status);
    }

    /// Room for the next piece, if none is begun: no larger than what is left to encode.
    fn make_room(&mut self) {
        if self.buf.is_empty() {
            self.buf.reserve(self.left.min(PIECE_BYTES));
        }
    }

    /// Encodes until a piece is full or the answer is done.
    fn encode(&mut self) {
        let Some(current) = &mut self.current else { return };
        while self.lump.is_empty() && self.buf.len() < PIECE_BYTES {
            match current.step(&mut self.buf, PIECE_BYTES) {
                Step::Wrote => {}
                Step::Full => return,
                Step::Lump(bytes) => self.lump = bytes,
                Step::End => {
                    self.current = None;
                    return;
                }
            }
        }
    }

    /// The next piece that is ready to leave.
    fn piece(&mut self) -> Option<Bytes> {
        let piece = if !self.buf.is_empty() {
            self.buf.split().freeze()
        } else if !self.lump.is_empty() {
            self.lump.split_to(self.lump.len().min(PIECE_BYTES))
        } else {
            return None;
        };
        self.left = self.left.saturating_sub(piece.len());
        Some(piece)
    }
}

impl<S, P> Body for Replies<S, P>
where
    S: Stream<Item = Result<P, Status>> + Unpin,
    P: Pieces + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if this.current.is_some() && this.lump.is_empty() {
                this.make_room();
                this.encode();
            }
            if this.current.is_some() || !this.lump.is_empty() || this.buf.len() >= PIECE_BYTES {
                let piece = this.piece().expect("an answer that is not done has a piece ready");
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let next = match &mut this.answers {
                None => None,
                Some(answers) => match Pin::new(answers).poll_next(cx) {
                    Poll::Pending if this.buf.is_empty() => return Poll::Pending,
                    // What is ready leaves; the rest wakes this task again.
                    Poll::Pending => return Poll::Ready(this.piece().map(Frame::data).map(Ok)),
                    Poll::Ready(next) => next,
                },
            };
            match next {
                Some(Ok(answer)) => this.begin(answer),
                Some(Err(status)) => this.end(status),
                None => {
                    this.answers = None;
                    if let Some(piece) = this.piece() {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    return Poll::Ready(this.status.take().map(|status| Ok(Frame::trailers(trailers(&status)))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.status.is_none()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    if status.code() == Code::Ok {
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    } else if status.add_header(&mut headers).is_err() {
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("2"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::services::range_pieces::RangePieces;
    use crate::api::transport::pieces::Whole;
    use crate::wire::{etcdserverpb as pb, mvccpb};
    use futures_util::stream::{StreamExt, iter, pending};
    use prost::Message;
    use std::task::Waker;

    /// Everything that is ready: the sizes of the pieces, their bytes, and the code at the end.
    fn sent<B: Body<Data = Bytes, Error = Status> + Unpin>(mut body: B) -> (Vec<usize>, Vec<u8>, Option<String>) {
        let (mut sizes, mut bytes, mut cx) = (Vec::new(), Vec::new(), Context::from_waker(Waker::noop()));
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
            match frame.expect("no errors but in the trailers").into_data() {
                Ok(data) => {
                    sizes.push(data.len());
                    bytes.extend_from_slice(&data);
                }
                Err(trailers) => {
                    assert!(body.is_end_stream());
                    let code = &trailers.into_trailers().expect("trailers")["grpc-status"];
                    return (sizes, bytes, Some(code.to_str().expect("text").to_owned()));
                }
            }
        }
        (sizes, bytes, None)
    }

    fn framed(messages: &[impl Message]) -> Vec<u8> {
        let one = |message: &_| {
            let bytes = Message::encode_to_vec(message);
            [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
        };
        messages.iter().flat_map(one).collect()
    }

    fn range(keys: usize, size: usize) -> pb::RangeResponse {
        let kv = |n: usize| mvccpb::KeyValue {
            key: format!("{n}").into(),
            value: vec![1; size].into(),
            ..Default::default()
        };
        pb::RangeResponse { kvs: (0..keys).map(kv).collect(), count: 9, ..Default::default() }
    }

    #[test]
    fn a_small_answer_is_one_piece_and_a_large_one_is_many_small_ones() {
        let (sizes, bytes, code) = sent(Reply::one(RangePieces::from(range(3, 10))));
        assert_eq!((sizes.len(), bytes, code.as_deref()), (1, framed(&[range(3, 10)]), Some("0")));
        for (keys, size) in [(5_000, 300), (20, 100_000), (400, 16_000), (1, 5_000_000)] {
            let (sizes, bytes, code) = sent(Reply::one(RangePieces::from(range(keys, size))));
            assert!(bytes == framed(&[range(keys, size)]));
            assert!(sizes.iter().all(|size| *size <= PIECE_BYTES + 16), "{sizes:?}");
            assert!(sizes.len() >= bytes.len() / PIECE_BYTES);
            assert_eq!(code.as_deref(), Some("0"));
        }
    }

    #[test]
    fn answers_that_are_ready_together_leave_together() {
        let messages = [range(1, 5), range(2, 6), range(3, 7)];
        let ready = || iter(messages.clone()).map(|message| Ok(Whole::from(message)));
        let (sizes, bytes, code) = sent(Replies::all(ready().chain(pending())));
        assert_eq!((sizes.len(), bytes, code), (1, framed(&messages), None), "and the stream stays open");
        let (sizes, bytes, code) = sent(Replies::all(ready().chain(iter([Err(Status::aborted("x"))]))));
        assert_eq!((sizes.len(), bytes, code.as_deref()), (1, framed(&messages), Some("10")));
    }

    #[test]
    fn large_answers_in_a_row_keep_their_frames() {
        let messages: Vec<_> = (0..5).map(|n| range(n * 200, 100 * n)).collect();
        let ready = iter(messages.clone()).map(|message| Ok(RangePieces::from(message)));
        let (_, bytes, code) = sent(Replies::all(ready));
        assert!(bytes == framed(&messages));
        assert_eq!(code.as_deref(), Some("0"));
    }
}
