//! How long is waited before the same is tried again.
//!
//! Invariants: it grows with each time and has a bound, so that neither a short trouble costs much nor a long one asks much of servers.
//! Does not know what is tried.

use std::time::Duration;

const STEP: Duration = Duration::from_millis(25);

/// As long as etcd's client waits before it opens a stream anew.
pub const LONGEST: Duration = Duration::from_millis(500);

/// The wait after so many times in vain: none after none.
pub fn grown(times: usize) -> Duration {
    STEP.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_up_to_its_bound() {
        assert_eq!([0, 1, 3].map(grown), [Duration::ZERO, STEP, 3 * STEP]);
        assert_eq!([1_000, usize::MAX].map(grown), [LONGEST; 2]);
    }
}
