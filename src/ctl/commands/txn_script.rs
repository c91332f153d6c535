//! The little language of `txn`: one comparison or request a line.
//!
//! A comparison is `target("key") operator "value"` with Go's quoting; a request is a `put`, `get` or `del`
//! as on the command line. Invariant: a line that cannot be read in full meaning is refused; the one exception
//! is etcdctl's, where a quote without its end is dropped from a request and the words after it stand alone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::FromArgMatches;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

use super::del::Del;
use super::get::Get;
use super::put::Put;
use super::{del, get, put};
use crate::ctl::command::{Command, Commands, NAME};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::flags::find::{by_beginning, first_word};
use crate::ctl::flags::own::own_flags;
use crate::ctl::flags::usage;
use crate::ctl::go;
use crate::ctl::session::bytes;

/// One request of a transaction.
#[derive(Debug)]
pub enum Op {
    /// A write.
    Put(pb::PutRequest),
    /// A read.
    Get(pb::RangeRequest),
    /// A deletion, with its flags: it may want to warn first.
    Del(Del),
}

fn invalid(text: String) -> Failure {
    Failure::new(Exit::InvalidInput, text)
}

/// Reads a comparison.
///
/// # Errors
/// The line is malformed, or its target, operator or number is unknown.
pub fn compare(line: &[u8]) -> Result<pb::Compare, Failure> {
    let shown = String::from_utf8_lossy(line);
    let Some(paren) = line.iter().position(|&byte| byte == b'(') else {
        return Err(invalid(format!("malformed comparison: {shown}")));
    };
    let target = String::from_utf8_lossy(&line[..paren]);
    let (key, operator, value) = sides(&line[paren + 1..]).map_err(|(key, operator)| {
        let (key, operator) = (go::quote(&key), String::from_utf8_lossy(&operator).into_owned());
        invalid(format!("malformed comparison: {shown}; got {target}({key}) {operator} \"\""))
    })?;
    let text = String::from_utf8_lossy(&value);
    let number =
        |base| go::parse_int(&text, base).map_err(|_| invalid(format!("invalid txn compare request: {shown}")));
    let (target, value) = match &*target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.into())),
        // etcdctl crashes here; a lease is written in hex, as everywhere else on the command line.
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        other => return Err(invalid(format!("malformed comparison: {shown} (unknown target {other})"))),
    };
    let result = match &operator[..] {
        b"=" => CompareResult::Equal,
        b"!=" => CompareResult::NotEqual,
        b">" => CompareResult::Greater,
        b"<" => CompareResult::Less,
        // etcdctl crashes here.
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(invalid(format!("malformed comparison: {shown} (unknown operator {other})")));
        }
    };
    Ok(pb::Compare {
        result: result as i32,
        target: target as i32,
        key: key.into(),
        target_union: Some(value),
        ..Default::default()
    })
}

type Sides = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Reads `"key") operator "value"`; fails with the key and operator read so far.
fn sides(text: &[u8]) -> Result<Sides, (Vec<u8>, Vec<u8>)> {
    let nothing = (Vec::new(), Vec::new());
    let (key, rest) = go::unquote(text.trim_ascii_start()).ok_or(nothing)?;
    let fail = |operator: &[u8]| (key.clone(), operator.to_vec());
    let rest = rest.strip_prefix(b")").ok_or_else(|| fail(b""))?;
    // The pattern has a space here, and so must the line.
    let rest = spaces(rest).ok_or_else(|| fail(b""))?;
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let operator = &rest[..end];
    let value = spaces(&rest[end..]).ok_or_else(|| fail(operator))?;
    let (value, _) = go::unquote(value).ok_or_else(|| fail(operator))?;
    Ok((key.clone(), operator.to_vec(), value))
}

/// What follows at least one space.
fn spaces(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start();
    (rest.len() < text.len() && !rest.is_empty()).then_some(rest)
}

/// What requests may be made of. Made once: a script may have many thousand lines.
#[derive(Debug)]
pub struct Requests {
    /// The flags that may stand before a request's name.
    before: clap::Command,
    put: clap::Command,
    get: clap::Command,
    del: clap::Command,
}

/// What a request may be called; a unique beginning of it will do.
const REQUESTS: Commands = &[&put::COMMAND, &get::COMMAND, &del::COMMAND];

impl Requests {
    /// The flags of the three commands, as they are on the command line.
    pub fn new() -> Requests {
        let flags = |command: &'static Command| own_flags(&[command]);
        Requests {
            before: own_flags(&[]),
            put: flags(&put::COMMAND),
            get: flags(&get::COMMAND),
            del: flags(&del::COMMAND),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// It is no request, or its words or flags are wrong; of wrong flags with the usage, which is told first.
    pub fn read(&mut self, line: &[u8]) -> Result<Op, Failure> {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let mut words = words(line)?;
        if words.len() < 2 {
            return Err(invalid(format!("invalid txn compare request: {}", shown())));
        }
        let unreadable = || invalid(format!("invalid txn request: {}", shown()));
        let at = first_word(&self.before, &words).ok_or_else(unreadable)?;
        let name = words.remove(at).to_string_lossy().into_owned();
        let command = by_beginning(REQUESTS, &name).ok_or_else(unreadable)?;
        let wrong = |_| Failure { usage: Some(usage_of(command)), ..unreadable() };
        let matches = |flags: &mut clap::Command| flags.try_get_matches_from_mut(&words).map_err(wrong);
        let word_only = |word: Option<&OsString>| word.map(|word| bytes(word));
        match command.name {
            "put" => {
                let put = Put::from_arg_matches(&matches(&mut self.put)?).map_err(wrong)?;
                Ok(Op::Put(put.request(word_only)?))
            }
            "get" => {
                let get = Get::from_arg_matches(&matches(&mut self.get)?).map_err(wrong)?;
                Ok(Op::Get(get.request()?))
            }
            _ => Ok(Op::Del(Del::from_arg_matches(&matches(&mut self.del)?).map_err(wrong)?)),
        }
    }
}

/// The usage of a request: of a command that is no tool's.
fn usage_of(command: &'static Command) -> String {
    usage::usage(&[], &[command]).replacen(NAME, "", 1)
}

/// Splits a line into words; quotes hold one together, double ones with Go's escapes.
///
/// # Errors
/// An escape is unknown.
pub fn words(line: &[u8]) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(&first) = rest.first() {
        let (word, after) = match first {
            byte if byte.is_ascii_whitespace() => {
                rest = &rest[1..];
                continue;
            }
            b'"' => match double_quoted(rest) {
                Some(end) => {
                    let (word, _) = go::unquote(&rest[..end]).ok_or_else(|| invalid("invalid syntax".to_owned()))?;
                    (word, &rest[end..])
                }
                None => {
                    rest = &rest[1..];
                    continue;
                }
            },
            b'\'' => match rest[1..].iter().position(|&byte| byte == b'\'') {
                Some(length) => (rest[1..=length].to_vec(), &rest[length + 2..]),
                None => {
                    rest = &rest[1..];
                    continue;
                }
            },
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        words.push(OsString::from_vec(word));
        rest = after;
    }
    Ok(words)
}

/// Where a double-quoted word ends, escaped quotes stepped over.
fn double_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests;
