//! Looking after a member, as a supervisor of processes would: it is started, and started again whenever it has ended,
//! until the run is over.
//!
//! Each member has a task of its own for this, so that a boot that takes long holds nobody else up.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use madsim::runtime::NodeHandle;
use quorate::base::{Dice, MemberId, SeededDice};
use quorate::consensus::Promise;
use quorate::driver::{BootReport, DriverConfig, Handle, Identity, Rebuilds, kept_promises};
use quorate::env::Env;
use quorate::peer::{PeerDoor, PeerSender};
use quorate::wal::WalIdentity;

use crate::config::{driver_config, member_id};
use crate::env::{Lane, LaneSender, SimDisk, SimEnv, forked, true_now, true_sleep};
use crate::member::{Anew, Birth, Living, Member};
use crate::operator::others_know;
use crate::oracles::{Verdict, Violation, growth, mark, require};
use crate::plan::{End, PowerLoss};
use crate::wiping::{self, NotStarted};
use crate::witness::Witness;
use crate::world::World;

/// Longest time a boot, or a stop that was asked for, may take in any weather.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon a process that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(10);

/// How soon a process is started again that the disk made end.
const LATER: Duration = Duration::from_millis(100);

/// How soon a member that has just started says what it remembers.
const SOON: Duration = Duration::from_secs(1);

/// Boots in a row that may fail. Those that the disk fails do not count.
const BOOTS: u32 = 100;

/// How a boot went.
enum Boot {
    /// The member serves; the one to hear of the end of the life.
    Serves(Living, futures_channel::oneshot::Receiver<()>),
    /// It did not come to that.
    Failed,
    /// Nor could it, as the disk was.
    Excused,
}

/// Looks after a member until the run is over.
pub async fn look_after(world: Arc<World>, number: usize) {
    let member = Arc::clone(&world.members[number]);
    let mut dice = forked(world.plan.seed, "lives", number as u64);
    let mut failed = 0;
    while !world.is_lost() && !member.is_retired() {
        if !member.is_admitted() {
            true_sleep(Duration::from_millis(50)).await;
            continue;
        }
        let wait = member.up_from().saturating_sub(true_now());
        if !wait.is_zero() {
            // In steps: calm lets it come up at once.
            true_sleep(wait.min(Duration::from_millis(50))).await;
            continue;
        }
        match boot(&world, &member, &mut dice).await {
            Boot::Serves(living, over) => {
                failed = 0;
                see_to_the_end(&world, &member, &living, over).await;
            }
            Boot::Failed => failed += 1,
            Boot::Excused => {}
        }
        if let Some((how, down)) = member.take_sprung() {
            member.end(how, down);
        }
        if failed >= BOOTS {
            let story = format!("{BOOTS} boots of {} in a row failed", member.host);
            world.judge(Err(Violation::now("a member boots", story)));
        }
    }
}

/// Waits for the end of a life that serves.
async fn see_to_the_end(world: &World, member: &Member, living: &Living, over: futures_channel::oneshot::Receiver<()>) {
    let how = match select(pin!(living.door.ending().wait()), over).await {
        Either::Left((Ok(()), over)) if member.is_stopping() => {
            // Whoever asked for it does the rest.
            let _ = over.await;
            return;
        }
        // The task that stepped into a trap may tell its own end first.
        Either::Left((how, mut over)) => match over.try_recv() {
            Ok(None) => how,
            Ok(Some(())) | Err(_) => return,
        },
        Either::Right(_) => return,
    };
    match how {
        Err(wrong) if member.excuses(&wrong) => {
            world.marks.hit("the node stopped on a fault of the disk");
            tracing::info!("{}-{} stopped: {wrong}", member.host, living.life);
            member.end(End::Kill, LATER);
        }
        Err(wrong) if member.is_damaged_so(&wrong) => {
            world.marks.hit("the node stopped on damage");
            member.end(End::Kill, LATER);
        }
        // It ends by itself, and whether it was removed indeed is judged with that.
        Ok(()) if living.door.status().removed && !others_know(world, member_id(member.number)) => {
            // Its patience is over, and who has not heard of the removal needs its vote: whoever looks after processes
            // starts it again.
            world.marks.hit("a removed member ended while it was needed");
            member.end(End::Kill, LATER);
        }
        Ok(()) if living.door.status().removed => member.retire(),
        // More was taken from it than it must survive: it says so.
        Err(wrong) if world.is_rewound() => {
            world.trace.note("told", wrong.to_string().as_bytes());
            world.marks.hit("old disks: a member ended on what it found");
            member.breaks();
        }
        how => {
            let story = format!("{} ended by itself: {how:?}", member.host);
            world.judge(Err(Violation::now("a member lives until it is ended", story)));
        }
    }
}

