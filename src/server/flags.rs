//! The command line: etcd's flags by name, read as etcd reads them.
//!
//! One table says of each flag its kind, default and group and whether it is built. The reader follows the
//! rules of etcd's own flag library (one dash or two, `-name value` or `-name=value`, a bool alone is true),
//! which clap does not offer, and reads the same flags from `ETCD_*` variables.
//!
//! Invariants: nothing is taken silently: an unknown flag, a value of the wrong kind, a flag that is set twice
//! over (command line and environment) each end the start with one line that names it, and a flag that does nothing
//! here, or that etcd will take away, is warned of. Does not know what the values are used for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::base::go_quoted;
use crate::server::config_file;
use crate::server::features::Features;
pub use crate::server::flag_table::{DEPRECATED, FLAGS, Flag, Group, Kind, SLOW_REQUESTS, Standing};
use crate::server::values;

/// Why the command line ends the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlagStop {
    /// `--help` was asked for; the text.
    Help(String),
    /// `--version` was asked for.
    Version,
    /// The command line itself is wrong: exit code 2, as etcd's flag library.
    Usage(String),
    /// It is well formed but cannot be served: exit code 1.
    Refused(String),
}

impl fmt::Display for FlagStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help(text) | Self::Usage(text) | Self::Refused(text) => f.write_str(text),
            Self::Version => f.write_str("version"),
        }
    }
}

/// Values by flag, and what is worth a warning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    given: BTreeMap<&'static str, String>,
    /// Warnings for the log, which is not there yet when flags are read.
    pub warnings: Vec<String>,
}

