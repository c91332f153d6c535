//! `completion`, and the man page: both from the definitions that the tool reads its words with.

use clap::ArgMatches;

use crate::ctl::command::{self, Command, Deed, NAME, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::Session;
use crate::manual::{self, Section};

/// `completion`
pub const COMMAND: Command = Command {
    name: "completion",
    usage: "[bash|zsh|fish|powershell]",
    short: "Generate completion script",
    long: "To load completions:

Bash:

  $ source <(quoratectl completion bash)

  # To load completions for each session, execute once:
  # Linux:
  $ quoratectl completion bash > /etc/bash_completion.d/quoratectl
  # macOS:
  $ quoratectl completion bash > /usr/local/etc/bash_completion.d/quoratectl

Zsh:

  # If shell completion is not already enabled in your environment,
  # you will need to enable it.  You can execute the following once:

  $ echo \"autoload -U compinit; compinit\" >> ~/.zshrc

  # To load completions for each session, execute once:
  $ quoratectl completion zsh > \"${fpath[1]}/_quoratectl\"

  # You will need to start a new shell for this setup to take effect.

fish:

  $ quoratectl completion fish | source

  # To load completions for each session, execute once:
  $ quoratectl completion fish > ~/.config/fish/completions/quoratectl.fish

PowerShell:

  PS> quoratectl completion powershell | Out-String | Invoke-Expression

  # To load completions for every new session, run:
  PS> quoratectl completion powershell > quoratectl.ps1
  # and source this file from your PowerShell profile.
",
    example: "quoratectl completion bash > /etc/bash_completion.d/quoratectl",
    section: Some(command::Section::Utility),
    offline: true,
    deed: Deed::Run(|session, matches| Box::pin(async move { completion(session, matches) })),
    ..Command::PLAIN
};

/// `man-page`, which etcdctl does not have.
pub const MAN_PAGE: Command = Command {
    name: "man-page",
    short: "Writes the man page",
    example: "quoratectl man-page > /usr/local/share/man/man1/quoratectl.1",
    section: Some(command::Section::Utility),
    offline: true,
    whole_name: true,
    deed: Deed::Run(|session, _| Box::pin(async move { man_page(session) })),
    ..Command::PLAIN
};

fn completion(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let words: Vec<String> = words(matches).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let [shell] = &words[..] else {
        return Err(misused(format!("accepts 1 arg(s), received {}", words.len())));
    };
    let script = manual::script(shell, (session.tree)())
        .ok_or_else(|| misused(format!("invalid argument {} for \"{NAME} completion\"", go::quote(shell))))?;
    session.say(String::from_utf8_lossy(&script).trim_end())
}

/// The text, and the usage after it.
fn misused(text: String) -> Failure {
    let flags = "Flags:\n  -h, --help   help for completion\n";
    let usage = format!("Usage:\n  {NAME} completion [bash|zsh|fish|powershell]\n\n{flags}");
    Failure { exit: Exit::Error, text, usage: Some(usage) }
}

/// What the page says behind the commands. That of exit codes is `Exit`'s.
const SECTIONS: &[Section] = &[
    (
        "ENVIRONMENT",
        &[
            "An option that every command takes may be given by a variable: ETCDCTL_ and its name in capital letters, with _ in the \
             place of -, such as ETCDCTL_ENDPOINTS. To give both is an error. Commands that need no server look at none of them.",
            "ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END are what watch watches where the command line names no key.",
            "NO_COLOR, where it is not empty, turns colours off.",
        ],
    ),
    (
        "EXIT STATUS",
        &[
            "0: done.",
            "1: the request was refused or not answered in time, or the command line cannot be read.",
            "2: no connection. 3: wrong input. 4: a value or an output format that is not supported. 5: interrupted by the server, or no \
             snapshot was saved. 6: reading or writing failed. 128: wrong arguments.",
            "129, 130, 143: stopped by HUP, INT or TERM. 141: nobody reads the output any more.",
            "lock ends with the exit code of the command that it ran.",
        ],
    ),
    ("SEE ALSO", &["quorateutl(1)"]),
];

/// One page: the tool, then each command with its flags.
fn man_page(session: &mut Session) -> Result<(), Failure> {
    let page = manual::page((session.tree)(), SECTIONS)?;
    session.say(String::from_utf8_lossy(&page).trim_end())
}
