//! A command that changes more than one turn may: the member goes on with everything else meanwhile.

use super::*;
use crate::base::RangeEnd;
use crate::base::limits;
use crate::machine::{Compare, CompareResult, CompareTarget, DeleteRange, Op, Txn};

const KEYS: usize = 35;
const PER_TURN: usize = 10;
const LEASE: i64 = 9;
const STREAM: StreamId = StreamId(1);

/// Counts the keys that each turn changed.
#[derive(Default)]
struct Turns(std::sync::Mutex<Vec<usize>>);

impl Turns {
    /// Of the turns that changed some, since this was asked last.
    fn take(&self) -> Vec<usize> {
        let mut changed = std::mem::take(&mut *self.0.lock().expect("one thread"));
        changed.retain(|changes| *changes > 0);
        changed
    }
}

impl Observer for Turns {
    fn applied(&self, _: (u64, u64), _: Option<u64>, _: Option<&Command>, _: &crate::machine::Applied) {}

    fn worked(&self, work: &TurnWork) {
        assert!(!(work.ends && work.pauses), "one that takes several turns is not followed by another at once");
        self.0.lock().expect("one thread").push(work.changes);
    }
}

/// A member with some keys, all on a lease, that changes few of them in a turn.
fn full(turns: &Arc<Turns>, changes_per_turn: usize) -> Bench {
    let observer: Arc<dyn Observer> = turns.clone();
    let mut bench = Bench::new(NodeConfig { changes_per_turn, observer: Some(observer), ..config() });
    let _granted = bench.propose(&Command::LeaseGrant { id: LEASE, ttl: 600 });
    for n in 0..KEYS {
        let Command::Put(put) = put(&format!("k{n:02}")) else { unreachable!("it is one") };
        let _answer = bench.propose(&Command::Put(Put { lease: LEASE, ..put }));
    }
    bench.settle();
    assert_eq!(bench.keys(), KEYS);
    turns.take();
    bench
}

fn delete_all() -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange { start: "k".into(), end: RangeEnd::Open }, prev_kv: false })
}

/// Proposes, and has it durable and committed: applying it is up to the turns that follow.
fn commit(bench: &mut Bench, command: &Command) -> Receiver<Result<Proposed, Refusal>> {
    let answer = bench.propose(command);
    make_durable(bench);
    answer
}

fn make_durable(bench: &mut Bench) {
    bench.node.turn(bench.now, &mut bench.outputs).expect("nothing is wrong");
    let rounds = bench.outputs.extract_if(.., |output| matches!(output, Output::Persist { .. }));
    let numbers: Vec<u64> = rounds
        .map(|round| match round {
            Output::Persist { number, .. } => number,
            _ => unreachable!("taken out by its kind"),
        })
        .collect();
    numbers.into_iter().for_each(|number| bench.step(Input::Persisted { number }));
}

/// A transaction that puts so many keys.
fn puts(keys: std::ops::Range<usize>, bytes: usize) -> Command {
    let value = Bytes::from(vec![7; bytes]);
    let put = |n: usize| Put { key: Bytes::from(format!("p{n:03}")), value: value.clone(), ..Put::default() };
    Command::Txn(Txn { success: keys.map(|n| Op::Put(put(n))).collect(), ..Txn::default() })
}

fn watch(bench: &mut Bench, buffer: &Arc<StreamBuffer>, prev_kv: bool) {
    let question = buffer.ask().expect("there is room");
    let spec = WatchSpec { prev_kv, ..WatchSpec::events(KeyRange::all(), 0) };
    bench.step(Input::Watch(WatchInput::Create { stream: STREAM, asker: Ok(None), spec, question }));
}

fn open_stream(bench: &mut Bench) -> Arc<StreamBuffer> {
    let (reply, mut opened) = Reply::pair();
    bench.step(Input::Watch(WatchInput::Open { stream: STREAM, account: bench.account.clone(), reply }));
    answered(&mut opened).expect("opened")
}

