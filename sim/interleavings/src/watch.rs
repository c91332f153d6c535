//! The buffer of a watch stream, with its bell.

use shuttle::future::block_on;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::base::{Account, Shares};

/// Messages: a number, so that their order is seen, and a weight.
mod message {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StreamId(pub u64);

    #[derive(Clone, Debug)]
    pub struct WatchMessage(pub u64);

    impl WatchMessage {
        pub fn weight(&self) -> usize {
            1
        }

        pub fn event_count(&self) -> usize {
            1
        }
    }
}

#[path = "../../../src/watch/buffer.rs"]
#[expect(dead_code, reason = "the hub's look for room before it reads is not tried here")]
pub mod buffer;

use buffer::{Bounds, Offer, Question, RoomMade, StreamBuffer};
use message::{StreamId, WatchMessage};

const HALF: usize = 2;

const BOUNDS: Bounds = Bounds { bytes: 4, responses: 2 * HALF, answers: 4 * HALF, batch_bytes: 1, batch_responses: 1 };

/// Room for one question at a time, so that its end alone lets the next be asked.
const ONE_QUESTION: Bounds = Bounds { responses: 2, answers: 4, ..BOUNDS };

/// What the hub hears, and waits for: bells, and questions that come.
#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    something: Condvar,
}

#[derive(Default)]
struct Heard {
    rings: usize,
    questions: Vec<Question>,
    no_more_questions: bool,
}

impl Ear {
    fn tell(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.heard.lock().expect("no scenario goes on after a panic"));
        self.something.notify_all();
    }

    /// What is heard, once there is some.
    fn wait<T>(&self, mut what: impl FnMut(&mut Heard) -> Option<T>) -> T {
        let mut heard = self.heard.lock().expect("no scenario goes on after a panic");
        loop {
            if let Some(found) = what(&mut heard) {
                return found;
            }
            heard = self.something.wait(heard).expect("no scenario goes on after a panic");
        }
    }

    fn ring(heard: &mut Heard) -> Option<()> {
        heard.rings = heard.rings.checked_sub(1)?;
        Some(())
    }
}

/// The hub's side of one stream.
struct Side {
    ear: Arc<Ear>,
    made: RoomMade,
    buffer: Arc<StreamBuffer>,
}

impl Side {
    fn of(account: Arc<Account>, bounds: Bounds) -> Self {
        let (ear, made) = (Arc::new(Ear::default()), RoomMade::default());
        let bell = {
            let ear = ear.clone();
            Arc::new(move || ear.tell(|heard| heard.rings += 1))
        };
        let buffer = Arc::new(StreamBuffer::new(StreamId(7), bounds, made.clone(), bell, account));
        Self { ear, made, buffer }
    }

    /// Gives events as the hub does: who is turned away waits for the bell.
    fn give(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            while self.buffer.offer(WatchMessage(number)) != Offer::Taken {
                self.ear.wait(Ear::ring);
                let made = std::mem::take(&mut *self.made.lock().expect("no scenario goes on after a panic"));
                assert_eq!(made, [StreamId(7)], "who is called finds who has room, once");
                let held = self.buffer.pending_events();
                assert!(held <= HALF, "called while {held} messages wait");
            }
        }
    }

    /// Reads to the end.
    fn reader(&self) -> JoinHandle<Vec<u64>> {
        let buffer = self.buffer.clone();
        thread::spawn(move || {
            let mut read = Vec::new();
            while let Some(batch) = block_on(buffer.next_batch()) {
                assert!(!batch.is_empty() && buffer.pending_events() <= BOUNDS.answers, "a batch, and the bound");
                read.extend(batch.into_iter().map(|message| message.0));
            }
            read
        })
    }
}

fn account() -> (Arc<Shares>, Arc<Account>) {
    let shares = Arc::new(Shares::default());
    let account = shares.open();
    (shares, account)
}

/// Messages leave in the order they came; who was turned away is called once the buffer drained below half, and not before.
/// Caught: `offer` that notes that the hub waits after it let go of the lock; `poll_batch` that looks whether it waits then;
/// the bell before the stream stands in the list; a call before half; a reader that notes its waker too late.
pub fn who_is_turned_away_is_called() {
    let (shares, account) = account();
    let side = Side::of(account, BOUNDS);
    let reader = side.reader();
    side.give(0..8);
    side.buffer.close();
    assert_eq!(reader.join().expect("it asserts"), (0..8).collect::<Vec<_>>());
    drop(side);
    assert_eq!(shares.backlog(), 0, "what was read is waited for no more");
}

