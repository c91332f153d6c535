//! What can go wrong with a request, as the caller sees it.
//!
//! Invariant: the text of an answered refusal is the server's, unchanged, because users and tools match on it.

use std::error::Error as StdError;
use std::fmt;

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use super::silence::NO_ANSWER;

/// Why a request gave no result.
///
/// Example, run as a test: `what_goes_wrong_is_told_by_its_kind` in `tests/client_library.rs`.
#[derive(Clone, Debug)]
pub enum Error {
    /// The list of endpoints is empty.
    NoEndpoints,
    /// An endpoint is not an address this client can use; the text says why.
    BadEndpoint(String),
    /// A file for encryption cannot be read or used; the text says which.
    BadCertificate(String),
    /// A peer URL has not the form of one; the text says why. Nothing was sent.
    BadUrl(String),
    /// The timeout passed. A write may or may not have been done. [`super::Client::unreached`] has who did not answer, and why.
    Deadline,
    /// The server, or the transport in its place, answered with a code and a text.
    Answered(Code, String),
    /// A stream was closed by the server without a reason.
    StreamEnded,
    /// What was held, or hoped for, is another's or nobody's: a lock, a leadership, a session. The text says which.
    Lost(&'static str),
}

impl Error {
    /// The gRPC code, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Answered(code, _) => Some(*code),
            Error::Deadline => Some(Code::DeadlineExceeded),
            _ => None,
        }
    }

    /// The server's own text, where it answered.
    pub fn text(&self) -> &str {
        match self {
            Error::Answered(_, text) => text,
            _ => "",
        }
    }

    /// What is shown of it; of an answer always with its code, whoever's text it is, as etcd's client has it where it hands on what
    /// its transport says.
    pub fn with_code(&self) -> String {
        match self {
            Error::Answered(code, text) => format!("rpc error: code = {} desc = {text}", name(*code)),
            other => other.to_string(),
        }
    }

    /// True for the answer that the caller's user may not do this.
    pub fn is_permission_denied(&self) -> bool {
        self.text() == "etcdserver: permission denied"
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoEndpoints => f.write_str("etcdclient: no available endpoints"),
            Error::BadEndpoint(reason) | Error::BadUrl(reason) | Error::BadCertificate(reason) => f.write_str(reason),
            Error::Deadline => f.write_str("context deadline exceeded"),
            // An etcd text stands for itself; anything else came from the transport and is shown with its code.
            Error::Answered(_, text) if text.starts_with("etcdserver: ") => f.write_str(text),
            Error::Answered(..) => f.write_str(&self.with_code()),
            Error::Lost(what) => f.write_str(what),
            Error::StreamEnded => f.write_str("the server closed the stream"),
        }
    }
}

impl StdError for Error {}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        if caused_by::<TimeoutExpired>(&status) {
            return Error::Deadline;
        }
        if let Some(text) = too_large(status.message()) {
            return Error::Answered(Code::ResourceExhausted, text);
        }
        if lost(&status) {
            // In etcd's client's words.
            let text = format!("error reading from server: {}", reason(&status));
            return Error::Answered(Code::Unavailable, text);
        }
        if caused_by::<ConnectError>(&status) {
            return Error::Answered(Code::Unavailable, unconnected(&reason(&status)));
        }
        match status.code() {
            Code::DeadlineExceeded if !status.message().starts_with("etcdserver: ") => Error::Deadline,
            code => Error::Answered(code, said(&status)),
        }
    }
}

/// A code's name as gRPC for Go has it.
fn name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    }
}

/// What an answer says. What the library below says in a server's place is said as gRPC for Go does.
fn said(status: &Status) -> String {
    if let Some(reset) =
        causes(status).find_map(|cause| cause.downcast_ref::<h2::Error>()).filter(|error| error.is_reset())
    {
        let code = reset.reason().map(|reason| format!("{reason:?}")).unwrap_or_default();
        return format!("stream terminated by RST_STREAM with error code: {code}");
    }
    let text = status.message();
    let Some(code) = text.strip_prefix("grpc-status header missing, mapped from HTTP status code ") else {
        return text.to_owned();
    };
    let name = code.parse().ok().and_then(|code| http::StatusCode::from_u16(code).ok()?.canonical_reason());
    format!("unexpected HTTP status code received from server: {code} ({})", name.unwrap_or_default())
}

