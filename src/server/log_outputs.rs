//! Where log lines go: a queue and a thread for each output.
//!
//! Invariants: who logs never waits for an output; a queue holds no more than its limit, a line that finds no room is
//! dropped and counted, and the count is told in a line of its own once the output takes lines again; the outputs do
//! not wait for each other. Does not know what a line says.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::base::limits;
use crate::server::journal::{self, Journal};
use crate::server::log_rotation::{Rotating, Rotation};
use crate::tls::read_error;

/// etcd's word for the journal, and no file's name.
const JOURNAL: &str = "systemd/journal";

/// Makes the line that tells how many were dropped.
pub type DroppedLine = fn(u64) -> Vec<u8>;

/// All outputs; each line goes to every one. Clones are the same.
#[derive(Clone)]
pub struct Outputs(Arc<Vec<Arc<Queue>>>);

impl Outputs {
    /// Opens the outputs of these names (`default`, `stderr`, `stdout`, `systemd/journal`, or a file's) and begins to
    /// write. Files are put aside where there is a `rotation`.
    ///
    /// # Errors
    /// A file cannot be opened, the journal is not reached, or a thread cannot be started.
    pub fn open(names: &[String], rotation: Option<Rotation>, dropped: DroppedLine) -> Result<Self, String> {
        let queue = |name: &String| {
            let output: Box<dyn Write + Send> = match name.as_str() {
                "default" | "stderr" => Box::new(io::stderr()),
                "stdout" => Box::new(io::stdout()),
                JOURNAL => {
                    let journal = Journal::open(Path::new(journal::SOCKET), io::stderr());
                    Box::new(journal.map_err(|error| format!("--log-outputs: cannot reach {JOURNAL}: {error}"))?)
                }
                name => {
                    let wrong = |why| format!("open sink {name:?}: {why}");
                    let path = path_of(name).map_err(wrong)?;
                    let opened = match rotation {
                        None => append_to(&path).map(|file| Box::new(file) as Box<dyn Write + Send>),
                        Some(rotation) => Rotating::open(&path, rotation).map(|file| Box::new(file) as _),
                    };
                    opened.map_err(|error| wrong(read_error(Path::new(&path), &error)))?
                }
            };
            Queue::start(output, limits::LOG_QUEUE_BYTES, dropped)
                .map_err(|error| format!("cannot start logging: {error}"))
        };
        Ok(Self(Arc::new(names.iter().map(queue).collect::<Result<_, _>>()?)))
    }

    /// Waits until everything is written, at most for so long.
    pub fn finish(&self, time: Duration) {
        let until = Instant::now() + time;
        for queue in self.0.iter() {
            queue.finish(until);
        }
    }
}

/// The file that an output names, by its path or as `file:///path`.
fn path_of(name: &str) -> Result<String, String> {
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let Some((scheme, rest)) = name.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Ok(name.to_owned());
    };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(format!("no sink found for scheme {:?}", scheme.to_ascii_lowercase()));
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    if !matches!(host, "" | "localhost") {
        return Err(format!("file URLs must leave host empty or use localhost: got {name}"));
    }
    if let Some(what) = [('?', "query parameters"), ('#', "fragments")].iter().find(|(sign, _)| path.contains(*sign)) {
        return Err(format!("{} not allowed with file URLs: got {name}", what.1));
    }
    Ok(path.to_owned())
}

fn append_to(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shared: Arc<[u8]> = line.into();
        for queue in self.0.iter() {
            queue.push(shared.clone());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Lines on their way to one output.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Arc<[u8]>>,
    /// Bytes of these, and of those in the writer's hands.
    bytes: usize,
    dropped: u64,
}

impl Queue {
    fn start(output: Box<dyn Write + Send>, limit: usize, dropped: DroppedLine) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self { waiting: Mutex::default(), changed: Condvar::new(), limit });
        let written = queue.clone();
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(limits::STACK_BYTES)
            .spawn(move || written.write_to(output, dropped))?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Arc<[u8]>) {
        let mut waiting = self.lock();
        // One line larger than the limit goes alone.
        if waiting.bytes > 0 && waiting.bytes + line.len() > self.limit {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        self.changed.notify_all();
    }

    /// The writer's thread. It ends with the process.
    fn write_to(&self, mut output: Box<dyn Write + Send>, dropped_line: DroppedLine) {
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() && waiting.dropped == 0 {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut waiting.lines);
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            let mut bytes = 0;
            for line in &lines {
                bytes += line.len();
                // A full disk or a closed pipe must not stop the server.
                let _ = output.write_all(line);
            }
            if dropped > 0 {
                let _ = output.write_all(&dropped_line(dropped));
            }
            let _ = output.flush();
            self.lock().bytes -= bytes;
            self.changed.notify_all();
        }
    }

    fn finish(&self, until: Instant) {
        let mut waiting = self.lock();
        while waiting.bytes > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output that takes one write a permit.
    struct Slow {
        permits: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(io::Error::other)?;
            self.written.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped_line(dropped: u64) -> Vec<u8> {
        format!("{dropped} dropped\n").into_bytes()
    }

    #[test]
    fn a_file_is_named_by_its_path_or_as_a_url() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log").display().to_string();
        for name in [log.clone(), format!("file://{log}"), format!("file://localhost{log}"), format!("FILE:{log}")] {
            assert_eq!(path_of(&name), Ok(log.clone()), "{name}");
        }
        for name in ["rel.log", "a b", "/a:b", "./x:y"] {
            assert_eq!(path_of(name), Ok(name.to_owned()));
        }
        for (name, why) in [
            ("x://y", "open sink \"x://y\": no sink found for scheme \"x\""),
            ("discard:", "open sink \"discard:\": no sink found for scheme \"discard\""),
            (
                "file://h/x",
                "open sink \"file://h/x\": file URLs must leave host empty or use localhost: got file://h/x",
            ),
            ("file:///x?y", "open sink \"file:///x?y\": query parameters not allowed with file URLs: got file:///x?y"),
            ("/no/such/place", "open sink \"/no/such/place\": open /no/such/place: no such file or directory"),
        ] {
            assert_eq!(Outputs::open(&[name.to_owned()], None, dropped_line).err().as_deref(), Some(why));
        }
    }

    #[test]
    fn an_output_that_takes_nothing_holds_nobody_up_and_what_was_dropped_is_told() {
        let (permit, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let slow = Slow { permits, written: written.clone() };
        let queue = Queue::start(Box::new(slow), 100, dropped_line).expect("started");
        let line: Arc<[u8]> = b"0123456789\n"[..].into();
        for _ in 0..1_000 {
            queue.push(line.clone());
        }
        let held = queue.lock().bytes;
        assert!((90..=100).contains(&held), "{held}");
        let began = Instant::now();
        queue.finish(Instant::now() + Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20), "it waits, but not for ever");
        for _ in 0..1_000 {
            permit.send(()).expect("read");
        }
        queue.finish(Instant::now() + Duration::from_secs(60));
        let until = Instant::now() + Duration::from_secs(60);
        let told = || String::from_utf8(written.lock().expect("not poisoned").clone()).expect("text");
        while !told().ends_with("dropped\n") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let text = told();
        let lines = text.matches("0123456789\n").count() as u64;
        let dropped: u64 = text.lines().filter_map(|line| line.strip_suffix(" dropped")?.parse::<u64>().ok()).sum();
        assert_eq!(lines + dropped, 1_000, "{text}");
        assert!(dropped >= 990, "{text}");
    }
}
