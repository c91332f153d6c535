//! The time an HTTP/1.1 client has for the head of a request, counted from the head's first byte.
//!
//! The HTTP library counts it from the end of the answer before, so it would close every connection that rests between two
//! requests, under the client that asks again in that moment: its write would be lost, or done and not told. Here a
//! connection that rests may rest: connections are bounded in number.
//!
//! Invariants: the first head is counted from the beginning; a later one from the first byte that came for it. Does not
//! read the bytes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

use crate::server::counted::Received;

/// The clock of one connection's heads, for the library.
pub struct HeadClock {
    received: Received,
    began: AtomicBool,
}

impl HeadClock {
    /// For the connection whose bytes are counted here.
    pub fn new(received: Received) -> Self {
        Self { received, began: AtomicBool::new(false) }
    }
}

impl Timer for HeadClock {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        let before = self.began.swap(true, Ordering::Relaxed).then(|| self.received.load(Ordering::Relaxed));
        let running = before.is_none().then(|| TokioTimer::new().sleep(time));
        Box::pin(HeadTime { received: self.received.clone(), before: before.unwrap_or(0), time, running })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

/// The time of one head. Looked at whenever bytes come, which is when it may begin to run.
struct HeadTime {
    received: Received,
    /// Bytes received before it.
    before: u64,
    time: Duration,
    running: Option<Pin<Box<dyn Sleep>>>,
}

impl Future for HeadTime {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.running.is_none() && self.received.load(Ordering::Relaxed) > self.before {
            self.running = Some(TokioTimer::new().sleep(self.time));
        }
        self.running.as_mut().map_or(Poll::Pending, |running| running.as_mut().poll(cx))
    }
}

impl Sleep for HeadTime {}

#[cfg(test)]
mod tests {
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::api::{Metrics, Traits};
    use crate::server::counted::Counted;

    const HEAD_TIME: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(3_600);

    /// A client whose server answers every request with nothing.
    fn client() -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 12);
        let stream = Counted::new(near, std::sync::Arc::new(Metrics::new(Traits::default())));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(HeadClock::new(stream.received())).header_read_timeout(HEAD_TIME);
        let service = service_fn(|_| async {
            let nothing = http_body_util::Empty::<bytes::Bytes>::new();
            Ok::<_, std::convert::Infallible>(http::Response::new(nothing))
        });
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // How it ends is seen by the client.
            let _ = serving.await;
        });
        far
    }

    async fn ask(stream: &mut tokio::io::DuplexStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is open");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_rest_between_requests_and_a_head_may_not_linger() {
        let mut stream = client();
        for _ in 0..3 {
            ask(&mut stream).await;
            tokio::time::sleep(LONG).await;
        }
        stream.write_all(b"GET / HT").await.expect("it is open");
        let begun = tokio::time::Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("closed");
        assert!(begun.elapsed() >= HEAD_TIME && begun.elapsed() < LONG, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_its_time_from_the_beginning() {
        let mut stream = client();
        let begun = tokio::time::Instant::now();
        stream.read_to_end(&mut Vec::new()).await.expect("closed");
        assert!(begun.elapsed() >= HEAD_TIME && begun.elapsed() < LONG, "{:?}", begun.elapsed());
    }
}
