//! `put`

use std::ffi::OsString;
use std::io;

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::wire::etcdserverpb as pb;

use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::failure::Failure;
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header, key_value, kv_lines};
use crate::ctl::session::{Session, bytes};

/// `put`
pub const COMMAND: Command = Command {
    name: "put",
    usage: "[options] <key> <value> (<value> can also be given from stdin)",
    short: "Puts the given key into the store",
    example: "quoratectl put greeting hello",
    long: "
Puts the given key into the store.

When <value> begins with '-', it is taken for a flag. Put '--' before it:

$ put <key> -- <value>
$ put -- <key> <value>

Without a <value> and without '--ignore-value', the value is read from standard input:

$ cat file | put <key>
stores the content of the file under <key>.
",
    section: Some(Section::KeyValue),
    flags: Put::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

/// The flags and words of `put`.
#[derive(Args, Debug)]
pub struct Put {
    /// lease ID (in hexadecimal) to attach to the key
    #[arg(long, value_name = "string", default_value = "0")]
    lease: String,
    /// return the previous key-value pair before modification
    #[arg(long)]
    prev_kv: bool,
    /// updates the key using its current value
    #[arg(long)]
    ignore_value: bool,
    /// updates the key using its current lease
    #[arg(long)]
    ignore_lease: bool,
    args: Vec<OsString>,
}

const NEEDS: &str = "put command needs 1 argument and input from stdin or 2 arguments";

impl Put {
    /// The request; `input` is asked for the value when no word gives it.
    ///
    /// # Errors
    /// A word is missing or too many, or the lease is no hexadecimal number.
    pub fn request(&self, input: impl FnOnce(Option<&OsString>) -> Option<Bytes>) -> Result<pb::PutRequest, Failure> {
        let key = self.args.first().ok_or_else(|| Failure::bad_args(NEEDS))?;
        if self.ignore_value && self.args.len() > 1 {
            return Err(Failure::bad_args("put command needs only 1 argument when 'ignore-value' is set"));
        }
        let value = if self.ignore_value {
            Bytes::new()
        } else {
            input(self.args.get(1)).ok_or_else(|| Failure::bad_args(NEEDS))?
        };
        let lease = go::parse_int(&self.lease, 16)
            .map_err(|error| Failure::bad_args(format!("bad lease ID ({error}), expecting ID in Hex")))?;
        Ok(pb::PutRequest {
            key: bytes(key),
            value,
            lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let request = Put::from_arg_matches(matches)
        .map_err(|error| Failure::bad_args(error.to_string()))?
        .request(|word| session.word_or_input(word))?;
    let response = session.client().await?.put(request).await?;
    session.show(&response)
}

impl Reply for pb::PutResponse {
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        to.out.write_all(b"OK\n")?;
        match &self.prev_kv {
            Some(kv) => kv_lines(kv, look, to.out),
            None => Ok(()),
        }
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.header.as_ref());
        Tree::Object(object.unless_empty("prev_kv", key_value(self.prev_kv.as_ref())))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look);
        Some(self.prev_kv.iter().fold(fields, |fields, kv| fields.pair("Prev", kv)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
