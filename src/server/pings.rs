//! A client that may not ping too often (`--grpc-keepalive-min-time`): gRPC's rules, as etcd's server has them.
//!
//! The HTTP/2 library answers pings by itself, unseen; so the heads of frames are looked at as they pass, in both directions.
//! A ping is a strike where the one before is younger than the least time, or than two hours while no request is under way; what
//! the server has sent of an answer since makes all strikes void. After the third the client is to be sent away.
//!
//! Does not know how: that is `inspected.rs`.

use std::time::{Duration, Instant};

use fxhash::FxHashSet;

use crate::server::frames::{ACK, DATA, END_STREAM, HEADERS, Head, PING, RST_STREAM};

/// Strikes that are borne, as by gRPC.
const STRIKES_BORNE: u32 = 2;

/// Least time between pings while no request is under way, as of gRPC.
const IDLE_PING_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// What is known of one client.
#[derive(Debug)]
pub struct Client {
    least: Duration,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Whether a part of an answer was sent since the last ping.
    answered: bool,
    /// Requests under way.
    open: FxHashSet<u32>,
    last_stream: u32,
}

impl Client {
    /// Of a new connection; `least` is the time between pings while requests are under way.
    pub fn new(least: Duration) -> Self {
        Self { least, last_ping: None, strikes: 0, answered: false, open: FxHashSet::default(), last_stream: 0 }
    }

    /// Requests under way.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The youngest request.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// The client sent a frame with this head.
    pub fn received(&mut self, head: Head) {
        match head.kind {
            HEADERS if head.stream > self.last_stream => {
                self.last_stream = head.stream;
                self.open.insert(head.stream);
            }
            RST_STREAM => {
                self.open.remove(&head.stream);
            }
            PING if head.flags & ACK == 0 => self.pinged(Instant::now()),
            _ => {}
        }
    }

    /// The server sent one.
    pub fn sent(&mut self, head: Head) {
        match head.kind {
            DATA | HEADERS => {
                self.answered = true;
                if head.flags & END_STREAM != 0 {
                    self.open.remove(&head.stream);
                }
            }
            RST_STREAM => {
                self.open.remove(&head.stream);
            }
            _ => {}
        }
    }

    fn pinged(&mut self, now: Instant) {
        let least = if self.open.is_empty() { IDLE_PING_TIME } else { self.least };
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
        } else if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
    }

    /// Whether it has pinged too often.
    pub fn is_too_much(&self) -> bool {
        self.strikes > STRIKES_BORNE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::frames::GOAWAY;

    const LEAST: Duration = Duration::from_secs(5);

    fn client() -> Client {
        Client::new(LEAST)
    }

    fn head(kind: u8, flags: u8, stream: u32) -> Head {
        Head { length: 0, kind, flags, stream }
    }

    /// Pings at these seconds after one at 0; the strikes after each.
    fn strikes(client: &mut Client, at: &[u64]) -> Vec<u32> {
        let begun = Instant::now();
        client.pinged(begun);
        let ping = |seconds: &u64| {
            client.pinged(begun + Duration::from_secs(*seconds));
            client.strikes
        };
        at.iter().map(ping).collect()
    }

    #[test]
    fn a_ping_is_a_strike_where_the_last_is_too_young() {
        let mut busy = client();
        busy.received(head(HEADERS, 4, 1));
        assert_eq!(strikes(&mut busy, &[5, 9, 14, 15, 16]), [0, 1, 1, 2, 3]);
        assert!(busy.is_too_much());
        assert_eq!(strikes(&mut client(), &[5, 7_204, 14_404]), [1, 2, 2], "while no request is under way");
    }

    #[test]
    fn an_answer_makes_strikes_void_and_what_is_none_does_not() {
        let mut busy = client();
        busy.received(head(HEADERS, 4, 1));
        assert_eq!(strikes(&mut busy, &[1, 2]), [1, 2]);
        for kind in [2, 4, RST_STREAM, PING, GOAWAY, 8] {
            busy.sent(head(kind, 0, 3));
        }
        assert_eq!(strikes(&mut busy, &[]), [0; 0]);
        assert!(busy.is_too_much(), "one more");
        busy.sent(head(DATA, 0, 1));
        assert_eq!(strikes(&mut busy, &[1]), [1], "the first after it counts for nothing");
        busy.received(head(PING, ACK, 0));
        assert_eq!(busy.strikes, 1, "an answer to a ping is none");
    }

    #[test]
    fn a_request_is_under_way_from_its_headers_to_the_end_of_its_answer_or_a_reset() {
        let mut client = client();
        let ends: [fn(&mut Client, u32); 4] = [
            |client, stream| client.sent(head(HEADERS, 5, stream)),
            |client, stream| client.sent(head(DATA, END_STREAM, stream)),
            |client, stream| client.sent(head(RST_STREAM, 0, stream)),
            |client, stream| client.received(head(RST_STREAM, 0, stream)),
        ];
        for (place, end) in ends.into_iter().enumerate() {
            let stream = 2 * place as u32 + 1;
            client.received(head(HEADERS, 4, stream));
            client.received(head(DATA, END_STREAM, stream));
            client.sent(head(HEADERS, 4, stream));
            // Trailers of the client's own begin nothing.
            client.received(head(HEADERS, 5, stream));
            assert_eq!(client.open.len(), 1);
            end(&mut client, stream);
            assert!(client.open.is_empty(), "{place}");
        }
        assert_eq!(client.last_stream, 7);
    }
}
