//! What a command line is made of.

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Switch,
    Text,
    /// A number from 0 on.
    Uint,
    Int,
    Duration,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub words: &'static [&'static str],
    /// What follows the words, in the usage.
    pub follows: &'static str,
    pub short: &'static str,
    pub flags: &'static [Flag],
    /// Flags that must be given.
    pub required: &'static [&'static str],
    /// How many arguments it takes, where that is checked before it runs.
    pub arguments: Option<usize>,
    /// The usage does not say that flags may follow.
    pub bare: bool,
    /// A line to try, for the man page: the help is etcdutl's, which has none.
    pub example: &'static str,
    /// It answers to its whole name alone: etcdutl has no such command, and no beginning of a word may mean another command here
    /// than there.
    pub whole_name: bool,
}
