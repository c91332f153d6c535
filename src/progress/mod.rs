//! What a tool shows who looks on at a terminal: how far long work has come, and where an error begins.
//!
//! Invariants: nothing is drawn unless standard error is a terminal that can wipe it; what was drawn is wiped when the work ends, so that
//! results are not mixed with it, and before whatever is said meanwhile; it is drawn when the first of it is done, and then rarely enough to cost nothing. A few bytes are
//! done before anybody has read how far they are: nothing is drawn of them, and a program that runs this on a terminal of its
//! own reads the result alone. Does not know which tool it is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::human_bytes;

/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);

/// Bytes from which on they are told of.
const SMALL: u64 = 1024 * 1024;

/// Cells of the bar.
const CELLS: u64 = 30;

/// Whether something is drawn on the terminal's last line, where there is room for one.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Wipes what is drawn, for a line of something else: it is drawn anew below that when more is done. What others left on the
/// terminal stays.
pub fn make_room() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        draw("");
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as sizes.
    Bytes,
    /// Things of this name.
    Of(&'static str),
}

/// A line on the terminal that says how far the work has come.
#[derive(Debug)]
pub struct Progress {
    unit: Unit,
    /// What is to be done in all; 0 where nobody knows.
    whole: u64,
    done: u64,
    begun: Instant,
    /// When it is drawn again; `None` where nobody looks on.
    due: Option<Instant>,
}

impl Progress {
    /// Work that begins now.
    pub fn new(unit: Unit, whole: u64) -> Progress {
        let now = Instant::now();
        let draws = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Progress { unit, whole, done: 0, begun: now, due: draws.then_some(now) }
    }

    /// Says how much there is in all, once it is known.
    pub fn whole(&mut self, whole: u64) {
        self.whole = whole;
    }

    /// Says that so much more is done.
    pub fn add(&mut self, more: u64) {
        self.done += more;
        let now = Instant::now();
        let small = self.unit == Unit::Bytes && self.done.max(self.whole) < SMALL;
        if !small && self.due.is_some_and(|due| now >= due) {
            self.due = Some(now + REDRAW);
            let line = line(self.unit, self.done, self.whole, now - self.begun);
            draw(&line);
            DRAWN.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        make_room();
    }
}

/// In one go, for others may write there, too. A terminal that is narrower than the line shows its beginning, not several lines of
/// it that nothing would wipe. It is for looking at only: that it cannot be drawn changes nothing.
fn draw(line: &str) {
    let cut = if line.is_empty() { String::new() } else { format!("\x1b[?7l{line}\x1b[?7h") };
    let _ = io::stderr().write_all(format!("\r\x1b[K{cut}").as_bytes());
}

/// The word before an error's text, as etcd's tools have it: red on a terminal whose user did not say otherwise
/// (<https://no-color.org>).
pub fn error_word() -> &'static str {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let colour =
        io::stderr().is_terminal() && given("NO_COLOR").is_none() && given("TERM").is_some_and(|term| term != "dumb");
    if colour { "\x1b[31mError:\x1b[0m" } else { "Error:" }
}

fn line(unit: Unit, done: u64, whole: u64, took: Duration) -> String {
    let amount = |amount: u64| match unit {
        Unit::Bytes => human_bytes(amount),
        Unit::Of(_) => amount.to_string(),
    };
    let mut line = String::new();
    if whole > 0 {
        let share = done.min(whole);
        let part = |of: u64| u64::try_from(u128::from(share) * u128::from(of) / u128::from(whole)).unwrap_or(of);
        let filled = part(CELLS);
        let bar: String = (0..CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect();
        let _ = write!(line, "[{bar}] {:3}% {} of {}", part(100), amount(done), amount(whole));
    } else {
        line.push_str(&amount(done));
    }
    if let Unit::Of(name) = unit {
        let _ = write!(line, " {name}");
    }
    let milliseconds = took.as_millis().max(1);
    let rate = u64::try_from(u128::from(done) * 1000 / milliseconds).unwrap_or(u64::MAX);
    let _ = write!(line, ", {}/s", amount(rate));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_share_amount_and_rate() {
        let two = Duration::from_secs(2);
        assert_eq!(
            line(Unit::Bytes, 5_000_000, 20_000_000, two),
            "[#######.......................]  25% 5.0 MB of 20 MB, 2.5 MB/s"
        );
        assert_eq!(line(Unit::Of("keys"), 300, 0, two), "300 keys, 150/s");
        assert!(line(Unit::Bytes, 30, 20, two).contains("100% 30 B of 20 B"), "more than was announced");
        assert!(line(Unit::Bytes, u64::MAX, u64::MAX / 31, Duration::ZERO).contains("100%"));
    }
}
