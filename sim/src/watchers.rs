//! The watching clients: streams with one or many watchers, from the past, from now, from the future, with
//! readers that keep up and readers that do not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::auth::Asker;
use quorate::base::{Dice, Refusal, SeededDice};
use quorate::driver::{Handle, WatchReader, WatchStream};
use quorate::watch::{WatchMessage, WatchSpec};
use quorate_spec::request::Span;

use crate::convert;
use crate::credentials::Shown;
use crate::draft::Drafting;
use crate::env::{SimEnv, true_now, true_sleep};
use crate::oracles::watching::{Claim, StreamJudge, Wanted};
use crate::plan::Watching;
use crate::traffic::Client;
use crate::wires::{Host, Way};
use crate::world::World;

const EMPTY: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// A stream a client has open, for the judge at the end.
pub struct OpenStream {
    judge: Arc<Mutex<StreamJudge>>,
    /// The member it is on, and the life it belongs to.
    member: usize,
    life: u64,
    /// Whether its client still reads.
    reads: Arc<Mutex<bool>>,
}

/// All streams of a run.
pub type Streams = Arc<Mutex<Vec<OpenStream>>>;

/// Where a watcher had got to when its stream ended: it is asked for again, on whichever member comes next.
type Resume = Arc<Mutex<Option<Wanted>>>;

/// Opens streams one after the other, on one member after the other, until the run ends.
pub async fn watch(world: Arc<World>, streams: Streams, number: u32, plan: Watching) {
    let mut dice = SeededDice::new(plan.dice);
    let mut member = number as usize % world.members.len();
    let resume = Resume::default();
    let mut client = Client::new(world.clone(), number);
    while !world.is_lost() {
        member = if dice.one_in(2) { member + 1 } else { member } % world.members.len();
        let way = (Host::Client(number), Host::Member(member));
        let reached = world.travel(way, &mut dice, true_now() + Duration::from_secs(2)).await;
        let (Some(living), Ok(())) = (world.members[member].living(), reached) else {
            true_sleep(Duration::from_millis(20)).await;
            continue;
        };
        client.turn_to(member);
        client.prove_anew().await;
        let Some(living) = world.members[member].living().filter(|now| now.life == living.life) else { continue };
        let judge = Arc::new(Mutex::new(StreamJudge::default()));
        let reads = Arc::new(Mutex::new(true));
        let stream = OpenStream { judge: judge.clone(), member, life: living.life, reads: reads.clone() };
        streams.lock().expect("no holder of this lock panics").push(stream);
        let dice_of_stream = SeededDice::new(dice.next_u64());
        let (world_of_stream, resume_of_stream) = (world.clone(), resume.clone());
        let (judge_of_stream, door) = (judge.clone(), living.door.clone());
        let client = StreamClient {
            world: world_of_stream,
            judge: judge_of_stream,
            resume: resume_of_stream,
            way,
            member,
            shown: client.credentials().shown(&world),
            asker: Ok(None),
            door: door.clone(),
            plan,
            dice: dice_of_stream,
        };
        let running = living.node.spawn(async move {
            if let Ok((stream, reader)) = door.open_watch_stream().await {
                client.run(stream, reader).await;
            }
        });
        // It dies with the member; what it heard until then has been judged.
        let ended = running.await;
        world.trace.note("stream ended", format!("{:?}", ended.is_ok()).as_bytes());
        *reads.lock().expect("no holder of this lock panics") = false;
        let left = judge.lock().expect("no judge panics").left_off(1);
        *resume.lock().expect("no holder of this lock panics") = left;
        true_sleep(Duration::from_millis(1 + dice.below(50))).await;
    }
}

/// In a calm world: every stream of a present life that is read has told everything; the first that has not.
pub fn all_caught_up(world: &World, streams: &Streams) -> crate::oracles::Verdict {
    let ledger = world.ledger();
    for stream in streams.lock().expect("no holder of this lock panics").iter() {
        let lives = world.members[stream.member].living().is_some_and(|living| living.life == stream.life);
        if lives && *stream.reads.lock().expect("no holder of this lock panics") {
            stream.judge.lock().expect("no judge panics").caught_up(&ledger)?;
        }
    }
    Ok(())
}

