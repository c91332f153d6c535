//! Bodies whose answer is known before they are read.
//!
//! Invariant: no more is read, and no longer, than the limits say; nothing is kept. Does not know what is answered.

use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt;

use crate::base::limits;

/// Reads what is left of a body whose answer is known, as far as it comes soon and is not long: a client that still sends
/// may take the end of its stream for a failure, and never look at the answer.
pub async fn read_off<B: Body>(body: B) {
    if body.is_end_stream() {
        return;
    }
    let reading = async {
        let mut left = limits::UNWANTED_BODY_BYTES;
        let mut body = pin!(body);
        while !body.is_end_stream()
            && let Some(Ok(frame)) = body.as_mut().frame().await
        {
            let length = frame.data_ref().map_or(0, Buf::remaining);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Who sends no more is answered all the same.
    let _ = tokio::time::timeout(Duration::from_millis(limits::UNWANTED_BODY_MS), reading).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::stream::{self, StreamExt};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_to_its_end_but_not_for_ever() {
        let read = Arc::new(AtomicUsize::new(0));
        let piece = || {
            let read = read.clone();
            move |length: usize| {
                read.fetch_add(length, Ordering::Relaxed);
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; length])))
            }
        };
        read_off(StreamBody::new(stream::iter([10, 20, 30]).map(piece()))).await;
        assert_eq!(read.swap(0, Ordering::Relaxed), 60);
        read_off(StreamBody::new(stream::repeat(1 << 16).map(piece()))).await;
        assert!(read.load(Ordering::Relaxed) <= limits::UNWANTED_BODY_BYTES + (1 << 16));
        let begun = tokio::time::Instant::now();
        read_off(StreamBody::new(stream::iter([1]).map(piece()).chain(stream::pending()))).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(limits::UNWANTED_BODY_MS));
        let begun = tokio::time::Instant::now();
        read_off(Full::<Bytes>::default()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
