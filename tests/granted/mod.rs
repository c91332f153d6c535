//! What is asked again for as long as it is refused, as a client of a cluster asks.
//!
//! On a busy machine there is an election at any time, and a request may come too late.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longest it is asked: far beyond what a busy machine needs, and short enough to fail.
const LIMIT: Duration = Duration::from_secs(180);

const PAUSE: Duration = Duration::from_millis(20);

/// The answer, once there is one. For what may be done twice.
pub async fn granted<T, E: Debug>(ask: impl AsyncFn() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) => assert!(began.elapsed() < LIMIT, "{refusal:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