/// Some rounds of notices after `since`, in a calm world: every watcher that asked to be told how far it is was told.
pub fn all_told_progress(world: &World, streams: &Streams, since: Duration) -> crate::oracles::Verdict {
    let ledger = world.ledger();
    for stream in streams.lock().expect("no holder of this lock panics").iter() {
        let lives = world.members[stream.member].living().is_some_and(|living| living.life == stream.life);
        if lives && *stream.reads.lock().expect("no holder of this lock panics") {
            stream.judge.lock().expect("no judge panics").told_progress(ledger.model(), since)?;
        }
    }
    Ok(())
}

/// What of a message goes into the trace.
fn digest(message: &WatchMessage) -> u64 {
    match message {
        WatchMessage::Events { watch_id, revision, events, .. } => {
            let of = |shared: &Arc<quorate::watch::SharedEvent>| {
                let kv = &shared.event.kv;
                (kv.key.clone(), kv.mod_revision, kv.version, shared.event.prev_kv.is_some())
            };
            fxhash::hash64(&(watch_id, revision, events.iter().map(of).collect::<Vec<_>>()))
        }
        other => fxhash::hash64(&format!("{other:?}")),
    }
}

struct StreamClient {
    world: Arc<World>,
    judge: Arc<Mutex<StreamJudge>>,
    /// What the stream before left off.
    resume: Resume,
    /// The client's way to its member.
    way: Way,
    member: usize,
    shown: Shown,
    /// Who it was found to be for the next question.
    asker: Result<Option<Asker>, Refusal>,
    door: Handle<SimEnv>,
    plan: Watching,
    dice: SeededDice,
}

impl StreamClient {
    async fn run(mut self, stream: WatchStream<SimEnv>, reader: WatchReader) {
        let until = true_now() + Duration::from_millis(self.dice.below(1 + self.plan.life.as_millis() as u64));
        let resumed = self.resume.lock().expect("no holder of this lock panics").take();
        for nth in 0..self.plan.watchers {
            self.asker = self.shown.asker(&self.door).await;
            match &resumed {
                Some(wanted) if nth == 1 => {
                    self.world.marks.hit("watcher resumed on another stream");
                    self.send(&stream, 1, wanted.clone());
                }
                _ => self.create(&stream, nth),
            }
        }
        loop {
            // In a calm world streams stay, so that it can be seen that they catch up.
            if true_now() >= until && !self.world.is_calm() {
                return;
            }
            self.say_something(&stream);
            // What the member says waits while it cannot get through.
            let back = (self.way.1, self.way.0);
            let patience = true_now() + Duration::from_secs(10);
            if !self.world.wires.open(back) && self.world.travel(back, &mut self.dice, patience).await.is_err() {
                return;
            }
            let wait = Duration::from_millis(20 + self.dice.below(200));
            match madsim::time::timeout(wait, reader.next_batch()).await {
                Ok(Some(messages)) => {
                    for message in &messages {
                        self.world.trace.note("watch", &digest(message).to_le_bytes());
                        let ledger = self.world.ledger();
                        let mut judge = self.judge.lock().expect("no judge panics");
                        let verdict = judge.heard(&ledger, message);
                        drop(judge);
                        drop(ledger);
                        self.world.judge(verdict);
                        self.note(message);
                    }
                    self.world.marks.add("watch messages", messages.len() as u64);
                }
                Ok(None) => return,
                Err(_) => {}
            }
            if !self.world.is_calm() && !self.plan.slowness.is_zero() {
                true_sleep(Duration::from_micros(self.dice.below(self.plan.slowness.as_micros() as u64))).await;
            }
        }
    }

    fn note(&self, message: &WatchMessage) {
        let marks = &self.world.marks;
        match message {
            WatchMessage::Canceled { compact_revision, .. } if *compact_revision > 0 => {
                marks.hit("watcher ended by a compaction");
            }
            WatchMessage::Progress { .. } => marks.hit("notice of progress"),
            WatchMessage::Refused { .. } => marks.hit("watcher refused"),
            WatchMessage::Cut { .. } => marks.hit("watcher cut for want of a right"),
            _ => {}
        }
        if self.door.status().slow_watchers > 0 {
            marks.hit("watcher fell behind");
        }
    }

