//! Tests of the store as a whole, against a naive twin.

mod store;
mod twin;
