//! `watch`

use std::ffi::OsString;
use std::io::{self, BufRead};

use bytes::Bytes;
use clap::{ArgMatches, Args};
use futures_util::future::{Either, select, select_all};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::client::{self, Watcher};
use crate::wire::etcdserverpb as pb;
use crate::wire::mvccpb::Event;
use crate::wire::mvccpb::event::EventType;

use super::watch_words::{self, Environment, Line, Watch};
use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::execute::execute;
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header_fields, key_value, kv_lines};
use crate::ctl::session::Session;

/// `watch`
pub const COMMAND: Command = Command {
    name: "watch",
    usage: "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    short: "Watches events stream on keys or prefixes",
    example: "quoratectl watch /app/ --prefix -- sh -c 'echo \"$ETCD_WATCH_KEY\"'",
    section: Some(Section::KeyValue),
    flags: Watch::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

/// Lines of standard input read ahead in interactive mode.
const LINES_AHEAD: usize = 16;

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let environment = Environment::read()?;
    let watch = Watch::read(matches)?;
    if watch.interactive {
        return interactive(session, &environment).await;
    }
    let wanted = watch.wanted(&session.words, &environment)?;
    let mut watcher = session.client().await?.watch(wanted.range);
    while let Some(response) = watcher.next().await {
        show(session, response, &wanted.run)?;
    }
    Err(Failure::new(Exit::Interrupted, "watch is canceled by the server"))
}

/// Watches that lines of standard input start, until it ends.
async fn interactive(session: &mut Session, environment: &Environment) -> Result<(), Failure> {
    let client = session.client().await?;
    let mut lines = read_lines(session.take_input());
    let mut watches: Vec<(Watcher, Vec<OsString>)> = Vec::new();
    loop {
        let happened = {
            let line = std::pin::pin!(lines.recv());
            if watches.is_empty() {
                Either::Left(line.await)
            } else {
                let next = select_all(watches.iter_mut().map(|(watcher, _)| Box::pin(watcher.next())));
                match select(line, next).await {
                    Either::Left((line, _)) => Either::Left(line),
                    Either::Right(((response, index, _), _)) => Either::Right((response, index)),
                }
            }
        };
        match happened {
            Either::Right((None, index)) => drop(watches.swap_remove(index)),
            Either::Right((Some(response), index)) => show(session, response, &watches[index].1)?,
            Either::Left(None) => {
                return Err(Failure::new(Exit::InvalidInput, "error reading watch request line: EOF"));
            }
            Either::Left(Some(line)) => match watch_words::line(&line, environment)? {
                Line::Watch(wanted) => watches.push((client.watch(wanted.range), wanted.run)),
                Line::Progress => watches.iter_mut().for_each(|(watcher, _)| watcher.request_progress()),
                Line::Complaint(complaint) => session.complain(complaint),
            },
        }
    }
}

/// Lines of an input, read by a thread of their own because reading blocks; the last one has its line end.
fn read_lines(mut input: Box<dyn BufRead + Send>) -> mpsc::Receiver<Vec<u8>> {
    let (lines, read) = mpsc::channel(LINES_AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(_) if line.pop() == Some(b'\n') => {}
                _ => return,
            }
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    read
}

/// Shows one response and runs the command on each of its events.
fn show(
    session: &mut Session,
    response: Result<pb::WatchResponse, client::Error>,
    run: &[OsString],
) -> Result<(), Failure> {
    let lost = match &response {
        Err(error) => Some(error.to_string()),
        // Refused before it began.
        Ok(response) if response.created && response.canceled => Some(response.cancel_reason.clone()),
        Ok(_) => None,
    };
    let response = match (response, lost) {
        (Ok(response), None) => response,
        (_, lost) => {
            session.complain(format_args!("watch was canceled ({})", lost.unwrap_or_default()));
            // etcd's client turns a watch that was lost or never began into a last response that says so.
            let header = Some(pb::ResponseHeader::default());
            return session.show(&pb::WatchResponse { header, canceled: true, ..Default::default() });
        }
    };
    let revision = response.header.as_ref().map_or(0, |header| header.revision);
    if response.canceled {
        session.complain(format_args!("watch was canceled ({})", cancellation(&response)));
    } else if response.events.is_empty() && response.compact_revision == 0 && revision != 0 {
        session.say(format_args!("progress notify: {revision}"))?;
    }
    session.show(&response)?;
    if !run.is_empty() {
        response.events.iter().try_for_each(|event| run_on(session, event, revision, run))?;
    }
    Ok(())
}