/// Two streams of one account, which may not hold as much as both of them: each gets on, whatever the other holds. What is
/// never read is given back with the stream.
/// Caught: `has_room` that refuses an empty stream where the account has none; what is taken counted off by a load and a
/// store; a dropped buffer that gives nothing back.
pub fn streams_of_one_account_get_on() {
    let (shares, account) = account();
    let hubs: Vec<_> = (0..2)
        .map(|_| {
            let account = account.clone();
            thread::spawn(move || {
                let side = Side::of(account, BOUNDS);
                let reader = side.reader();
                side.give(0..6);
                side.buffer.close();
                assert_eq!(reader.join().expect("it asserts"), [0, 1, 2, 3, 4, 5]);
            })
        })
        .collect();
    let unread = Side::of(account.clone(), BOUNDS);
    assert_eq!(unread.buffer.offer(WatchMessage(0)), Offer::Taken, "an empty stream has room");
    unread.buffer.close();
    drop(unread);
    hubs.into_iter().for_each(|hub| hub.join().expect("it asserts"));
    assert_eq!((shares.backlog(), account.backlog_room()), (0, crate::base::limits::WATCH_BACKLOG_BYTES));
}

/// There is always room for the answers to what was asked, whatever events come; who waits to ask gets his turn.
/// Caught: a question that is dropped without waking who waits to ask; one that looks for room before it is counted off;
/// room to ask that does not count what is under way; `poll_batch` that wakes no requester.
pub fn every_question_is_answered() {
    const QUESTIONS: usize = 4;
    let (_, account) = account();
    let side = Side::of(account, ONE_QUESTION);
    let reader = side.reader();
    let requester = {
        let (ear, buffer) = (side.ear.clone(), side.buffer.clone());
        thread::spawn(move || {
            let mut asked = 0;
            while asked < QUESTIONS {
                block_on(buffer.room());
                // Events may have come between the two.
                if let Some(question) = buffer.ask() {
                    ear.tell(|heard| heard.questions.push(question));
                    asked += 1;
                }
            }
            ear.tell(|heard| heard.no_more_questions = true);
        })
    };
    let mut given = 0;
    loop {
        let (questions, over) = side.ear.wait(|heard| {
            let some = !heard.questions.is_empty() || heard.no_more_questions;
            some.then(|| (std::mem::take(&mut heard.questions), heard.no_more_questions))
        });
        // The first turn fills the buffer, so that the answers come behind as many events as there can be.
        while given < 4 && side.buffer.offer(WatchMessage(given)) == Offer::Taken {
            given += 1;
        }
        for question in questions {
            (0..2).for_each(|_| assert!(side.buffer.answer(WatchMessage(100)), "the stream is open"));
            drop(question);
        }
        if over {
            break;
        }
    }
    side.buffer.close();
    requester.join().expect("it asserts");
    let read = reader.join().expect("it asserts");
    assert_eq!(read.iter().filter(|number| **number == 100).count(), 2 * QUESTIONS, "all answers");
    let events: Vec<u64> = read.into_iter().filter(|number| *number < 100).collect();
    assert_eq!(events, (0..given).collect::<Vec<_>>(), "all events, in order");
}

/// Whoever waits at a stream that is closed is told, and reads what was there.
/// Caught: `close` that takes the wakers before it closes.
pub fn a_closed_stream_lets_everyone_go() {
    let (_, account) = account();
    let side = Side::of(account, BOUNDS);
    let questions: Vec<_> = std::iter::from_fn(|| side.buffer.ask()).take(HALF).collect();
    let requester = {
        let buffer = side.buffer.clone();
        thread::spawn(move || {
            block_on(buffer.room());
            assert!(buffer.ask().is_some(), "on a closed stream anything may be asked");
        })
    };
    let reader = side.reader();
    let giver = {
        let buffer = side.buffer.clone();
        thread::spawn(move || buffer.answer(WatchMessage(0)))
    };
    side.buffer.close();
    let was_taken = giver.join().expect("it asserts");
    assert_eq!(reader.join().expect("it asserts").len(), usize::from(was_taken), "what was taken in is read");
    requester.join().expect("it asserts");
    drop(questions);
}
