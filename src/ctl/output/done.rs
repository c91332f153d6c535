//! A deed whose answer says nothing but when it was done.

use std::io;

use prost::Message as _;

use crate::wire::etcdserverpb::{LeaseRevokeResponse, ResponseHeader};

use super::{Fields, Look, Object, Reply, Streams, Tree, header};

/// A deed that was done.
#[derive(Debug)]
pub struct Done {
    /// What was done; `simple` says it.
    pub deed: String,
    /// When.
    pub header: Option<ResponseHeader>,
}

impl Reply for Done {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        writeln!(to.out, "{}", self.deed)
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        Tree::Object(header(Object::new(), self.header.as_ref()))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        Some(Fields::of(self.header.as_ref(), look))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        // Every answer of this kind has the header as its first and only field.
        Some(LeaseRevokeResponse { header: self.header }.encode_to_vec())
    }
}