/// Why the server cancelled, in the words of etcd's client.
fn cancellation(response: &pb::WatchResponse) -> String {
    if response.compact_revision != 0 {
        return "etcdserver: mvcc: required revision has been compacted".to_owned();
    }
    if response.cancel_reason.is_empty() {
        return "etcdserver: mvcc: required revision is a future revision".to_owned();
    }
    client::Error::Answered(tonic::Code::FailedPrecondition, response.cancel_reason.clone()).to_string()
}

fn event_name(event: &Event) -> &'static str {
    EventType::try_from(event.r#type).map_or("UNKNOWN", |kind| kind.as_str_name())
}

/// Runs the command with the event in its environment. Its failure ends the tool.
fn run_on(session: &mut Session, event: &Event, revision: i64, run: &[OsString]) -> Result<(), Failure> {
    let kv = event.kv.clone().unwrap_or_default();
    let quote = |bytes: &Bytes| go::quote(bytes);
    let mut command = std::process::Command::new(&run[0]);
    command
        .args(&run[1..])
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", go::quote(event_name(event).as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&kv.key))
        .env("ETCD_WATCH_VALUE", quote(&kv.value));
    let Err(why) = execute(&mut command) else { return Ok(()) };
    let words: Vec<String> = run.iter().map(|word| go::quote(word.as_encoded_bytes())).collect();
    session.complain(format_args!("command [{}] error ({why})", words.join(" ")));
    Err(Failure::silent(Exit::Error))
}

impl Reply for pb::WatchResponse {
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        for event in &self.events {
            writeln!(to.out, "{}", event_name(event))?;
            if let Some(kv) = &event.prev_kv {
                kv_lines(kv, look, to.out)?;
            }
            kv_lines(event.kv.as_ref().unwrap_or(&Default::default()), look, to.out)?;
        }
        Ok(())
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let header =
            self.header.as_ref().map_or(Tree::Null, |header| Tree::Object(header_fields(Object::new(), header)));
        let events = match &self.events[..] {
            [] => Tree::Null,
            events => Tree::list(events, |event| {
                let object = Object::new()
                    .unless_empty("type", Tree::Int(event.r#type.into()))
                    .unless_empty("kv", key_value(event.kv.as_ref()))
                    .unless_empty("prev_kv", key_value(event.prev_kv.as_ref()));
                Tree::Object(object)
            }),
        };
        let object = Object::new()
            .always("Header", header)
            .always("Events", events)
            .always("CompactRevision", Tree::Int(self.compact_revision))
            .always("Canceled", Tree::Bool(self.canceled))
            .always("Created", Tree::Bool(self.created))
            .always("CancelReason", Tree::text(&self.cancel_reason));
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look);
        Some(fields.each(&self.events, |fields, event| {
            let fields = fields.value("Type", event_name(event));
            let fields = event.prev_kv.iter().fold(fields, |fields, kv| fields.pair("Prev", kv));
            fields.pair("", event.kv.as_ref().unwrap_or(&Default::default()))
        }))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        // etcd's client has no more of it.
        let shown = pb::WatchResponse {
            header: self.header,
            events: self.events.clone(),
            compact_revision: self.compact_revision,
            canceled: self.canceled,
            created: self.created,
            ..Default::default()
        };
        Some(shown.encode_to_vec())
    }
}
