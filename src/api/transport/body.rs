//! A request's body: as a client sends it, or made here of something else.
//!
//! One type for both, so that the methods are compiled once.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::api::transport::call::StdError;
use crate::api::transport::receive_room::TakenIn;

/// Where a request's bytes come from.
pub enum Asked<B> {
    /// From a client, as it sent them.
    Sent(TakenIn<B>),
    /// From here.
    Made(tonic::body::Body),
}

impl<B> Body for Asked<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        match self.get_mut() {
            Self::Sent(body) => Pin::new(body).poll_frame(cx),
            Self::Made(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Sent(body) => body.is_end_stream(),
            Self::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Sent(body) => body.size_hint(),
            Self::Made(body) => body.size_hint(),
        }
    }
}
