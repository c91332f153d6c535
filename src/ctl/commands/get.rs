//! `get`

use std::ffi::OsString;
use std::io;

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::client::prefix_end;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::range_request::{SortOrder, SortTarget};

use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header, key_values, kv_lines};
use crate::ctl::session::{Session, bytes};

/// `get`
pub const COMMAND: Command = Command {
    name: "get",
    usage: "[options] <key> [range_end]",
    short: "Gets the key or a range of keys",
    example: "quoratectl get /app/ --prefix --keys-only",
    section: Some(Section::KeyValue),
    flags: Get::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

/// The flags and words of `get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Linearizable(l) or Serializable(s)
    #[arg(long, value_name = "string", default_value = "l")]
    consistency: String,
    /// Order of results; ASCEND or DESCEND (ASCEND by default)
    #[arg(long, value_name = "string", default_value = "")]
    order: String,
    /// Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION
    #[arg(long, value_name = "string", default_value = "")]
    sort_by: String,
    /// Maximum number of results
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    limit: i64,
    /// Get keys with matching prefix
    #[arg(long)]
    prefix: bool,
    /// Get keys that are greater than or equal to the given key using byte compare
    #[arg(long)]
    from_key: bool,
    /// Specify the kv revision
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    rev: i64,
    /// Get only the keys
    #[arg(long)]
    keys_only: bool,
    /// Get only the count
    #[arg(long)]
    count_only: bool,
    /// Only write values when using the "simple" output format
    #[arg(long)]
    print_value_only: bool,
    /// Minimum create revision
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    min_create_rev: i64,
    /// Maximum create revision
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    max_create_rev: i64,
    /// Minimum modification revision
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    min_mod_rev: i64,
    /// Maximum modification revision
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    max_mod_rev: i64,
    /// Use the RangeStream RPC
    #[arg(long)]
    stream: bool,
    args: Vec<OsString>,
}

impl Get {
    /// The request.
    ///
    /// # Errors
    /// A word is missing or too many, flags exclude each other, or a flag's word is unknown.
    pub fn request(&self) -> Result<pb::RangeRequest, Failure> {
        let key = self.args.first().ok_or_else(|| {
            Failure::bad_args("get command needs one argument as key and an optional argument as range_end")
        })?;
        if self.keys_only && self.count_only && !(self.prefix && self.from_key) {
            return Err(Failure::bad_args(
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
            ));
        }
        // Checked in etcdctl's order: of two mistakes the same one is told.
        one_range(self.prefix, self.from_key)?;
        let serializable = serializable(&self.consistency)?;
        let (key, range_end) = range(key, self.args.get(1), self.prefix, self.from_key)?;
        let (sort_order, sort_target) = (self.sort_order()?, self.sort_target()?);
        bounds("CreateRev", self.min_create_rev, self.max_create_rev)?;
        bounds("ModRev", self.min_mod_rev, self.max_mod_rev)?;
        Ok(pb::RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev.max(0),
            sort_order: sort_order_on_wire(sort_order, sort_target) as i32,
            sort_target: sort_target as i32,
            serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.min_mod_rev.max(0),
            max_mod_revision: self.max_mod_rev.max(0),
            min_create_revision: self.min_create_rev.max(0),
            max_create_revision: self.max_create_rev.max(0),
        })
    }

    fn sort_order(&self) -> Result<SortOrder, Failure> {
        match self.order.to_uppercase().as_str() {
            "" => Ok(SortOrder::None),
            "ASCEND" => Ok(SortOrder::Ascend),
            "DESCEND" => Ok(SortOrder::Descend),
            _ => Err(Failure::new(Exit::BadFeature, format!("bad sort order {}", self.order))),
        }
    }

    fn sort_target(&self) -> Result<SortTarget, Failure> {
        match self.sort_by.to_uppercase().as_str() {
            "" | "KEY" => Ok(SortTarget::Key),
            "CREATE" => Ok(SortTarget::Create),
            "MODIFY" => Ok(SortTarget::Mod),
            "VALUE" => Ok(SortTarget::Value),
            "VERSION" => Ok(SortTarget::Version),
            _ => Err(Failure::new(Exit::BadFeature, format!("bad sort target {}", self.sort_by))),
        }
    }
}

/// Ascending by key is how keys come anyway: it is not asked for, so that the server need not sort.
fn sort_order_on_wire(order: SortOrder, target: SortTarget) -> SortOrder {
    match (order, target) {
        (SortOrder::Ascend, SortTarget::Key) => SortOrder::None,
        (order, _) => order,
    }
}

fn bounds(name: &str, min: i64, max: i64) -> Result<(), Failure> {
    if min > 0 && max > 0 && min > max {
        return Err(Failure::new(Exit::BadFeature, format!("getMin{name}(={min}) > getMax{name}(={max})")));
    }
    Ok(())
}

/// What `--consistency` says: whether the answering member's own state will do.
///
/// # Errors
/// It is neither `l` nor `s`.
pub fn serializable(consistency: &str) -> Result<bool, Failure> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => {
            Err(Failure::new(Exit::BadFeature, format!("unknown consistency flag {}", go::quote(other.as_bytes()))))
        }
    }
}

/// Refuses the two flags that both say where a range ends.
///
/// # Errors
/// Both are set.
pub fn one_range(prefix: bool, from_key: bool) -> Result<(), Failure> {
    if prefix && from_key {
        return Err(Failure::bad_args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    Ok(())
}

/// Key and range end as the wire has them. An empty key with a flag means all keys, written as a zero byte.
///
/// # Errors
/// An end is given twice.
pub fn range(key: &OsString, end: Option<&OsString>, prefix: bool, from_key: bool) -> Result<(Bytes, Bytes), Failure> {
    if end.is_some() && (prefix || from_key) {
        return Err(Failure::bad_args(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
        ));
    }
    const ZERO: Bytes = Bytes::from_static(b"\0");
    let key = bytes(key);
    if (prefix || from_key) && key.is_empty() {
        return Ok((ZERO, ZERO));
    }
    let end = match end {
        Some(end) => bytes(end),
        None if prefix => prefix_end(&key),
        None if from_key => ZERO,
        None => Bytes::new(),
    };
    Ok((key, end))
}

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let get = Get::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let request = get.request()?;
    let client = session.client().await?;
    let response = if get.stream { client.range_stream(request).await? } else { client.range(request).await? };
    let format = session.format_name()?;
    if get.count_only && format != "fields" {
        return Err(Failure::bad_args("--count-only is only for `--write-out=fields`"));
    }
    if get.print_value_only && format != "simple" {
        return Err(Failure::bad_args("print-value-only is only for `--write-out=simple`"));
    }
    session.look.values_only = get.print_value_only;
    session.show(&response)
}

impl Reply for pb::RangeResponse {
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        self.kvs.iter().try_for_each(|kv| kv_lines(kv, look, to.out))
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let object = header(Object::new(), self.header.as_ref())
            .unless_empty("kvs", key_values(&self.kvs))
            .unless_empty("more", Tree::Bool(self.more))
            .unless_empty("count", Tree::Int(self.count));
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look).each(&self.kvs, |fields, kv| fields.pair("", kv));
        Some(fields.value("More", self.more).value("Count", self.count))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_with_a_flag_is_all_keys() {
        let all = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        let empty = OsString::new();
        assert_eq!(range(&empty, None, true, false).expect("one end"), all);
        assert_eq!(range(&empty, None, false, true).expect("one end"), all);
        assert_eq!(range(&empty, None, false, false).expect("no end"), (Bytes::new(), Bytes::new()));
    }
}
