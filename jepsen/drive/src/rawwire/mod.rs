//! Hand-made bad frames and bad protobuf to two servers: equal codes demanded, and both must live on.
//!
//! Every case has a connection of its own. Invariants: what a case may do to the store is the same on both sides, which
//! HashKV shows after each case. Texts of the transport are not compared (Go's protobuf puts random blanks into its own,
//! and other stacks word theirs differently); texts that begin with `etcdserver:` are.

mod case;
mod cases;
mod pings;

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::maintenance_client::MaintenanceClient;
use tokio::net::TcpStream;

use case::{Case, Judge};

use crate::process::{Launch, Server, Trouble, connect};
use crate::sides::Sides;

/// How long both servers are waited for; a stream that stays open that long on both is an answer too.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long one is waited for when the other has answered: on a busy machine, slow is not open.
const LONGER: Duration = Duration::from_secs(60);

/// Options of the raw cases.
#[derive(clap::Args, Clone, Debug)]
pub struct RawArgs {
    #[command(flatten)]
    sides: Sides,
    /// Only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
    /// Print every outcome.
    #[arg(long)]
    verbose: bool,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    /// HTTP status, 0 when none came.
    http: u16,
    /// gRPC code; none when none came.
    code: Option<String>,
    /// Text, kept only where it is part of etcd's interface.
    text: String,
    /// Messages without their header field, which holds ids.
    messages: Vec<Bytes>,
    /// The stream was reset, the connection closed, or nothing came in time.
    broken: Option<&'static str>,
    /// The text as it came, for the reader.
    said: Shown,
}

/// A text that is shown and never compared.
#[derive(Clone, Default)]
struct Shown(String);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl PartialEq for Shown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Runs the cases; true when none differed.
pub async fn run(args: RawArgs) -> Result<bool, Trouble> {
    let home = args.sides.home("rawwire")?;
    let mut servers = Vec::new();
    let mut launches = Vec::new();
    for (name, binary) in args.sides.each() {
        let launch = Launch::new(binary, &home.join(name), &args.sides.flags)?;
        servers.push(launch.start()?);
        launches.push(launch);
    }
    for server in &mut servers {
        server.ready(Duration::from_secs(180)).await?;
    }
    let (mut count, mut differences) = (0, 0);
    for case in cases::all() {
        if args.case.as_ref().is_some_and(|wanted| !case.name.contains(wanted.as_str())) {
            continue;
        }
        count += 1;
        let (left, right) = both(&launches[0], &launches[1], &case).await;
        let hashes = (hash(&servers[0]).await, hash(&servers[1]).await);
        if unbuilt(&right) {
            println!("not built on the right: {}", case.name);
            continue;
        }
        let same_store = matches!(&hashes, (Ok(left), Ok(right)) if case.judge == Judge::Alive || left == right);
        let equal = same_store && (case.judge == Judge::Alive || left == right);
        if args.verbose || !equal {
            println!(
                "{} {}\n  left  {left:?}\n  right {right:?}",
                if equal { "equal" } else { "DIFFERENCE" },
                case.name
            );
        }
        if !same_store {
            println!("  stores {hashes:?}");
        }
        differences += usize::from(!equal);
        if !servers.iter_mut().all(Server::is_alive) {
            return Err(format!("a server ended in case {}; logs in {}", case.name, home.display()).into());
        }
    }
    let (pinged, differing) = ping_cases(&args, &launches).await;
    (count, differences) = (count + pinged, differences + differing);
    println!("rawwire: {count} cases, {differences} differences");
    for server in &mut servers {
        server.kill().await?;
    }
    std::fs::remove_dir_all(&home)?;
    Ok(differences == 0)
}

/// The cases of clients that ping: how many there were, and how many differed.
async fn ping_cases(args: &RawArgs, launches: &[Launch]) -> (usize, usize) {
    let (mut count, mut differences) = (0, 0);
    for (name, steps) in pings::CASES {
        if args.case.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let pinged = |launch: &Launch| {
            let address = launch.address();
            async move {
                let outcome = tokio::time::timeout(LONGER, pings::run(&address, steps)).await;
                outcome.unwrap_or_else(|_| Err("nothing came".into())).map_err(|why| why.to_string())
            }
        };
        let (left, right) = tokio::join!(pinged(&launches[0]), pinged(&launches[1]));
        let equal = left.is_ok() && left == right;
        if args.verbose || !equal {
            println!("{} {name}\n  left  {left:?}\n  right {right:?}", if equal { "equal" } else { "DIFFERENCE" });
        }
        (count, differences) = (count + 1, differences + usize::from(!equal));
    }
    (count, differences)
}

