//! What members write to their logs, overheard while one run is told: each line with its time and the node whose task wrote it.
//!
//! Invariant: it changes nothing of the run. It draws nothing, and what is not told is not listened to (`run.rs`).

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::env::true_now;

/// The name that madsim gives to the span of a node; that of a task lies within it.
const NODE: &str = "node";

/// The lines heard so far, in order of time, each with the seconds at which it was written.
#[derive(Clone, Default)]
pub struct Overheard(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// By the number of the span, from one: the node it lies in.
    nodes: Vec<String>,
    /// The spans that are entered, innermost last.
    entered: Vec<u64>,
    told: Vec<(f64, String)>,
}

impl Overheard {
    /// All lines.
    pub fn take(&self) -> Vec<(f64, String)> {
        std::mem::take(&mut self.lines().told)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A panic that is told may have begun here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn node_of(&self, span: u64) -> Option<&String> {
        self.nodes.get(usize::try_from(span).ok()?.checked_sub(1)?)
    }
}

/// Whose lines are told.
fn is_ours(target: &str) -> bool {
    target.starts_with("quorate")
}

impl Subscriber for Overheard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || is_ours(metadata.target()) && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let mut lines = self.lines();
        let around = span.parent().map(Id::into_u64).or_else(|| lines.entered.last().copied());
        let node = match fields.name.filter(|_| span.metadata().name() == NODE) {
            Some(name) => name,
            None => around.and_then(|around| lines.node_of(around).cloned()).unwrap_or_default(),
        };
        lines.nodes.push(node);
        Id::from_u64(lines.nodes.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let at = madsim::runtime::Handle::try_current().map_or(0.0, |_| true_now().as_secs_f64());
        let mut lines = self.lines();
        let node = lines.entered.last().and_then(|span| lines.node_of(*span)).cloned().unwrap_or_default();
        let (level, message, rest) = (event.metadata().level(), fields.message, fields.rest);
        lines.told.push((at, format!("{at:.6}: {node} logs {level}: {message}{rest}")));
    }

    fn enter(&self, span: &Id) {
        self.lines().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut lines = self.lines();
        // Guards may end in another order than they began in.
        if let Some(at) = lines.entered.iter().rposition(|entered| *entered == span.into_u64()) {
            lines.entered.remove(at);
        }
    }
}

/// The fields of a line or a span, for people.
#[derive(Default)]
struct Fields {
    message: String,
    name: Option<String>,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => {
                if name == "name" {
                    self.name = Some(format!("{value:?}"));
                }
                // A string takes all that is written to it.
                let _ = write!(self.rest, " {name}={value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_with_the_node_that_wrote_it() {
        let overheard = Overheard::default();
        tracing::subscriber::with_default(overheard.clone(), || {
            let node = tracing::error_span!(parent: None, "node", id = 3, name = "m2");
            let task = tracing::error_span!(parent: &node, "task", id = 9, name = "any");
            let other = tracing::error_span!(parent: None, "node", id = 4, name = "m3");
            let _other = other.entered();
            task.in_scope(|| tracing::warn!(error = "full", count = 2, "no room"));
            tracing::info!("well");
            tracing::debug!("not told");
        });
        let told: Vec<String> = overheard.take().into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            told,
            ["0.000000: m2 logs WARN: no room error=full count=2", "0.000000: m3 logs INFO: well"],
            "innermost first, and what is not told is left out"
        );
    }
}
