//! What goes wrong in a plan: the timeline of its troubles.
//!
//! Swarm: a seed has some kinds of trouble and not others. Aimed troubles (traps in a kind of change to the disk,
//! ambushes) come at the moment that matters, the others at any.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::sample::select;

use crate::env::{Aim, Change, Damage, FileClass};
use crate::plan::{Action, Cut, End, Harm, Moment, PowerLoss, Timed, Who};

/// A time between these, in milliseconds.
pub fn millis(low: u64, high: u64) -> impl Strategy<Value = Duration> {
    (low * 1000..high * 1000 + 1).prop_map(Duration::from_micros)
}

/// True once in so many.
pub fn one_in(many: u32) -> impl Strategy<Value = bool> {
    (0..many).prop_map(move |n| n == many - 1)
}

/// What kinds of trouble a seed has at all.
#[derive(Clone, Debug)]
struct Troubles {
    size: usize,
    length: u64,
    losses: Vec<PowerLoss>,
    kills: bool,
    stops: bool,
    stalls: bool,
    pauses: bool,
    cuts: bool,
    clocks: bool,
    processors: bool,
    room: bool,
    damage: bool,
    calls: bool,
    ambushes: bool,
    aims: bool,
}

/// What troubles are drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// How many found the cluster.
    pub size: usize,
    /// About how long the run is, in milliseconds.
    pub length: u64,
    /// How much may be damaged.
    pub harm: Harm,
}

/// Troubles over a run; some runs have none.
pub fn timeline(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let Scene { size, length, harm } = scene;
    let losses = [PowerLoss::DropAll, PowerLoss::KeepAll, PowerLoss::Torn, PowerLoss::Torn, PowerLoss::Garbage];
    let only = (one_in(3), select(losses.to_vec()));
    let allowed = (one_in(2), one_in(3), one_in(3), one_in(3), one_in(2));
    let more = (one_in(4), one_in(4), one_in(6), one_in(4), one_in(4), one_in(3), one_in(2));
    let count = select(&[0, 1, 3, 6, 12][..]);
    (only, allowed, more, count).prop_flat_map(move |((one, only), allowed, more, count)| {
        let losses = if one { vec![only] } else { losses.to_vec() };
        let (kills, stops, stalls, pauses, cuts) = allowed;
        let (clocks, processors, room, damage, calls, ambushes, aims) = more;
        let (cuts, calls) = (cuts && size > 1, calls && size > 1);
        let damage = damage || harm != Harm::Nothing;
        let count = if harm == Harm::Nothing { count } else { count.max(6) };
        let troubles = Troubles {
            size,
            length,
            losses,
            kills,
            stops,
            stalls,
            pauses,
            cuts,
            clocks,
            processors,
            room,
            damage,
            calls,
            ambushes,
            aims,
        };
        vec(trouble(&troubles), count).prop_map(|bursts| bursts.concat())
    })
}

/// One trouble, or a burst of endings.
fn trouble(all: &Troubles) -> impl Strategy<Value = Vec<Timed>> + use<> {
    let mut choices = vec![(4, bursts(all).boxed())];
    if all.stalls {
        let stall = (who(all.size), millis(100, 6_000)).prop_map(|(who, time)| Action::Stall { who, time });
        choices.push((1, alone(all, stall).boxed()));
    }
    if all.pauses {
        let pause = (who(all.size), millis(10, 8_000)).prop_map(|(who, time)| Action::Pause { who, time });
        choices.push((1, alone(all, pause).boxed()));
    }
    let step = select(&[-86_400_000, -5_000, 300, 5_000, 86_400_000][..]);
    let step = (who(all.size), step).prop_map(|(who, ms)| Action::StepWall { who, ms });
    choices.push((1, alone(all, step).boxed()));
    if all.cuts {
        let parts = (cut(all.size), any::<bool>(), millis(50, 15_000));
        let cut = parts.prop_map(|(cut, clients, time)| Action::Cut { cut, clients, time });
        choices.push((3, alone(all, cut).boxed()));
    }
    rarer(all, &mut choices);
    proptest::strategy::Union::new_weighted(choices)
}

