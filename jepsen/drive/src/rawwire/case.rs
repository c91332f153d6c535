//! A bad request, and how strictly what comes of it is compared.

use bytes::Bytes;

/// How strictly the two outcomes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// They must be equal.
    Equal,
    /// Each server may accept or refuse (limits of depth differ by design); neither may fall over.
    Alive,
}

/// One bad request.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) path: &'static str,
    pub(crate) method: &'static str,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) body: Bytes,
    /// What follows once the first message has come back; nothing when empty. Were it sent with the body, the answer to
    /// what was good would race the end of the stream, on stock etcd as well.
    pub(crate) then: Bytes,
    pub(crate) judge: Judge,
}
