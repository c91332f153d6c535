//! The specification: what an etcd-compatible store must answer, told without a line of the product.
//!
//! [`model`] is a sequential store, slow and plain on purpose: the whole key space is kept for every
//! revision, so that reading the past is a lookup and nothing can be forgotten by accident. [`history`] is the
//! record of a run that a judge reads, and [`linear`] the judge that needs nothing else: it looks for an order
//! that explains every answer. [`promises`] gives what is judged its names. The types are plain data of this crate, so that a mistake in the
//! product's types cannot hide itself here.
//!
//! Invariant: this crate depends on nothing (its tests on `proptest`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that finds nothing must stop"))]

pub mod history;
pub mod linear;
pub mod model;
pub mod promises;
mod range;
pub mod request;
pub mod shape;
mod state;

pub use model::{Model, Step, Undo, Vantage};

#[cfg(test)]
mod tests;
