//! How far a long command is: a line on standard error, on a terminal alone, and not of a small file: that is done before anybody
//! has read it, and a program that runs this on a terminal of its own would find it in front of the result.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::telling::tell_part;
use crate::base::human_bytes;

/// Between two lines.
const EVERY: Duration = Duration::from_millis(200);

/// Bytes in all from which on it is told.
const SMALL: u64 = 1024 * 1024;

/// A line that is written over.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    told: Option<Instant>,
    on: bool,
}

impl Progress {
    /// Of so many bytes.
    pub fn new(what: &'static str, total: u64) -> Self {
        let on = total >= SMALL && std::io::stderr().is_terminal();
        Self { what, total, done: 0, begun: Instant::now(), told: None, on }
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.on && self.told.is_none_or(|told| told.elapsed() >= EVERY) {
            self.told = Some(Instant::now());
            let percent = (self.done * 100).checked_div(self.total).unwrap_or(100).min(100);
            let rate = self.done as f64 / self.begun.elapsed().as_secs_f64().max(1e-3);
            tell_part(format_args!("\r{} {percent:3} %, {}/s\x1b[K", self.what, human_bytes(rate as u64)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            tell_part("\r\x1b[K");
        }
    }
}
