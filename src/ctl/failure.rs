//! How a command fails: a text for stderr and an exit code, both etcdctl's.

use std::io;

use crate::client;

/// Exit codes, as scripts around etcdctl know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The request failed.
    Error,
    /// The server could not be reached or dropped the stream.
    BadConnection,
    /// The input (not the arguments) is wrong.
    InvalidInput,
    /// A good option has a value that is not supported.
    BadFeature,
    /// The server ended what should have gone on.
    Interrupted,
    /// Reading or writing failed.
    Io,
    /// The arguments are wrong.
    BadArgs,
    /// Nobody reads the output any more: what a shell shows for a death by SIGPIPE, which is how etcdctl ends.
    BrokenPipe,
    /// The user stopped it by a signal: what a shell shows for a death by that signal, which is how etcdctl ends.
    Stopped(u8),
    /// As a command that was run ended.
    Of(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Error => 1,
            Exit::BadConnection => 2,
            Exit::InvalidInput => 3,
            Exit::BadFeature => 4,
            Exit::Interrupted => 5,
            Exit::Io => 6,
            Exit::BadArgs => 128,
            Exit::Stopped(code) | Exit::Of(code) => code,
            Exit::BrokenPipe => 141,
        }
    }
}

/// Why a command ended badly. An empty text prints nothing: all was said already.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What stderr shows after `Error: `.
    pub text: String,
    /// The usage that follows the text, where the arguments could not be read.
    pub usage: Option<String>,
}

impl Failure {
    /// A failure with a text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into(), usage: None }
    }

    /// A failure whose text was printed already.
    pub fn silent(exit: Exit) -> Failure {
        Failure::new(exit, "")
    }

    /// The arguments are wrong.
    pub fn bad_args(text: impl Into<String>) -> Failure {
        Failure::new(Exit::BadArgs, text)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::new(Exit::Error, error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(Exit::BrokenPipe),
            _ => Failure::new(Exit::Io, error.to_string()),
        }
    }
}
