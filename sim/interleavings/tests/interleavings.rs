//! Every scenario under many schedules, the same ones each time. A failure prints its schedule, to be given to
//! `shuttle::replay` with the scenario.

use quorate_interleavings::{base, driver, mvcc, node, watch};
use shuttle::scheduler::{DfsScheduler, PctScheduler};
use shuttle::{Config, Runner};

/// By chance, which finds what many schedules have; and with few changes of threads, which finds what needs one thread to
/// stand still for long.
fn under_many_schedules(scenario: fn()) {
    const SCHEDULES: usize = 400;
    shuttle::check_random_with_seed(scenario, 1, SCHEDULES);
    for depth in [1, 2, 4] {
        Runner::new(PctScheduler::new_from_seed(depth as u64, depth, SCHEDULES / 2), Config::new()).run(scenario);
    }
}

/// Every schedule there is, where there are few.
fn under_every_schedule(scenario: fn()) {
    const FEW: usize = 20_000;
    let tried = Runner::new(DfsScheduler::new(Some(FEW), false), Config::new()).run(scenario);
    assert!(tried < FEW, "there are too many to try each");
}

macro_rules! scenarios {
    ($under:ident: $($room:ident::$scenario:ident),* $(,)?) => {
        $(#[test]
        fn $scenario() {
            $under($room::$scenario);
        })*
    };
}

scenarios! { under_many_schedules:
    base::charges_are_given_back_once,
    base::one_account_is_used_by_many,
    driver::everyone_hears_the_first_word_of_the_end,
    driver::places_are_never_more_than_there_are,
    driver::the_mailbox_hands_over_what_it_took,
    mvcc::values_are_of_their_revisions_and_within_the_budget,
    node::a_view_holds_every_write_acknowledged,
    node::a_view_that_is_given_up_is_missed_by_nobody,
    node::the_table_of_users_is_never_older_than_what_is_told_of_it,
    watch::a_closed_stream_lets_everyone_go,
    watch::every_question_is_answered,
    watch::streams_of_one_account_get_on,
    watch::who_is_turned_away_is_called,
}

scenarios! { under_every_schedule:
    driver::a_closed_mailbox_holds_nothing,
    mvcc::forgetting_spares_who_came_later,
}