/// Troubles that most seeds do without.
fn rarer(all: &Troubles, choices: &mut Vec<(u32, BoxedStrategy<Vec<Timed>>)>) {
    let size = all.size;
    if all.clocks {
        let ppb = select(&[-50_000_000, -1_000_000, 0, 200_000, 50_000_000][..]);
        let drift = (who(size), ppb).prop_map(|(who, ppb)| Action::Drift { who, ppb });
        choices.push((2, alone(all, drift).boxed()));
        let suspend = (who(size), millis(10, 5_000)).prop_map(|(who, time)| Action::Suspend { who, time });
        choices.push((1, alone(all, suspend).boxed()));
    }
    if all.processors {
        let slow = (who(size), select(&[500, 5_000, 50_000][..]), millis(100, 10_000));
        let slow = slow.prop_map(|(who, percent, time)| Action::Slow { who, percent, time });
        choices.push((2, alone(all, slow).boxed()));
    }
    if all.room {
        let fill = (who(size), select(&[0, 0, 100, 5_000, 100_000][..]), millis(100, 10_000));
        let fill = fill.prop_map(|(who, room, time)| Action::Fill { who, room, time });
        choices.push((3, alone(all, fill).boxed()));
    }
    if all.damage {
        let rot = (who(size), class(), damage()).prop_map(|(who, class, damage)| Action::Rot { who, class, damage });
        choices.push((4, alone(all, rot).boxed()));
        choices.push((2, spoilt(all).boxed()));
    }
    if all.calls {
        let reset = (0..size, 1..size).prop_map(move |(one, on)| Action::Reset { one, other: (one + on) % size });
        choices.push((2, alone(all, reset).boxed()));
        let block = (0..size, 1..size, any::<bool>(), millis(50, 10_000));
        let block = block.prop_map(move |(from, on, told, time)| {
            let to = (from + on) % size;
            Action::Block { from, to, told, time }
        });
        choices.push((2, alone(all, block).boxed()));
        let unlisten = (who(size), any::<bool>(), millis(100, 10_000));
        let unlisten = unlisten.prop_map(|(who, told, time)| Action::Unlisten { who, told, time });
        choices.push((2, alone(all, unlisten).boxed()));
    }
    if all.ambushes {
        choices.push((4, alone(all, ambush(all)).boxed()));
    }
}

/// A member starts, its image or its history is damaged some time later, and it starts again: what the one start let go of
/// is what the other may need.
fn spoilt(all: &Troubles) -> impl Strategy<Value = Vec<Timed>> + use<> {
    let class = select(&[FileClass::Image, FileClass::Image, FileClass::History, FileClass::Outline][..]);
    let parts = (0..all.size, millis(0, all.length), millis(100, 4_000), class, damage());
    parts.prop_map(|(member, at, later, class, damage)| {
        let who = Who::Member(member);
        let ends = |at| Timed { at, action: Action::End { who, how: End::Kill, down: Duration::ZERO } };
        let rot = Action::Rot { who, class, damage };
        vec![ends(at), Timed { at: at + later, action: rot }, ends(at + later + Duration::from_micros(1))]
    })
}

fn class() -> impl Strategy<Value = FileClass> {
    use FileClass::{Aside, History, Image, Log, Mark, Outline};
    // The log twice: most of it is needed by nobody, and a start goes on.
    select(vec![Log, Log, Mark, History, Outline, Image, Aside])
}

fn damage() -> impl Strategy<Value = Damage> {
    let flip = (1..9_u32).prop_map(Damage::Flip).boxed();
    let others = select(&[Damage::Zero, Damage::Garbage, Damage::Unreadable][..]).boxed();
    proptest::strategy::Union::new_weighted(vec![(2, flip), (3, others)])
}

/// A trouble that comes at the worst moment.
fn ambush(all: &Troubles) -> impl Strategy<Value = Action> + use<> {
    let moments =
        [Moment::Appends, Moment::Elected, Moment::HandsOver, Moment::Votes, Moment::AppliesOld, Moment::Installs];
    lurking(&moments, &all.losses, all.size)
}

/// Troubles that befall who is in the middle of a command that he carries out in slices; in every other run none.
pub fn in_the_middle(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let losses = [PowerLoss::DropAll, PowerLoss::KeepAll, PowerLoss::Torn, PowerLoss::Garbage];
    let one = (millis(0, scene.length), lurking(&[Moment::CarriesOut], &losses, scene.size));
    (one_in(2), vec(one.prop_map(|(at, action)| Timed { at, action }), 1..5))
        .prop_map(|(some, timeline)| if some { timeline } else { Vec::new() })
}

