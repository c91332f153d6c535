//! What tokens and encryption cost: the same load on an open server, on one that asks who calls, and on an encrypted one.
//!
//! Invariants: the three servers of each make run through the whole bench and take short turns, so that a slow minute of
//! the machine hits all alike; each make is compared with itself first. A handshake counts when the server has
//! answered on the connection; no session is resumed. Does not judge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::tls::{Connector, Trust};
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::auth_client::AuthClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::load::{Figures, Reading, SMALL_STORE, Work, drive_as, fill};
use super::median;
use crate::badge::Badge;
use crate::process::{Launch, Server, Trouble, connect, unchecked};
use crate::sides::Sides;

const START_LIMIT: Duration = Duration::from_secs(60);
/// Handshakes under way at once.
const HANDS: usize = 8;
const CASES: [(&str, Work, usize); 4] = [
    ("get, 1 client", Work::Get, 1),
    ("get, 100 clients", Work::Get, 100),
    ("put, 1 client", Work::Put, 1),
    ("put, 100 clients", Work::Put, 100),
];

/// Options.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchGuardedArgs {
    #[command(flatten)]
    sides: Sides,
    /// The certificate that the encrypted servers show.
    #[arg(long)]
    cert: PathBuf,
    /// Its key.
    #[arg(long)]
    key: PathBuf,
    /// Only cases whose name contains this; may be given several times.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Turns of each server in each case.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of a turn, after one of warm-up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// What stands between a client and the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nothing,
    Tokens,
    Encryption,
}

const GUARDS: [Guard; 3] = [Guard::Nothing, Guard::Tokens, Guard::Encryption];

/// A server, and what its clients show.
struct Post {
    server: Server,
    badge: Badge,
}

