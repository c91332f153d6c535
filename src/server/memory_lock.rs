//! Keeping what is in memory from being swapped out (`--memory-mlock`).
//!
//! etcd locks the pages of its database file; here that is the memory of the process, each page once it is used. Invariant:
//! either all of it stays, whatever is used later, or the start is refused: a process that may lock no more than a part would
//! find no memory in the middle of its work. Does not know what is in memory.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Locks the memory of this process, and what it will use.
///
/// # Errors
/// It may not, with what helps.
pub fn lock() -> Result<(), String> {
    may_lock(raised(), may_lock_any())?;
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| format!("--memory-mlock: memory cannot be locked: {error}"))
}

/// How much this user may lock, once the soft limit is as high as it may be; `None` is all.
fn raised() -> Option<u64> {
    let given = getrlimit(Resource::Memlock);
    if given.current != given.maximum {
        // What is refused is seen below.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: given.maximum, maximum: given.maximum });
    }
    getrlimit(Resource::Memlock).current
}

/// Whether no limit is asked for.
fn may_lock_any() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

fn may_lock(limit: Option<u64>, any: bool) -> Result<(), String> {
    match limit {
        Some(bytes) if !any => Err(format!(
            "--memory-mlock: no more than {bytes} bytes of memory may be locked; let it be any number (LimitMEMLOCK=infinity, \
             ulimit -l unlimited) or give CAP_IPC_LOCK"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_may_be_locked_or_none_is() {
        assert_eq!(may_lock(None, false), Ok(()));
        assert_eq!(may_lock(Some(65_536), true), Ok(()), "who has the right is asked for no limit");
        let refused = may_lock(Some(65_536), false).expect_err("a part");
        assert!(refused.contains("65536") && refused.contains("LimitMEMLOCK=infinity"), "{refused}");
    }
}