/// Ends of who is in the middle of receiving a snapshot, who goes on with what he has; in three of four runs none.
pub fn receiving(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let losses = [PowerLoss::DropAll, PowerLoss::KeepAll, PowerLoss::Torn, PowerLoss::Garbage];
    let when =
        (millis(0, scene.length), select(&[1, 1, 2, 3][..]), select(&[0, 500, 2_000, 8_000, 30_000, 200_000][..]));
    let how =
        (0..3_u32, select(losses.to_vec())).prop_map(|(n, loss)| if n == 0 { End::Kill } else { End::Power(loss) });
    let down = select(&[0, 1, 50, 1_000][..]).prop_map(Duration::from_millis);
    let one = (when, how, down).prop_map(|((at, nth, micros), how, down)| {
        let then = Box::new(Action::End { who: Who::Caught, how, down });
        let after = Duration::from_micros(micros);
        Timed { at, action: Action::Ambush { moment: Moment::Receives, nth, after, then } }
    });
    (one_in(4), vec(one, 2..8)).prop_map(|(some, timeline)| if some { timeline } else { Vec::new() })
}

fn lurking(moments: &[Moment], losses: &[PowerLoss], size: usize) -> impl Strategy<Value = Action> + use<> {
    let when = (select(moments.to_vec()), select(&[1, 1, 1, 5, 30][..]), select(&[0, 0, 200, 1_500, 20_000][..]));
    let losses = select(losses.to_vec());
    let down = select(&[0, 1, 50, 2_000][..]).prop_map(Duration::from_millis);
    let how = (0..2_u32, losses).prop_map(|(n, loss)| if n == 0 { End::Kill } else { End::Power(loss) });
    let end = (how, down).prop_map(|(how, down)| Action::End { who: Who::Caught, how, down });
    let cut = (0..3_u32, millis(100, 6_000)).prop_map(|(n, time)| {
        let cut = [Cut::Apart(Who::Caught), Cut::Mute(Who::Caught), Cut::Deaf(Who::Caught)][n as usize].clone();
        Action::Cut { cut, clients: false, time }
    });
    let pause = millis(50, 4_000).prop_map(|time| Action::Pause { who: Who::Caught, time });
    let stall = millis(50, 4_000).prop_map(|time| Action::Stall { who: Who::Caught, time });
    let mut troubles = vec![(3, end.boxed()), (1, pause.boxed()), (1, stall.boxed())];
    if size > 1 {
        troubles.push((3, cut.boxed()));
    }
    (when, proptest::strategy::Union::new_weighted(troubles)).prop_map(|((moment, nth, micros), then)| Action::Ambush {
        moment,
        nth,
        after: Duration::from_micros(micros),
        then: Box::new(then),
    })
}

/// Leaders that change again and again while entries are under way, as in figure 8 of the Raft paper: one is cut off with
/// a tail that nobody else has; its successor is cut off with its first entry before anybody hears of it; the first comes
/// back and leads again, sends its old tail, and is cut off as soon as it takes an entry of the earlier term for decided;
/// then the second comes back.
pub fn figure_eight(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let (length, size) = (scene.length.max(10_000), scene.size);
    let rounds = (length / 14_000).clamp(1, 5) as usize;
    let times = (millis(2_200, 3_600), millis(3_500, 6_500), millis(5_000, 9_000), select(&[0, 0, 300, 2_000][..]));
    let kills = (any::<bool>(), 0..size);
    vec((times, kills), rounds).prop_map(move |drawn| {
        let mut timeline = Vec::new();
        for (nth, ((first, second, third, after), (kills, other))) in (0..).zip(drawn) {
            let at = Duration::from_millis(800 + nth * length / rounds as u64);
            let (clients, micros) = (false, Duration::from_micros(after));
            let apart = |who, time| Action::Cut { cut: Cut::Apart(who), clients, time };
            let lies_in_wait = |moment, after, then| Action::Ambush { moment, nth: 1, after, then: Box::new(then) };
            // With five, the first one's tail reaches one other.
            let cut = if size < 5 || kills { apart(Who::Leader, first) } else { apart(Who::Follower(other), first) };
            timeline.push(Timed { at, action: cut });
            let elected = lies_in_wait(Moment::Elected, Duration::ZERO, apart(Who::Caught, second));
            timeline.push(Timed { at: at + Duration::from_micros(1), action: elected });
            let decides = lies_in_wait(Moment::AppliesOld, micros, apart(Who::Caught, third));
            timeline.push(Timed { at: at + first, action: decides });
        }
        timeline
    })
}

