//! Commands about the tool itself: `version`, `options`, `help`.

use std::io::Write;

use crate::ctl::command::{Command, Deed, NAME, Section, words};
use crate::ctl::failure::Failure;
use crate::ctl::flags::usage;

/// The etcdctl whose commands, texts and API these are.
const ETCDCTL_VERSION: &str = "3.7.1";

/// The API version this tool speaks.
const API_VERSION: &str = "3.7";

/// `version`
pub const VERSION: Command = Command {
    name: "version",
    short: "Prints the version of quoratectl",
    example: "quoratectl version",
    section: Some(Section::Utility),
    offline: true,
    deed: Deed::Run(|session, _| {
        Box::pin(async move {
            let mut text = Vec::new();
            print_version(&mut text)?;
            session.say(String::from_utf8_lossy(&text).trim_end())
        })
    }),
    ..Command::PLAIN
};

/// `options`
pub const OPTIONS: Command = Command {
    name: "options",
    short: "Show the global command-line flags",
    example: "quoratectl options",
    section: Some(Section::Utility),
    offline: true,
    deed: Deed::Run(|session, _| Box::pin(async move { session.say(usage::options().trim_end()) })),
    ..Command::PLAIN
};

/// `help`
pub const HELP: Command = Command {
    name: "help",
    usage: "[command]",
    short: "Help about any command",
    long: "Help provides help for any command in the application.\nSimply type quoratectl help [path to command] for full details.",
    section: Some(Section::Utility),
    offline: true,
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
    ..Command::PLAIN
};

/// Prints the versions of the tool, of the etcdctl that it stands in for, and of the API: scripts look for those two.
///
/// # Errors
/// Writing failed.
pub fn print_version(out: &mut dyn Write) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    Ok(writeln!(out, "{NAME} version: {own}\netcdctl version: {ETCDCTL_VERSION}\nAPI version: {API_VERSION}")?)
}
