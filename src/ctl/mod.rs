//! The command-line client: etcdctl's commands, texts and exit codes, on the client library.
//!
//! Purpose: be the tool that etcdctl's users and scripts already know. A command group is one file in `commands/` and
//! one line in [`COMMANDS`]; an output format is one file in `output/` and one line there. Invariants: results
//! go to standard output, everything else to standard error; a failure prints `Error: ` with its text and
//! ends with its exit code. It knows the client API and nothing of the server.

mod command;
mod commands;
mod discovery;
mod draft;
mod execute;
mod failure;
mod flags;
mod global;
mod go;
mod go_flags;
mod output;
mod session;
mod stop;
mod unreached;
mod unseen;

use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::future::{Either, select};

use crate::progress::{self, error_word};

use command::Deed;
use commands::{COMMANDS, tool};
use failure::{Exit, Failure};
use flags::find::{self, Meaning};
use flags::{tree, usage};
use global::Global;
use session::Session;

/// Runs the tool on the words of the process and gives its exit code.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ended = run(&words).and_then(|()| Ok(io::stdout().flush()?));
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    let mut err = io::stderr();
    if !failure.text.is_empty() {
        let error = error_word();
        // Nobody may be reading; the exit code tells all the same.
        let _ = writeln!(err, "{error} {}", failure.text);
    }
    if let Some(usage) = failure.usage {
        let _ = writeln!(err, "{usage}");
    }
    ExitCode::from(failure.exit.code())
}

fn run(words: &[OsString]) -> Result<(), Failure> {
    if words.first().is_some_and(|word| word == "--version") {
        return tool::print_version(&mut io::stdout());
    }
    let found = find::find(COMMANDS, words)?;
    let matches = match find::read(COMMANDS, &found)? {
        Meaning::Help => return Ok(io::stdout().write_all(usage::help(COMMANDS, &found.path).as_bytes())?),
        Meaning::Run(matches) => matches,
    };
    let command = found.path.last().expect("only a command has values to run with");
    let Deed::Run(deed) = command.deed else { unreachable!("a group has no values, only help") };
    // The tool's own words need no server, and must work whatever the environment says.
    let needs_variables = !command.offline;
    let variable = |name: &str| std::env::var_os(name).filter(|_| needs_variables);
    let global = Global::read(&matches, variable, needs_variables)?;
    let mut session = Session::new(
        global,
        words.to_vec(),
        (|words| find::help_on(COMMANDS, words), || tree::tree(COMMANDS)),
        Box::new(BufReader::new(io::stdin())),
        Box::new(BufWriter::new(io::stdout())),
        Box::new(io::stderr()),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
    if needs_variables {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        global::unrecognized(variables).into_iter().for_each(|line| session.complain(line));
    }
    if needs_variables && session.global.debug {
        session.global.told().into_iter().for_each(|line| session.complain(line));
    }
    let unreached = session.unreached.clone();
    let ended = runtime.block_on(async {
        let told = pin!(unreached.meanwhile(|line| {
            // It is told beside the command, which may have drawn how far it has come.
            progress::make_room();
            let _ = writeln!(io::stderr(), "{line}");
        }));
        match select(deed(&mut session, &matches), told).await {
            Either::Left((ended, _)) => ended,
            Either::Right((never, _)) => match never {},
        }
    });
    if let Some(exit) = ended.as_ref().err().map(|failure| failure.exit).filter(|exit| *exit != Exit::BrokenPipe) {
        session.tell_unreached(matches!(exit, Exit::Stopped(_)));
    }
    // A thread may still be waiting for standard input; the process need not.
    runtime.shutdown_background();
    ended
}
