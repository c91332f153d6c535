//! Who floods waits for himself: what others ask comes in between, and what is urgent before.

use super::*;
use crate::base::{Fund, limits};
use crate::machine::Command;

impl Bench {
    fn propose_by(&mut self, account: &Arc<Account>, command: &Command) -> Option<Receiver<Result<Proposed, Refusal>>> {
        let own = std::mem::replace(&mut self.account, account.clone());
        let may = account.may(fund_of(command), codec::encode(1, command).len());
        let answer = may.then(|| self.propose(command));
        self.account = own;
        answer
    }

    /// As many puts of one account as it may have waiting.
    fn flood(&mut self, account: &Arc<Account>) -> Vec<Receiver<Result<Proposed, Refusal>>> {
        let mut answers = Vec::new();
        while let Some(answer) = self.propose_by(account, &put(&format!("flood{}", answers.len()))) {
            answers.push(answer);
        }
        answers
    }
}

/// How many of these were carried out, of those not counted before.
fn carried_out(answers: &mut Vec<Receiver<Result<Proposed, Refusal>>>) -> usize {
    let before = answers.len();
    answers.retain_mut(|answer| answered(answer).map(|outcome| outcome.expect("not refused")).is_none());
    before - answers.len()
}

#[test]
fn a_put_of_another_comes_between_those_of_a_flood() {
    let mut bench = Bench::new(config());
    let [greedy, modest] = [(); 2].map(|()| bench.facts.shares.open());
    let mut flood = bench.flood(&greedy);
    assert_eq!(flood.len(), limits::MAX_PENDING_REQUESTS / 2);
    bench.turn();
    let mut other = bench.propose_by(&modest, &put("other")).expect("there is room for it");
    let mut before = 0;
    let mut answer = None;
    while answer.is_none() {
        let newest = bench.unsynced.drain(..).next_back();
        newest.into_iter().for_each(|number| bench.step(Input::Persisted { number }));
        bench.turn();
        before += carried_out(&mut flood);
        answer = answered(&mut other);
    }
    answer.expect("answered").expect("not refused");
    assert!(before <= 2 * limits::MAX_BATCH_ENTRIES, "{before} came first: what was under way, and its own batch");
    assert!(!flood.is_empty(), "the flood goes on");
    bench.settle();
    assert_eq!(before + carried_out(&mut flood), limits::MAX_PENDING_REQUESTS / 2, "and all of it is done");
    assert_eq!(bench.facts.shares.held(Fund::Writes), (0, 0), "nobody waits, nobody pays");
}

#[test]
fn leases_and_compactions_pass_a_full_queue() {
    let mut bench = Bench::new(config());
    let accounts = [(); 12].map(|()| bench.facts.shares.open());
    let mut flood: Vec<_> = accounts.iter().flat_map(|account| bench.flood(account)).collect();
    assert!(flood.len() > limits::MAX_PENDING_REQUESTS * 9 / 10, "{}", flood.len());
    bench.turn();
    let greedy = &accounts[0];
    assert!(bench.propose_by(greedy, &put("one more")).is_none(), "its share is used up");
    let urgent = [Command::LeaseGrant { id: 42, ttl: 5 }, Command::Compact { revision: 2, physical: false }];
    let mut urgent: Vec<_> =
        urgent.iter().map(|command| bench.propose_by(greedy, command).expect("there is room for it")).collect();
    let mut before = 0;
    while !urgent.is_empty() {
        let newest = bench.unsynced.drain(..).next_back();
        newest.into_iter().for_each(|number| bench.step(Input::Persisted { number }));
        bench.turn();
        before += carried_out(&mut flood);
        carried_out(&mut urgent);
    }
    assert!(before <= 2 * limits::MAX_BATCH_ENTRIES, "{before} came first");
    let (reply, mut renewed) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::KeepAlive { id: 42, reply }));
    assert_eq!(answered(&mut renewed), Some(Ok(Some(5))), "a renewal waits for nothing");
    bench.settle();
    carried_out(&mut flood);
    assert!(flood.is_empty());
}

#[test]
fn where_writes_wait_too_long_fewer_may_wait() {
    let mut bench = Bench::new(config());
    let greedy = bench.facts.shares.open();
    let mut flood = bench.flood(&greedy);
    bench.turn();
    assert_eq!(bench.facts.shares.room(Fund::Writes), limits::MAX_PENDING_REQUESTS);
    for _ in 0..30 {
        bench.pass(Duration::from_millis(100));
    }
    assert_eq!(
        bench.facts.shares.room(Fund::Writes),
        limits::MAX_PENDING_REQUESTS,
        "nothing is answered, nothing known"
    );
    bench.settle();
    assert_eq!(carried_out(&mut flood), limits::MAX_PENDING_REQUESTS / 2);
    bench.pass(Duration::from_millis(limits::PACE_LOOK_MS));
    let room = bench.facts.shares.room(Fund::Writes);
    assert!((limits::LEAST_PENDING_REQUESTS..2_000).contains(&room), "{room}: three seconds were too long");
    for _ in 0..20 {
        drop(bench.propose(&put("quick")));
        bench.settle();
        bench.pass(Duration::from_millis(250));
    }
    assert_eq!(bench.facts.shares.room(Fund::Writes), limits::MAX_PENDING_REQUESTS, "it goes well again");
}

/// What was not proposed yet when its time ran out is never proposed, wherever in the queue it stands.
#[test]
fn what_comes_too_late_leaves_the_queue() {
    let mut bench = Bench::new(config());
    let [greedy, modest] = [(); 2].map(|()| bench.facts.shares.open());
    let flood = bench.flood(&greedy);
    bench.turn();
    let mut other = bench.propose_by(&modest, &put("other")).expect("there is room for it");
    bench.pass(Duration::from_secs(8));
    assert_eq!(answered(&mut other).expect("answered").err(), Some(Refusal::Timeout));
    assert_eq!(bench.facts.shares.held(Fund::Writes), (0, 0));
    drop(flood);
    bench.settle();
    assert!(bench.keys() <= limits::MAX_BATCH_ENTRIES, "the batch that was under way, and no more");
}