impl Flags {
    /// Reads arguments (without the program's name) and environment.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, FlagStop> {
        let mut flags = Self::default();
        flags.read_arguments(arguments)?;
        let environment: Vec<_> = environment.into_iter().collect();
        match flags.file(&environment) {
            Some(path) => flags.read_file(&path)?,
            None => flags.read_environment(environment)?,
        }
        flags.warn_of_deprecated();
        flags.warn_of_ignored();
        Ok(flags)
    }

    /// The value of a flag: as given, or its default.
    pub fn get(&self, name: &str) -> &str {
        match self.given.get(name) {
            Some(value) => value,
            None => find(name).map_or("", |flag| flag.default),
        }
    }

    /// Whether the flag was given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn read_arguments(&mut self, arguments: impl IntoIterator<Item = String>) -> Result<(), FlagStop> {
        let mut arguments = arguments.into_iter();
        let mut asks_version = false;
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                if let Some(stray) = arguments.next() {
                    return Err(not_a_flag(&stray));
                }
                break;
            }
            let Some(bare) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                return Err(not_a_flag(&argument));
            };
            if bare.is_empty() {
                return Err(not_a_flag(&argument));
            }
            if bare.starts_with(['-', '=']) {
                return Err(FlagStop::Usage(format!("bad flag syntax: {argument}")));
            }
            let (name, value) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (bare, None),
            };
            if name == "version" {
                let value = value.as_deref().unwrap_or("true");
                let wrong = |why| FlagStop::Usage(format!("invalid boolean value {value:?} for -version: {why}"));
                asks_version = values::boolean(value).map_err(wrong)?;
                continue;
            }
            self.take(name, value, &mut arguments)?;
        }
        // The rest of the line is looked at before.
        if asks_version { Err(FlagStop::Version) } else { Ok(()) }
    }

    fn take(
        &mut self,
        name: &str,
        value: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), FlagStop> {
        if matches!(name, "help" | "h") {
            return Err(FlagStop::Help(help()));
        }
        let flag = find(name).ok_or_else(|| FlagStop::Usage(format!("flag provided but not defined: -{name}")))?;
        let value = match value {
            Some(value) => value,
            None if matches!(flag.kind, Kind::Bool | Kind::Any) => "true".to_string(),
            None => rest.next().ok_or_else(|| FlagStop::Usage(format!("flag needs an argument: -{name}")))?,
        };
        check(flag, &value).map_err(|why| {
            FlagStop::Usage(match flag.kind {
                Kind::Bool => format!("invalid boolean value {value:?} for -{name}: {why}"),
                _ => format!("invalid value {value:?} for flag -{name}: {why}"),
            })
        })?;
        self.given.insert(flag.name, value);
        Ok(())
    }

    fn read_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) -> Result<(), FlagStop> {
        let mut variables: Vec<(String, String)> =
            environment.into_iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
        variables.sort();
        // etcd goes through its flags by their names, and tells the last that is wrong.
        let mut wrong: Option<(&str, String)> = None;
        for (variable, value) in variables {
            if variable == "ETCD_UNSUPPORTED_ARCH" || variable == "ETCD_VERIFY" {
                continue;
            }
            let Some(flag) = FLAGS.iter().find(|flag| flag.variable() == variable && flag.name != "version") else {
                // Its value may be a secret, such as a password for a tool beside this one.
                self.warnings.push(format!("unrecognized environment variable: {variable}"));
                continue;
            };
            if value.is_empty() {
                continue;
            }
            if self.given.contains_key(flag.name) {
                return Err(FlagStop::Refused(format!(
                    "conflicting environment variable {variable} is shadowed by corresponding command-line flag \
                     --{} (either unset environment variable or disable flag)",
                    flag.name
                )));
            }
            if let Err(why) = check(flag, &value)
                && wrong.as_ref().is_none_or(|(name, _)| *name < flag.name)
            {
                wrong = Some((flag.name, format!("invalid value {value:?} for {variable}: {why}")));
            }
            self.given.insert(flag.name, value);
        }
        wrong.map_or(Ok(()), |(_, text)| Err(FlagStop::Refused(text)))
    }

    /// The configuration file, if there is one.
    fn file(&self, environment: &[(String, String)]) -> Option<String> {
        let named = environment.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE").map(|(_, path)| path);
        self.given.get("config-file").or(named).filter(|path| !path.is_empty()).cloned()
    }

    /// Reads the file in place of everything else.
    fn read_file(&mut self, path: &str) -> Result<(), FlagStop> {
        let given = config_file::read(Path::new(path)).map_err(FlagStop::Refused)?;
        self.given = BTreeMap::from([("config-file", path.to_string())]);
        for (name, value) in given {
            if let Some(flag) = find(name) {
                check(flag, &value).map_err(|why| FlagStop::Refused(of_file(flag, &value, &why)))?;
            }
            self.given.insert(name, value);
        }
        if !self.get(config_file::SERVER_NAME).is_empty() {
            let text = "the key server-name of discovery-config has no effect, as in etcd: the registry's certificate is \
                        to be for the host of its endpoint";
            self.warnings.push(text.to_string());
        }
        self.warnings.push(format!(
            "loaded server configuration from {path}, other configuration command line flags and environment variables \
             will be ignored if provided"
        ));
        Ok(())
    }

    /// Whether a file said it all.
    pub fn are_of_file(&self) -> bool {
        self.given.contains_key("config-file")
    }

    fn warn_of_deprecated(&mut self) {
        let given = DEPRECATED.iter().filter(|(name, _)| self.given.contains_key(name));
        self.warnings.extend(given.map(|(_, text)| text.to_string()));
    }

    fn warn_of_ignored(&mut self) {
        for (name, value) in &self.given {
            let Some(flag) = find(name) else { continue };
            if let Standing::Ignored(why) = flag.standing
                && !flag.is_default(value)
            {
                self.warnings.push(format!("--{name} is accepted and has no effect: {why}"));
            }
        }
    }
}

/// What is said of a value in the file that is not of its flag's kind, as etcd says it.
fn of_file(flag: &Flag, value: &str, why: &str) -> String {
    match (flag.kind, flag.name) {
        // etcd's own slip.
        (Kind::Urls, "advertise-client-urls") => format!("unexpected error setting up advertise-peer-urls: {why}"),
        (Kind::Urls, name) => format!("unexpected error setting up {name}: {why}"),
        (_, "initial-cluster-state") => format!("unexpected clusterState {value:?}"),
        (Kind::Gates, _) => why.to_string(),
        (_, name) => format!("invalid value {value:?} for {name}: {why}"),
    }
}

