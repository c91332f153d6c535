//! One call of the tool: its options, its streams, its connection.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::client::{self, Client, Options};

use super::discovery;
use super::failure::{Exit, Failure};
use super::global::Global;
use super::output::{Look, Print, Reply, Streams, format};
use super::unreached::Unreached;
use super::unseen::Unseen;

/// Finds the help on some words, or tells that there is none.
pub type HelpOn = fn(&[OsString]) -> Result<String, String>;

/// The exit code of who gave up at a question, as if a key had ended the process by SIGINT.
const INTERRUPTED: u8 = 130;

/// One call of the tool.
pub struct Session {
    /// The options every command takes.
    pub global: Global,
    /// All words of the call, for the one command (`watch`) that must know where `--` stood.
    pub words: Vec<OsString>,
    /// How results are shown; a command may narrow it.
    pub look: Look,
    /// Of the handles that were made: what could not be reached.
    pub unreached: Unreached,
    /// Whether the endpoints are those of the domain.
    discovered: bool,
    /// How to reach the endpoints, once it was found out: a password is asked for once a call.
    options: Option<Options>,
    /// Finds the help on some words, or tells that there is none. A value of the call, because the one command that
    /// needs it (`help`) is itself among the commands it looks through.
    pub help_on: HelpOn,
    /// Every command and flag, as it is asked for in the same way.
    pub tree: fn() -> clap::Command,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    input: Option<Box<dyn BufRead + Send>>,
}

impl Session {
    /// A call with its streams.
    pub fn new(
        global: Global,
        words: Vec<OsString>,
        (help_on, tree): (HelpOn, fn() -> clap::Command),
        input: Box<dyn BufRead + Send>,
        out: Box<dyn Write>,
        err: Box<dyn Write>,
    ) -> Session {
        let look = Look { hex: global.hex, values_only: false };
        Session {
            global,
            words,
            look,
            unreached: Unreached::default(),
            discovered: false,
            options: None,
            help_on,
            tree,
            out,
            err,
            input: Some(input),
        }
    }

    /// Connects to the endpoints of the call, after checking that the output format can be shown.
    ///
    /// # Errors
    /// Bad options, or an endpoint that cannot be used.
    pub async fn client(&mut self) -> Result<Client, Failure> {
        let endpoints = self.endpoints().await?;
        self.client_of(&endpoints).await
    }

    /// The endpoints of the call: those of a domain, where one is named, else those that are given.
    ///
    /// # Errors
    /// The domain has none.
    pub async fn endpoints(&mut self) -> Result<Vec<String>, Failure> {
        let domain = self.global.discovery_srv.clone().filter(|domain| !domain.is_empty() && !self.discovered);
        if let Some(domain) = domain {
            let suffix = self.global.discovery_srv_name.clone().unwrap_or_default();
            let found = discovery::endpoints(&domain, &suffix).await.map_err(|text| Failure::new(Exit::Error, text))?;
            let (kept, ignored) = discovery::secure(found, self.global.insecure_discovery);
            for endpoint in ignored {
                self.complain(format_args!("ignoring discovered insecure endpoint {endpoint:?}"));
            }
            if !kept.is_empty() {
                self.global.endpoints = kept;
            }
            self.discovered = true;
        }
        Ok(self.global.endpoints.clone())
    }

    /// Connects to some endpoints with the options of the call.
    ///
    /// # Errors
    /// As [`Session::client`].
    pub async fn client_of(&mut self, endpoints: &[String]) -> Result<Client, Failure> {
        let client = self.opened(endpoints)?;
        log_in(&client).await?;
        Ok(client)
    }

    /// A handle on some endpoints with the options of the call, nobody of whom was asked yet.
    ///
    /// # Errors
    /// Bad options, or an endpoint that cannot be used.
    pub fn opened(&mut self, endpoints: &[String]) -> Result<Client, Failure> {
        self.print()?;
        let options = self.options()?;
        self.opened_by(endpoints, options)
    }

    /// The same with other options.
    ///
    /// # Errors
    /// As [`Session::opened`].
    pub fn opened_by(&mut self, endpoints: &[String], options: Options) -> Result<Client, Failure> {
        let client = Client::open(endpoints, options).map_err(not_connected)?;
        // Before anybody is asked: who does not answer is told of then, too.
        self.unreached.add(&client);
        Ok(client)
    }

    /// Tells which endpoints did not answer, and why, at the end, which may be of the user's making.
    pub fn tell_unreached(&mut self, by_user: bool) {
        self.unreached.at_end(by_user).into_iter().for_each(|line| self.complain(line));
    }

