//! The offline tools: what etcdutl does for etcd, for files of etcd and of ours. No server runs meanwhile.
//!
//! Invariants: words, texts and exit codes are etcdutl's, on the same streams; a data directory appears whole under its name or
//! not at all; a file that is read is never written to.
//!
//! Does not know of the network.

mod arguments;
mod beside;
mod command;
mod commands;
mod completion;
mod data_directory;
mod failure;
mod hash_kv;
mod history;
mod import;
mod old_keys;
mod old_requests;
mod output;
mod restore;
mod site;
mod source;
mod status;
mod table;
mod telling;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::base::go_quoted;
use failure::{Exit, Failure};

/// The whole process, from arguments to the exit code.
pub fn main() -> ExitCode {
    // What stood for bytes of no text would name another file.
    match std::env::args_os().skip(1).map(OsString::into_string).collect() {
        Ok(words) => commands::run(words),
        Err(word) => {
            let shown = go_quoted(word.as_encoded_bytes());
            Failure::new(Exit::BadArguments, format!("{shown} is not UTF-8, which names and values must be here"))
                .tell()
        }
    }
}

#[cfg(test)]
mod tests;
