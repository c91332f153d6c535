//! What a command is: its place in the tree of commands, its words in help, its flags, its deed.
//!
//! A command group is one file with one [`Command`] and one line in the list of [`Commands`] in the room's head.

use clap::ArgMatches;
use futures_util::future::LocalBoxFuture;

use super::failure::Failure;
use super::session::Session;

/// What the tool is called.
pub const NAME: &str = "quoratectl";

/// Every command of the first level.
pub type Commands = &'static [&'static Command];

/// Headings of the main help, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Reading and writing keys.
    KeyValue,
    /// Looking after a cluster.
    Maintenance,
    /// Taking turns.
    Concurrency,
    /// Who may do what.
    Authentication,
    /// About the tool itself.
    Utility,
}

impl Section {
    /// Every heading with its title.
    pub const ALL: &'static [(Section, &'static str)] = &[
        (Section::KeyValue, "Key-value commands"),
        (Section::Maintenance, "Cluster maintenance commands"),
        (Section::Concurrency, "Concurrency commands"),
        (Section::Authentication, "Authentication commands"),
        (Section::Utility, "Utility commands"),
    ];
}

/// A command or a group of commands.
pub struct Command {
    /// The word it is called by; a unique beginning of it will do.
    pub name: &'static str,
    /// What follows the name in its usage line.
    pub usage: &'static str,
    /// One line about it.
    pub short: &'static str,
    /// More about it; empty where `short` says all.
    pub long: &'static str,
    /// Lines to try, without their indent.
    pub example: &'static str,
    /// Its heading in the main help; only commands of the first level have one.
    pub section: Option<Section>,
    /// Adds its flags; of a group, the flags all its commands share.
    pub flags: fn(clap::Command) -> clap::Command,
    /// What it does.
    pub deed: Deed,
    /// It needs no server, and must work whatever the environment says.
    pub offline: bool,
    /// It answers to its whole name alone: etcdctl has no such command, and no beginning of a word may mean another
    /// command here than there.
    pub whole_name: bool,
}

/// What a command does.
pub enum Deed {
    /// It runs.
    Run(for<'a> fn(&'a mut Session, &'a ArgMatches) -> LocalBoxFuture<'a, Result<(), Failure>>),
    /// It is a group of commands and shows its help when none is named.
    Group(&'static [Command]),
}

impl Command {
    /// A command of which nothing is said. What a definition leaves out is as here.
    pub const PLAIN: Command = Command {
        name: "",
        usage: "",
        short: "",
        long: "",
        example: "",
        section: None,
        flags: no_flags,
        deed: Deed::Group(&[]),
        offline: false,
        whole_name: false,
    };

    /// The commands of a group.
    pub fn children(&self) -> &'static [Command] {
        match self.deed {
            Deed::Run(_) => &[],
            Deed::Group(children) => children,
        }
    }
}

/// The flags of a command that has none.
pub fn no_flags(command: clap::Command) -> clap::Command {
    command.arg(clap::Arg::new("args").num_args(0..).value_parser(clap::value_parser!(std::ffi::OsString)))
}

/// The flags of a group whose commands share none.
pub fn no_shared_flags(command: clap::Command) -> clap::Command {
    command
}

/// The plain words of a command that has no flags of its own.
pub fn words(matches: &ArgMatches) -> Vec<std::ffi::OsString> {
    matches.get_many("args").map(|words| words.cloned().collect()).unwrap_or_default()
}
