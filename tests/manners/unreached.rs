//! Who waits for somebody who does not answer is told so, and why, while he waits: by commands that would go on for ever, too.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::ports;
use crate::process::{Home, LIMIT, key, put};

/// A command at work. It is ended when this goes.
struct Waiting {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Waiting {
    fn begin(words: &[&str], typed: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
        let (said, lines) = mpsc::channel();
        let reader = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { child, lines }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_nobody_is_told_meanwhile() {
    let home = Home::new();
    let server = home.start();
    put(&mut server.kv(), key(0), "value".to_owned()).await.unwrap();
    let (there, nobody) = (format!("127.0.0.1:{}", home.client_port), format!("127.0.0.1:{}", ports::free()));
    let (sealed, work) = (format!("https://{there}"), tempfile::tempdir().unwrap());
    let saved = work.path().join("saved.db");
    for (endpoint, why) in [(&nobody, "Connection refused"), (&sealed, "authentication handshake failed")] {
        let commands = [
            (vec!["watch", "a"], ""),
            (vec!["watch", "-i"], "watch a\n"),
            (vec!["lease", "keep-alive", "7", "--dial-timeout=100s"], ""),
            (vec!["lock", "l"], ""),
            (vec!["elect", "e", "me"], ""),
            (vec!["snapshot", "save", saved.to_str().unwrap()], ""),
            (vec!["make-mirror", &there], ""),
            (vec!["check", "perf"], ""),
            (vec!["check", "datascale"], ""),
        ];
        let begun: Vec<(Vec<&str>, Waiting)> = commands
            .into_iter()
            .map(|(words, typed)| {
                (words.clone(), Waiting::begin(&[&["--endpoints", endpoint], &words[..]].concat(), typed))
            })
            .collect();
        for (words, waiting) in &begun {
            let begin = format!("endpoint {endpoint}: ");
            // It may not have come to be refused when it is told first.
            let told =
                std::iter::from_fn(|| waiting.lines.recv_timeout(LIMIT).ok()).find(|line| !line.ends_with("no answer"));
            assert!(
                told.as_ref().is_some_and(|line| line.starts_with(&begin) && line.contains(why)),
                "{words:?} {told:?}"
            );
        }
    }
    // At the other end of a mirror.
    let mirror = Waiting::begin(&["--endpoints", &there, "make-mirror", &nobody], "");
    let told = mirror.lines.recv_timeout(LIMIT).unwrap();
    assert!(told.starts_with(&format!("endpoint {nobody}: ")), "{told}");
    // Where one of the list answers nothing is told.
    let both = format!("{nobody},{there}");
    let watch = Waiting::begin(&["--endpoints", &both, "watch", "a"], "");
    assert_eq!(watch.lines.recv_timeout(Duration::from_secs(5)), Err(mpsc::RecvTimeoutError::Timeout));
    drop(watch);
    server.stop();
}

/// Another member renewed the lease, and said in the end that it is gone: who was silent has nothing to do with it.
#[test]
fn a_lease_that_is_gone_is_nobodys_silence() {
    let home = Home::new();
    let server = home.start();
    let (there, silent) = (format!("127.0.0.1:{}", home.client_port), ports::free());
    // Takes connections, and never says a word.
    let _listener = std::net::TcpListener::bind(("127.0.0.1", silent)).unwrap();
    let ctl = |endpoints: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        command.args(["--endpoints", endpoints]).args(words).stdin(Stdio::null());
        command
    };
    let granted = ctl(&there, &["lease", "grant", "12"]).output().unwrap();
    let granted = String::from_utf8(granted.stdout).unwrap();
    let id = granted.split_whitespace().nth(1).unwrap();
    let mut keeping = ctl(&format!("127.0.0.1:{silent},{there}"), &["lease", "keep-alive", id]);
    let mut keeping = keeping.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(keeping.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), format!("lease {id} keepalived with TTL(12)"));
    assert!(ctl(&there, &["lease", "revoke", id]).output().unwrap().status.success());
    assert_eq!(said.last().unwrap().unwrap(), format!("lease {id} expired or revoked."));
    let output = keeping.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    server.stop();
}

/// Ctrl-C where nobody answers, as in etcdctl; and a lease that cannot be renewed is not said to have ended without the reason.
#[test]
fn what_ends_because_nobody_answers_says_so() {
    let nobody = format!("127.0.0.1:{}", ports::free());
    let words = ["--endpoints", &nobody, "--dial-timeout=1s", "lease", "keep-alive", "7"];
    let output = Command::new(env!("CARGO_BIN_EXE_quoratectl")).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lease 0000000000000007 expired or revoked.\n");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.starts_with(&format!("endpoint {nobody}: ")), "{err}");

    let mut check = Waiting::begin(&["--endpoints", &nobody, "check", "perf"], "");
    let told = check.lines.recv_timeout(LIMIT).unwrap();
    assert!(told.starts_with("endpoint "), "{told}");
    let status = Command::new("kill").args(["-INT", &check.child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(check.child.wait().unwrap().code(), Some(1));
    let rest: Vec<String> = std::iter::from_fn(|| check.lines.recv_timeout(LIMIT).ok()).collect();
    assert_eq!(rest.last().map(String::as_str), Some("Error: context canceled"), "{rest:?}");
}

/// Whoever does not even answer who asks is named, and who is asked beside it is told of.
#[test]
fn who_lets_no_user_in_is_named_and_hides_nobody() {
    let home = Home::new();
    let server = home.start();
    let (there, nobody) = (format!("127.0.0.1:{}", home.client_port), format!("127.0.0.1:{}", ports::free()));
    let ctl = |endpoints: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        command.args(["--user=root:pw", "--command-timeout=3s", "--endpoints", endpoints]).args(words);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let named = format!("endpoint {nobody}: Connection refused");
    let mirror = ["make-mirror", "--dest-user=root:pw", &nobody];
    for (at, words, code) in
        [(&nobody, &["get", "k"][..], 2), (&nobody, &["snapshot", "save", "/nowhere/s"], 5), (&there, &mirror, 2)]
    {
        let (ended, _, err) = ctl(at, words);
        assert_eq!(ended, Some(code), "{words:?}: {err}");
        assert!(err.starts_with(&named) && err.ends_with("Error: context deadline exceeded\n"), "{words:?}: {err}");
    }
    // On a slow machine some more tries.
    let (ended, out, err) = (0..20)
        .map(|_| ctl(&format!("{nobody},{there}"), &["endpoint", "health"]))
        .find(|(_, out, _)| out.contains("is healthy"))
        .expect("who is there is told of");
    assert_eq!(ended, Some(1), "{err}");
    assert!(out.starts_with(&format!("{there} is healthy")), "{out}");
    let unhealthy = format!("{nobody} is unhealthy: failed to commit proposal: context deadline exceeded\n");
    assert!(err.contains(&named) && err.contains(&unhealthy) && err.ends_with("Error: unhealthy cluster\n"), "{err}");
    server.stop();
}
