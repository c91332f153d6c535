//! The spans of one request: that of its method, and those of the operations inside.
//!
//! Invariants: a span is handed over once, when it ends; a request that goes away ends its spans. Times are one clock's, from
//! the request's beginning on, so that a span lies within the one around it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use tonic::Code;

use crate::api::traces::operations::{Attributes, Operation, number, words};
use crate::api::traces::tracer::{Trace, Tracer};
use crate::base::limits;
use crate::wire::otlp::{Span, Status, span, status::StatusCode};

/// The bit by which a span says that it knows whether its parent is another process's, and the bit that says so.
const REMOTE: [u32; 2] = [0x100, 0x200];

/// The key of the method's span among those that are open.
const METHOD: u64 = 0;

/// A request that is told of.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: Arc<Tracer>,
    trace: Trace,
    method_span: [u8; 8],
    /// Nanoseconds since 1970 when the request began, and that moment.
    begun: (u64, Instant),
    /// By the order they began in.
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    spans: BTreeMap<u64, Span>,
    next: u64,
}

impl RequestTrace {
    /// A request for this method begins, at a connection that came to `place`; `None` where it is not told of.
    pub fn begin(
        tracer: &Arc<Tracer>,
        method: &str,
        headers: &HeaderMap,
        place: Option<SocketAddr>,
    ) -> Option<Arc<Self>> {
        let trace = tracer.trace(headers)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let begun = (u64::try_from(wall).unwrap_or(u64::MAX), Instant::now());
        let method_span = tracer.span_id();
        let mut attributes = vec![words("rpc.method", method), words("rpc.system.name", "grpc")];
        if let Some(place) = place {
            attributes.push(words("server.address", &place.ip().to_string()));
            attributes.push(number("server.port", place.port().into()));
        }
        let parent_span_id = trace.parent.map_or_else(Vec::new, |id| id.to_vec()).into();
        let open = Mutex::new(Open { spans: BTreeMap::new(), next: METHOD });
        let told = Arc::new(Self { tracer: tracer.clone(), trace, method_span, begun, open });
        let kind = span::SpanKind::Server as i32;
        let span = Span { name: method.to_string(), kind, parent_span_id, attributes, ..Default::default() };
        told.add(told.method_span, REMOTE[0] | REMOTE[1], span);
        Some(told)
    }

    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.begun.1.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.begun.0.saturating_add(elapsed)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: [u8; 8], flags: u32, span: Span) -> u64 {
        let span = Span {
            trace_id: self.trace.id.to_vec().into(),
            span_id: id.to_vec().into(),
            trace_state: self.trace.state.clone(),
            flags: flags | u32::from(self.trace.flags),
            start_time_unix_nano: self.now(),
            status: Some(Status::default()),
            ..span
        };
        let mut open = self.open();
        let key = open.next;
        open.next += 1;
        open.spans.insert(key, span);
        key
    }

    fn take(&self, key: u64) -> Option<Span> {
        self.open().spans.remove(&key)
    }

    fn hand_over(&self, span: Span) {
        self.tracer.ended(Span { end_time_unix_nano: self.now(), ..span });
    }

    /// Something happened, within what began last.
    pub fn event(&self, name: &str) {
        let time_unix_nano = self.now();
        if let Some(mut last) = self.open().spans.last_entry() {
            let span = last.get_mut();
            if span.events.len() < limits::SPAN_EVENTS {
                span.events.push(span::Event { time_unix_nano, name: name.to_string() });
            } else {
                span.dropped_events_count += 1;
            }
        }
    }

    /// It ended so. Only what is the server's fault is an error, as gRPC's conventions have it.
    pub fn end(&self, code: Code, text: &str) {
        let Some(mut span) = self.take(METHOD) else { return };
        let is_ours = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_ours {
            span.status = Some(Status { code: StatusCode::Error as i32, message: text.to_string() });
        }
        span.attributes.push(words("rpc.response.status_code", canonical(code)));
        self.hand_over(span);
    }
}

