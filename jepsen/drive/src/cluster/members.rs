//! The members under examination: who they are, which of them run, and what each says of itself.
//!
//! Invariants: a member keeps its name, ports and directory for life; whoever takes its place has new ones. Does not know
//! of traffic, nor of what is done to members and why.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate::client::{Client, Options};
use quorate::wire::etcdserverpb as pb;

use crate::process::{Launch, Server, Trouble};

/// Time a member has for one answer to the examiner itself.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Time the members have to be of one mind again after something was done to them; election, catching up and the slowest
/// machine this runs on included.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(180);

/// Time a process has to obey a SIGTERM, or to end because it was removed.
pub const END_LIMIT: Duration = Duration::from_secs(120);

/// One member.
#[derive(Debug)]
pub struct Member {
    /// How it is started.
    pub launch: Launch,
    /// Its process, where it runs.
    pub server: Option<Server>,
}

impl Member {
    /// A client that asks this member alone.
    pub async fn client(&self) -> Result<Client, Trouble> {
        client(&[self.launch.url()], ANSWER_TIME).await
    }

    /// The member's id, as it says itself.
    pub async fn id(&self) -> Result<u64, Trouble> {
        let client = self.client().await?;
        let status = until_allowed("status", async || client.status(pb::StatusRequest::default()).await).await?;
        Ok(member_id(&status))
    }

    /// Starts it; it must not run.
    pub fn start(&mut self) -> Result<(), Trouble> {
        assert!(self.server.is_none(), "a member runs once");
        self.server = Some(self.launch.start()?);
        Ok(())
    }

    /// kill -9.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        self.server.take().ok_or("it does not run")?.kill().await
    }

    /// SIGTERM; how long the end took.
    pub async fn stop(&mut self) -> Result<Duration, Trouble> {
        self.server.take().ok_or("it does not run")?.stop(END_LIMIT).await
    }
}

/// A client of the house for `urls`.
pub async fn client(urls: &[String], timeout: Duration) -> Result<Client, Trouble> {
    Ok(Client::connect(urls, Options { timeout: Some(timeout), ..Options::default() }).await?)
}

/// All members.
#[derive(Debug)]
pub struct Cluster {
    /// In the order in which they came.
    pub members: Vec<Member>,
    binary: PathBuf,
    home: PathBuf,
    flags: Vec<String>,
    named: usize,
}

impl Cluster {
    /// `count` founders, not started.
    pub fn new(binary: &Path, home: &Path, flags: &[String], count: usize) -> Result<Self, Trouble> {
        let (binary, home, flags) = (binary.to_path_buf(), home.to_path_buf(), flags.to_vec());
        let mut cluster = Self { members: Vec::new(), binary, home, flags, named: 0 };
        for _ in 0..count {
            let launch = cluster.next_launch()?;
            cluster.members.push(Member { launch, server: None });
        }
        let founders = cluster.initial_cluster();
        cluster.members.iter_mut().for_each(|member| member.launch.initial_cluster.clone_from(&founders));
        Ok(cluster)
    }

    /// How a member that nobody has heard of would be started: to be joined by [`Cluster::join`].
    pub fn next_launch(&mut self) -> Result<Launch, Trouble> {
        self.named += 1;
        let name = format!("m{}", self.named);
        Launch::member(&self.binary, &self.home.join(&name), &name, &self.flags)
    }

    /// Starts a member that was added to the cluster.
    pub fn join(&mut self, mut launch: Launch) -> Result<(), Trouble> {
        launch.joins = true;
        launch.initial_cluster = format!("{},{}", self.initial_cluster(), launch.as_founder());
        let server = Some(launch.start()?);
        self.members.push(Member { launch, server });
        Ok(())
    }

    fn initial_cluster(&self) -> String {
        self.members.iter().map(|member| member.launch.as_founder()).collect::<Vec<_>>().join(",")
    }

    /// Starts whoever does not run.
    pub fn start_all(&mut self) -> Result<(), Trouble> {
        self.members.iter_mut().filter(|member| member.server.is_none()).try_for_each(Member::start)
    }

    /// Where clients find the members.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.launch.url()).collect()
    }

    /// A client of the members that run.
    pub async fn client(&self) -> Result<Client, Trouble> {
        let running = self.members.iter().filter(|member| member.server.is_some());
        client(&running.map(|member| member.launch.url()).collect::<Vec<_>>(), ANSWER_TIME).await
    }

    /// What every member says of itself; `None` for one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<pb::StatusResponse>> {
        let mut statuses = Vec::new();
        for member in &self.members {
            let status = async { member.client().await.ok()?.status(pb::StatusRequest::default()).await.ok() };
            statuses.push(if member.server.is_some() { status.await } else { None });
        }
        statuses
    }

    /// The place of the leader, waiting for there to be one.
    pub async fn leader(&self) -> Result<usize, Trouble> {
        let began = Instant::now();
        while began.elapsed() < SETTLE_LIMIT {
            let statuses = self.statuses().await;
            let leads = |status: &pb::StatusResponse| status.leader != 0 && status.leader == member_id(status);
            let leaders = statuses.iter().enumerate().filter_map(|(place, status)| Some((place, status.as_ref()?)));
            // One that was deposed may not know it yet: the latest term counts.
            if let Some((place, _)) =
                leaders.filter(|(_, status)| leads(status)).max_by_key(|(_, status)| status.raft_term)
            {
                return Ok(place);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("no member says that it leads".into())
    }

    /// Waits until all members run, know one leader, and answer a linearizable read.
    ///
    /// # Errors
    /// They do not within [`SETTLE_LIMIT`], or one has ended by itself.
    pub async fn settle(&mut self) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            self.check_alive()?;
            let why = match self.of_one_mind().await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if began.elapsed() > SETTLE_LIMIT {
                return Err(format!("not settled after {SETTLE_LIMIT:?}: {why}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// No member that should run has ended.
    pub fn check_alive(&mut self) -> Result<(), Trouble> {
        for member in &mut self.members {
            if member.server.as_mut().is_some_and(|server| !server.is_alive()) {
                let home = member.launch.home.display();
                return Err(format!("{} ended by itself; its log is in {home}", member.launch.name).into());
            }
        }
        Ok(())
    }

    async fn of_one_mind(&self) -> Result<(), Trouble> {
        let mut leaders = Vec::new();
        for (member, status) in self.members.iter().zip(self.statuses().await) {
            let name = &member.launch.name;
            let status = status.ok_or_else(|| format!("{name} does not answer"))?;
            if status.leader == 0 || status.is_learner {
                return Err(format!("{name} knows no leader or is a learner").into());
            }
            leaders.push(status.leader);
            let probe = pb::RangeRequest { key: "settled?".into(), ..Default::default() };
            let read = member.client().await?.range(probe).await;
            read.map_err(|why| format!("{name} does not answer a linearizable read: {why}"))?;
        }
        leaders.dedup();
        if leaders.len() == 1 { Ok(()) } else { Err(format!("several leaders are known: {leaders:x?}").into()) }
    }
}

/// Asks until it is allowed: a change waits for a healthy cluster, and on a busy machine there is an election at any time.
///
/// # Errors
/// It is not within [`SETTLE_LIMIT`].
pub async fn until_allowed<T>(
    what: &str,
    ask: impl AsyncFn() -> Result<T, quorate::client::Error>,
) -> Result<T, Trouble> {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(why) if began.elapsed() > SETTLE_LIMIT => return Err(format!("{what}: {why}").into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Who answered.
pub fn member_id(status: &pb::StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}
