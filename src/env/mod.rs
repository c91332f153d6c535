//! The runtime seam: what the house asks of the world, and nothing else.
//!
//! [`Env`] ships as `TokioEnv` (real clock, files, threads) and runs in the simulator as `SimEnv`. Dispatch is
//! static. [`MemoryDisk`] and [`ScramblingDisk`] are disks for tests; every disk passes [`conformance`].
//!
//! Invariant: a name passed to a disk is relative to the data directory and uses `/`.

pub mod conformance;
mod memory_disk;
mod scrambling_disk;
mod seam;

mod tokio_disk;

mod tokio_env;

pub use seam::{Clock, Disk, DiskFile, Env, Instant, OpenMode, Tasks};
