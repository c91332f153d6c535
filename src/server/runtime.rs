//! The threads that serve, and those that stand in for them.
//!
//! Where a system gives no thread, the library below ends the process if none rests and none is at work that could take the work
//! over. So one more than those that serve is made at the start, and none goes once it is there: what finds no thread waits for it.
//!
//! Invariant: there is always a thread beside those that serve. Does not know what they do.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::base::limits;

/// Time after which a thread that rests would go: longer than any machine runs.
const REST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// As the system shows the threads.
const NAME: &str = "serve";

/// The runtime of the porch. Threads that stand in for those held up by long reads are few: each keeps memory of its own,
/// and more of them than processors read nothing sooner. Passwords, and JSON of two lengths, have turns of their own, half of the
/// processors each: they take no thread from those who stand in.
///
/// # Errors
/// The system lacks what the runtime is made of, or gives no room for its threads.
pub fn begin() -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, |number| number.get());
    check_room(processors + 1)?;
    let beside = processors + 3 * processors.div_ceil(2) + limits::STAND_IN_THREADS;
    let mut builder = Builder::new_multi_thread();
    // Said, for else variables of the library's say it.
    builder.enable_all().worker_threads(processors).thread_stack_size(limits::STACK_BYTES).max_blocking_threads(beside);
    let runtime = builder.thread_name(NAME).thread_keep_alive(REST).build()?;
    // The one that stays.
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

/// Whether the system gives that many threads at a time: where it does not, the library below panics.
fn check_room(threads: usize) -> io::Result<()> {
    let held = Arc::new(Mutex::new(()));
    let hold = held.lock();
    let begin = |_| {
        let held = held.clone();
        thread::Builder::new().stack_size(limits::STACK_BYTES).spawn(move || drop(held.lock()))
    };
    let begun: Vec<_> = (0..threads).map(begin).collect();
    drop(hold);
    begun.into_iter().try_for_each(|thread| thread.map(|thread| drop(thread.join())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads of the runtime in this process; nobody else's have its name.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
        let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.trim_end() == NAME).count()
    }

    /// It would end a member whose user may have no more threads, with the next long read behind a pause.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_rests_beside_those_that_serve_however_long_nothing_is_asked() {
        let runtime = begin().expect("threads");
        let serve = runtime.metrics().num_workers();
        runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await }).expect("it does not panic");
        assert!(threads() > serve, "{} of {serve}", threads());
        // The library's own time of rest is ten seconds.
        std::thread::sleep(Duration::from_secs(11));
        assert!(threads() > serve, "{} of {serve}", threads());
    }
}
