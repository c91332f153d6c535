//! The options every command takes, from the command line and from `ETCDCTL_*` variables.
//!
//! Invariants: a variable fills an option that the command line leaves alone; both at once is an error, as in
//! etcdctl; variables are looked at only by commands that talk to a server.

use std::ffi::OsString;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};

use crate::base::nearest;
use crate::client::{Credentials, Options, TlsOptions};

use super::go_flags::as_go_flags;
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;

/// The options every command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// gRPC endpoints
    #[arg(long, value_name = "strings", default_value = "127.0.0.1:2379", action = clap::ArgAction::Append)]
    pub endpoints: Vec<String>,
    /// enable client-side debug logging
    #[arg(long)]
    pub debug: bool,
    /// set the output format (fields, json, protobuf, simple, table)
    #[arg(long, short = 'w', value_name = "string", default_value = "simple")]
    pub write_out: String,
    /// print byte strings as hex encoded strings
    #[arg(long)]
    pub hex: bool,
    /// dial timeout for client connections
    #[arg(long, value_name = "duration", default_value = "2s", value_parser = go::parse_duration)]
    pub dial_timeout: Duration,
    /// timeout for short running command (excluding dial timeout)
    #[arg(long, value_name = "duration", default_value = "5s", value_parser = go::parse_duration)]
    pub command_timeout: Duration,
    /// Whether the timeout was given: some commands have none of their own.
    #[arg(skip)]
    pub command_timeout_given: bool,
    /// keepalive time for client connections
    #[arg(long, value_name = "duration", default_value = "2s", value_parser = go::parse_duration)]
    pub keepalive_time: Duration,
    /// keepalive timeout for client connections
    #[arg(long, value_name = "duration", default_value = "6s", value_parser = go::parse_duration)]
    pub keepalive_timeout: Duration,
    /// client-side request send limit in bytes (if 0, it defaults to 2.0 MiB (2 * 1024 * 1024).)
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    pub max_request_bytes: i64,
    /// client-side response receive limit in bytes (if 0, it defaults to "math.MaxInt32")
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    pub max_recv_bytes: i64,
    /// disable transport security for client connections
    #[arg(long, default_value = "true")]
    pub insecure_transport: bool,
    /// accept insecure SRV records describing cluster endpoints
    #[arg(long, default_value = "true")]
    pub insecure_discovery: bool,
    /// skip server certificate verification (CAUTION: this option should be enabled only for testing purposes)
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// identify secure client using this TLS certificate file
    #[arg(long, value_name = "string")]
    pub cert: Option<String>,
    /// identify secure client using this TLS key file
    #[arg(long, value_name = "string")]
    pub key: Option<String>,
    /// verify certificates of TLS-enabled secure servers using this CA bundle
    #[arg(long, value_name = "string")]
    pub cacert: Option<String>,
    /// JWT token used for authentication (if this option is used, --user and --password should not be set)
    #[arg(long, value_name = "string")]
    pub auth_jwt_token: Option<String>,
    /// username[:password] for authentication (prompt if password is not supplied)
    #[arg(long, value_name = "string")]
    pub user: Option<String>,
    /// password for authentication (if this option is used, --user option shouldn't include password)
    #[arg(long, value_name = "string")]
    pub password: Option<String>,
    /// domain name to query for SRV records describing cluster endpoints
    #[arg(long, short = 'd', value_name = "string")]
    pub discovery_srv: Option<String>,
    /// service name to query when using DNS discovery
    #[arg(long, value_name = "string")]
    pub discovery_srv_name: Option<String>,
}

/// Prefix of the variables that stand for options.
const PREFIX: &str = "ETCDCTL_";

/// The variable that stands for an option.
pub fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.to_ascii_uppercase().replace('-', "_"))
}

impl Global {
    /// The options every command takes, as flags.
    pub fn flags() -> clap::Command {
        as_go_flags(Global::augment_args(clap::Command::new("options")))
    }

