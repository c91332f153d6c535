//! Format `fields`: one named value a line, `"Name" : value`.
//!
//! The names are not those of `json`, and a reply has the format only where etcdctl has it for that reply.

use std::fmt::{Display, Write as _};
use std::io;

use crate::wire::etcdserverpb::ResponseHeader;
use crate::wire::mvccpb::KeyValue;

use super::Look;
use crate::ctl::go;

/// Lines of named values.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    hex: bool,
    text: String,
}

impl Fields {
    /// No lines yet.
    pub fn new(look: Look) -> Fields {
        Fields { hex: look.hex, text: String::new() }
    }

    /// No lines but those of a header. One that is missing is shown as an empty one.
    pub fn of(header: Option<&ResponseHeader>, look: Look) -> Fields {
        Fields::new(look).header(header)
    }

    /// A value as it prints itself.
    #[must_use]
    pub fn value(mut self, name: &str, value: impl Display) -> Fields {
        let _ = writeln!(self.text, "\"{name}\" : {value}");
        self
    }

    /// A name whose value is a list of nothing.
    #[must_use]
    pub fn nothing(mut self, name: &str) -> Fields {
        let _ = writeln!(self.text, "\"{name}\" :");
        self
    }

    /// A text or bytes in quotes.
    #[must_use]
    pub fn quoted(self, name: &str, bytes: impl AsRef<[u8]>) -> Fields {
        let quoted = go::quote(bytes.as_ref());
        self.value(name, quoted)
    }

    /// A member's or cluster's id; with `--hex` in hex digits.
    #[must_use]
    pub fn id(self, name: &str, id: u64) -> Fields {
        if self.hex { self.value(name, format_args!("{id:x}")) } else { self.value(name, id) }
    }

    /// A lease's id; with `--hex` in sixteen hex digits.
    #[must_use]
    pub fn lease(self, name: &str, id: i64) -> Fields {
        if self.hex { self.value(name, go::hex16(id)) } else { self.value(name, id) }
    }

    /// An empty line.
    #[must_use]
    pub fn blank(mut self) -> Fields {
        self.text.push('\n');
        self
    }

    /// The lines of a header. A revision that is zero means nothing and is left out.
    #[must_use]
    pub fn header(self, header: Option<&ResponseHeader>) -> Fields {
        let header = header.copied().unwrap_or_default();
        let ids = self.id("ClusterID", header.cluster_id).id("MemberID", header.member_id);
        let revision = if header.revision > 0 { ids.value("Revision", header.revision) } else { ids };
        revision.value("RaftTerm", header.raft_term)
    }

    /// The lines of a key-value pair, their names begun with `prefix`.
    #[must_use]
    pub fn pair(self, prefix: &str, kv: &KeyValue) -> Fields {
        self.quoted(&format!("{prefix}Key"), &kv.key)
            .value(&format!("{prefix}CreateRevision"), kv.create_revision)
            .value(&format!("{prefix}ModRevision"), kv.mod_revision)
            .value(&format!("{prefix}Version"), kv.version)
            .quoted(&format!("{prefix}Value"), &kv.value)
            .lease(&format!("{prefix}Lease"), kv.lease)
    }

    /// The lines of each item after those so far.
    #[must_use]
    pub fn each<T>(self, items: &[T], add: impl Fn(Fields, &T) -> Fields) -> Fields {
        items.iter().fold(self, add)
    }

    /// The lines of another reply, which the reply holds.
    #[must_use]
    pub fn then(mut self, other: Option<Fields>) -> Fields {
        self.text.push_str(&other.unwrap_or_default().text);
        self
    }

    /// Writes the lines.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }
}
