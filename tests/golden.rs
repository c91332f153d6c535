//! Every command of the command-line client in every format, held against what stock etcdctl printed on stock etcd.
//!
//! A file of cases (`golden/cases/`) is a script: each line is run by a shell against one fresh server, in order, and its
//! exit code, standard output and standard error are compared with the recorded ones (`golden/recorded/`), byte by byte
//! and with ids and revisions, because a server with the same name and URLs has the same ids. What cannot be equal is
//! masked, and the list is short: see [`mask`]. `jepsen/record_golden.sh` records anew; the same suite runs against
//! another server or tool by the variables `GOLDEN_SERVER` and `GOLDEN_CTL`.
//!
//! Cases: a line is words for the tool; `*` before it runs it in every format, `!` runs it as it stands, with `$CTL`
//! for the tool and its endpoint; `#` is a comment, `#mask lease` and the like widen what is masked in that file, and `#advertise` has
//! the server tell where it listens, not the address that was recorded. What would go on for ever is ended by a `timeout` of this suite's own (`golden/timeout`), which waits for what was recorded.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

#[path = "golden/mask.rs"]
mod mask;
mod ports;

use mask::{Masks, mask};

const FORMATS: [&str; 5] = ["simple", "json", "fields", "table", "protobuf"];

/// A server of one member whose ids are those of the recorded one: they follow from its name and URLs.
struct Server {
    child: Child,
    endpoint: String,
    directory: tempfile::TempDir,
}

