//! Asking more than one for the same answer, so that one who is silent (and not away) costs a while and not all the time there is.
//!
//! Invariants: nobody is asked anew who has not answered yet, so that no more are asked at once than there are places; who is slow is
//! not given up before one has answered, for where all are slow that would be never. Does not know what is asked, nor of whom.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;
use tonic::Status;

/// Time for which nobody may have answered a read before one more is asked.
pub const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Asks at the `first` of so many places, and at one more whenever nobody has answered for `longest`; at once where one failed so
/// that another is worth asking `again`, until each was asked. The next is an `other` than those that were asked, and once that is
/// everybody than those that were not heard of.
///
/// # Errors
/// The first refusal that the next would repeat; or of a failure where nobody is waited for any more.
pub async fn hedged<T, Asked: Future<Output = Result<T, Status>>>(
    longest: Duration,
    first: usize,
    places: usize,
    other: impl Fn(&[usize]) -> usize,
    ask: impl Fn(usize) -> Asked,
    again: impl Fn(&Status) -> bool,
) -> Result<T, Status> {
    let asking = |place: usize| {
        let asked = ask(place);
        async move { (place, asked.await) }
    };
    let (mut asked, mut silent) = (vec![first], vec![first]);
    let mut answers = FuturesUnordered::from_iter([asking(first)]);
    loop {
        let patience = if silent.len() < places { longest } else { Duration::MAX };
        if let Ok(answer) = timeout(patience, answers.next()).await {
            let (place, answer) = answer.expect("somebody is waited for");
            silent.retain(|other| *other != place);
            match answer {
                Err(status) if again(&status) && !silent.is_empty() => {}
                answer => return answer,
            }
            if asked.len() >= places {
                continue;
            }
        }
        let place = other(if asked.len() < places { &asked } else { &silent });
        asked.push(place);
        silent.push(place);
        answers.push(asking(place));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::{Instant, sleep};
    use tonic::Code;

    use super::*;

    /// What becomes of asking at a place for the so-manieth time: seconds, and whether there is an answer.
    type Fate = fn(place: usize, times: usize) -> (u64, Result<(), Code>);

    /// Asks three; the outcome, the seconds it took, and who was asked.
    async fn ask(fate: Fate) -> (Result<usize, Code>, u64, Vec<usize>) {
        let (asked, began) = (RefCell::new(Vec::new()), Instant::now());
        let next = |passed: &[usize]| {
            let last = *asked.borrow().last().expect("the first was");
            (1..=3).map(|step| (last + step) % 3).find(|place| !passed.contains(place)).expect("another")
        };
        let at = |place: usize| {
            asked.borrow_mut().push(place);
            let (seconds, answer) = fate(place, asked.borrow().iter().filter(|other| **other == place).count());
            async move {
                sleep(Duration::from_secs(seconds)).await;
                answer.map(|()| place).map_err(|code| Status::new(code, "no"))
            }
        };
        let answer = hedged(HEDGE_AFTER, 0, 3, next, at, |status| status.code() == Code::Unavailable).await;
        (answer.map_err(|status| status.code()), began.elapsed().as_secs(), asked.into_inner())
    }

    const NEVER: u64 = 1_000_000;

    #[tokio::test(start_paused = true)]
    async fn one_more_is_asked_until_one_answers() {
        assert_eq!(ask(|_, _| (0, Ok(()))).await, (Ok(0), 0, vec![0]));
        let only_the_last = |place, _| (if place == 2 { 0 } else { NEVER }, Ok(()));
        assert_eq!(ask(only_the_last).await, (Ok(2), 2, vec![0, 1, 2]));
        assert_eq!(ask(|_, _| (10, Ok(()))).await, (Ok(0), 10, vec![0, 1, 2]), "the slow are not given up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_serve_is_followed_by_the_next_at_once() {
        let fate = |place, _| match place {
            0 => (NEVER, Ok(())),
            1 => (0, Err(Code::Unavailable)),
            _ => (0, Ok(())),
        };
        assert_eq!(ask(fate).await, (Ok(2), 1, vec![0, 1, 2]));
        let after_a_while = |place, times| match (place, times) {
            (0, _) => (NEVER, Ok(())),
            (_, 1) => (0, Err(Code::Unavailable)),
            _ => (0, Ok(())),
        };
        assert_eq!(ask(after_a_while).await, (Ok(1), 2, vec![0, 1, 2, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_next_would_repeat_ends_it_and_so_does_the_failure_of_all() {
        let refuses = |place, _| if place == 0 { (NEVER, Ok(())) } else { (0, Err(Code::PermissionDenied)) };
        assert_eq!(ask(refuses).await, (Err(Code::PermissionDenied), 1, vec![0, 1]));
        assert_eq!(
            ask(|_, _| (0, Err(Code::Unavailable))).await,
            (Err(Code::Unavailable), 0, vec![0]),
            "for who asked"
        );
        let late = |_, _| (5, Err(Code::Unavailable));
        assert_eq!(ask(late).await.0, Err(Code::Unavailable));
    }
}
