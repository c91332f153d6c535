//! Log lines, in the form etcd's have: one JSON object a line, or columns for people.
//!
//! Invariant: a line that cannot be written is lost, never a reason to stop or to wait. Does not know who logs what.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::base::{limits, timestamp};
use crate::server::log_outputs::Outputs;
use crate::server::log_rotation::Rotation;

/// The outputs in use, for those who have a last word.
static OUTPUTS: OnceLock<Outputs> = OnceLock::new();

/// Starts logging. Fails if a file cannot be opened or logging was started before.
pub fn start(level: &str, format: &str, outputs: &[String], rotation: Option<Rotation>) -> Result<(), String> {
    let json = format == "json";
    let outputs = Outputs::open(outputs, rotation, if json { dropped_as_json } else { dropped_in_columns })?;
    let level = match level {
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" => Level::WARN,
        _ => Level::ERROR,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(outputs.clone())
        .event_format(Lines { json })
        .try_init()
        .map_err(|error| format!("cannot start logging: {error}"))?;
    // Set once, because logging starts once.
    let _ = OUTPUTS.set(outputs);
    Ok(())
}

/// Gives the outputs a moment to take what waits; to be called before the process ends.
pub fn finish() {
    if let Some(outputs) = OUTPUTS.get() {
        outputs.finish(Duration::from_millis(limits::LOG_FINISH_MS));
    }
}

/// Writes a line on stderr, past the log; given up when nobody takes it.
pub fn say(line: String) {
    let (done, written) = mpsc::sync_channel(1);
    let write = move || {
        let _ = writeln!(io::stderr(), "{line}");
        // Nobody waits any more if it took too long.
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("last word".into()).stack_size(limits::STACK_BYTES).spawn(write).is_ok() {
        let _ = written.recv_timeout(Duration::from_millis(limits::LOG_FINISH_MS));
    }
}

fn dropped_as_json(dropped: u64) -> Vec<u8> {
    dropped_line(dropped, write_json)
}

fn dropped_in_columns(dropped: u64) -> Vec<u8> {
    dropped_line(dropped, write_columns)
}

type WriteLine = fn(&mut Writer<'_>, &str, &str, &str, &Fields) -> fmt::Result;

/// What is told of lines that found no room.
fn dropped_line(dropped: u64, write: WriteLine) -> Vec<u8> {
    let message = "log lines were dropped: the output did not take them".to_string();
    let mut fields = Fields { message, ..Default::default() };
    fields.rest.insert("dropped".into(), Value::from(dropped));
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut Writer::new(&mut line), "warn", &now(), "server/logs.rs:0", &fields);
    line.into_bytes()
}

/// The form of a line.
struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let ts = now();
        let file = metadata.file().map_or(metadata.target(), last_two_parts);
        let caller = format!("{file}:{}", metadata.line().unwrap_or(0));
        if self.json {
            write_json(&mut writer, level, &ts, &caller, &fields)
        } else {
            write_columns(&mut writer, level, &ts, &caller, &fields)
        }
    }
}

/// `api/kv.rs` of a longer path, as etcd's callers.
fn last_two_parts(path: &str) -> &str {
    path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| &path[at + 1..])
}

fn write_json(writer: &mut Writer<'_>, level: &str, ts: &str, caller: &str, fields: &Fields) -> fmt::Result {
    let quoted = |text: &str| Value::from(text).to_string();
    write!(
        writer,
        "{{\"level\":\"{level}\",\"ts\":\"{ts}\",\"caller\":{},\"msg\":{}",
        quoted(caller),
        quoted(&fields.message)
    )?;
    for (name, value) in &fields.rest {
        write!(writer, ",{}:{value}", quoted(name))?;
    }
    writeln!(writer, "}}")
}

fn write_columns(writer: &mut Writer<'_>, level: &str, ts: &str, caller: &str, fields: &Fields) -> fmt::Result {
    // A message of several lines stays one line.
    let message = fields.message.replace('\n', "\\n");
    write!(writer, "{ts}\t{level}\t{caller}\t{message}")?;
    if !fields.rest.is_empty() {
        write!(writer, "\t{}", spaced(&Value::Object(fields.rest.clone())))?;
    }
    writeln!(writer)
}

/// JSON with a space behind each colon and comma, as etcd's library writes it in columns.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

/// Fields that are lists of names, as etcd's are; who tells them joins their names by commas or shows the list.
const LISTS: [&str; 18] = [
    "added-peer-peer-urls",
    "advertise-client-urls",
    "advertise-peer-urls",
    "cors",
    "discovery-endpoints",
    "dns-names",
    "endpoints",
    "found-cluster",
    "host-whitelist",
    "initial-advertise-peer-urls",
    "ip-addresses",
    "listen-client-http-urls",
    "listen-client-urls",
    "listen-metrics-urls",
    "listen-peer-urls",
    "peer-urls",
    "remote-peer-urls",
    "urls",
];

/// The names in a list; a text that is none is one name.
fn names(text: &str) -> Value {
    let names = text.split(',').filter(|name| !name.is_empty()).map(Value::from);
    let shown = if text.starts_with('[') { serde_json::from_str::<Vec<String>>(text).ok() } else { None };
    shown.map_or_else(|| names.collect(), Value::from)
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
        } else {
            let name = field.name().replace('_', "-");
            let value = match value {
                Value::String(text) if LISTS.contains(&name.as_str()) => names(&text),
                other => other,
            };
            self.rest.insert(name, value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::from(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

/// What time it is, as each line tells it.
fn now() -> String {
    timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_lists() {
        assert!(LISTS.is_sorted());
        let urls = ["http://a:1".to_string(), "http://[::1]:2".to_string()];
        for (text, shown) in [
            (urls.join(","), r#"["http://a:1","http://[::1]:2"]"#),
            (format!("{urls:?}"), r#"["http://a:1","http://[::1]:2"]"#),
            (format!("{:?}", &urls[1..]), r#"["http://[::1]:2"]"#),
            ("[::1]:2".to_string(), r#"["[::1]:2"]"#),
            (String::new(), "[]"),
            ("[]".to_string(), "[]"),
        ] {
            assert_eq!(names(&text).to_string(), shown);
        }
    }

    #[test]
    fn lines_are_json_objects_in_etcds_order() {
        let mut fields = Fields { message: "say \"hi\"".into(), ..Default::default() };
        fields.rest.insert("n".into(), Value::from(3));
        let mut line = String::new();
        write_json(&mut Writer::new(&mut line), "info", "T", "api/kv.rs:1", &fields).expect("a string");
        let text = r#"{"level":"info","ts":"T","caller":"api/kv.rs:1","msg":"say \"hi\"","n":3}"#;
        assert_eq!(line, format!("{text}\n"));
        let mut line = String::new();
        fields.rest.insert("o".into(), serde_json::json!(["a", "b"]));
        write_columns(&mut Writer::new(&mut line), "info", "T", "api/kv.rs:1", &fields).expect("a string");
        assert_eq!(line, "T\tinfo\tapi/kv.rs:1\tsay \"hi\"\t{\"n\": 3, \"o\": [\"a\", \"b\"]}\n");
        assert_eq!(last_two_parts("src/api/kv.rs"), "api/kv.rs");
        assert_eq!(last_two_parts("kv.rs"), "kv.rs");
    }
}