/// A code as gRPC's specification writes it.
fn canonical(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What is to be told of an operation once its shape was found to be good: what is refused for its shape never began.
#[derive(Debug)]
pub struct Draft(Option<(Arc<RequestTrace>, &'static str, Attributes)>);

impl Draft {
    /// Of an operation within a request, where it is told of.
    pub fn of<O: Operation>(request: Option<&Arc<RequestTrace>>, operation: &O) -> Self {
        Self(request.map(|request| (request.clone(), O::NAME, operation.attributes())))
    }

    /// The operation begins. Its span ends when it is dropped.
    pub fn begin(self) -> Option<OperationSpan> {
        let (request, name, attributes) = self.0?;
        let (id, kind) = (request.tracer.span_id(), span::SpanKind::Internal as i32);
        let parent_span_id = request.method_span.to_vec().into();
        let span = Span { name: name.to_string(), kind, parent_span_id, attributes, ..Default::default() };
        let key = request.add(id, REMOTE[0], span);
        Some(OperationSpan { request, key })
    }
}

/// An operation under way.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct OperationSpan {
    request: Arc<RequestTrace>,
    key: u64,
}

impl OperationSpan {
    /// Nothing is told of it.
    pub fn forget(self) {
        drop(self.request.take(self.key));
    }
}

impl Drop for OperationSpan {
    fn drop(&mut self) {
        if let Some(span) = self.request.take(self.key) {
            self.request.hand_over(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::etcdserverpb as pb;

    fn begun() -> (Arc<Tracer>, Arc<RequestTrace>) {
        let tracer = Arc::new(Tracer::new(1_000_000, [1, 2]));
        let place = "127.0.0.1:7".parse().expect("an address");
        let request = RequestTrace::begin(&tracer, "etcdserverpb.KV/Put", &HeaderMap::new(), Some(place));
        (tracer, request.expect("all are told"))
    }

    fn put(request: &Arc<RequestTrace>) -> Option<OperationSpan> {
        Draft::of(Some(request), &pb::PutRequest::default()).begin()
    }

    #[test]
    fn an_operation_lies_within_its_request_and_events_within_what_began_last() {
        let (tracer, request) = begun();
        request.event("before");
        let operation = put(&request);
        request.event("within");
        drop(operation);
        request.event("after");
        request.end(Code::Unavailable, "why");
        request.end(Code::Ok, "ended twice is ended once");
        request.event("too late");
        let spans = tracer.batch();
        let [operation, method] = &spans[..] else { panic!("two: {spans:?}") };
        assert_eq!((operation.parent_span_id.clone(), &operation.trace_id), (method.span_id.clone(), &method.trace_id));
        assert_eq!((method.flags, operation.flags), (0x301, 0x101));
        let events = |span: &Span| span.events.iter().map(|event| event.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (events(operation), events(method)),
            (vec!["within".to_string()], vec!["before".to_string(), "after".to_string()])
        );
        assert!(method.start_time_unix_nano <= operation.start_time_unix_nano);
        assert!(operation.start_time_unix_nano <= operation.end_time_unix_nano);
        assert!(operation.end_time_unix_nano <= method.end_time_unix_nano);
        assert_eq!(method.status.as_ref().map(|status| status.message.as_str()), Some("why"));
    }

    #[test]
    fn what_is_forgotten_is_not_told_and_events_have_a_bound() {
        let (tracer, request) = begun();
        put(&request).expect("told of").forget();
        for _ in 0..limits::SPAN_EVENTS + 3 {
            request.event("again");
        }
        request.end(Code::NotFound, "a client's mistake");
        let [method] = &tracer.batch()[..] else { panic!("one") };
        assert_eq!((method.events.len(), method.dropped_events_count), (limits::SPAN_EVENTS, 3));
        assert_eq!(method.status, Some(Status::default()));
    }

    #[test]
    fn without_a_trace_nothing_is_told() {
        let spared = Arc::new(Tracer::new(0, [1, 2]));
        assert!(RequestTrace::begin(&spared, "x", &HeaderMap::new(), None).is_none());
        assert!(Draft::of(None, &pb::PutRequest::default()).begin().is_none());
    }
}
