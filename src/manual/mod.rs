//! Texts about a tool for shells and readers: completion scripts and the man page, from the tree of its commands.
//!
//! Invariant: both say what the tree says of commands and flags, and nothing else of them. Does not know which tool it is.

use std::io;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The shells there are scripts for.
pub const SHELLS: [&str; 4] = ["bash", "zsh", "fish", "powershell"];

/// A section of the page: its heading, and its paragraphs.
pub type Section<'a> = (&'a str, &'a [&'a str]);

/// The script by which a shell completes the tool's words; none where the shell is none of [`SHELLS`].
pub fn script(shell: &str, mut tree: clap::Command) -> Option<Vec<u8>> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        _ => return None,
    };
    let name = tree.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, name, &mut script);
    Some(script)
}

/// The man page: the tool with the flags that every command takes, then each command with its usage and its own flags, then what
/// else there is to say.
///
/// # Errors
/// None: memory is written to.
pub fn page(tree: clap::Command, sections: &[Section<'_>]) -> io::Result<Vec<u8>> {
    let name = tree.get_name().to_owned();
    let mut tree = tree.override_usage(format!("{name} [OPTIONS] COMMAND [ARGUMENTS]"));
    tree.build();
    let mut page = Page::default();
    let man = Man::new(tree.clone().mut_args(|arg| if arg.get_id() == "help" { arg.hide(true) } else { arg }));
    let (title, version) = (name.to_uppercase(), tree.get_version().unwrap_or_default());
    // No date; the library that writes the rest would leave out an empty word.
    page.write(Roff::new().control("TH", [&*title, "1", "\"\"", &*format!("{name} {version}")]))?;
    for part in [
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ] {
        page.take(|out| part(&man, out))?;
    }
    page.write(Roff::new().control("SH", ["COMMANDS"]))?;
    let mut commands = Vec::new();
    leaves(&tree, &name, &mut commands);
    for (name, command) in commands {
        page.command(&name, command)?;
    }
    for (heading, paragraphs) in sections {
        page.write(Roff::new().control("SH", [*heading]))?;
        for paragraph in *paragraphs {
            page.write(Roff::new().control("PP", []).text([roman(*paragraph)]))?;
        }
    }
    page.take(|out| man.render_version_section(out))?;
    Ok(page.0)
}

/// The commands that run, each with its whole name and without the flags that every command takes.
fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        let name = format!("{name} {}", child.get_name());
        if child.has_subcommands() {
            leaves(child, &name, found);
        } else {
            let own = child.clone().mut_args(|arg| {
                let hide = arg.is_global_set() || arg.is_positional() || arg.get_id() == "help";
                arg.hide(hide)
            });
            found.push((name, own));
        }
    }
}

/// What is written of the page so far.
#[derive(Default)]
struct Page(Vec<u8>);

impl Page {
    /// Takes in a part. What each begins with is said once.
    fn take(&mut self, render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
        let mut part = Vec::new();
        render(&mut part)?;
        let beginning = Roff::new().render();
        let rest = part.strip_prefix(beginning.as_bytes()).filter(|_| !self.0.is_empty());
        self.0.extend_from_slice(rest.unwrap_or(&part));
        Ok(())
    }

    fn write(&mut self, text: &Roff) -> io::Result<()> {
        self.take(|out| text.to_writer(out))
    }

    /// One command: its usage, what it does, its flags, and lines to try.
    fn command(&mut self, name: &str, command: clap::Command) -> io::Result<()> {
        let usage = command.get_overridden_usage().map(ToString::to_string).unwrap_or_else(|| name.to_owned());
        let rest = usage.strip_prefix(name).unwrap_or_default().to_owned();
        let examples = command.get_after_help().map(ToString::to_string);
        // Who looks for a name types a hyphen, not a dash.
        let heading = name.replace('-', "\\-");
        self.write(Roff::new().control("SS", [&*heading]).text([bold(name), roman(rest)]))?;
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        let mut text = Roff::new();
        text.control("PP", []);
        let mut before = "";
        for line in about.lines().map(str::trim) {
            if line.is_empty() {
                text.control("PP", []);
            } else {
                // Its lines are its own, as in the help: among them are lines to type.
                if !before.is_empty() {
                    text.control("br", []);
                }
                text.text([roman(line)]);
            }
            before = line;
        }
        self.write(&text)?;
        if command.get_arguments().any(|arg| !arg.is_hide_set()) {
            let mut options = Vec::new();
            Man::new(command).render_options_section(&mut options)?;
            // A heading of its own would end the command's.
            let options = String::from_utf8_lossy(&options).replacen(".SH OPTIONS\n", "", 1);
            self.take(|out| out.write_all(options.as_bytes()))?;
        }
        let Some(examples) = examples else { return Ok(()) };
        let mut text = Roff::new();
        text.control("PP", []);
        let mut lines = examples.lines();
        text.text([roman(lines.next().unwrap_or_default())]);
        // As they stand: who copies one wants no line of it filled.
        text.control("RS", ["4"]).control("nf", []);
        for line in lines {
            text.text([roman(line.trim_start())]);
        }
        self.write(text.control("fi", []).control("RE", []))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn tree() -> Command {
        let leaf = Command::new("leaf")
            .about("Does it")
            .override_usage("tool group leaf <what> [flags]")
            .after_help("Examples:\n  tool group leaf 'a'\n  .dot -x\n")
            .arg(Arg::new("own").long("own").value_name("string").help("its own"))
            .arg(Arg::new("what"));
        let every = Arg::new("every").long("every").value_name("int").default_value("1").help("of all").global(true);
        let group = Command::new("group").about("Holds it").subcommand(leaf);
        Command::new("tool").about("A tool").version("1.2").arg(every).subcommand(group)
    }

    #[test]
    fn the_page_says_each_flag_once_and_of_each_command_its_usage() {
        let page = String::from_utf8(page(tree(), &[("FILES", &["one", "'two"])]).expect("memory")).expect("text");
        assert_eq!(page.matches("of all").count(), 1, "{page}");
        for part in [
            ".TH TOOL 1 \"\" \"tool 1.2\"\n.SH NAME\n",
            "\\fB\\-\\-every\\fR \\fI<int>\\fR [default: 1]",
            ".SH COMMANDS\n.SS \"tool group leaf\"\n\\fBtool group leaf\\fR <what> [flags]\n.PP\nDoes it\n.TP\n\\fB\\-\\-own\\fR",
            "Examples:\n.RS 4\n.nf\ntool group leaf \\*(Aqa\\*(Aq\n\\&.dot \\-x\n.fi\n.RE\n",
            ".SH FILES\n.PP\none\n.PP\n\\*(Aqtwo\n",
            ".SH VERSION\nv1.2\n",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("OPTIONS\n.TP\n\\fB\\-h") && !page.contains("tool\\-group"), "{page}");
        assert_eq!(page.matches(".ds Aq").count(), 2, "the beginning, once: {page}");
    }

    #[test]
    fn there_is_a_script_for_each_shell_and_no_other() {
        for shell in SHELLS {
            let script = String::from_utf8(script(shell, tree()).expect(shell)).expect("text");
            for word in ["tool", "group", "leaf", "own", "every"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        assert_eq!(script("tcsh", tree()), None);
    }
}
