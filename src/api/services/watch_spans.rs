//! The spans of the watchers of one stream: each is told of as long as it lasts.
//!
//! Invariant: the hub answers wishes for watchers in their order, so the oldest wish is the one an answer is to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::traces::{Draft, OperationSpan, RequestTrace};
use crate::watch::WatchMessage;
use crate::wire::etcdserverpb as pb;

/// Watchers that are told of.
#[derive(Clone, Debug)]
pub struct WatchSpans {
    request: Arc<RequestTrace>,
    spans: Arc<Mutex<Spans>>,
}

#[derive(Debug, Default)]
struct Spans {
    wished: VecDeque<OperationSpan>,
    watching: BTreeMap<i64, OperationSpan>,
}

impl WatchSpans {
    /// None yet.
    pub fn new(request: Arc<RequestTrace>) -> Self {
        Self { request, spans: Arc::default() }
    }

    fn with(&self, change: impl FnOnce(&mut Spans)) {
        change(&mut self.spans.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A watcher is wished for.
    pub fn wish(&self, create: &pb::WatchCreateRequest) {
        if let Some(span) = Draft::of(Some(&self.request), create).begin() {
            self.with(|spans| spans.wished.push_back(span));
        }
    }

    /// The hub says this.
    pub fn hear(&self, message: &WatchMessage) {
        self.with(|spans| match message {
            WatchMessage::Created { watch_id, .. } => {
                if let Some(span) = spans.wished.pop_front() {
                    spans.watching.insert(*watch_id, span);
                }
            }
            // It never began.
            WatchMessage::Refused { .. } => {
                if let Some(span) = spans.wished.pop_front() {
                    span.forget();
                }
            }
            WatchMessage::Canceled { watch_id, .. } | WatchMessage::Cut { watch_id, .. } => {
                drop(spans.watching.remove(watch_id));
            }
            WatchMessage::Progress { .. } | WatchMessage::Events { .. } => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::traces::Tracer;

    #[test]
    fn a_watcher_is_told_of_once_it_is_over_and_one_that_was_refused_is_not() {
        let tracer = Arc::new(Tracer::new(1_000_000, [1, 2]));
        let request = RequestTrace::begin(&tracer, "w", &http::HeaderMap::new(), None).expect("all are told");
        let spans = WatchSpans::new(request);
        for key in ["refused", "first", "second"] {
            spans.wish(&pb::WatchCreateRequest { key: key.into(), ..Default::default() });
        }
        spans.hear(&WatchMessage::Refused { revision: 1, reason: String::new() });
        for watch_id in [7, 8] {
            spans.hear(&WatchMessage::Created { watch_id, revision: 1 });
        }
        assert!(tracer.batch().is_empty());
        spans.hear(&WatchMessage::Canceled { watch_id: 8, revision: 1, compact_revision: 0 });
        let key = |batch: &[crate::wire::otlp::Span]| format!("{:?}", batch[0].attributes[0]);
        let over = tracer.batch();
        assert!(over.len() == 1 && key(&over).contains("second"), "{over:?}");
        drop(spans);
        let over = tracer.batch();
        assert!(over.len() == 1 && key(&over).contains("first"), "the stream is over: {over:?}");
    }
}
