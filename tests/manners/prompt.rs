//! A password that is asked for on a terminal: what is said, what is shown, and how the terminal is left. What stock etcdctl 3.7.1 says
//! on a terminal was compared by hand; where this differs from it, `docs/compat.md` says so.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, tcgetattr};

use crate::process::{Home, LIMIT, Server, ended, started, terminal};

/// A command on a terminal of its own.
struct Typing {
    process: Server,
    terminal: File,
    /// Kept open, so that the terminal outlives the command.
    end: File,
    told: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Typing {
    fn begin(mut command: Command) -> Self {
        let (terminal, end) = terminal();
        let side = || Stdio::from(end.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side()).env("NO_COLOR", "1");
        let process = started(command);
        let (mut heard, told) = (terminal.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let all = told.clone();
        let reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            // An error is the end: nobody holds the other side any more.
            while let Ok(got @ 1..) = heard.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..got]);
            }
        });
        Self { process, terminal, end, told, reader }
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.terminal).unwrap().local_modes
    }

    fn text(&self) -> String {
        String::from_utf8(self.told.lock().unwrap().clone()).unwrap()
    }

    fn until(&self, text: &str) {
        let began = Instant::now();
        while !self.text().contains(text) {
            assert!(began.elapsed() < LIMIT, "{text:?} is not shown: {:?}", self.text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Types after a question, which is there only once nothing typed is shown.
    fn answer(mut self, question: &str, keys: &str) -> Self {
        self.until(question);
        assert!(!self.modes().contains(LocalModes::ECHO), "it is shown");
        assert!(self.modes().contains(LocalModes::ICANON), "a line is edited as any other");
        self.terminal.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// The exit code and all that was told; the terminal is as it was.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.process.wait().code();
        let usual = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        assert!(self.modes().contains(usual), "{:?}", self.modes());
        drop(self.end);
        self.reader.join().unwrap();
        (code, String::from_utf8(self.told.lock().unwrap().clone()).unwrap())
    }
}

fn ctl(home: &Home, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command.arg(format!("--endpoints=127.0.0.1:{}", home.client_port)).args(words).stdin(Stdio::null());
    command
}

const FIRST: &str = "Password of ann: ";
const AGAIN: &str = "Type password of ann again for confirmation: ";

#[test]
fn a_password_is_typed_twice_and_never_shown() {
    let home = Home::new();
    let server = home.start();
    let add = || Typing::begin(ctl(&home, &["user", "add", "ann"]));
    let different = "Error: given passwords are different\r\n";
    let said = add().answer(FIRST, "secret\n").answer(AGAIN, "secrets\n").end();
    assert_eq!(said, (Some(128), format!("{FIRST}\r\n{AGAIN}\r\n{different}")));
    // Edited, and with blanks around, as etcdctl takes them away.
    let said = add().answer(FIRST, " secrex\x7ft\n").answer(AGAIN, "secret\n").end();
    assert_eq!(said, (Some(0), format!("{FIRST}\r\n{AGAIN}\r\nUser ann created\r\n")));

    let passwd = Typing::begin(ctl(&home, &["user", "passwd", "ann"]));
    let said = passwd.answer(FIRST, "other\n").answer(AGAIN, "other\n").end();
    assert_eq!(said.0, Some(0), "{}", said.1);
    server.stop();
}

#[test]
fn an_empty_password_is_none_and_who_gives_up_leaves_the_terminal_as_it_was() {
    // None of this needs a server.
    let home = Home::new();
    let empty = "Error: empty password\r\n";
    // An empty line, one of blanks, the end of the input.
    for keys in ["\n", "  \n", "\x04"] {
        let said = Typing::begin(ctl(&home, &["user", "add", "ann"])).answer(FIRST, keys).end();
        assert_eq!(said, (Some(128), format!("{FIRST}\r\n{empty}")), "{keys:?}");
    }
    // Ctrl-C and Ctrl-\, at once and in the middle, at the first question, at the second and at that of the caller's own password.
    for keys in ["\x03", "sec\x03", "\x1c"] {
        let said = Typing::begin(ctl(&home, &["user", "add", "ann"])).answer(FIRST, keys).end();
        assert_eq!(said, (Some(130), format!("{FIRST}\r\n")), "{keys:?}");
        let add = Typing::begin(ctl(&home, &["user", "add", "ann"]));
        let said = add.answer(FIRST, "secret\n").answer(AGAIN, keys).end();
        assert_eq!(said, (Some(130), format!("{FIRST}\r\n{AGAIN}\r\n")), "{keys:?}");
        let get = Typing::begin(ctl(&home, &["get", "a", "--user=root"]));
        let said = get.answer("Password: ", keys).end();
        assert_eq!(said, (Some(130), "Password: \r\n".to_owned()), "{keys:?}");
    }
}

/// Signals from elsewhere: at the question, and when it was answered and standard input is read for something else.
#[test]
fn a_signal_from_elsewhere_ends_it_and_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let add = Typing::begin(ctl(&home, &["user", "add", "ann"]));
        add.until(FIRST);
        add.process.signal(signal);
        assert_eq!(add.end().0, Some(code), "{signal}");
        let txn = Typing::begin(ctl(&home, &["txn", "-i", "--user=root"])).answer("Password: ", "secret\n");
        txn.until("Password: \r\n");
        txn.process.signal(signal);
        assert_eq!(txn.end().0, Some(code), "{signal}");
    }
}

#[test]
fn where_nobody_is_to_be_asked_the_first_word_of_the_input_is_the_password() {
    let home = Home::new();
    let server = home.start();
    let said = |words: &[&str], input: &str| {
        let file = home.path().join("input");
        std::fs::write(&file, input).unwrap();
        let output = ended(ctl(&home, words).stdin(File::open(&file).unwrap()));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let done = |text: &str| (Some(0), text.to_owned());
    assert_eq!(said(&["user", "add", "root", "--interactive=false"], "secret and more\n"), done("User root created\n"));
    assert_eq!(said(&["role", "add", "root"], ""), done("Role root created\n"));
    assert_eq!(said(&["user", "grant-role", "root", "root"], ""), done("Role root is granted to user root\n"));
    assert_eq!(said(&["auth", "enable"], ""), done("Authentication Enabled\n"));
    // Where standard input is no terminal the question stands there, and is answered from it.
    assert_eq!(said(&["--user=root", "put", "a", "b"], "secret\n"), done("Password: \nOK\n"));
    let changed = said(&["--user=root:secret", "user", "passwd", "root", "--interactive=false"], "other\n");
    assert_eq!(changed, done("Password updated\n"));
    let get = Typing::begin(ctl(&home, &["get", "a", "--user=root"]));
    let said = get.answer("Password: ", "other\n").end();
    assert_eq!(said, (Some(0), "Password: \r\na\r\nb\r\n".to_owned()));
    server.stop();
}
