//! The runtime seam: what the house asks of the world, and nothing else.
//!
//! [`Env`] ships as `TokioEnv` (real clock, files, threads) and runs in the simulator as `SimEnv`. Dispatch is
//! static. [`MemoryDisk`] and [`ScramblingDisk`] are disks for tests, [`MemoryNet`] is a network;
//! every disk passes [`conformance`], every network [`check_net`].
//!
//! Invariant: a name passed to a disk is relative to the data directory and uses `/`; the empty name is the
//! data directory itself.

pub mod conformance;
#[cfg(test)]
mod crashing_disk;
mod memory_disk;
mod memory_net;
mod net_conformance;
mod piecewise;
mod scrambling_disk;
mod seam;

#[cfg(feature = "tokio-env")]
mod tokio_file_socket;

#[cfg(feature = "tokio-env")]
mod tokio_disk;

#[cfg(feature = "tokio-env")]
mod tokio_env;

#[cfg(feature = "tokio-env")]
mod tokio_net;

#[cfg(test)]
mod tokio_virtual_env;

#[cfg(test)]
pub(crate) use crashing_disk::CrashingDisk;
#[cfg(all(test, feature = "tokio-env"))]
pub(crate) use crashing_disk::CrashingFile;
pub use memory_disk::{MemoryDisk, MemoryFile, run_ready};
pub use memory_net::{MemoryListener, MemoryNet, MemoryReader, MemoryStream, MemoryWriter};
pub use net_conformance::check_net;
pub use piecewise::PiecewiseFile;
pub use scrambling_disk::{ScramblingDisk, ScramblingFile};
pub use seam::{
    Clock, Disk, DiskFile, Env, IN_FILE, Instant, Net, NetListener, NetReader, NetStream, NetWriter, OpenMode, SEALED,
    Tasks,
};
#[cfg(feature = "tokio-env")]
pub use tokio_disk::{DirLock, LOCK_FILE, TokioDisk, TokioFile};
#[cfg(feature = "tokio-env")]
pub use tokio_env::{TokioClock, TokioEnv, TokioTasks, entropy_seed};
#[cfg(feature = "tokio-env")]
pub use tokio_file_socket::FileSocket;
#[cfg(feature = "tokio-env")]
pub use tokio_net::{
    Handshake, Sealed, Sealing, TokioListener, TokioNet, TokioReader, TokioStream, TokioWriter, listen_at,
    plain_address,
};
#[cfg(test)]
pub(crate) use tokio_virtual_env::{VirtualEnv, virtual_timeout};