/// One member at a time whose disk is put back to an older copy while the others live: what it acknowledged since is with
/// them, though perhaps, where a disk stalls, with one of them alone. Later, when it is to have everything again, another's
/// life ends. In every third round the leader forgets what one other has alone, before it told anybody that it had it, and that
/// other stands still once it was asked.
pub fn put_backs(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let (length, size) = (scene.length.max(15_000), scene.size);
    let rounds = (length / 15_000).clamp(1, 6) as usize;
    let whom = || one_member(size);
    let times = (millis(0, 1_500), select(&[50, 500, 3_000][..]), select(&[10, 100, 1_500][..]), 0..size);
    let ends = (whom(), any::<bool>(), any::<bool>());
    let hidden = (one_in(3), select(&[20, 50, 90][..]), millis(100, 900), (0..size, 0..size));
    vec((whom(), times, ends, hidden), rounds).prop_map(move |drawn| {
        let mut timeline = Vec::new();
        for (nth, (who, (early, after, down, stalled), (other, stalls, ends), hidden)) in (0..).zip(drawn) {
            let at = Duration::from_millis(500 + nth * length / rounds as u64);
            if hidden.0 {
                timeline.extend(forgotten_and_hidden(at + early, hidden.1, hidden.2, hidden.3));
                continue;
            }
            let (after, down) = (Duration::from_millis(after), Duration::from_millis(down));
            if stalls {
                let time = early + after + Duration::from_millis(1_500);
                timeline.push(Timed { at, action: Action::Stall { who: Who::Follower(stalled), time } });
            }
            timeline.push(Timed { at: at + early, action: Action::PutBack { who, after, down } });
            if ends {
                let at = at + Duration::from_millis(11_000);
                timeline.push(Timed { at, action: Action::End { who: other, how: End::Kill, down } });
            }
        }
        timeline
    })
}

/// The leader's disk is put back by so many milliseconds, while one that is cut off has nothing of what came since; a while after
/// it is back one stands still that may have all of it. Who is cut off, by its number among those who do not lead, and who stands
/// still, by its own, may be anybody.
fn forgotten_and_hidden(
    at: Duration,
    after: u64,
    later: Duration,
    (cut_off, still): (usize, usize),
) -> impl Iterator<Item = Timed> {
    let (after, down) = (Duration::from_millis(after), Duration::from_millis(10));
    let before = at.saturating_sub(Duration::from_millis(200));
    let cut = Cut::Apart(Who::Follower(cut_off));
    let apart = Action::Cut { cut, clients: false, time: at - before + after + down };
    let pause = Action::Pause { who: Who::Member(still), time: Duration::from_secs(4) };
    let put_back = Action::PutBack { who: Who::Leader, after, down };
    [(before, apart), (at, put_back), (at + after + down + later, pause)]
        .into_iter()
        .map(|(at, action)| Timed { at, action })
}

/// Disks lost in one run at most.
pub const LOST_DISKS: usize = 3;

/// One member after the other whose whole disk is lost. Now and then nobody can be reached by it while it starts; later, when
/// it is to have been replaced, another's life ends.
pub fn lost_disks(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let (length, size) = (scene.length.max(20_000), scene.size);
    let rounds = (length / 20_000).clamp(1, LOST_DISKS as u64) as usize;
    let times = (millis(0, 3_000), select(&[10, 100, 1_500][..]), millis(500, 6_000));
    let kinds = (any::<bool>(), one_in(3), 0..size);
    vec((one_member(size), times, kinds, (one_member(size), any::<bool>())), rounds).prop_map(move |drawn| {
        let mut timeline = Vec::new();
        for (nth, (who, (early, down, time), (existing, apart, number), (other, ends))) in (0..).zip(drawn) {
            let at = Duration::from_millis(1_500 + nth * length / rounds as u64) + early;
            let down = Duration::from_millis(down);
            // Who is cut off and who loses its disk are to be one.
            let who = if apart { Who::Member(number) } else { who };
            if apart {
                let cut = Action::Cut { cut: Cut::Apart(who), clients: false, time: down + time };
                timeline.push(Timed { at: at + Duration::from_micros(1), action: cut });
            }
            timeline.push(Timed { at, action: Action::Wipe { who, existing, down } });
            if ends {
                let at = at + Duration::from_millis(11_000);
                timeline.push(Timed { at, action: Action::End { who: other, how: End::Kill, down } });
            }
        }
        timeline
    })
}