fn keys_of_lease(bench: &mut Bench) -> Receiver<Result<Option<LeaseStanding>, Refusal>> {
    let (reply, answer) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::TimeToLive { id: LEASE, keys: true, reply }));
    answer
}

fn renew(bench: &mut Bench) -> Option<i64> {
    let (reply, mut answer) = Reply::pair();
    bench.step(Input::Lease(LeaseQuestion::KeepAlive { id: LEASE, reply }));
    answered(&mut answer).expect("answered at once").expect("not refused")
}

/// Takes turns until the command is done; between two of them everything is as before it.
fn carried_out(bench: &mut Bench, answer: &mut Receiver<Result<Proposed, Refusal>>) -> Proposed {
    let mut seen = None;
    loop {
        let more = bench.turn();
        if let Some(done) = answered(answer) {
            return done.expect("not refused");
        }
        let cell = bench.node.views();
        assert!(seen.is_none_or(|revision| cell.of(revision).is_some()), "a view of before is good until it is done");
        assert!(more, "the next turn goes on");
        bench.step(Input::Tick);
        let (reply, mut view) = Reply::pair();
        bench.step(Input::Read { linearizable: false, reply });
        let view = answered(&mut view).expect("served at once").expect("not refused");
        assert_eq!(view.count(&KeyRange::all()) as usize, KEYS, "nothing of it is seen");
        seen = Some(view.revision());
        let (reply, mut shown) = Reply::pair();
        bench.step(Input::Show { reply });
        let shown = answered(&mut shown).expect("answered").expect("not refused");
        assert_eq!(shown.state.revision, view.revision());
        assert_eq!(renew(bench), Some(600), "a lease can be renewed");
    }
}

#[test]
fn a_delete_of_many_keys_is_carried_out_over_turns() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let mut answer = commit(&mut bench, &delete_all());
    let mut later = bench.propose(&put("later"));
    let done = carried_out(&mut bench, &mut answer);
    assert_eq!(done.answer, Answer::DeleteRange { deleted: KEYS as i64, prev_kvs: Vec::new() });
    assert_eq!(turns.take(), [10, 10, 10, 5]);
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::LetGo(_))), "what was shown goes elsewhere");
    bench.settle();
    assert!(answered(&mut later).expect("answered").is_ok());
    assert_eq!(bench.keys(), 1);
}

#[test]
fn the_end_of_a_lease_with_many_keys_is_carried_out_over_turns() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let mut answer = commit(&mut bench, &Command::LeaseRevoke { id: LEASE, expiry: None });
    assert_eq!(carried_out(&mut bench, &mut answer).answer, Answer::LeaseRevoke);
    assert_eq!(turns.take(), [10, 10, 10, 5]);
    assert_eq!(renew(&mut bench), None, "it is gone with its keys");
    assert_eq!(bench.keys(), 0);
}

#[test]
fn the_compares_of_a_transaction_are_made_over_turns() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let Command::Put(made) = put("made") else { unreachable!("it is one") };
    let compare = Compare {
        range: KeyRange { start: "k".into(), end: RangeEnd::Open },
        target: CompareTarget::Lease(LEASE),
        result: CompareResult::Equal,
    };
    let txn = Txn { compares: vec![compare; 10], success: vec![Op::Put(made)], failure: Vec::new() };
    let mut answer = commit(&mut bench, &Command::Txn(txn));
    let done = carried_out(&mut bench, &mut answer);
    let Answer::Txn(done) = done.answer else { panic!("{done:?}") };
    assert!(done.succeeded);
    assert_eq!(10 * KEYS, 4 * PER_TURN * limits::LOOKS_PER_CHANGE + 30);
    assert_eq!(turns.take(), [10, 10, 10, 10, 3 + 1]);
    assert!(!bench.outputs.iter().any(|output| matches!(output, Output::LetGo(_))), "nothing was copied");
    assert_eq!(bench.keys(), KEYS + 1);
}

