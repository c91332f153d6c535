//! The token that requests carry in their caller's name.
//!
//! Invariants: of all who were refused one token, one fetches the next, for each costs the server a hash; the others wait for
//! it, no longer than they may. Does not know how it is fetched.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};

use super::error::Error;

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub struct Token {
    /// None where nobody is named.
    pub text: Option<MetadataValue<Ascii>>,
    /// Which one it is: two may have the same text.
    number: u64,
}

/// The token of a handle.
#[derive(Debug, Default)]
pub struct Held {
    token: Mutex<Token>,
    /// Held by whoever fetches the next.
    fetching: tokio::sync::Mutex<()>,
}

impl Held {
    /// It.
    pub fn get(&self) -> Token {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it by what `fetch` gives, unless another than the `refused` one is held by then: whether it was fetched. Where it
    /// gives none, the text stays.
    ///
    /// # Errors
    /// Those of `fetch`, and that its turn did not come by the deadline.
    pub async fn renew(
        &self,
        refused: &Token,
        deadline: Instant,
        fetch: impl Future<Output = Result<Option<MetadataValue<Ascii>>, Error>>,
    ) -> Result<bool, Error> {
        let _turn = timeout_at(deadline, self.fetching.lock()).await.map_err(|_| Error::Deadline)?;
        let held = self.get();
        if held.number != refused.number {
            return Ok(false);
        }
        let next = Token { text: fetch.await?.or(held.text), number: held.number + 1 };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_with_one_stale_token_one_fetches_the_next() {
        let (held, fetched) = (Held::default(), Cell::new(0));
        let soon = Instant::now() + Duration::from_secs(60);
        let renew = |refused: Token| {
            let (held, fetched) = (&held, &fetched);
            let fetch = async move {
                sleep(Duration::from_secs(1)).await;
                fetched.set(fetched.get() + 1);
                // As those may be that are signed in one second.
                Ok(Some(MetadataValue::from_static("token")))
            };
            async move { held.renew(&refused, soon, fetch).await.expect("in time") }
        };
        let did = join_all((0..10).map(|_| renew(Token::default()))).await;
        assert_eq!((did.iter().filter(|did| **did).count(), fetched.get()), (1, 1));
        let first = held.get();
        assert!(first.text.is_some());
        assert!(!renew(Token::default()).await, "there is another one already");
        assert!(renew(first.clone()).await && !renew(first).await);
        assert_eq!(fetched.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fetches_in_vain_leaves_it_to_the_next_who_waits_no_longer_than_he_may() {
        let held = Held::default();
        let (began, stale) = (Instant::now(), Token::default());
        let fails = async {
            sleep(Duration::from_secs(10)).await;
            Err(Error::Deadline)
        };
        let second = |seconds| began + Duration::from_secs(seconds);
        let gives = || async { Ok(Some(MetadataValue::from_static("token"))) };
        let (failed, late, good) = tokio::join!(
            held.renew(&stale, second(60), fails),
            held.renew(&stale, second(5), gives()),
            held.renew(&stale, second(60), gives()),
        );
        assert!(matches!(failed, Err(Error::Deadline)));
        assert!(matches!(late, Err(Error::Deadline)));
        assert!(matches!(good, Ok(true)) && held.get().text.is_some());
    }
}
