//! The noticeboard and the view beside it.

use std::time::Duration;

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use shuttle::thread;

use crate::auth::Auth;
use crate::env::{Disk, Instant};
use crate::machine::AlarmKind;
use crate::mvcc::View;

mod tallies {
    #[derive(Debug, Default)]
    pub struct Tallies;
}

#[path = "../../../src/node/auth_board.rs"]
pub mod auth_board;
#[path = "../../../src/node/facts.rs"]
pub mod facts;
#[path = "../../../src/node/view_cell.rs"]
mod view_cell;

use auth_board::AuthBoard;
use facts::{Facts, RareFacts};
use view_cell::ViewCell;

struct NoDisk;

impl Disk for NoDisk {}

/// Turns of the node, in the order of `node/applying.rs`: a command is applied, the noticeboard tells the revision and what
/// is rare, then the answer leaves. In every other turn a view is taken. `gives_up`: the node gives the view up before it applies.
fn node_turns(gives_up: bool, facts: &Facts, views: &ViewCell<NoDisk>, answered: &AtomicI64) {
    for revision in 1..=3 {
        if gives_up {
            views.clear();
        }
        facts.revision.store(revision, Ordering::Release);
        if revision == 2 {
            let alarms = vec![(crate::base::MemberId(1), AlarmKind::NoSpace)];
            facts.set_rare(RareFacts { alarms, ..RareFacts::default() });
        }
        answered.store(revision, Ordering::Release);
        if revision != 2 {
            views.put(View::new(revision));
        }
    }
}

fn views_hold_what_was_acknowledged(gives_up: bool) {
    let facts = Arc::new(Facts::default());
    let views = Arc::new(ViewCell::default());
    let answered = Arc::new(AtomicI64::new(0));
    views.put(View::new(0));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (facts, views, answered) = (facts.clone(), views.clone(), answered.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    // As `Handle::view` does, by a client who has heard this answer.
                    let heard = answered.load(Ordering::Acquire);
                    if let Some(view) = views.of(facts.revision()) {
                        assert!(view.revision() >= heard, "a view of {} after {heard} was heard", view.revision());
                    }
                    assert!(heard < 2 || facts.has_alarm(AlarmKind::NoSpace), "what is rare is told before the answer");
                }
            })
        })
        .collect();
    node_turns(gives_up, &facts, &views, &answered);
    readers.into_iter().for_each(|reader| reader.join().expect("it asserts"));
    assert!(views.of(facts.revision()).is_some(), "the view last taken is of now");
}

/// A view of the revision on the noticeboard holds every write acknowledged so far: also where it is not given up, which
/// only spares the writer copies.
/// Caught: the revision raised after the answer has left (in `node_turns`); what is rare told after it; `of` that hands
/// out any view.
pub fn a_view_holds_every_write_acknowledged() {
    views_hold_what_was_acknowledged(false);
}

/// The same where the node gives the view up first, as it does.
/// Caught: `of` that takes the view out.
pub fn a_view_that_is_given_up_is_missed_by_nobody() {
    views_hold_what_was_acknowledged(true);
}

/// The table of users is told before the change is answered; its revision and its switch are never ahead of what
/// [`AuthBoard::table`] gives next; it is unchanged only where it is the same.
/// Caught: tellings counted before the table is locked; the revision told before it is; the table told after the answer (in
/// the scenario).
pub fn the_table_of_users_is_never_older_than_what_is_told_of_it() {
    let board = Arc::new(AuthBoard::default());
    let answered = Arc::new(AtomicU64::new(0));
    board.tell(&Arc::new(Auth::of(2)));
    board.tokens().give("user");
    answered.store(2, Ordering::Release);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (board, answered) = (board.clone(), answered.clone());
            thread::spawn(move || {
                let (heard, told) = (answered.load(Ordering::Acquire), board.revision());
                let (changes, enabled) = (board.changes(), board.is_enabled());
                let table = board.table();
                assert!(table.revision() >= heard.max(told), "{} after {heard}, told {told}", table.revision());
                assert!(!enabled || table.is_enabled());
                if let Some(same) = board.unchanged_since(changes) {
                    assert_eq!(same.revision(), table.revision(), "it was told anew since");
                }
                let named = board.named_by("token", Instant(Duration::ZERO));
                assert!(heard < 3 || named.is_none(), "a token of another password names somebody");
            })
        })
        .collect();
    for revision in 3..=4 {
        board.tell(&Arc::new(Auth::of(revision)));
        answered.store(revision, Ordering::Release);
    }
    readers.into_iter().for_each(|reader| reader.join().expect("it asserts"));
}
