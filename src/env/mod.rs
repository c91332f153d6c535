//! The runtime seam: what the house asks of the world, and nothing else.
//!
//! [`Env`] ships as `TokioEnv` (real clock, files, threads) and runs in the simulator as `SimEnv`. Dispatch is
//! static. [`MemoryDisk`] and [`ScramblingDisk`] are disks for tests; every disk passes [`conformance`].
//!
//! Invariant: a name passed to a disk is relative to the data directory and uses `/`; the empty name is the
//! data directory itself.

pub mod conformance;
#[cfg(test)]
mod crashing_disk;
mod memory_disk;
mod scrambling_disk;
mod seam;

#[cfg(feature = "tokio-env")]
mod tokio_disk;

#[cfg(feature = "tokio-env")]
mod tokio_env;

#[cfg(feature = "tokio-env")]
mod tokio_net;

#[cfg(test)]
pub(crate) use crashing_disk::{CrashingDisk, CrashingFile};
pub use memory_disk::{MemoryDisk, MemoryFile, run_ready};
pub use scrambling_disk::{ScramblingDisk, ScramblingFile};
pub use seam::{
    Clock, Disk, DiskFile, Env, Instant, Net, NetListener, NetReader, NetStream, NetWriter, OpenMode, Tasks,
};
#[cfg(feature = "tokio-env")]
pub use tokio_disk::{DirLock, TokioDisk, TokioFile};
#[cfg(feature = "tokio-env")]
pub use tokio_env::{TokioClock, TokioEnv, TokioTasks, entropy_seed};
#[cfg(feature = "tokio-env")]
pub use tokio_net::{TokioListener, TokioNet, TokioReader, TokioStream, TokioWriter};
