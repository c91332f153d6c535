//! The mailbox, the places, and the end that is told.

use shuttle::future::block_on;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::base::Wrong;

#[path = "../../../src/driver/ending.rs"]
#[expect(dead_code, reason = "who counts work at the end is not tried here")]
pub mod ending;
#[path = "../../../src/driver/mailbox.rs"]
#[expect(dead_code, reason = "the node yields, and nothing here does")]
pub mod mailbox;
#[path = "../../../src/driver/places.rs"]
mod places;

use ending::Ending;
use mailbox::{Mailbox, NotTaken};
use places::Places;

/// What is taken in is handed over once, each sender's in its order, within the bound; who waits is woken.
/// Caught: a taker that notes its waker after it let go of the lock; a sender that looks for the waker before it puts in.
pub fn the_mailbox_hands_over_what_it_took() {
    let mailbox = Arc::new(Mailbox::new(2, usize::MAX));
    let senders: Vec<_> = (0..2)
        .map(|sender| {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let mut taken_in = Vec::new();
                for n in 0..2 {
                    match mailbox.put((sender, n), 1) {
                        Ok(()) => taken_in.push((sender, n)),
                        Err((why, given_back)) => assert_eq!((why, given_back), (NotTaken::Full, (sender, n))),
                    }
                }
                // A completion is never refused, so that the taker knows when there is no more.
                mailbox.put_completion((sender, 2));
                taken_in.push((sender, 2));
                taken_in
            })
        })
        .collect();
    let mut got = Vec::new();
    while got.iter().filter(|(_, n)| *n == 2).count() < 2 {
        let mut batch = Vec::new();
        assert!(block_on(mailbox.take(&mut batch)), "it is not closed");
        assert!(batch.iter().filter(|(_, n)| *n < 2).count() <= 2, "the bound holds");
        got.append(&mut batch);
    }
    for (sender, joined) in senders.into_iter().enumerate() {
        let own: Vec<_> = got.iter().copied().filter(|(from, _)| *from == sender).collect();
        assert_eq!(own, joined.join().expect("it asserts"), "all of it, in order");
    }
    assert_eq!(mailbox.held(), (0, 0));
}

/// Whatever meets the end: who waits is told, and nothing is left in a mailbox from which nobody takes.
/// Caught: `close` that takes the waker before it closes; a sender that looks whether it is closed, and puts in under another
/// lock.
pub fn a_closed_mailbox_holds_nothing() {
    let mailbox = Arc::new(Mailbox::new(2, usize::MAX));
    let item = Arc::new(());
    let sender = thread::spawn({
        let (mailbox, item) = (mailbox.clone(), item.clone());
        move || {
            if let Err((why, _)) = mailbox.put(item, 1) {
                assert_eq!(why, NotTaken::Closed);
                assert!(mailbox.is_closed());
            }
        }
    });
    let closer = thread::spawn({
        let mailbox = mailbox.clone();
        move || mailbox.close()
    });
    let mut batch = Vec::new();
    while block_on(mailbox.take(&mut batch)) {
        batch.clear();
    }
    closer.join().expect("it asserts");
    sender.join().expect("it asserts");
    assert_eq!(Arc::strong_count(&item), 1, "what nobody takes is dropped");
}

/// At most so many are made at once, and a refusal takes no place.
/// Caught: a look at the count before it is raised; a refusal that keeps its place.
pub fn places_are_never_more_than_there_are() {
    let places = Places::new(1);
    let at_once = Arc::new(AtomicUsize::new(0));
    let makers: Vec<_> = (0..3)
        .map(|_| {
            let (places, at_once) = (places.clone(), at_once.clone());
            thread::spawn(move || {
                let Some(place) = places.take() else { return };
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "two are made at once");
                at_once.fetch_sub(1, Ordering::SeqCst);
                drop(place);
            })
        })
        .collect();
    makers.into_iter().for_each(|maker| maker.join().expect("it asserts"));
    assert!(places.take().is_some(), "all places are given back");
}

/// The first word counts, and everyone who waits hears it.
/// Caught: a waiter that notes its waker after it let go of the lock; a later word that is told over the first.
pub fn everyone_hears_the_first_word_of_the_end() {
    let ending = Ending::default();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let ending = ending.clone();
            thread::spawn(move || {
                let heard = block_on(ending.wait()).is_ok();
                assert_eq!(ending.now().map(|how| how.is_ok()), Some(heard), "the first word is the last");
                heard
            })
        })
        .collect();
    let teller = thread::spawn({
        let ending = ending.clone();
        move || ending.tell(Ok(()))
    });
    ending.tell(Err(Wrong::corrupt("a file", 0, "its bytes")));
    teller.join().expect("it asserts");
    let said = ending.now().map(|how| how.is_ok());
    for waiter in waiters {
        assert_eq!(Some(waiter.join().expect("it asserts")), said, "all hear the same");
    }
}
