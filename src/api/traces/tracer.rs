//! Who makes spans: which traces are told, under which ids, and what waits to be sent.
//!
//! Invariants: a request within a trace of its caller is told where the caller's is, any other by chance; no lock is held
//! while anything is awaited, and what finds no room is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use prost::Message;
use tokio::sync::Notify;

use crate::api::traces::parent::{Parent, SAMPLED};
use crate::base::limits;
use crate::wire::otlp::Span;

/// Traces of a million.
const MILLION: u32 = 1_000_000;

/// The golden ratio's fraction, by which the numbers of a sequence are far apart.
const APART: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes the spans of one server.
#[derive(Debug)]
pub struct Tracer {
    /// Of 2^63 ids of traces that no caller began, those below are told.
    below: u64,
    seeds: [u64; 2],
    drawn: AtomicU64,
    waiting: Mutex<Waiting>,
    came: Notify,
}

/// Spans that are to be sent.
#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<(usize, Span)>,
    bytes: usize,
    dropped: u64,
}

/// By what a trace is known to all that is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    pub id: [u8; 16],
    pub flags: u8,
    pub state: String,
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
}

impl Tracer {
    /// Tells so many of a million traces that no caller began. Ids follow from the seeds, which must differ between
    /// servers and runs.
    pub fn new(per_million: u32, seeds: [u64; 2]) -> Self {
        let below = (u128::from(per_million.min(MILLION)) << 63) / u128::from(MILLION);
        let below = u64::try_from(below).expect("2^63 and less");
        Self { below, seeds, drawn: AtomicU64::new(0), waiting: Mutex::default(), came: Notify::new() }
    }

    /// The trace a request is told within, if it is.
    pub fn trace(&self, headers: &HeaderMap) -> Option<Trace> {
        match Parent::of(headers) {
            Some(caller) if !caller.is_sampled() => None,
            Some(caller) => {
                Some(Trace { id: caller.trace, flags: caller.flags, state: caller.state, parent: Some(caller.span) })
            }
            None if self.below == 0 => None,
            None => {
                let (high, low) = self.draw();
                let is_told = low >> 1 < self.below;
                let id = (u128::from(high) << 64 | u128::from(low)).max(1).to_be_bytes();
                is_told.then_some(Trace { id, flags: SAMPLED, state: String::new(), parent: None })
            }
        }
    }

    /// An id for a span.
    pub fn span_id(&self) -> [u8; 8] {
        self.draw().0.max(1).to_be_bytes()
    }

    /// Two numbers that none before had.
    fn draw(&self) -> (u64, u64) {
        let nth = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(APART);
        let mixed = |seed: u64| {
            let mut number = seed.wrapping_add(nth);
            number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            number ^ number >> 31
        };
        (mixed(self.seeds[0]), mixed(self.seeds[1]))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A span that has ended, to be sent.
    pub fn ended(&self, span: Span) {
        let bytes = span.encoded_len();
        let mut waiting = self.waiting();
        if waiting.spans.len() == limits::SPANS_WAITING || waiting.bytes + bytes > limits::SPANS_WAITING_BYTES {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += bytes;
        waiting.spans.push_back((bytes, span));
        let enough = waiting.spans.len();
        drop(waiting);
        if enough == 1 || enough == limits::SPANS_BATCH {
            self.came.notify_one();
        }
    }

    /// Completes when at least so many wait. Only one may wait for it.
    pub async fn wait_for(&self, spans: usize) {
        while self.waiting().spans.len() < spans {
            self.came.notified().await;
        }
    }

    /// The oldest that wait, as many as are sent at once.
    pub fn batch(&self) -> Vec<Span> {
        let mut waiting = self.waiting();
        let mut room = limits::SPANS_BATCH_BYTES;
        let mut batch = Vec::new();
        while let Some((bytes, _)) = waiting.spans.front() {
            // One alone always goes: a span is bounded by what it is made of.
            if batch.len() == limits::SPANS_BATCH || *bytes > room && !batch.is_empty() {
                break;
            }
            let (bytes, span) = waiting.spans.pop_front().expect("there is one in front");
            room = room.saturating_sub(bytes);
            waiting.bytes -= bytes;
            batch.push(span);
        }
        batch
    }

    /// How many were dropped since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.waiting().dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(parent: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), parent.parse().expect("a header"))])
    }

    #[test]
    fn a_callers_trace_is_told_as_the_caller_wants_and_others_by_chance() {
        let asked = called("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let spared = called("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        let nobodys = HeaderMap::new();
        for (rate, least, most) in [(0, 0, 0), (1_000_000, 10_000, 10_000), (250_000, 2_300, 2_700)] {
            let tracer = Tracer::new(rate, [1, 2]);
            assert!(tracer.trace(&asked).is_some_and(|trace| trace.parent.is_some()), "{rate}");
            assert_eq!(tracer.trace(&spared), None, "{rate}");
            let told = (0..10_000).filter_map(|_| tracer.trace(&nobodys)).collect::<Vec<_>>();
            assert!((least..=most).contains(&told.len()), "{rate}: {}", told.len());
            assert!(told.iter().all(|trace| trace.parent.is_none() && trace.flags == SAMPLED));
        }
    }

    #[test]
    fn ids_are_not_given_twice() {
        let (one, other) = (Tracer::new(MILLION, [1, 2]), Tracer::new(MILLION, [3, 4]));
        let ids = (0..1_000).flat_map(|_| [one.span_id(), other.span_id()]);
        assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 2_000);
    }

    fn span(name: String) -> Span {
        Span { name, ..Default::default() }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let tracer = Tracer::new(0, [1, 2]);
        for n in 0..limits::SPANS_WAITING + 7 {
            tracer.ended(span(n.to_string()));
        }
        assert_eq!((tracer.take_dropped(), tracer.take_dropped()), (7, 0));
        let batches = std::iter::from_fn(|| Some(tracer.batch()).filter(|batch| !batch.is_empty()));
        let names: Vec<String> = batches.flatten().map(|span| span.name).collect();
        assert!(names.iter().map(String::as_str).eq((0..limits::SPANS_WAITING).map(|n| n.to_string())), "{names:?}");
        // By bytes too, and again there is room after.
        for _ in 0..100 {
            tracer.ended(span("x".repeat(limits::SPANS_WAITING_BYTES / 10)));
        }
        assert_eq!(tracer.take_dropped(), 91);
        let batch = tracer.batch();
        assert!((1..9).contains(&batch.len()), "{}", batch.len());
        assert!(batch.iter().map(Message::encoded_len).sum::<usize>() <= limits::SPANS_BATCH_BYTES);
        tracer.ended(span("y".repeat(limits::SPANS_WAITING_BYTES / 10)));
        assert_eq!(tracer.take_dropped(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_spans_is_woken() {
        let tracer = std::sync::Arc::new(Tracer::new(0, [1, 2]));
        for spans in [1, limits::SPANS_BATCH] {
            let waiter = tracer.clone();
            let waits = tokio::spawn(async move { waiter.wait_for(spans).await });
            tokio::task::yield_now().await;
            for _ in 0..spans {
                assert!(!waits.is_finished());
                tracer.ended(span("x".to_string()));
            }
            tokio::time::timeout(std::time::Duration::from_secs(60), waits).await.expect("woken").expect("no panic");
            tracer.batch();
        }
    }
}
