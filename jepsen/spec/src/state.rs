//! The key space, as it is at one revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::request::{Bytes, KeyValue};

/// The key space at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Every key that exists, with its record.
    pub keys: BTreeMap<Bytes, Arc<KeyValue>>,
}
