//! A command that is run for the user: what it is given, and how its end is told, in the words of Go's library.
//!
//! Invariant: it reads nothing of what this tool is given to read.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use super::go;

/// Why a command that was run did not end well.
#[derive(Debug)]
pub enum Unwell {
    /// It was never run; in words.
    NotRun(String),
    /// It ended so.
    Ended(ExitStatus),
}

/// Runs it, and waits for its end.
///
/// # Errors
/// It cannot be run, or does not end well.
pub fn execute(command: &mut Command) -> Result<(), Unwell> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| Unwell::NotRun(not_run(command, &error)))?;
    if status.success() { Ok(()) } else { Err(Unwell::Ended(status)) }
}

fn not_run(command: &Command, error: &io::Error) -> String {
    let program = command.get_program().as_encoded_bytes();
    if program.is_empty() {
        return "exec: no command".to_owned();
    }
    // A name is looked for, and only what may be run is found.
    let is_looked_for = !program.contains(&b'/');
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied if is_looked_for => {
            format!("exec: {}: executable file not found in $PATH", go::quote(program))
        }
        _ => format!("fork/exec {}: {}", String::from_utf8_lossy(program), crate::base::system_words(error)),
    }
}

impl Unwell {
    /// Its exit code; none where it was never run, or ended by a signal.
    pub fn code(&self) -> Option<i32> {
        match self {
            Unwell::NotRun(_) => None,
            Unwell::Ended(status) => status.code(),
        }
    }

    /// Whether it was run.
    pub fn was_run(&self) -> bool {
        matches!(self, Unwell::Ended(_))
    }
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self {
            Unwell::NotRun(text) => return f.write_str(text),
            Unwell::Ended(status) => status,
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => write!(f, "exit status {code}")?,
            (None, signal) => write!(f, "signal: {}", signal_name(signal.unwrap_or_default()))?,
        }
        if status.core_dumped() { f.write_str(" (core dumped)") } else { Ok(()) }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(program: &str, words: &[&str]) -> String {
        execute(Command::new(program).args(words)).expect_err("unwell").to_string()
    }

    /// As stock etcdctl 3.7.1 said of each.
    #[test]
    fn how_a_command_ended_is_told_as_go_does() {
        assert_eq!(told("", &[]), "exec: no command");
        assert_eq!(told("nosuch-command", &[]), "exec: \"nosuch-command\": executable file not found in $PATH");
        assert_eq!(told("./nosuch", &[]), "fork/exec ./nosuch: no such file or directory");
        assert_eq!(told("/", &[]), "fork/exec /: permission denied");
        assert_eq!(told("sh", &["-c", "exit 7"]), "exit status 7");
        for (signal, name) in
            [("9", "killed"), ("13", "broken pipe"), ("15", "terminated"), ("10", "user defined signal 1")]
        {
            assert_eq!(told("sh", &["-c", &format!("kill -{signal} $$")]), format!("signal: {name}"));
        }
        assert_eq!(signal_name(40), "signal 40");
    }

    #[test]
    fn it_reads_nothing_of_ours() {
        let read_to_its_end = execute(Command::new("sh").args(["-c", "read line && exit 3 || exit 0"]));
        assert!(read_to_its_end.is_ok());
    }
}
