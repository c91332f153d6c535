//! `del`

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::wire::etcdserverpb as pb;

use super::get;
use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::failure::Failure;
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header, key_values, kv_lines};
use crate::ctl::session::{Session, bytes};

/// `del`
pub const COMMAND: Command = Command {
    name: "del",
    usage: "[options] <key> [range_end]",
    short: "Removes the specified key or range of keys [key, range_end)",
    example: "quoratectl del /app/ --prefix",
    section: Some(Section::KeyValue),
    flags: Del::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

/// Time to think better of deleting a range, as in etcdctl.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// The flags and words of `del`.
#[derive(Args, Debug)]
pub struct Del {
    /// delete keys with matching prefix
    #[arg(long)]
    prefix: bool,
    /// return deleted key-value pairs
    #[arg(long)]
    prev_kv: bool,
    /// delete keys that are greater than or equal to the given key using byte compare
    #[arg(long)]
    from_key: bool,
    /// delete range of keys
    #[arg(long)]
    range: bool,
    args: Vec<OsString>,
}

impl Del {
    /// The request.
    ///
    /// # Errors
    /// A word is missing or too many, or flags exclude each other.
    pub fn request(&self) -> Result<pb::DeleteRangeRequest, Failure> {
        let (key, end) = match &self.args[..] {
            [key] => (key, None),
            [key, end] => (key, Some(end)),
            _ => {
                return Err(Failure::bad_args(
                    "del command needs one argument as key and an optional argument as range_end",
                ));
            }
        };
        get::one_range(self.prefix, self.from_key)?;
        let (key, range_end) = get::range(key, end, self.prefix, self.from_key)?;
        Ok(pb::DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }

    /// The warning before a range is deleted that was not asked for by flag.
    pub fn warning(&self) -> Option<String> {
        let [key, end] = &self.args[..] else { return None };
        if self.range {
            return None;
        }
        let quoted = |word| go::quote(bytes(word));
        Some(format!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next 2 seconds \
             to cancel. You can provide `--range` flag to avoid the delay.",
            quoted(key),
            quoted(end)
        ))
    }

    /// Warns and waits, where a range is about to be deleted.
    pub async fn hesitate(&self, session: &mut Session) {
        if let Some(warning) = self.warning() {
            session.complain(warning);
            tokio::time::sleep(SECOND_THOUGHTS).await;
        }
    }
}

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let del = Del::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let request = del.request()?;
    del.hesitate(session).await;
    let response = session.client().await?.delete_range(request).await?;
    session.show(&response)
}

impl Reply for pb::DeleteRangeResponse {
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "{}", self.deleted)?;
        self.prev_kvs.iter().try_for_each(|kv| kv_lines(kv, look, to.out))
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.header.as_ref())
            .unless_empty("deleted", Tree::Int(self.deleted))
            .unless_empty("prev_kvs", key_values(&self.prev_kvs));
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look).value("Deleted", self.deleted);
        Some(fields.each(&self.prev_kvs, |fields, kv| fields.pair("Prev", kv)))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
