//! Tests of the store as a whole, against a naive twin and on a disk that can crash.

mod disk;
mod store;
mod twin;
