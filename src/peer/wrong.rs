//! What can go wrong on a connection between members. All of it is ordinary: the connection is given up, never more.

use std::fmt;
use std::time::Duration;

use crate::base::Fault;

/// Why a connection was given up, or a request of this member was not served.
#[derive(Debug)]
pub(super) enum LineWrong {
    /// The network's own words.
    Fault(Fault),
    /// The other end finished in the middle of something.
    Cut,
    /// The other end finished.
    Finished,
    /// Nothing was heard, or nothing could be written, for so long.
    Silent(Duration),
    /// What should have been done by now is not.
    Late(&'static str),
    /// A length beyond its limit, in bytes.
    TooLong { what: &'static str, bytes: u64, limit: usize },
    /// Not what the protocol says.
    Malformed(String),
    /// The other end does not do what was asked.
    Refused { status: u16, text: String },
    /// The other end says that this member was removed.
    Removed,
}

impl LineWrong {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

impl From<Fault> for LineWrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for LineWrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Cut => f.write_str("unexpected EOF"),
            Self::Finished => f.write_str("EOF"),
            Self::Silent(time) => write!(f, "i/o timeout: no progress for {time:?}"),
            Self::Late(what) => write!(f, "{what} took too long"),
            Self::TooLong { what, bytes, limit } => {
                write!(f, "{what} of {bytes} bytes is longer than the limit of {limit}")
            }
            Self::Malformed(what) => f.write_str(what),
            Self::Refused { status, text } => write!(f, "the peer answered {status}: {text}"),
            Self::Removed => f.write_str("the member has been permanently removed from the cluster"),
        }
    }
}