#[test]
fn who_watches_is_told_all_of_it_or_nothing() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let early = open_stream(&mut bench);
    watch(&mut bench, &early, true);
    let mut answer = commit(&mut bench, &delete_all());
    bench.turn();
    assert!(answered(&mut answer).is_none(), "it is under way");
    // Who comes now is heard at once, and is told from the history what was begun before him.
    watch(&mut bench, &early, false);
    let (mut keys, mut rights) = (keys_of_lease(&mut bench), rights(&mut bench));
    bench.turn();
    assert!(answered(&mut keys).is_none(), "keys have gone from the lease that are still to be seen");
    assert!(answered(&mut rights).is_none(), "the keys decide");
    let messages = next_messages(&early);
    let [WatchMessage::Created { .. }, WatchMessage::Created { revision, .. }] = messages[..] else {
        panic!("{messages:?}")
    };
    bench.settle();
    assert!(answered(&mut answer).expect("answered").is_ok());
    assert_eq!(answered(&mut rights), Some(Ok(())));
    let standing = answered(&mut keys).expect("answered").expect("not refused").expect("the lease lives on");
    assert_eq!(standing.keys.len(), 0);
    let messages = next_messages(&early);
    let [WatchMessage::Events { watch_id: 0, events, .. }, WatchMessage::Events { watch_id: 1, events: late, .. }] =
        &messages[..]
    else {
        panic!("{messages:?}")
    };
    assert_eq!((events.len(), late.len()), (KEYS, KEYS), "each is told all of it");
    assert!(events.iter().all(|event| event.event.prev_kv.is_some()));
    assert!(late.iter().all(|event| event.event.kv.mod_revision == revision + 1));
}

fn rights(bench: &mut Bench) -> Receiver<Result<(), Refusal>> {
    rights_to(bench, LeaseAccess::List)
}

fn rights_to(bench: &mut Bench, access: LeaseAccess) -> Receiver<Result<(), Refusal>> {
    let (reply, answer) = Reply::pair();
    bench.step(Input::CheckLeases { asker: None, access, reply });
    answer
}

/// Of keys that are only taken off it: who may write all that are left may write all there will be.
#[test]
fn who_may_renew_a_lease_is_known_while_none_is_hung_on_it() {
    let turns = Arc::<Turns>::default();
    let renew = LeaseAccess::Renew(LEASE);
    for command in [delete_all(), Command::LeaseRevoke { id: LEASE, expiry: None }] {
        let mut bench = full(&turns, PER_TURN);
        let _answer = commit(&mut bench, &command);
        bench.turn();
        assert!(bench.node.is_carrying_out());
        assert_eq!(answered(&mut rights_to(&mut bench, renew)), Some(Ok(())));
    }
    let mut bench = full(&turns, PER_TURN);
    let mut answer = commit(&mut bench, &puts(0..35, 1));
    bench.turn();
    let mut rights = rights_to(&mut bench, renew);
    bench.turn();
    assert!(
        answered(&mut rights).is_none() && answered(&mut answer).is_none(),
        "a key may hang here and there at once"
    );
    bench.settle();
    assert_eq!(answered(&mut rights), Some(Ok(())));
    assert!(answered(&mut answer).expect("answered").is_ok());
}

#[test]
fn what_fits_into_a_turn_is_never_begun_in_the_rest_of_one() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let mut answers: Vec<_> = (0..20).map(|n| bench.propose(&puts(7 * n..7 * n + 7, 1))).collect();
    make_durable(&mut bench);
    while bench.turn() {
        assert!(!bench.node.is_carrying_out(), "or nothing else would have its turn as long as such come");
    }
    assert!(answers.iter_mut().all(|answer| answered(answer).expect("answered").is_ok()));
    assert_eq!(turns.take(), [7; 20]);
}