/// What etcd's client says where no connection was made, for this reason.
fn unconnected(reason: &str) -> String {
    let doing = if reason.starts_with("transport: ") { "" } else { "transport: Error while dialing: " };
    format!("connection error: desc = \"{doing}{reason}\"")
}

/// What etcd's client says of an answer that is larger than it may be, where the library below said so: it has no code for that.
fn too_large(text: &str) -> Option<String> {
    let sizes = text.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, limit) = sizes.split_once(" bytes, the limit is: ")?;
    Some(format!("grpc: received message larger than max ({found} vs. {})", limit.strip_suffix(" bytes")?))
}

/// True when the request cannot have reached a server: the connection was never made, or was found closed before the
/// request left its queue.
pub(super) fn never_sent(status: &Status) -> bool {
    caused_by::<ConnectError>(status) || causes(status).any(is_unsent)
}

/// True when the connection broke before an answer came, or was ended by the other side (whatever reason it gives: it is about the
/// connection): nobody's refusal, and nothing a server said. A status that came over the wire has no cause here.
pub(super) fn lost(status: &Status) -> bool {
    let broke = status.source().is_some() && matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled);
    broke || causes(status).filter_map(|cause| cause.downcast_ref()).any(h2::Error::is_go_away)
}

/// What lies at the bottom of a failure: the system's own words where it came from there.
pub(super) fn reason(status: &Status) -> String {
    if caused_by::<TimeoutExpired>(status) {
        return NO_ANSWER.to_owned();
    }
    causes(status).last().map_or_else(|| said(status), ToString::to_string)
}

fn is_unsent(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
}

fn caused_by<T: StdError + 'static>(status: &Status) -> bool {
    causes(status).any(|error| error.is::<T>())
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |error| StdError::source(*error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etcd_text_is_shown_bare_and_others_with_their_code() {
        let etcd = Error::from(Status::new(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"));
        assert_eq!(etcd.to_string(), "etcdserver: mvcc: required revision has been compacted");
        let other = Error::from(Status::new(Code::Unknown, "not a primary lessor"));
        assert_eq!(other.to_string(), "rpc error: code = Unknown desc = not a primary lessor");
        assert_eq!(other.with_code(), other.to_string());
        let prefix = "rpc error: code = OutOfRange desc = etcdserver: ";
        assert!(etcd.with_code().starts_with(prefix), "{}", etcd.with_code());
        let cancelled = Error::from(Status::cancelled("by hand"));
        assert_eq!(cancelled.to_string(), "rpc error: code = Canceled desc = by hand", "as Go spells it");
    }

    #[test]
    fn a_transport_deadline_is_a_deadline_and_an_etcd_one_keeps_its_text() {
        assert!(matches!(Error::from(Status::deadline_exceeded("late")), Error::Deadline));
        let etcd = Error::from(Status::deadline_exceeded("etcdserver: context deadline exceeded"));
        assert_eq!(etcd.to_string(), "etcdserver: context deadline exceeded");
    }

    #[test]
    fn only_a_failed_connect_counts_as_never_sent() {
        assert!(!never_sent(&Status::unavailable("connection reset")));
        let status = Status::from_error(Box::new(ConnectError("refused".into())));
        assert!(never_sent(&status));
        let told = Error::from(status).to_string();
        let why = "connection error: desc = \"transport: Error while dialing: refused\"";
        assert_eq!(told, format!("rpc error: code = Unavailable desc = {why}"));
    }

    #[test]
    fn a_broken_connection_is_no_answer() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let status = Status::from_error(Box::new(broken));
        assert!(lost(&status));
        let told = Error::from(status).to_string();
        assert!(told.starts_with("rpc error: code = Unavailable desc = error reading from server: "), "{told}");
        assert!(!lost(&Status::unknown("what a server said")));
    }
}