/// Runs the cases and prints the tables. True always: a bench measures, it does not judge.
pub async fn run_guarded(args: BenchGuardedArgs) -> Result<bool, Trouble> {
    let home = args.sides.introduce("bench-guarded")?;
    println!();
    let mut posts = Vec::new();
    for guard in GUARDS {
        for (name, binary) in args.sides.each() {
            posts.push(post(&args, guard, binary, &home.join(format!("{name}-{guard:?}"))).await?);
        }
    }
    println!(
        "| case | guard | ops/s left / right | p50 ms | server CPU us/op | CPU of the open server, times: left / right | ops/s of the open server, times: left / right |"
    );
    println!("|---|---|---|---|---|---|---|");
    let wanted = |name: &str| args.cases.is_empty() || args.cases.iter().any(|case| name.contains(case.as_str()));
    for (name, work, clients) in CASES.iter().filter(|(name, ..)| wanted(name)) {
        let mut seen = vec![Vec::new(); posts.len()];
        for _ in 0..args.pairs {
            for (post, seen) in posts.iter().zip(&mut seen) {
                let window = Duration::from_secs(args.seconds);
                seen.push(drive_as(&post.badge, &post.server, *work, *clients, window).await?);
            }
        }
        print_case(name, &seen);
    }
    if wanted("handshakes") {
        handshakes(&args, &posts[4..]).await?;
    }
    drop(posts);
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

async fn post(args: &BenchGuardedArgs, guard: Guard, binary: &Path, home: &Path) -> Result<Post, Trouble> {
    let mut flags = args.sides.flags.clone();
    if guard == Guard::Encryption {
        flags.push(format!("--cert-file={}", args.cert.display()));
        flags.push(format!("--key-file={}", args.key.display()));
    }
    let mut launch = Launch::new(binary, home, &flags)?;
    launch.tls = (guard == Guard::Encryption).then(unchecked);
    let mut server = launch.start()?;
    server.ready(START_LIMIT).await?;
    fill(&server, SMALL_STORE).await?;
    let badge = if guard == Guard::Tokens { ask_who(&server).await? } else { Badge::default() };
    Ok(Post { server, badge })
}

/// Turns authentication on; what a user shows who may read and write the keys of the bench, and no others.
async fn ask_who(server: &Server) -> Result<Badge, Trouble> {
    let mut auth = AuthClient::new(connect(&server.url).await?);
    for name in ["root", "bench"] {
        let (name, password) = (name.to_owned(), "pw".to_owned());
        auth.user_add(pb::AuthUserAddRequest { name, password, ..Default::default() }).await?;
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "bench".to_owned() }).await?;
    let perm = quorate::wire::authpb::Permission { perm_type: 2, key: "bench/".into(), range_end: "bench0".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "bench".to_owned(), perm: Some(perm) };
    auth.role_grant_permission(grant).await?;
    for name in ["root", "bench"] {
        let (user, role) = (name.to_owned(), name.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await?;
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await?;
    let request = pb::AuthenticateRequest { name: "bench".to_owned(), password: "pw".to_owned() };
    Ok(Badge::new("token", &auth.authenticate(request).await?.into_inner().token))
}

fn print_case(name: &str, seen: &[Vec<Figures>]) {
    let of = |at: usize, pick: fn(&Figures) -> f64| median(&seen[at].iter().map(pick).collect::<Vec<_>>());
    // Turn by turn, so that what the machine did meanwhile is the same on both sides of a ratio.
    let times = |at: usize, pick: fn(&Figures) -> f64| {
        let ratios = seen[at].iter().zip(&seen[at % 2]).map(|(guarded, open)| pick(guarded) / pick(open));
        median(&ratios.collect::<Vec<_>>())
    };
    let (rate, cpu) = (|f: &Figures| f.rate, |f: &Figures| f.cpu);
    for (number, guard) in GUARDS.iter().enumerate() {
        let (left, right) = (number * 2, number * 2 + 1);
        println!(
            "| {name} | {guard:?} | {:.0} / {:.0} | {:.3} / {:.3} | {:.1} / {:.1} | {:.2} / {:.2} | {:.2} / {:.2} |",
            of(left, rate),
            of(right, rate),
            of(left, |f| f.p50),
            of(right, |f| f.p50),
            of(left, cpu),
            of(right, cpu),
            times(left, cpu),
            times(right, cpu),
            times(left, rate),
            times(right, rate),
        );
    }
}

async fn handshakes(args: &BenchGuardedArgs, posts: &[Post]) -> Result<(), Trouble> {
    let trust = Trust { anyone: true, above: vec!["h2"], ..Trust::default() };
    let connector = Arc::new(Connector::new(trust)?);
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..args.pairs {
        for (post, seen) in posts.iter().zip(&mut seen) {
            let address = post.server.url.trim_start_matches("https://").to_owned();
            let before = Reading::take(&post.server)?;
            let until = Instant::now() + Duration::from_secs(args.seconds);
            let tasks: Vec<_> =
                (0..HANDS).map(|_| tokio::spawn(shake(connector.clone(), address.clone(), until))).collect();
            let mut made = 0;
            for task in tasks {
                made += task.await??;
            }
            let after = Reading::take(&post.server)?;
            let cpu = (after.cost.cpu - before.cost.cpu).as_secs_f64();
            let made = f64::from(made);
            seen.push((made / (after.at - before.at).as_secs_f64(), cpu * 1e6 / made));
        }
    }
    let of = |side: usize, pick: fn(&(f64, f64)) -> f64| median(&seen[side].iter().map(pick).collect::<Vec<_>>());
    println!(
        "\n| handshakes a second left / right | ratio | server CPU us each left / right | ratio |\n|---|---|---|---|"
    );
    let (left, right) = (of(0, |it| it.0), of(1, |it| it.0));
    let (left_cpu, right_cpu) = (of(0, |it| it.1), of(1, |it| it.1));
    println!(
        "| {left:.0} / {right:.0} | {:.2} | {left_cpu:.0} / {right_cpu:.0} | {:.2} |",
        right / left,
        right_cpu / left_cpu
    );
    Ok(())
}

/// Makes connections, one after the other, each until the server has said its first word of HTTP/2; how many.
async fn shake(connector: Arc<Connector>, address: String, until: Instant) -> Result<u32, Trouble> {
    let mut made = 0;
    while Instant::now() < until {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let mut sealed = connector.connect(stream, "127.0.0.1").await?;
        sealed.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        sealed.flush().await?;
        let mut head = [0; 9];
        sealed.read_exact(&mut head).await?;
        made += 1;
    }
    Ok(made)
}
