//! Commands about the tool itself: `version`, `options`, `help`.

use std::io::Write;

use crate::ctl::command::{Command, Deed, NAME, Section, no_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::flags::usage;

/// The API version this tool speaks.
const API_VERSION: &str = "3.7";

/// `version`
pub const VERSION: Command = Command {
    name: "version",
    usage: "",
    short: "Prints the version of quoratectl",
    long: "",
    section: Some(Section::Utility),
    flags: no_flags,
    deed: Deed::Run(|session, _| {
        Box::pin(async move {
            let mut text = Vec::new();
            print_version(&mut text)?;
            session.say(String::from_utf8_lossy(&text).trim_end())
        })
    }),
};

/// `options`
pub const OPTIONS: Command = Command {
    name: "options",
    usage: "",
    short: "Show the global command-line flags",
    long: "",
    section: Some(Section::Utility),
    flags: no_flags,
    deed: Deed::Run(|session, _| Box::pin(async move { session.say(usage::options().trim_end()) })),
};

/// `help`
pub const HELP: Command = Command {
    name: "help",
    usage: "[command]",
    short: "Help about any command",
    long: "",
    section: Some(Section::Utility),
    flags: no_flags,
    deed: Deed::Run(|session, matches| {
        Box::pin(async move {
            match (session.help_on)(&words(matches)) {
                Ok(help) => session.say(help.trim_end_matches('\n')),
                Err(unknown) => {
                    session.complain(unknown.trim_end_matches('\n'));
                    Ok(())
                }
            }
        })
    }),
};

/// Prints the versions of the tool and of the API.
///
/// # Errors
/// Writing failed.
pub fn print_version(out: &mut dyn Write) -> Result<(), Failure> {
    Ok(writeln!(out, "{NAME} version: {}\nAPI version: {API_VERSION}", env!("CARGO_PKG_VERSION"))?)
}
