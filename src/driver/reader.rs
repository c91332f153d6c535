//! The reader: the task that reads history for watchers that fell behind, so that the node need not.
//!
//! One read is under way at a time: the node asks for the next when it has the answer. Does not know who watches.

use std::sync::Arc;

use super::mailbox::{Mailbox, yield_once};
use crate::base::limits;
use crate::env::{Disk, Tasks};
use crate::node::{CatchUpRead, Input, Observer};

/// Begins it; where it is asked.
pub(super) fn begin<D: Disk>(
    tasks: &impl Tasks,
    node: Arc<Mailbox<Input<D>>>,
    observer: Option<Arc<dyn Observer>>,
) -> Arc<Mailbox<CatchUpRead<D>>> {
    let jobs = Arc::new(Mailbox::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES));
    tasks.spawn("reader", read_history(jobs.clone(), node, observer));
    jobs
}

/// Does what it is asked until the node's task ends.
async fn read_history<D: Disk>(
    jobs: Arc<Mailbox<CatchUpRead<D>>>,
    node: Arc<Mailbox<Input<D>>>,
    observer: Option<Arc<dyn Observer>>,
) {
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        for read in batch.drain(..) {
            let caught_up = read.run();
            if let Some(observer) = &observer {
                observer.reads(caught_up.read);
            }
            // Where work takes time it is taken before the answer leaves.
            yield_once().await;
            node.put_completion(Input::CaughtUp(Box::new(caught_up)));
        }
    }
}
