//! Commands on a terminal: what is drawn there and nowhere else, and that a check which the user ends takes its keys away.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;

use crate::process::{Home, LIMIT, Server, all, ended, key, put, put_many, started, terminal};

/// What wipes a line that was drawn.
const WIPED: &str = "\r\x1b[K";

/// Attempts to end a command in its middle: it may be done before the signal reaches it.
const ATTEMPTS: u32 = 50;

/// A process whose standard error is a terminal, and what the terminal was told.
struct Shown {
    process: Server,
    told: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Shown {
    fn begin(mut command: Command) -> Self {
        let (terminal, end) = terminal();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(end).env("TERM", "xterm").env_remove("NO_COLOR");
        Self::follow(command, terminal)
    }

    /// The command goes, and with it this process's hold on the end of the terminal.
    fn follow(command: Command, mut terminal: File) -> Self {
        let process = started(command);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            // An error is the end: nobody holds the other side any more.
            while let Ok(got @ 1..) = terminal.read(&mut some) {
                heard.lock().unwrap().extend_from_slice(&some[..got]);
            }
        });
        Self { process, told, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.told.lock().unwrap()).into_owned()
    }

    /// Waits until the terminal was told this, or the process has ended.
    fn until(&mut self, text: &str) -> bool {
        let began = Instant::now();
        while !self.text().contains(text) {
            assert!(began.elapsed() < LIMIT, "{text:?} is not shown: {:?}", self.text());
            if self.process.is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Its exit code, and all that the terminal was told.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.process.wait();
        self.reader.join().unwrap();
        (status.code(), String::from_utf8_lossy(&self.told.lock().unwrap()).into_owned())
    }
}

fn ctl(server: &Home, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command.arg(format!("--endpoints=127.0.0.1:{}", server.client_port)).args(words).stdin(Stdio::null());
    command
}

fn restore(snapshot: &Path, place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorateutl"));
    command.args(["snapshot", "restore"]).arg(snapshot).arg("--data-dir").arg(place).stdin(Stdio::null());
    command
}

/// A command that fails before it needs anybody.
fn failing() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command.args(["get", "a", "--prefix", "--from-key"]);
    command
}

#[test]
fn an_error_is_red_on_a_terminal_whose_user_likes_it() {
    let said = |command| {
        let (code, text) = Shown::begin(command).end();
        assert_eq!(code, Some(128), "{text}");
        text
    };
    assert!(said(failing()).starts_with("\x1b[31mError:\x1b[0m `--prefix` and `--from-key`"));
    // Set after what a terminal gives: the last word counts.
    for (name, value, is_red) in [("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{name}={value} exec \"$0\" \"$@\"")]).arg(failing().get_program());
        shell.args(failing().get_args());
        let text = said(shell);
        assert_eq!(text.contains('\x1b'), is_red, "{name}={value}: {text:?}");
    }
    let mut offline = Command::new(env!("CARGO_BIN_EXE_quorateutl"));
    offline.args(["snapshot", "status", "nowhere"]);
    let (_, text) = Shown::begin(offline).end();
    assert!(text.starts_with("\x1b[31mError:\x1b[0m "), "the offline tool, too: {text:?}");
    let piped = ended(failing().env("TERM", "xterm").stdin(Stdio::null()));
    assert!(String::from_utf8(piped.stderr).unwrap().starts_with("Error: "), "nor where there is no terminal");
}

/// A bar was drawn, was wiped at the end, and behind it stands only `last`; a pipe is told nothing of it.
fn draws(command: impl Fn() -> Command, bar: &str, last: &str) {
    let (code, text) = Shown::begin(command()).end();
    assert_eq!(code, Some(0), "{text:?}");
    let (drawn, rest) = text.rsplit_once(WIPED).unwrap_or_else(|| panic!("nothing is drawn: {text:?}"));
    assert!(drawn.contains(bar) && drawn.contains("/s"), "{text:?}");
    assert!(rest.starts_with(last) && (!last.is_empty() || rest.is_empty()), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_commands_show_how_far_they_are_on_a_terminal_alone() {
    let home = Home::new();
    let server = home.start();
    let saved = home.path().join("saved.db");
    let save = || ctl(&home, &["snapshot", "save", saved.to_str().unwrap()]);
    let status = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorateutl"));
        command.args(["snapshot", "status"]).arg(&saved);
        command
    };
    for command in [save(), status()] {
        let (code, text) = Shown::begin(command).end();
        assert!(code == Some(0) && !text.contains('\x1b'), "nothing is drawn of a few kB: {text:?}");
    }
    let mut kv = server.kv();
    for number in 0..20 {
        put(&mut kv, key(number), "x".repeat(500_000)).await.unwrap();
    }
    draws(save, "%", "");
    let place = home.path().join("restored");
    draws(|| restore(&saved, &place), "%", "restored ");
    draws(status, "%", "");
    std::fs::remove_dir_all(&place).unwrap();
    for (mut command, said) in [(save(), false), (restore(&saved, &place), true), (status(), false)] {
        let output = ended(command.stdin(Stdio::null()));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !text.contains(['\r', '\x1b']), "{text:?}");
        assert_eq!(!text.is_empty(), said, "{text:?}");
    }

    let to = Home::new();
    let destination = to.start();
    let mut mirror = Shown::begin(ctl(&home, &["make-mirror", &format!("127.0.0.1:{}", to.client_port)]));
    assert!(mirror.until("keys, "), "it goes on for ever: {}", mirror.text());
    mirror.process.signal("INT");
    let (code, text) = mirror.end();
    assert!(code == Some(130) && text.ends_with(WIPED), "{code:?} {text:?}");
    // What is told meanwhile stands on a line of its own.
    let mut mirror = Shown::begin(ctl(&home, &["make-mirror", &format!("127.0.0.1:{}", to.client_port)]));
    assert!(mirror.until("keys, "), "it goes on for ever: {}", mirror.text());
    server.stop();
    assert!(mirror.until("endpoint "), "it waits: {}", mirror.text());
    mirror.process.signal("INT");
    let (code, text) = mirror.end();
    let (drawn, told) = text.split_once("endpoint ").unwrap();
    assert!(code == Some(130) && drawn.ends_with(WIPED), "{code:?} {text:?}");
    assert!(told.starts_with(&format!("127.0.0.1:{}: ", home.client_port)), "{text:?}");
    destination.stop();
}