#[test]
fn between_two_commands_that_take_several_turns_all_else_has_one() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let stream = open_stream(&mut bench);
    let (mut first, mut second) = (bench.propose(&puts(0..15, 1)), bench.propose(&puts(15..30, 1)));
    make_durable(&mut bench);
    bench.turn();
    let question = stream.ask().expect("there is room");
    let spec = WatchSpec::events(KeyRange::all(), 2);
    bench.step(Input::Watch(WatchInput::Create { stream: STREAM, asker: Ok(None), spec, question }));
    bench.turn();
    assert!(answered(&mut first).expect("answered").is_ok() && answered(&mut second).is_none());
    let messages = next_messages(&stream);
    let [WatchMessage::Created { .. }, WatchMessage::Events { events, .. }] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(events.len(), KEYS + 15, "who fell behind was fed");
    bench.settle();
    assert!(answered(&mut second).expect("answered").is_ok());
    assert_eq!(turns.take(), [10, 5, 10, 5]);
}

#[test]
fn what_a_command_makes_goes_to_the_disk_before_it_is_done() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let mut answer = commit(&mut bench, &puts(0..35, crate::base::limits::WRITE_HISTORY_BYTES / 8));
    bench.outputs.clear();
    bench.turn();
    assert!(bench.node.is_carrying_out());
    let is_written = |output: &Output| matches!(output, Output::WriteHistory { .. });
    assert!(bench.outputs.iter().any(is_written), "memory would have to hold all of it");
    bench.settle();
    assert!(answered(&mut answer).expect("answered").is_ok());
    assert_eq!(bench.keys(), 2 * KEYS);
}

/// It would be repeated by whoever hears that its time ran out, while it is done.
#[test]
fn what_is_committed_is_not_told_that_it_comes_too_late() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, 1);
    let mut answer = commit(&mut bench, &delete_all());
    bench.turn();
    let mut later = commit(&mut bench, &put("later"));
    let mut read = bench.read();
    bench.turn();
    let mut lost = bench.propose(&put("lost"));
    let mut is_lost = false;
    while answered(&mut answer).is_none_or(|done| done.is_err_and(|refusal| panic!("{refusal}"))) {
        bench.now = bench.now.plus(Duration::from_millis(400));
        bench.step(Input::Tick);
        is_lost = is_lost || answered(&mut lost).is_some_and(|told| told.is_err());
        bench.turn();
    }
    assert!(is_lost, "what reached no disk is told so in its time");
    assert!(answered(&mut later).is_none() && answered(&mut read).is_none());
    bench.step(Input::Tick);
    bench.turn();
    assert!(answered(&mut later).expect("done before it is told anything").is_ok());
    assert!(answered(&mut read).expect("served").is_ok());
}

/// Nobody renews it: that a command is carried out costs the lease nothing, and then its time runs on.
#[test]
fn leases_stand_still_while_a_command_is_carried_out() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, 1);
    let _granted = bench.propose(&Command::LeaseGrant { id: 42, ttl: 3 });
    bench.settle();
    let mut answer = commit(&mut bench, &delete_all());
    while answered(&mut answer).is_none() {
        bench.turn();
        bench.now = bench.now.plus(Duration::from_millis(100));
        bench.step(Input::Tick);
    }
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 0);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 0, "it has what it had");
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.facts.expired_leases.load(Relaxed), 1);
}

/// Nobody watched when it was begun, so nothing of that is kept for him.
#[test]
fn who_begins_to_watch_in_the_middle_is_told_all_of_it() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns, PER_TURN);
    let mut answer = commit(&mut bench, &delete_all());
    for _ in 0..2 {
        bench.turn();
    }
    let stream = open_stream(&mut bench);
    watch(&mut bench, &stream, true);
    bench.settle();
    assert!(answered(&mut answer).expect("answered").is_ok());
    let messages = next_messages(&stream);
    let [WatchMessage::Created { .. }, WatchMessage::Events { events, .. }] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(events.iter().filter(|event| event.event.prev_kv.is_some()).count(), KEYS);
}