/// Starts a member on its transport, or on the lane in its place.
async fn start(
    env: SimEnv,
    mut config: DriverConfig,
    lane: Option<Lane>,
    asks: Option<Anew>,
) -> Result<(quorate::driver::Handle<SimEnv>, BootReport), NotStarted> {
    if let Some(Anew { existing, .. }) = asks {
        config = wiping::ask_first(&env, config, existing).await?;
    }
    let Some(lane) = lane else { return Ok(quorate::driver::start(env, config).await?) };
    let net = env.net().clone();
    let connect = async move |identity: Identity, door: Arc<dyn PeerDoor>| {
        lane.open(identity.member, &net, door);
        Ok(Arc::new(LaneSender::new(&lane, identity.member, &net)) as Arc<dyn PeerSender>)
    };
    Ok(quorate::driver::start_with(env, config, connect).await?)
}

/// Begins a life and boots it.
async fn boot(world: &Arc<World>, member: &Arc<Member>, dice: &mut SeededDice) -> Boot {
    let Birth { life, env, disk, node, over } = member.begin();
    let seed = dice.next_u64();
    let (seen, world_of) = (disk.clone(), world.clone());
    let witness = Arc::new(Witness::new(world_of, member.number, disk, env.cpu().clone()));
    let mut config = driver_config(&world.plan, (member.number, member.joins(), &member.ports()), seed, witness);
    let asks = member.asks();
    if asks.is_some_and(|asks| asks.existing) {
        config.founding_members = wiping::named_members(world);
    }
    let named = asks.filter(|asks| asks.lost).map_or_else(Vec::new, |_| config.founding_members.clone());
    let witnesses = wiping::witnesses(world, member.number, &named);
    let missed = growth::missing(&seen).unwrap_or_default();
    let kept = world.plan.forgets().then(|| seen.fork_platter().power_on());
    world.new_life(member.number);
    let starting = node.spawn(start(env, config, world.lane(), asks));
    let started = match select(pin!(madsim::time::timeout(PATIENCE, starting)), over).await {
        Either::Left((started, over)) => (started, over),
        Either::Right(_) => {
            world.marks.hit("life ended during boot");
            return Boot::Failed;
        }
    };
    let (started, mut over) = started;
    // The boot may have heard of the end of its life before we did.
    let ended = matches!(over.try_recv(), Ok(Some(())) | Err(_));
    match started {
        Ok(Ok(Ok((door, report)))) => {
            took_off(world, life, &report);
            if report.founded {
                world.judge(wiping::let_in(world, member.number, &named, &witnesses));
            }
            world.judge(sound(member, missed, &seen, &report));
            world.judge(remembers(member, &door, &node, kept).await);
            let living = Living { door, node, life, disk: seen };
            if member.serves(living.clone()) {
                return Boot::Serves(living, over);
            }
            world.marks.hit("life ended during boot");
        }
        Ok(Ok(Err(_)) | Err(_)) if ended => world.marks.hit("life ended during boot"),
        Ok(Ok(Err(NotStarted::Refused(text)))) => {
            if wiping::refused(world, member, &text) {
                return Boot::Failed;
            }
            member.end(End::Kill, LATER);
            return Boot::Excused;
        }
        Ok(Ok(Err(NotStarted::Wrong(wrong)))) if member.excuses(&wrong) => {
            world.marks.hit("the disk failed a boot");
            tracing::info!("{}-{life} did not boot: {wrong}", member.host);
            member.end(End::Kill, LATER);
            return Boot::Excused;
        }
        Ok(Ok(Err(NotStarted::Wrong(wrong)))) if member.is_damaged_so(&wrong) => {
            world.trace.note("broken", wrong.to_string().as_bytes());
            member.breaks();
        }
        Ok(Ok(Err(NotStarted::Wrong(wrong)))) => {
            let story = format!("{}: {wrong:?}", member.host);
            world.judge(Err(Violation::now("a member boots from what a crash left", story)));
        }
        Ok(Err(_)) => member.end(End::Power(PowerLoss::Torn), RESTART),
        Err(_) => {
            let story = format!("{} gave no answer after {PATIENCE:?}", member.host);
            world.judge(Err(Violation::now("a member boots", story)));
        }
    }
    Boot::Failed
}