    fn say_something(&mut self, stream: &WatchStream<SimEnv>) {
        if self.world.is_calm() || !self.world.wires.open(self.way) {
            return;
        }
        if self.dice.one_in(6) {
            drop(stream.request_progress());
        }
        if self.dice.one_in(12) {
            let id = 1 + self.dice.below(self.plan.watchers + 2) as i64;
            if stream.cancel(id).is_ok() {
                self.judge.lock().expect("no judge panics").asked_to_cancel(id);
            }
        }
    }

    fn create(&mut self, stream: &WatchStream<SimEnv>, nth: u64) {
        self.world.meets(self.member, "in slices: somebody began to watch");
        let (compacted, seen) = {
            let ledger = self.world.ledger();
            (ledger.model().compacted(), ledger.model().revision())
        };
        let keys = self.world.plan.keys;
        let mut draft =
            Drafting { dice: &mut self.dice, keys, seen, compacted, stamp: String::new(), values: 0, bank: false };
        let mut span = draft.span();
        let start = match draft.dice.below(8) {
            0..=2 => 0,
            3 => 1,
            4 => (seen - draft.dice.below(20) as i64).max(1),
            5 => seen + draft.dice.below(5) as i64,
            6 => compacted.max(1),
            _ => draft.revision(),
        };
        if span.key.is_empty() {
            // The porch turns an empty key into the lowest.
            span.key = vec![0];
        }
        if self.plan.watchers > 20 {
            span = Span::all();
        }
        // The first gets its id from the store, which counts from 0.
        let id = if nth == 0 { 0 } else { nth as i64 };
        let wanted = Wanted {
            span,
            start,
            no_put: self.dice.one_in(8),
            no_delete: self.dice.one_in(8),
            prev_kv: self.dice.one_in(2),
        };
        let stays = wanted.start == 0;
        let taken = self.send(stream, id, wanted);
        // Its id again; one that is refused, or behind a compaction, may already be free.
        if self.dice.one_in(20) && nth > 1 && stays && taken && self.shown.is_idle() {
            let again = Wanted { span: Span::all(), start: 0, no_put: false, no_delete: false, prev_kv: false };
            let claim = self.claim();
            if self.ask(stream, id, &again, false) {
                self.judge.lock().expect("no judge panics").asked_in_vain(id, again.span, DUPLICATE, claim);
            }
        }
    }

    fn send(&mut self, stream: &WatchStream<SimEnv>, id: i64, wanted: Wanted) -> bool {
        let span = &wanted.span;
        let empty = !span.end.is_empty() && span.end != [0] && span.key >= span.end;
        // The revision is looked at first (measured on etcd 3.7.1).
        let in_vain = match (wanted.start < 0, empty) {
            (true, _) => Some(COMPACTED),
            (false, true) => Some(EMPTY),
            (false, false) => None,
        };
        let (notifies, claim) = (self.dice.one_in(3), self.claim());
        if !self.ask(stream, id, &wanted, notifies) {
            return false;
        }
        let mut judge = self.judge.lock().expect("no judge panics");
        match in_vain {
            Some(reason) => judge.asked_in_vain(id, wanted.span, reason, claim),
            None => judge.asked(id, wanted, notifies, claim),
        }
        in_vain.is_none()
    }

    fn ask(&mut self, stream: &WatchStream<SimEnv>, id: i64, wanted: &Wanted, notifies: bool) -> bool {
        let spec = WatchSpec {
            range: convert::key_range(&wanted.span),
            start_revision: wanted.start,
            watch_id: id,
            no_put: wanted.no_put,
            no_delete: wanted.no_delete,
            prev_kv: wanted.prev_kv,
            progress_notify: notifies,
            fragment: self.dice.one_in(4),
        };
        stream.create_for(self.asker.clone(), spec).is_ok()
    }

    /// In whose name the next watcher is asked for.
    fn claim(&self) -> Claim {
        let stood = self.world.ledger().place_of(self.door.status().applied);
        Claim { asker: self.asker.clone(), member: self.member, stood }
    }
}
