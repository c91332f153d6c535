//! `completion`, and the man page: both from the definitions that the tool reads its words with.

use clap::ArgMatches;
use clap_complete::Shell;

use crate::ctl::command::{Command, Deed, NAME, Section, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::session::Session;

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
    section: Some(Section::Utility),
    offline: true,
    deed: Deed::Run(|session, matches| Box::pin(async move { completion(session, matches) })),
    ..Command::PLAIN
};

/// `man-page`, which etcdctl does not have.
pub const MAN_PAGE: Command = Command {
    name: "man-page",
    short: "Writes the man page",
    example: "quoratectl man-page > /usr/local/share/man/man1/quoratectl.1",
    section: Some(Section::Utility),
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
    let shell = match shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        other => return Err(misused(format!("invalid argument {other:?} for \"{NAME} completion\""))),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut (session.tree)(), NAME, &mut script);
    session.say(String::from_utf8_lossy(&script).trim_end())
}

/// The text, and the usage after it.
fn misused(text: String) -> Failure {
    let flags = "Flags:\n  -h, --help   help for completion\n";
    let usage = format!("Usage:\n  {NAME} completion [bash|zsh|fish|powershell]\n\n{flags}");
    Failure { exit: Exit::Error, text, usage: Some(usage) }
}

/// One page: the tool, then each command with its flags.
fn man_page(session: &mut Session) -> Result<(), Failure> {
    let mut tree = (session.tree)();
    tree.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(tree.clone()).render(&mut page)?;
    let mut commands = Vec::new();
    leaves(&tree, NAME, &mut commands);
    for (name, command) in commands {
        let mut part = Vec::new();
        let man = clap_mangen::Man::new(command.mut_args(|arg| arg.global(false)));
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        man.render_extra_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH DESCRIPTION\n", "").replace(".SH ", ".SS ");
        page.extend_from_slice(format!(".SH \"{}\"\n{}", name.to_uppercase(), part).as_bytes());
    }
    session.say(String::from_utf8_lossy(&page).trim_end())
}

/// The commands that run, each with its whole name and without the flags that every command takes.
fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        let name = format!("{name} {}", child.get_name());
        if child.has_subcommands() {
            leaves(child, &name, found);
        } else {
            let own = child.clone().mut_args(|arg| {
                let hide = arg.is_global_set();
                arg.hide(hide)
            });
            found.push((name, own));
        }
    }
}
