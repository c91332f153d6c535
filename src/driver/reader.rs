//! The reader: the task that reads history for watchers that fell behind, so that the node need not.
//!
//! One read is under way at a time: the node asks for the next when it has the answer. Does not know who watches.

use std::sync::Arc;

use super::mailbox::Mailbox;
use super::node_task::yield_once;
use crate::env::Disk;
use crate::node::{CatchUpRead, Input, Observer};

/// Does what it is asked until the node's task ends.
pub(super) async fn read_history<D: Disk>(
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