/// Deletes what a check left, until no write of its that was on its way comes any more.
async fn take_away_left(server: &Server, held: &[(String, String)]) {
    let began = Instant::now();
    while all(server).await != held {
        assert!(began.elapsed() < LIMIT, "more and more keys are left");
        let (key, range_end) = (Bytes::from_static(b"/etcdctl-check-"), Bytes::from_static(b"/etcdctl-check."));
        let request = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
        server.kv().delete_range(request).await.unwrap();
    }
}

/// Both checks, ended by either signal: what they wrote is gone, also what was on its way, and what was there before is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_ended_takes_its_keys_away() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..3).await;
    let held = all(&server).await;
    for (words, signal, by) in [
        (["check", "perf", "--load=s"], "HUP", 129),
        (["check", "perf", "--load=m"], "TERM", 143),
        (["check", "datascale", "--load=s"], "TERM", 143),
        (["check", "datascale", "--load=m"], "HUP", 129),
    ] {
        let mut is_sure = false;
        for _ in 0..ATTEMPTS {
            let mut check = Shown::begin(ctl(&home, &words));
            check.until("/s");
            check.process.signal_if_alive(signal);
            let (code, text) = check.end();
            if code != Some(by) {
                // It was faster.
                continue;
            }
            let said = |what| format!("{WIPED}\x1b[31mError:\x1b[0m stopped; {what}\r\n");
            is_sure = text.ends_with(&said("the keys written were deleted"));
            if is_sure {
                break;
            }
            // So on a machine that had no time for the last writes: there it is tried again, on a store without them.
            assert!(text.ends_with(&said("keys that were being written may be left")), "{text:?}");
            take_away_left(&server, &held).await;
        }
        assert!(is_sure, "{words:?} was faster, or not sure, {ATTEMPTS} times");
        assert_eq!(all(&server).await, held, "{words:?}");
    }
    server.stop();
}

/// Ctrl-C cuts `check perf` short: what was measured by then is judged, and what was written is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_cut_short_judges_what_it_has() {
    let home = Home::new();
    let server = home.start();
    let mut is_judged = false;
    for _ in 0..ATTEMPTS {
        let mut check = Shown::begin(ctl(&home, &["check", "perf", "--load=s"]));
        check.until("/s");
        check.process.signal("INT");
        let (code, text) = check.end();
        is_judged = code != Some(130);
        if is_judged {
            // Good or bad, and without a word of being stopped.
            assert!(matches!(code, Some(0 | 1)) && text.ends_with(WIPED), "{code:?} {text:?}");
            assert_eq!(all(&server).await, []);
            break;
        }
        // So on a machine that had no time for the last writes.
        take_away_left(&server, &[]).await;
    }
    assert!(is_judged, "it had no time for the last writes {ATTEMPTS} times");
    server.stop();
}

/// Its server is silent: neither its writes nor what takes its keys away come to an end.
#[test]
fn a_check_that_is_stopped_twice_ends_at_once() {
    let home = Home::new();
    let server = home.start();
    let mut check = Shown::begin(ctl(&home, &["check", "perf", "--load=s"]));
    assert!(check.until("/s"), "it was over after a minute: {}", check.text());
    server.signal("STOP");
    let began = Instant::now();
    while !check.process.is_over() {
        assert!(began.elapsed() < LIMIT, "it goes on: {}", check.text());
        check.process.signal_if_alive("INT");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, text) = check.end();
    server.signal("CONT");
    assert_eq!(code, Some(130), "{text:?}");
    assert!(text.contains("stopped at once; keys /"), "{text:?}");
    assert!(text.ends_with("* that were written may be left\r\n"), "{text:?}");
    server.stop();
}