/// The revision and hash of everything, also the proof that the server still serves.
async fn hash(server: &Server) -> Result<(i64, u32), Trouble> {
    let mut maintenance = MaintenanceClient::new(connect(&server.url).await?);
    let answer = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await?.into_inner();
    Ok((answer.hash_revision, answer.hash))
}

/// The case to both servers at once.
async fn both(left: &Launch, right: &Launch, case: &Case) -> (Outcome, Outcome) {
    let (mut left, mut right) = (Box::pin(send(left, case)), Box::pin(send(right, case)));
    let open = || Outcome { broken: Some("open"), ..Outcome::default() };
    tokio::select! {
        left = &mut left => (left, tokio::time::timeout(LONGER, right).await.unwrap_or_else(|_| open())),
        right = &mut right => (tokio::time::timeout(LONGER, left).await.unwrap_or_else(|_| open()), right),
        () = tokio::time::sleep(PATIENCE) => (open(), open()),
    }
}

async fn send(launch: &Launch, case: &Case) -> Outcome {
    match exchange(launch, case).await {
        Ok(outcome) => outcome,
        Err(why) => Outcome { broken: Some("reset or closed"), said: Shown(why.to_string()), ..Outcome::default() },
    }
}

async fn exchange(launch: &Launch, case: &Case) -> Result<Outcome, Trouble> {
    let tcp = TcpStream::connect(launch.address()).await?;
    let (client, connection) = h2::client::handshake(tcp).await?;
    let driver = tokio::spawn(connection);
    let outcome = request(client, launch, case).await;
    driver.abort();
    outcome
}

async fn request(client: h2::client::SendRequest<Bytes>, launch: &Launch, case: &Case) -> Result<Outcome, Trouble> {
    let mut request =
        http::Request::builder().method(case.method).uri(format!("http://{}{}", launch.address(), case.path));
    for (name, value) in &case.headers {
        request = request.header(*name, value.as_slice());
    }
    let (answer, mut body) = client.ready().await?.send_request(request.body(())?, false)?;
    // The server may refuse before it has read everything: a failed send is no failed exchange.
    let mut then = Some(case.then.clone()).filter(|then| !then.is_empty());
    let sending = body.send_data(case.body.clone(), then.is_none());
    let mut outcome = Outcome::default();
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(why) => return Err(format!("{why}; send {sending:?}").into()),
    };
    outcome.http = answer.status().as_u16();
    status(&mut outcome, answer.headers());
    let mut incoming = answer.into_body();
    let mut received = Vec::new();
    while let Some(chunk) = incoming.data().await {
        let chunk = chunk?;
        incoming.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
        if let Some(then) = then.take_if(|_| holds_a_message(&received)) {
            body.send_data(then, true)?;
        }
    }
    if let Some(trailers) = incoming.trailers().await? {
        status(&mut outcome, &trailers);
    }
    if outcome.code.is_some() {
        outcome.messages = messages(received.into());
    }
    Ok(outcome)
}

/// What quorate says to a method it does not have yet; the case says nothing then.
fn unbuilt(outcome: &Outcome) -> bool {
    outcome.said.0.starts_with("quorate: ") && outcome.said.0.ends_with(" is not implemented yet")
}

/// A status text as clients read it: which bytes of it travel in percent form is each sender's own choice.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(outcome: &mut Outcome, headers: &HeaderMap) {
    let of = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    outcome.code = of("grpc-status").or(outcome.code.take());
    if let Some(text) = of("grpc-message").map(|text| percent_decoded(&text)) {
        if text.starts_with("etcdserver:") {
            outcome.text.clone_from(&text);
        }
        outcome.said = Shown(text);
    }
}

/// Whether a body has come as far as the end of its first message.
fn holds_a_message(mut body: &[u8]) -> bool {
    body.len() >= 5 && {
        body.advance(1);
        body.get_u32() as usize <= body.len()
    }
}

/// The messages of a body, each without field 1: in every answer of the client API that is the header with its ids.
fn messages(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while body.len() >= 5 {
        body.advance(1);
        let length = body.get_u32() as usize;
        let message = body.split_to(length.min(body.len()));
        let header = message.first() == Some(&0x0a) && message.len() > 1;
        // A header is shorter than 128 bytes, so its length is one byte.
        let skip = if header { 2 + usize::from(message[1]) } else { 0 };
        messages.push(message.slice(skip.min(message.len())..));
    }
    messages
}