/// Asks a member to stop, and ends its life when it has; however long that takes.
pub async fn stop(world: Arc<World>, number: usize, down: Duration) {
    let member = &world.members[number];
    let Some(living) = member.begin_stop() else { return };
    let door = living.door.clone();
    let stopped = living.node.spawn(async move { door.stop().await });
    let in_time = madsim::time::timeout(PATIENCE, stopped).await;
    if member.lives() != living.life || member.living().is_none() {
        // Something else ended it.
        return;
    }
    let how = living.door.ending().now();
    let clean = matches!(how, Some(Ok(())));
    let excused = matches!(&how, Some(Err(wrong)) if member.excuses(wrong) || member.is_damaged_so(wrong));
    if in_time.is_err() || !(clean || excused) {
        let story = format!("{} was asked to stop; after {PATIENCE:?}: {how:?}", member.host);
        world.judge(Err(Violation::now("a member stops when it is asked to", story)));
    }
    member.end(End::Stop, down);
}

/// What lies on the disk of a member that has just started.
fn sound(member: &Member, missed: Vec<String>, disk: &SimDisk, report: &BootReport) -> Verdict {
    own_data(member, report)?;
    way_back(member, missed, disk, report)?;
    marked(member, disk)
}

/// Who starts without data has lost them: of what was damaged there was one more, where the budget of damage says so.
fn own_data(member: &Member, report: &BootReport) -> Verdict {
    let hollow = matches!(report.rebuilds, Some(Rebuilds::Damaged(_)));
    require(!hollow || member.may_have_lost(), "a member starts with its own data while it can", || {
        format!("{}: {:?}", member.host, report.rebuilds)
    })
}

/// What the older image names is there, too, and was there before (`missed` was not): the next start may find the newest one
/// damaged.
fn way_back(member: &Member, missed: Vec<String>, disk: &SimDisk, report: &BootReport) -> Verdict {
    // What cannot be read now says nothing; one that takes the others' state lets go of its own.
    let missing = [missed, growth::missing(disk).unwrap_or_default()].concat();
    require(missing.is_empty() || report.rebuilds.is_some(), "a start leaves what the older image needs", || {
        format!("{}: {missing:?} are gone behind {report:?}", member.host)
    })
}

/// Each slot of the log's mark would do alone, where the disk writes what it is told to.
fn marked(member: &Member, disk: &SimDisk) -> Verdict {
    let dangling = mark::dangling(disk).unwrap_or_default();
    require(dangling.is_empty() || member.disk_is_false(), "each slot of the mark names a log that is there", || {
        format!("{}: {dangling:?} are gone", member.host)
    })
}

/// Who starts remembers what its disk has `kept` of what others promised: one of them may have forgotten it.
async fn remembers(member: &Member, door: &Handle<SimEnv>, node: &NodeHandle, kept: Option<SimDisk>) -> Verdict {
    let Some(kept) = kept else { return Ok(()) };
    let identity = WalIdentity { cluster: door.identity().cluster, member: door.identity().member };
    let kept = kept_promises(&kept, identity);
    let asked = door.clone();
    let asked = node.spawn(async move { asked.promises_held().await });
    // One that ends, or stands still, says nothing.
    let Ok(Ok(Ok(held))) = madsim::time::timeout(SOON, asked).await else { return Ok(()) };
    let is_forgotten = |of: &MemberId, promise: &Promise| {
        let mut both = held.of(*of);
        both.merge(promise);
        both != held.of(*of)
    };
    // Its own are held against its log, and of who was removed nothing needs to be known.
    let members = door.status().members;
    let is_other = |of: &MemberId| *of != identity.member && members.iter().any(|member| member.id == *of);
    let mut of_others = kept.all().iter().filter(|(of, _)| is_other(of));
    let forgotten = of_others.find(|(of, promise)| is_forgotten(of, promise));
    require(forgotten.is_none(), "who starts remembers what others promised", || {
        format!("{}: kept was {forgotten:?}, of which it holds {held:?}", member.host)
    })
}

fn took_off(world: &World, life: u64, report: &BootReport) {
    let marks = &world.marks;
    marks.hit("lives");
    if life > 1 {
        marks.hit("restarts");
    }
    if report.checkpoint > 0 {
        marks.hit("booted from a checkpoint");
    }
    if !report.damaged.is_empty() {
        marks.hit("booted past a damaged checkpoint");
    }
    if !report.passed_over.is_empty() {
        marks.hit("booted past damage of the log");
    }
    if report.replayed > 0 && life > 1 {
        marks.hit("log replayed at boot");
    }
    world.trace.note("boot", format!("{report:?}").as_bytes());
    if report.tail.torn_bytes > 0 {
        marks.hit("torn tail of the log cut");
    }
    if report.tail.torn_segments > 0 {
        marks.hit("torn segment of the log cut");
    }
}
