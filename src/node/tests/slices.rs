//! A command that changes more than one turn may: the member goes on with everything else meanwhile.

use super::*;
use crate::base::RangeEnd;
use crate::machine::DeleteRange;

const KEYS: usize = 35;
const PER_TURN: usize = 10;
const LEASE: i64 = 9;
const STREAM: StreamId = StreamId(1);

/// Counts the keys that each turn changed.
#[derive(Default)]
struct Turns(std::sync::Mutex<Vec<usize>>);

impl Observer for Turns {
    fn applied(&self, _: (u64, u64), _: Option<u64>, _: Option<&Command>, _: &crate::machine::Applied) {}

    fn worked(&self, work: &TurnWork) {
        self.0.lock().expect("one thread").push(work.changes);
    }
}

/// A member with some keys, all on a lease, that changes few of them in a turn.
fn full(turns: &Arc<Turns>) -> Bench {
    let observer: Arc<dyn Observer> = turns.clone();
    let mut bench = Bench::new(NodeConfig { changes_per_turn: PER_TURN, observer: Some(observer), ..config() });
    let _granted = bench.propose(&Command::LeaseGrant { id: LEASE, ttl: 600 });
    for n in 0..KEYS {
        let Command::Put(put) = put(&format!("k{n:02}")) else { unreachable!("it is one") };
        let _answer = bench.propose(&Command::Put(Put { lease: LEASE, ..put }));
    }
    bench.settle();
    assert_eq!(bench.keys(), KEYS);
    turns.0.lock().expect("one thread").clear();
    bench
}

fn delete_all() -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange { start: "k".into(), end: RangeEnd::Open }, prev_kv: false })
}

/// Proposes, and has it durable and committed: applying it is up to the turns that follow.
fn commit(bench: &mut Bench, command: &Command) -> Receiver<Result<Proposed, Refusal>> {
    let answer = bench.propose(command);
    bench.node.turn(bench.now, &mut bench.outputs).expect("nothing is wrong");
    let rounds = bench.outputs.extract_if(.., |output| matches!(output, Output::Persist { .. }));
    let numbers: Vec<u64> = rounds
        .map(|round| match round {
            Output::Persist { number, .. } => number,
            _ => unreachable!("taken out by its kind"),
        })
        .collect();
    numbers.into_iter().for_each(|number| bench.step(Input::Persisted { number }));
    answer
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
    loop {
        let more = bench.turn();
        if let Some(done) = answered(answer) {
            return done.expect("not refused");
        }
        assert!(more, "the next turn goes on");
        bench.step(Input::Tick);
        let (reply, mut view) = Reply::pair();
        bench.step(Input::Read { linearizable: false, reply });
        let view = answered(&mut view).expect("served at once").expect("not refused");
        assert_eq!(view.count(&KeyRange::all()) as usize, KEYS, "nothing of it is seen");
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
    let mut bench = full(&turns);
    let mut answer = commit(&mut bench, &delete_all());
    let mut later = bench.propose(&put("later"));
    let done = carried_out(&mut bench, &mut answer);
    assert_eq!(done.answer, Answer::DeleteRange { deleted: KEYS as i64, prev_kvs: Vec::new() });
    let changed = turns.0.lock().expect("one thread").clone();
    assert_eq!(changed, [10, 10, 10, 5]);
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::LetGo(_))), "what was shown goes elsewhere");
    bench.settle();
    assert!(answered(&mut later).expect("answered").is_ok());
    assert_eq!(bench.keys(), 1);
}

#[test]
fn the_end_of_a_lease_with_many_keys_is_carried_out_over_turns() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns);
    let mut answer = commit(&mut bench, &Command::LeaseRevoke { id: LEASE, expiry: None });
    assert_eq!(carried_out(&mut bench, &mut answer).answer, Answer::LeaseRevoke);
    assert_eq!(turns.0.lock().expect("one thread")[..], [10, 10, 10, 5]);
    assert_eq!(renew(&mut bench), None, "it is gone with its keys");
    assert_eq!(bench.keys(), 0);
}

#[test]
fn who_watches_is_told_all_of_it_or_nothing() {
    let turns = Arc::<Turns>::default();
    let mut bench = full(&turns);
    let early = open_stream(&mut bench);
    watch(&mut bench, &early, true);
    let mut answer = commit(&mut bench, &delete_all());
    bench.turn();
    assert!(answered(&mut answer).is_none(), "it is under way");
    // Who comes now waits, and is told nothing of what was begun before him.
    watch(&mut bench, &early, false);
    let mut keys = keys_of_lease(&mut bench);
    bench.turn();
    assert!(answered(&mut keys).is_none(), "keys have gone from the lease that are still to be seen");
    let messages = next_messages(&early);
    assert!(matches!(messages[..], [WatchMessage::Created { .. }]), "{messages:?}");
    bench.settle();
    assert!(answered(&mut answer).expect("answered").is_ok());
    let standing = answered(&mut keys).expect("answered").expect("not refused").expect("the lease lives on");
    assert_eq!(standing.keys.len(), 0);
    let messages = next_messages(&early);
    let [WatchMessage::Events { events, .. }, WatchMessage::Created { revision, .. }] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(events.len(), KEYS);
    assert!(events.iter().all(|event| event.event.prev_kv.is_some()));
    assert_eq!(*revision, events[0].event.kv.mod_revision, "the second begins behind it");
}