impl Server {
    /// Its members are told where it listens, or an address where nobody is.
    fn start(is_advertised: bool) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let free = || format!("127.0.0.1:{}", ports::free());
        let (client, peer) = (free(), free());
        let program = env::var("GOLDEN_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_quorate").to_owned());
        let mut child = Command::new(program)
            .args(["--name", "golden", "--data-dir"])
            .arg(directory.path().join("data"))
            .args([&format!("--listen-client-urls=http://{client}"), &format!("--listen-peer-urls=http://{peer}")])
            .arg(format!("--advertise-client-urls=http://{}", if is_advertised { &client } else { "127.0.0.1:2379" }))
            .arg("--log-level=error")
            .args(["--initial-advertise-peer-urls=http://127.0.0.1:2380"])
            .args([
                "--initial-cluster=golden=http://127.0.0.1:2380",
                "--initial-cluster-token=golden",
                "--bcrypt-cost=4",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !ready(&client) {
            assert!(begun.elapsed() < Duration::from_secs(180), "the server is not ready after three minutes");
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            thread::sleep(Duration::from_millis(50));
        }
        Server { child, endpoint: client, directory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a server answers that it is healthy, and its version is agreed on.
fn ready(address: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = |path: &str| -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    ask("/health").is_some_and(|answer| answer.contains("\"true\""))
        && ask("/version").is_some_and(|answer| !answer.contains("not_decided"))
}

/// One line of a script and what came of it.
struct Ran {
    line: String,
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// How many lines a command that goes on for ever prints first, by what was recorded of it, if it was; more than any prints
/// of one that ends by itself.
fn lines_awaited(line: &str, recorded: &[String]) -> usize {
    let begin = format!("$ {line}\n");
    match recorded.iter().find_map(|block| block.strip_prefix(&begin)) {
        None => 0,
        Some(block) if block.ends_with("= 124\n") => block.lines().filter(|line| line.starts_with('>')).count(),
        Some(_) => 1_000_000,
    }
}

fn run_all(cases: &str, recorded: &[String]) -> Vec<Ran> {
    let server = Server::start(cases.lines().any(|line| line == "#advertise"));
    let path = env::join_paths([directory()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let path = path.unwrap();
    let tool = env::var("GOLDEN_CTL").unwrap_or_else(|_| env!("CARGO_BIN_EXE_quoratectl").to_owned());
    // Far longer than a busy machine needs.
    let tool = format!("{tool} --command-timeout=180s --dial-timeout=180s --endpoints {}", server.endpoint);
    let masks = Masks::of(cases);
    let mut ran = Vec::new();
    for line in lines(cases) {
        let script = line.strip_prefix("! ").map_or_else(|| format!("$CTL {line}"), str::to_owned);
        let mut command = Command::new("sh");
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCDCTL_")) {
            command.env_remove(name);
        }
        // Where several are ended each says what is awaited of it.
        if script.matches("timeout ").count() == 1 && !script.contains("WHEN=") {
            command.env("LINES_AWAITED", lines_awaited(&line, recorded).to_string());
        }
        let output = command
            .args(["-c", &script])
            .env("PATH", &path)
            .env("CTL", &tool)
            .env("SERVER", &server.endpoint)
            .current_dir(server.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let code = output.status.code().unwrap_or(-1);
        let (out, err) =
            (mask(&output.stdout, &masks, &server.endpoint), mask(&output.stderr, &masks, &server.endpoint));
        ran.push(Ran { line, code, out, err });
    }
    ran
}

/// The lines to run: those with a star once a format.
fn lines(cases: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("* ") {
            None => lines.push(line.to_owned()),
            Some(rest) => lines.extend(FORMATS.iter().map(|format| match rest.strip_prefix("! ") {
                None => format!("{rest} -w {format}"),
                Some(_) => rest.replace("$CTL", &format!("$CTL -w {format}")),
            })),
        }
    }
    lines
}

/// What ran as text: the line, its exit code, and what it wrote, escaped so that every byte is seen.
fn written(ran: &[Ran]) -> String {
    let mut text = String::new();
    for Ran { line, code, out, err } in ran {
        let _ = writeln!(text, "$ {line}");
        for (mark, bytes) in [('>', out), ('!', err)] {
            for part in bytes.split_inclusive(|&byte| byte == b'\n') {
                let (part, end) = part.strip_suffix(b"\n").map_or((part, "\\"), |part| (part, ""));
                let _ = writeln!(
                    text,
                    "{mark} {}{end}",
                    part.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
                );
            }
        }
        if *code != 0 {
            let _ = writeln!(text, "= {code}");
        }
    }
    text
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Runs one file of cases and compares, or records.
fn golden(name: &str) {
    let cases = fs::read_to_string(directory().join("cases").join(format!("{name}.txt"))).unwrap();
    let recorded = directory().join("recorded").join(format!("{name}.txt"));
    let then = fs::read_to_string(&recorded).unwrap_or_default();
    let (records, then) = (env::var_os("GOLDEN_RECORD").is_some(), blocks(&then));
    // What is recorded anew is given its time.
    let now = written(&run_all(&cases, if records { &[] } else { &then }));
    if records {
        fs::write(&recorded, now).unwrap();
        return;
    }
    let now = blocks(&now);
    assert_eq!(now.len(), then.len(), "{name}: the cases are not those that were recorded");
    let differ: Vec<String> = now
        .iter()
        .zip(&then)
        .filter(|(now, then)| now != then)
        .map(|(now, then)| format!("--- recorded\n{then}+++ now\n{now}"))
        .collect();
    assert!(differ.is_empty(), "{name}: {} of {} differ\n{}", differ.len(), now.len(), differ.join("\n"));
}

fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match blocks.last_mut() {
            Some(block) if !line.starts_with("$ ") => block.push_str(line),
            _ => blocks.push(line.to_owned()),
        }
    }
    blocks
}

/// A line comes every tenth of a second: half a second counts from the last of them, not from the first that was awaited.
#[test]
fn what_still_prints_is_not_ended() {
    let line = "timeout 1 sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $n; sleep 0.1; done; exec sleep 1000'";
    let path = env::join_paths([directory()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let output =
        Command::new("sh").args(["-c", line]).env("PATH", path.unwrap()).env("LINES_AWAITED", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(124));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().last(), Some("12"));
}

macro_rules! suites {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            golden(stringify!($name));
        }
    )*};
}

suites!(keys, transactions, watches, leases, cluster, authentication, turns, mistakes, help, formats, members);