fn not_a_flag(argument: &str) -> FlagStop {
    if matches!(argument, "gateway" | "grpc-proxy") {
        let text = format!("{argument}: quorate has no proxies; etcd's own may stand before it");
        return FlagStop::Refused(text);
    }
    FlagStop::Refused(format!("{argument:?} is not a valid flag"))
}

/// The flag of that name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Whether a value is of the flag's kind.
fn check(flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Text | Kind::Words | Kind::Any => Ok(()),
        Kind::Gates => Features::read(value).map(drop),
        Kind::Origins => {
            // An empty one is none, and by the rules of browsers it would be any.
            let mut origins = value.split(',').filter(|_| value != "*");
            origins.try_for_each(|origin| crate::base::Url::read(origin).map(drop))
        }
        Kind::Level => values::log_level(value).map(drop),
        // There is nothing here that a negative time would change, or it has its meaning.
        Kind::Duration if flag.standing != Standing::Built || flag.name == SLOW_REQUESTS => {
            values::duration(value.strip_prefix('-').unwrap_or(value)).map(drop)
        }
        Kind::Bool => values::boolean(value).map(drop),
        Kind::Unsigned if flag.name == "max-concurrent-streams" => short_number(value),
        Kind::Unsigned => values::unsigned(value).map(drop),
        Kind::Signed => values::signed(value).map(drop),
        Kind::Duration => values::duration(value).map(drop),
        Kind::Urls => values::urls(value).map(drop),
        Kind::Choices(allowed) => match value.split(',').find(|word| !allowed.contains(word)) {
            Some(wrong) => Err(format!("invalid value {}", go_quoted(wrong))),
            None => Ok(()),
        },
        Kind::OneOf(allowed) | Kind::Choice(allowed) if allowed.contains(&value) => Ok(()),
        Kind::Choice(_) => Err("invalid value".to_string()),
        Kind::OneOf(allowed) => Err(format!("must be one of {}", allowed.join(", "))),
    }
}

/// A number of 32 bits, which etcd reads by another library than the others: so it is refused in its words.
fn short_number(value: &str) -> Result<(), String> {
    let why = match values::unsigned(value) {
        Ok(number) if number <= u32::MAX.into() => return Ok(()),
        Err(why) if why == "parse error" => "invalid syntax",
        Ok(_) | Err(_) => "value out of range",
    };
    Err(format!("strconv.ParseUint: parsing {}: {why}", go_quoted(value)))
}

/// Columns of a line of the help.
const HELP_WIDTH: usize = 100;

/// The help text, by group. Flags that do nothing here stand at the end by name only.
pub fn help() -> String {
    let mut text = String::from(
        "quorate: an etcd-compatible, strongly consistent key-value store.\n\nUsage:\n\n  quorate [flags]\n    \
         Start a server. Every flag may also be set as ETCD_<NAME> in the environment.\n\n  quorate --version\n    \
         Show the version.\n\n  quorate -h | --help\n    Show this text.\n",
    );
    for group in Group::ALL {
        let mut flags = FLAGS.iter().filter(|flag| flag.group == *group && flag.standing == Standing::Built).peekable();
        if flags.peek().is_some() {
            text.push_str(&format!("\n{}:\n", group.title()));
        }
        for flag in flags {
            let default = if flag.default.is_empty() { "''".to_string() } else { format!("'{}'", flag.default) };
            text.push_str(&format!("  --{} {default}\n    {}\n", flag.name, flag.help));
        }
    }
    text.push_str("\nKnown to etcd, accepted, and without effect here:\n");
    let mut width = HELP_WIDTH;
    for flag in FLAGS.iter().filter(|flag| flag.standing != Standing::Built) {
        let begin = if width + flag.name.len() + 3 > HELP_WIDTH { "\n  --" } else { " --" };
        width = if begin.starts_with('\n') { 1 } else { width } + flag.name.len() + 3;
        text.push_str(begin);
        text.push_str(flag.name);
    }
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