    /// The options of one call: the command line, completed by `variables`. Only a command that talks to a
    /// server has its options `checked` beyond their form.
    ///
    /// # Errors
    /// An option is given twice over, or a variable does not hold what its option takes.
    pub fn read(
        matches: &ArgMatches,
        variables: impl Fn(&str) -> Option<OsString>,
        checked: bool,
    ) -> Result<Global, Failure> {
        let command = Global::flags();
        let mut from_variables = Vec::new();
        for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
            let variable = variable(option);
            let Some(value) = variables(&variable).filter(|value| !value.is_empty()) else { continue };
            let value = value.into_string().map_err(|_| {
                Failure::bad_args(format!("invalid environment variable {variable}: its value is not UTF-8"))
            })?;
            let given = matches.value_source(&option.replace('-', "_")) == Some(ValueSource::CommandLine);
            if given {
                let text = "conflicting environment variable is shadowed by corresponding command-line flag \
                            (either unset environment variable or disable flag)";
                return Err(Failure::new(Exit::Error, format!("{text}: {variable}")));
            }
            // etcdctl keeps the default where a variable cannot be read; saying so is kinder.
            from_variables.push(format!("--{option}={value}"));
        }
        let fill = command.clone().try_get_matches_from(&from_variables).map_err(|error| {
            let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let cannot = |flag: &&String| command.clone().try_get_matches_from([*flag]).is_err();
            let option =
                from_variables.iter().find(cannot).and_then(|flag| flag.trim_start_matches('-').split('=').next());
            let name = option.map(variable).unwrap_or_default();
            Failure::bad_args(format!("invalid environment variable {name}: {text}"))
        })?;
        let mut global = Global::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
        let filled = |option: &str| fill.value_source(option) == Some(ValueSource::CommandLine);
        global.command_timeout_given =
            filled("command_timeout") || matches.value_source("command_timeout") == Some(ValueSource::CommandLine);
        global.fill(&fill, filled);
        global.endpoints = split_endpoints(&global.endpoints);
        if checked {
            global.check()?;
        }
        Ok(global)
    }

    /// Takes from `fill` what `filled` says was given there.
    fn fill(&mut self, fill: &ArgMatches, filled: impl Fn(&str) -> bool) {
        macro_rules! take {
            ($($name:ident: $kind:ty),*) => {$(
                if filled(stringify!($name)) && let Some(value) = fill.get_one::<$kind>(stringify!($name)) {
                    self.$name = value.clone().into();
                }
            )*};
        }
        take!(debug: bool, write_out: String, hex: bool, dial_timeout: Duration, command_timeout: Duration,
            keepalive_time: Duration, keepalive_timeout: Duration, max_request_bytes: i64, max_recv_bytes: i64,
            insecure_transport: bool, insecure_discovery: bool, insecure_skip_tls_verify: bool, cert: String,
            key: String, cacert: String, auth_jwt_token: String, user: String, password: String,
            discovery_srv: String, discovery_srv_name: String);
        if filled("endpoints")
            && let Some(endpoints) = fill.get_many::<String>("endpoints")
        {
            self.endpoints = endpoints.cloned().collect();
        }
    }

    fn check(&self) -> Result<(), Failure> {
        for (name, file) in [("cert", &self.cert), ("key", &self.key), ("cacert", &self.cacert)] {
            match file.as_deref() {
                None => {}
                Some("") => return Err(Failure::bad_args(format!("empty string is passed to --{name} option"))),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What the client library needs to know. The password is the one that was asked for, where the options say none.
    ///
    /// # Errors
    /// As the options of a connection can be wrong.
    pub fn client_options(&self, asked: Option<String>) -> Result<Options, Failure> {
        let defaults = Options::default();
        let size = |bytes: i64, default: usize| match usize::try_from(bytes) {
            Ok(bytes) if bytes > 0 => bytes,
            _ => default,
        };
        Ok(Options {
            connect_timeout: self.dial_timeout,
            timeout: Some(self.command_timeout),
            keepalive_time: self.keepalive_time,
            keepalive_timeout: self.keepalive_timeout,
            max_request_bytes: size(self.max_request_bytes, defaults.max_request_bytes),
            max_response_bytes: size(self.max_recv_bytes, defaults.max_response_bytes),
            credentials: self.credentials(asked),
            tls: self.tls(),
        })
    }

    /// As etcdctl has it: a file, or the wish for encryption, makes every endpoint without a scheme an encrypted one.
    ///
    /// Endpoints that were found in a domain, and are not taken on trust, must show certificates of the domain.
    fn tls(&self) -> Option<TlsOptions> {
        let domain = if self.insecure_discovery { None } else { given(&self.discovery_srv) };
        let given = [&self.cacert, &self.cert, &self.key, &domain].into_iter().any(Option::is_some);
        if !given && self.insecure_transport && !self.insecure_skip_tls_verify {
            return None;
        }
        let path = |file: &Option<String>| file.clone().unwrap_or_default().into();
        Some(TlsOptions {
            cacert: path(&self.cacert),
            cert: path(&self.cert),
            key: path(&self.key),
            insecure_skip_verify: self.insecure_skip_tls_verify,
            server_name: domain.unwrap_or_default(),
        })
    }

    /// Every option with its value, as the variable that would set it. A password is not shown.
    pub fn told(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let hidden = |secret: String| if secret.is_empty() { "" } else { "(not shown)" };
        let user = text(&self.user);
        let user = user.split_once(':').map_or(user.clone(), |(name, _)| format!("{name}:(not shown)"));
        [
            ("auth-jwt-token", hidden(text(&self.auth_jwt_token)).to_owned()),
            ("cacert", text(&self.cacert)),
            ("cert", text(&self.cert)),
            ("command-timeout", go::show_duration(self.command_timeout)),
            ("debug", self.debug.to_string()),
            ("dial-timeout", go::show_duration(self.dial_timeout)),
            ("discovery-srv", text(&self.discovery_srv)),
            ("discovery-srv-name", text(&self.discovery_srv_name)),
            ("endpoints", format!("[{}]", self.endpoints.join(","))),
            ("hex", self.hex.to_string()),
            ("insecure-discovery", self.insecure_discovery.to_string()),
            ("insecure-skip-tls-verify", self.insecure_skip_tls_verify.to_string()),
            ("insecure-transport", self.insecure_transport.to_string()),
            ("keepalive-time", go::show_duration(self.keepalive_time)),
            ("keepalive-timeout", go::show_duration(self.keepalive_timeout)),
            ("key", text(&self.key)),
            ("max-recv-bytes", self.max_recv_bytes.to_string()),
            ("max-request-bytes", self.max_request_bytes.to_string()),
            ("password", hidden(text(&self.password)).to_owned()),
            ("user", user),
            ("write-out", self.write_out.clone()),
        ]
        .map(|(option, value)| format!("{}={value}", variable(option)))
        .to_vec()
    }

    /// Whether the options name a user and neither a password nor a token.
    pub fn user_without_password(&self) -> bool {
        given(&self.auth_jwt_token).is_none()
            && given(&self.password).is_none()
            && given(&self.user).is_some_and(|user| !user.contains(':'))
    }

    fn credentials(&self, asked: Option<String>) -> Option<Credentials> {
        if let Some(token) = given(&self.auth_jwt_token) {
            return Some(Credentials::Token(token));
        }
        password_of(&self.user, asked.as_ref().or(self.password.as_ref()))
    }
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// A user's name and password, given apart or with a colon between. An empty one of either is nobody: etcd's client asks
/// for no token then, and the server says what it thinks of that.
pub fn password_of(user: &Option<String>, password: Option<&String>) -> Option<Credentials> {
    let user = given(user)?;
    let (name, password) = match (password.filter(|password| !password.is_empty()), user.split_once(':')) {
        (Some(password), _) => (user, password.clone()),
        (None, Some((name, password))) => (name.to_owned(), password.to_owned()),
        (None, None) => return None,
    };
    (!name.is_empty() && !password.is_empty()).then_some(Credentials::Password { name, password })
}

/// Without the spaces around it, and the quotes that a file of lists may have around each.
fn unquoted(endpoint: &str) -> &str {
    let endpoint = endpoint.trim();
    endpoint.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(endpoint)
}

/// The flag holds comma-separated lists and may be repeated; an empty one is an empty list. What is empty in a list is passed over
/// where something else is in one.
fn split_endpoints(lists: &[String]) -> Vec<String> {
    let endpoints = lists.iter().filter(|list| !list.is_empty()).flat_map(|list| list.split(',')).map(unquoted);
    let (empty, mut named): (Vec<&str>, Vec<&str>) = endpoints.partition(|endpoint| endpoint.is_empty());
    if named.is_empty() {
        named = empty;
    }
    named.into_iter().map(str::to_owned).collect()
}

/// Words in the name of a variable whose value is not shown: it may be a secret.
const SECRETIVE: [&str; 7] = ["PASS", "PWD", "SECRET", "TOKEN", "JWT", "USER", "KEY"];

/// Variables that `watch` reads, beside those of the options.
const OF_WATCH: [&str; 2] = ["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];

/// What there is to say of variables that look like one of these options, and are none.
pub fn unrecognized(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let flags = Global::flags();
    let known: Vec<String> = flags.get_arguments().filter_map(|arg| arg.get_long()).map(variable).collect();
    let others = variables
        .filter(|(name, _)| name.starts_with(PREFIX) && !known.contains(name) && !OF_WATCH.contains(&name.as_str()));
    let mut told: Vec<String> = others
        .map(|(name, value)| {
            let meant = nearest(&name, known.iter().map(String::as_str));
            let names = [name.as_str(), meant.unwrap_or_default()];
            let hides = names.iter().any(|name| SECRETIVE.iter().any(|word| name.contains(word)));
            let value = match value {
                _ if hides => "(not shown)".to_owned(),
                odd if odd.contains(char::is_control) => go::quote(odd),
                value => value,
            };
            let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
            format!("unrecognized environment variable: {name}={value}{meant}")
        })
        .collect();
    told.sort_unstable();
    told
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Global, Failure> {
        let matches = Global::flags().try_get_matches_from(args).expect("good arguments");
        let look_up = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Global::read(&matches, look_up, true)
    }

    #[test]
    fn a_variable_fills_what_the_command_line_leaves() -> Result<(), Failure> {
        let variables = [("ETCDCTL_ENDPOINTS", "a:1, b:2"), ("ETCDCTL_COMMAND_TIMEOUT", "1m"), ("ETCDCTL_HEX", "true")];
        let global = read(&["-w", "json"], &variables)?;
        assert_eq!(global.endpoints, ["a:1", "b:2"]);
        assert_eq!(global.command_timeout, Duration::from_secs(60));
        assert_eq!((global.write_out.as_str(), global.hex), ("json", true));
        assert_eq!(read(&[], &[])?.endpoints, ["127.0.0.1:2379"]);
        Ok(())
    }

    #[test]
    fn both_at_once_is_refused_and_a_bad_variable_is_told() {
        let both = read(&["--endpoints", "a:1"], &[("ETCDCTL_ENDPOINTS", "b:1")]).expect_err("both");
        assert!(both.text.ends_with("ETCDCTL_ENDPOINTS"), "{}", both.text);
        let bad = read(&[], &[("ETCDCTL_DIAL_TIMEOUT", "3")]).expect_err("no unit");
        assert!(bad.text.contains("missing unit"), "{}", bad.text);
        let matches = Global::flags().try_get_matches_from([""; 0]).expect("good arguments");
        let no_text = |name: &str| (name == "ETCDCTL_USER").then(|| OsString::from_vec(b"root:\xff".to_vec()));
        let bad = Global::read(&matches, no_text, true).expect_err("no text");
        assert_eq!(bad.text, "invalid environment variable ETCDCTL_USER: its value is not UTF-8");
    }

    #[test]
    fn endpoints_are_lists_that_add_up() -> Result<(), Failure> {
        assert_eq!(read(&["--endpoints=a,b", "--endpoints", "c"], &[])?.endpoints, ["a", "b", "c"]);
        assert!(read(&["--endpoints="], &[])?.endpoints.is_empty());
        for list in ["a,,b", "a,b,", ",a, ,b"] {
            assert_eq!(read(&["--endpoints", list], &[])?.endpoints, ["a", "b"], "{list}");
        }
        assert_eq!(read(&["--endpoints", ",,"], &[])?.endpoints, ["", "", ""]);
        Ok(())
    }

    #[test]
    fn a_variable_that_is_no_options_is_told_and_no_secret_with_it() {
        let variables = [
            ("HOME", "/"),
            ("ETCDCTL_USRE", "root:secret"),
            ("ETCDCTL_USERR", "root:secret"),
            ("ETCDCTL_API", "2"),
            ("ETCDCTL_ODD", "\u{1b}[2Ja\nb"),
            ("ETCDCTL_ENDPOINT", "a:1"),
            ("ETCDCTL_HEX", "true"),
            ("ETCDCTL_MY_PASSWORD", "secret"),
            ("ETCDCTL_WATCH_KEY", "a"),
        ];
        let told = unrecognized(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let expected = [
            "ETCDCTL_API=2",
            "ETCDCTL_ENDPOINT=a:1 (did you mean ETCDCTL_ENDPOINTS?)",
            "ETCDCTL_MY_PASSWORD=(not shown)",
            r#"ETCDCTL_ODD="\x1b[2Ja\nb""#,
            "ETCDCTL_USERR=(not shown) (did you mean ETCDCTL_USER?)",
            "ETCDCTL_USRE=(not shown) (did you mean ETCDCTL_USER?)",
        ];
        assert_eq!(told, expected.map(|told| format!("unrecognized environment variable: {told}")));
    }

    #[test]
    fn an_empty_file_is_refused_by_name() {
        assert_eq!(read(&["--cert="], &[]).expect_err("empty").text, "empty string is passed to --cert option");
    }

    #[test]
    fn debug_tells_every_option_and_no_secret() -> Result<(), Failure> {
        let told = read(&["--user", "u:secret", "--password", "secret", "--auth-jwt-token", "secret"], &[])?.told();
        let flags = Global::flags();
        let options = flags.get_arguments().filter_map(|arg| arg.get_long()).map(variable);
        for option in options {
            assert!(told.iter().any(|line| line.starts_with(&format!("{option}="))), "{option} is not told");
        }
        assert!(told.iter().all(|line| !line.contains("secret")), "{told:?}");
        assert!(told.contains(&"ETCDCTL_USER=u:(not shown)".to_owned()));
        assert!(told.is_sorted());
        Ok(())
    }

    #[test]
    fn a_password_is_asked_for_where_nothing_else_says_who() -> Result<(), Failure> {
        for (args, asked) in [
            (&["--user", "u"][..], true),
            (&["--user", "u:"], false),
            (&["--user", "u", "--password", "p"], false),
            (&["--user", "u", "--auth-jwt-token", "t"], false),
            (&[], false),
        ] {
            assert_eq!(read(args, &[])?.user_without_password(), asked, "{args:?}");
        }
        let options = read(&["--user", "u"], &[])?.client_options(Some("typed".to_owned()))?;
        assert!(matches!(options.credentials, Some(Credentials::Password { password, .. }) if password == "typed"));
        assert!(read(&["--user", "u:"], &[])?.credentials(None).is_none(), "nobody without a password");
        Ok(())
    }

    #[test]
    fn a_password_comes_with_the_user_or_beside_it() -> Result<(), Failure> {
        for args in [&["--user", "u:p:q"][..], &["--user", "u", "--password", "p:q"]] {
            match read(args, &[])?.credentials(None) {
                Some(Credentials::Password { name, password }) => assert_eq!((&*name, &*password), ("u", "p:q")),
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }
}
