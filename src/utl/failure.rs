//! How a command fails: a text and an exit code, as etcdutl has them.

use std::path::Path;
use std::process::ExitCode;

use super::telling::tell;
use crate::base::{Fault, Wrong};
use crate::mvcc::ReadFailure;
use crate::progress::error_word;

/// What the process ends with. Source: etcd pkg/cobrautl/error.go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It could not be done.
    Error,
    /// What was asked for is not offered.
    BadFeature,
    /// The arguments contradict each other.
    BadArguments,
    /// The user asked to stop, by a signal: the code is what a shell shows of a process that it ended.
    Interrupted(u8),
}

impl Exit {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::BadFeature => 4,
            Self::BadArguments => 128,
            Self::Interrupted(code) => code,
        }
    }
}

/// A failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    exit: Exit,
    text: String,
    /// What stands before the text: for who got the command line wrong.
    help: String,
    /// A disk could not do what was asked of it.
    is_of_disk: bool,
}

impl Failure {
    /// With a text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), help: String::new(), is_of_disk: false }
    }

    /// A command line that cannot be read, with what helps.
    pub fn usage(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Error, text: text.into(), help: help.into(), is_of_disk: false }
    }

    /// As a failure to make something at `place`: what a disk could not do there is told by a part of the path alone.
    pub fn in_making(self, place: &Path) -> Self {
        if !self.is_of_disk {
            return self;
        }
        let place = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
        let text = format!("cannot make {}: {}; nothing was made", place.display(), self.text);
        Self { text, ..self }
    }

    /// As what came when all was made at `place` but for its last sync.
    pub fn though_made(self, place: &Path) -> Self {
        let place = place.display();
        let text = format!(
            "{place} is whole, but not known to be durable ({}): after a crash of the machine it may be marked unfinished again",
            self.text
        );
        Self { text, ..self }
    }

    /// Tells the user.
    pub fn tell(&self) -> ExitCode {
        if !self.help.is_empty() {
            // Twice, as etcdutl does: before the help and behind it.
            tell(format_args!("{} {}\n{}", error_word(), self.text, self.help));
        }
        tell(format_args!("{} {}", error_word(), self.text));
        ExitCode::from(self.exit.code())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(Exit::Error, text)
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        let is_of_disk = matches!(wrong, Wrong::Fault(_));
        Self { is_of_disk, ..Self::new(Exit::Error, wrong.to_string()) }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { is_of_disk: true, ..Self::new(Exit::Error, fault.to_string()) }
    }
}

impl From<ReadFailure> for Failure {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            // etcdutl has the words of etcd's store, without the server's name before them.
            ReadFailure::Refused(refusal) => {
                Self::new(Exit::Error, refusal.text().trim_start_matches("etcdserver: ").to_string())
            }
            ReadFailure::Wrong(wrong) => wrong.into(),
        }
    }
}