/// How long a run is in which members are well beside others that are not.
pub const LASTS: Duration = Duration::from_secs(40);

/// One member, or of five now and then two, gone or out of reach for so long that the others have to be as if there was nothing wrong;
/// then everybody is well for as long. Nothing else happens.
pub fn beside_others(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let size = scene.size;
    let times = (millis(0, 5_000), millis(14_000, 20_000));
    (times, away(size), away(size), one_in(3)).prop_map(move |((at, time), first, second, two)| {
        let lasts = |mut action: Action| {
            match &mut action {
                Action::End { down, .. } => *down = time,
                Action::Pause { time: pause, .. } => *pause = time,
                Action::Cut { time: cut, .. } => *cut = time,
                _ => unreachable!("nothing else is drawn"),
            }
            action
        };
        let mut timeline = vec![Timed { at, action: lasts(first) }];
        if two && size == 5 {
            timeline.push(Timed { at: at + Duration::from_millis(300), action: lasts(second) });
        }
        timeline
    })
}

/// A member that is no use to the others, for as long as is said later.
fn away(size: usize) -> impl Strategy<Value = Action> {
    (one_member(size), 0..7_u32, any::<bool>()).prop_map(|(who, how, clients)| {
        let (time, down) = (Duration::ZERO, Duration::ZERO);
        let cut = match how {
            0 => return Action::End { who, how: End::Kill, down },
            1 => return Action::End { who, how: End::Power(PowerLoss::DropAll), down },
            2 => return Action::Pause { who, time },
            3 => Cut::Mute(who),
            4 => Cut::Deaf(who),
            _ => Cut::Apart(who),
        };
        Action::Cut { cut, clients, time }
    })
}

/// A copy of every member's disk, of one moment or each of its own.
pub fn copies(scene: Scene) -> impl Strategy<Value = Vec<Timed>> {
    let (length, size) = (scene.length, scene.size);
    let times = vec(millis(0, length), size);
    (any::<bool>(), times).prop_map(move |(at_once, times)| {
        let at = |member: usize| if at_once { times[0] } else { times[member] };
        let copy = |member| Timed { at: at(member), action: Action::Copy { who: Who::Member(member) } };
        (0..size).map(copy).collect()
    })
}

/// One member.
fn one_member(size: usize) -> impl Strategy<Value = Who> {
    let choices = [
        (2, (0..size).prop_map(Who::Member).boxed()),
        (1, Just(Who::Leader).boxed()),
        (2, (0..size).prop_map(Who::Follower).boxed()),
    ];
    proptest::strategy::Union::new_weighted(choices.to_vec())
}

fn alone<S: Strategy<Value = Action>>(all: &Troubles, action: S) -> impl Strategy<Value = Vec<Timed>> + use<S> {
    (millis(0, all.length), action).prop_map(|(at, action)| vec![Timed { at, action }])
}

fn who(size: usize) -> impl Strategy<Value = Who> {
    let choices = [
        (4, (0..size).prop_map(Who::Member).boxed()),
        (2, Just(Who::Leader).boxed()),
        (2, (0..size).prop_map(Who::Follower).boxed()),
        (1, Just(Who::All).boxed()),
    ];
    proptest::strategy::Union::new_weighted(choices.to_vec())
}

fn cut(size: usize) -> impl Strategy<Value = Cut> {
    let link = (0..size, 0..size);
    let choices = [
        (4, who(size).prop_map(Cut::Apart).boxed()),
        (2, who(size).prop_map(Cut::Mute).boxed()),
        (2, who(size).prop_map(Cut::Deaf).boxed()),
        (1, (0..size).prop_map(Cut::Bridge).boxed()),
        (1, Just(Cut::Ring).boxed()),
        (2, vec(link, 1..1 + size).prop_map(Cut::Links).boxed()),
    ];
    proptest::strategy::Union::new_weighted(choices.to_vec())
}

