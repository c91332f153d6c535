//! What threads share state by: std's, under a name of the house.
//!
//! Files in which threads meet import these instead of std's. So the same files can be given others: `sim/interleavings`
//! includes them and puts locks and atomics here that try one schedule after the other.

pub use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic};