    /// How to reach the endpoints of the call. Asks for the password where the call does not say it.
    ///
    /// # Errors
    /// Bad options, or no password can be read.
    pub fn options(&mut self) -> Result<Options, Failure> {
        if let Some(options) = &self.options {
            return Ok(options.clone());
        }
        let password = match self.global.user_without_password() {
            true => Some(self.ask("Password: ").map_err(|failure| match failure.exit {
                Exit::Stopped(_) => failure,
                _ => Failure::new(Exit::Error, failure.text),
            })?),
            false => None,
        };
        let options = self.global.client_options(password)?;
        self.options = Some(options.clone());
        Ok(options)
    }

    /// Asks for something that is not shown while it is typed, where standard input is a terminal.
    ///
    /// # Errors
    /// It cannot be read, or the user gave up.
    pub fn ask(&mut self, question: &str) -> Result<String, Failure> {
        let failed = |error| Failure::bad_args(format!("failed to ask password: {error}"));
        let unseen = io::stdin().is_terminal().then(Unseen::begin).transpose().map_err(failed)?;
        write!(self.out, "{question}")?;
        self.out.flush()?;
        let answer = match &unseen {
            Some(unseen) => unseen.line(self.input()),
            None => {
                let mut line = String::new();
                self.input().read_line(&mut line).map(|_| Some(line))
            }
        };
        drop(unseen);
        writeln!(self.out)?;
        self.out.flush()?;
        let answer = answer.map_err(failed)?.ok_or_else(|| Failure::silent(Exit::Stopped(INTERRUPTED)))?;
        Ok(answer.trim().to_owned())
    }

    /// The name of the output format.
    ///
    /// # Errors
    /// It is unknown or not built.
    pub fn format_name(&self) -> Result<&'static str, Failure> {
        Ok(format(&self.global.write_out)?.0)
    }

    fn print(&self) -> Result<Print, Failure> {
        Ok(format(&self.global.write_out)?.1)
    }

    /// Shows a result in the format of the call.
    ///
    /// # Errors
    /// The format is unknown, or writing failed.
    pub fn show(&mut self, reply: &dyn Reply) -> Result<(), Failure> {
        let print = self.print()?;
        let mut streams = Streams { out: &mut self.out, err: &mut self.err };
        print(reply, self.look, &mut streams)?;
        streams.out.flush()?;
        Ok(())
    }

    /// Writes a line to standard output, whatever the format.
    ///
    /// # Errors
    /// Writing failed.
    pub fn say(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// Writes a line to standard error. That nobody reads it is no failure.
    pub fn complain(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
    }

    /// Standard input.
    pub fn input(&mut self) -> &mut dyn BufRead {
        self.input.as_deref_mut().expect("only an interactive watch takes the input away, and it reads nothing else")
    }

    /// Standard input as an owned value, for reading beside other work.
    ///
    /// # Panics
    /// When taken twice: that is a bug.
    pub fn take_input(&mut self) -> Box<dyn BufRead + Send> {
        self.input.take().expect("standard input is taken once")
    }

    /// The value of a command: its word, or all of standard input. `None` where both are missing.
    ///
    /// # Errors
    /// Never for reading: an unreadable input counts as missing, as in etcdctl.
    pub fn word_or_input(&mut self, word: Option<&OsString>) -> Option<bytes::Bytes> {
        if let Some(word) = word {
            return Some(bytes(word));
        }
        let mut value = Vec::new();
        io::Read::read_to_end(self.input(), &mut value).ok()?;
        (!value.is_empty()).then(|| value.into())
    }
}

/// Connects to some endpoints.
///
/// # Errors
/// An endpoint cannot be used, or the user is refused.
pub async fn connect(endpoints: &[String], options: Options) -> Result<Client, Failure> {
    Client::connect(endpoints, options).await.map_err(not_connected)
}

/// Fetches the token of the user, where there is one.
///
/// # Errors
/// The user is refused, or nobody answers.
pub async fn log_in(client: &Client) -> Result<(), Failure> {
    client.log_in().await.map_err(not_connected)
}

fn not_connected(error: client::Error) -> Failure {
    match error {
        client::Error::BadEndpoint(_) | client::Error::BadCertificate(_) => Failure::bad_args(error.to_string()),
        error => Failure::new(Exit::BadConnection, error.to_string()),
    }
}

/// A word that must be text, such as a name; what is none is refused in the words of etcdctl's library.
///
/// # Errors
/// It is none.
pub fn text(word: &OsStr) -> Result<String, Failure> {
    word.to_str().map(str::to_owned).ok_or_else(|| {
        let text =
            "rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8";
        Failure::new(Exit::Error, text)
    })
}

/// The plain words of a command as bytes: keys and values need not be text.
pub fn bytes(word: &OsStr) -> bytes::Bytes {
    use std::os::unix::ffi::OsStrExt as _;
    bytes::Bytes::copy_from_slice(word.as_bytes())
}