/// An ending; in a burst the next one comes while the member boots, or soon after.
fn bursts(all: &Troubles) -> impl Strategy<Value = Vec<Timed>> + use<> {
    let losses = select(all.losses.clone());
    let (kills, stops) = (all.kills, all.stops);
    let how = (0..4_u32, losses).prop_map(move |(n, loss)| match n {
        0 if kills => End::Kill,
        1 if stops => End::Stop,
        _ => End::Power(loss),
    });
    let nth = (any::<bool>(), 1..41_u64).prop_map(|(at_once, nth)| if at_once { 0 } else { nth });
    let down = select(&[0, 1, 50, 2_000][..]).prop_map(Duration::from_millis);
    let aims = all.aims;
    let aim = (any::<bool>(), aim()).prop_map(move |(aimed, aim)| if aims && aimed { aim } else { Aim::default() });
    let endings = vec((how, nth, down, millis(0, 30), aim), 7);
    let many = (one_in(5), 1..6_usize).prop_map(|(burst, more)| if burst { 1 + more } else { 1 });
    let endings = (many, endings).prop_map(|(many, endings)| endings[..many].to_vec());
    (who(all.size), millis(0, all.length), endings).prop_map(|(who, at, endings)| {
        let mut at = at;
        let mut burst = Vec::new();
        for (place, (how, nth, down, rest, aim)) in endings.into_iter().enumerate() {
            let nth = if place > 0 { nth.max(1) } else { nth };
            let action = match how {
                End::Stop | End::Kill | End::Power(_) if nth == 0 => Action::End { who, how, down },
                End::Stop => Action::End { who, how, down },
                // What is aimed at is rarer than a change of any kind.
                how if aim != Aim::default() => Action::Trap { who, nth: nth.div_ceil(8), aim, how, down },
                how => Action::Trap { who, nth, aim, how, down },
            };
            burst.push(Timed { at, action });
            at += down + rest;
        }
        burst
    })
}

/// What a trap counts: changes of a kind, of a class of files, or both.
fn aim() -> impl Strategy<Value = Aim> {
    let changes = [
        Change::Create,
        Change::Write,
        Change::SetLen,
        Change::Rename,
        Change::Rename,
        Change::Remove,
        Change::Sync,
        Change::SyncDir,
        Change::CreateDir,
    ];
    let any = (any::<bool>(), select(changes.to_vec()), any::<bool>(), class());
    let any = any.prop_map(|(of_kind, change, of_class, class)| {
        // A directory is of no class.
        let of_class = of_class && !matches!(change, Change::SyncDir | Change::CreateDir);
        Aim { change: (of_kind || !of_class).then_some(change), class: of_class.then_some(class) }
    });
    // Rare by themselves, and what comes next depends on them.
    let telling = [
        (Change::Sync, FileClass::Mark),
        (Change::Write, FileClass::Mark),
        (Change::Sync, FileClass::Image),
        (Change::Rename, FileClass::Image),
        (Change::Sync, FileClass::Outline),
        (Change::Remove, FileClass::Outline),
    ];
    let telling = select(telling.to_vec()).prop_map(|(change, class)| Aim { change: Some(change), class: Some(class) });
    proptest::strategy::Union::new_weighted(vec![(3, any.boxed()), (1, telling.boxed())])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::Plan;

    fn name(action: &Action) -> String {
        let told = format!("{action:?}");
        told.split([' ', '(']).next().unwrap_or_default().to_string()
    }

    #[test]
    fn plans_differ_and_every_kind_of_trouble_is_drawn_for_a_cluster() {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let (mut aimed, mut eights, mut lanes, mut harms) = (0, 0, 0, [0; 3]);
        for seed in 0..1_500 {
            let plan = Plan::of(seed);
            plan.timeline.iter().for_each(|timed| *seen.entry(name(&timed.action)).or_default() += 1);
            let is_aimed = |timed: &&Timed| matches!(&timed.action, Action::Trap { aim, .. } if *aim != Aim::default());
            aimed += plan.timeline.iter().filter(is_aimed).count();
            let old = |timed: &Timed| matches!(timed.action, Action::Ambush { moment: Moment::AppliesOld, .. });
            eights += u64::from(plan.timeline.iter().filter(|timed| old(timed)).count() > 1);
            lanes += u64::from(plan.setting.lane.is_some());
            harms[plan.harm as usize] += 1;
        }
        assert_eq!(seen.len(), 18, "{seen:?}");
        assert!(seen.values().all(|count| *count > 20), "{seen:?}");
        assert!(aimed > 50 && eights > 15 && lanes > 50, "{aimed}, {eights}, {lanes}");
        assert!(harms.iter().all(|count| *count > 30), "{harms:?}");
    }
}
