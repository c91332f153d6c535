//! The token that requests carry in their caller's name.
//!
//! Invariants: of all who were refused one token, one fetches the next, for each costs the server a hash; the others wait for the same, and
//! it goes on whoever no longer waits; nobody waits for it longer than they like. Does not know how it is fetched.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};

/// What a request carries.
#[derive(Clone, Default)]
pub struct Token {
    /// None where nobody is named.
    pub text: Option<MetadataValue<Ascii>>,
    /// Which one it is: two may have the same text.
    number: u64,
    /// When it was asked for; none for what nobody gave.
    asked: Option<Instant>,
}

impl Token {
    /// How long ago it was asked for, which is longer than it lives already.
    pub fn age(&self) -> Duration {
        self.asked.map_or(Duration::MAX, |asked| asked.elapsed())
    }
}

/// Who has its text is taken for the user, so that is not shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What comes of fetching, for all who wait for it.
type Outcome = Shared<oneshot::Receiver<Result<(), Status>>>;

/// The token of a handle.
#[derive(Debug, Default)]
pub struct Held(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    token: Token,
    /// The next one is fetched.
    fetching: Option<Fetching>,
}

#[derive(Debug)]
struct Fetching {
    outcome: Outcome,
    task: JoinHandle<()>,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It.
    pub fn get(&self) -> Token {
        self.state().token.clone()
    }

    /// Replaces it by what `fetch` gives on this runtime, unless another than the `refused` one is held by then; where it is fetched
    /// already, that is waited for. Whether it was fetched for this call. Where `fetch` gives none, the text stays.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn renew<Fetch>(
        self: &Arc<Self>,
        refused: &Token,
        runtime: &Handle,
        fetch: impl FnOnce() -> Fetch,
    ) -> Result<bool, Status>
    where
        Fetch: Future<Output = Result<Option<MetadataValue<Ascii>>, Status>> + Send + 'static,
    {
        let Some((outcome, made)) = self.fetching(refused, runtime, fetch) else { return Ok(false) };
        match outcome.await {
            Ok(fetched) => fetched.map(|()| made),
            Err(_) => Err(Status::unavailable("the token is fetched no more")),
        }
    }

    /// The fetching under way, or a new one; whether it is new. None where another token is held already.
    fn fetching<Fetch>(
        self: &Arc<Self>,
        refused: &Token,
        runtime: &Handle,
        fetch: impl FnOnce() -> Fetch,
    ) -> Option<(Outcome, bool)>
    where
        Fetch: Future<Output = Result<Option<MetadataValue<Ascii>>, Status>> + Send + 'static,
    {
        let mut state = self.state();
        if state.token.number != refused.number {
            return None;
        }
        if let Some(Fetching { outcome, task }) = &state.fetching
            && !task.is_finished()
        {
            return Some((outcome.clone(), false));
        }
        let (tell, told) = oneshot::channel();
        let (held, asked, fetched) = (Arc::clone(self), Instant::now(), fetch());
        let task = runtime.spawn(async move {
            let outcome = held.take(fetched.await, asked);
            // Nobody may wait any more.
            let _ = tell.send(outcome);
        });
        let outcome = told.shared();
        state.fetching = Some(Fetching { outcome: outcome.clone(), task });
        Some((outcome, true))
    }

    fn take(&self, fetched: Result<Option<MetadataValue<Ascii>>, Status>, asked: Instant) -> Result<(), Status> {
        let mut state = self.state();
        state.fetching = None;
        let text = fetched?.or(state.token.text.take());
        state.token = Token { text, number: state.token.number + 1, asked: Some(asked) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// A held token, and how often one was fetched. It takes a second each.
    #[derive(Default)]
    struct Fetched {
        held: Arc<Held>,
        times: Arc<AtomicUsize>,
        fails: bool,
    }

    impl Fetched {
        async fn renew(&self, refused: &Token) -> Result<bool, Status> {
            let fetch = || {
                let (times, fails) = (Arc::clone(&self.times), self.fails);
                async move {
                    times.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_secs(1)).await;
                    // As those may be that are signed in one second.
                    if fails {
                        Err(Status::unavailable("not now"))
                    } else {
                        Ok(Some(MetadataValue::from_static("word")))
                    }
                }
            };
            self.held.renew(refused, &Handle::current(), fetch).await
        }

        fn times(&self) -> usize {
            self.times.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_with_one_stale_token_one_fetches_the_next() {
        let fetched = Fetched::default();
        let none = Token::default();
        let did = join_all((0..10).map(|_| fetched.renew(&none))).await;
        let made = did.into_iter().filter(|did| *did.as_ref().expect("fetched")).count();
        assert_eq!((made, fetched.times()), (1, 1));
        let first = fetched.held.get();
        assert!(first.text.is_some());
        assert!(!fetched.renew(&none).await.expect("there is another one already"));
        assert!(fetched.renew(&first).await.expect("fetched"));
        assert!(!fetched.renew(&first).await.expect("that was refused, too"));
        assert_eq!(fetched.times(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_loses_nothing() {
        let (fetched, none) = (Fetched::default(), Token::default());
        for _ in 0..4 {
            assert!(timeout(Duration::from_millis(200), fetched.renew(&none)).await.is_err());
        }
        assert!(!fetched.renew(&none).await.expect("what the first began"));
        assert_eq!(fetched.times(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_fetched_in_vain_is_told_to_all_and_fetched_again() {
        let fetched = Fetched { fails: true, ..Fetched::default() };
        let none = Token::default();
        let (one, other) = tokio::join!(fetched.renew(&none), fetched.renew(&none));
        assert!(one.is_err() && other.is_err());
        assert_eq!(fetched.times(), 1);
        let fetched = Fetched { fails: false, ..fetched };
        assert!(fetched.renew(&none).await.expect("fetched"));
    }
}
