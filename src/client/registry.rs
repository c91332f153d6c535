//! Members of a new cluster find each other through another cluster: etcd's discovery protocol of version 3.
//!
//! Each puts itself under the token of the cluster to be, and waits until as many are there as the token's size says.
//! The keys are etcd's, so that members of both makes find each other: below `/_etcd/registry/TOKEN`, `_config/size` is
//! decimal, and `members/ID` is `name=peerURL,...`.
//!
//! Invariants: of more members than the size those that came first are taken, in the order they came in, so all agree on
//! them; one that is in the way of nobody (its key is there) comes back to its own place. What cannot be reached is tried
//! again for ever, slower and slower: whoever starts the members decides when it was long enough.

use std::fmt;
use std::time::Duration;

use crate::base::{MemberId, Url};
use crate::wire::etcdserverpb as pb;
use crate::wire::mvccpb::KeyValue;

use super::connection::Client;
use super::error::Error;
use super::options::Options;
use super::ranges::prefix_end;
use super::watch::WatchRange;

/// Where registries begin.
const PREFIX: &str = "/_etcd/registry";

/// Doublings of the pause before another attempt, as in etcd: 2 s at first, 256 s at most.
const MAX_DOUBLINGS: u32 = 8;

/// Pause after a watch that ended without what is waited for.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Why there is no cluster. The texts are etcd's.
#[derive(Clone, Debug)]
pub enum RegistryError {
    /// The token has no size.
    SizeNotFound,
    /// Its size is no number above nought.
    BadSize,
    /// As many others are there as the size says.
    Full,
    /// Somebody registered what is no peer URL.
    BadUrl,
    /// There is no speaking to the registry.
    Client(Error),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizeNotFound => f.write_str("discovery: size key not found"),
            Self::BadSize => f.write_str("discovery: size key is bad"),
            Self::Full => f.write_str("discovery: cluster is full"),
            Self::BadUrl => f.write_str("discovery: invalid peer URL"),
            Self::Client(error) => error.fmt(f),
        }
    }
}

/// Registers `own` (`name=peerURL,...`) of `member` under `token`, and waits for the others: all of them, as
/// `--initial-cluster` would have them. Must be called inside a tokio runtime.
///
/// # Errors
/// As [`RegistryError`] says; what may pass is waited for.
pub async fn join(
    endpoints: &[String],
    options: Options,
    token: &str,
    member: MemberId,
    own: &str,
) -> Result<String, RegistryError> {
    let client = Client::connect(endpoints, options).await.map_err(RegistryError::Client)?;
    let registry =
        Registry { client, keys: path(&[PREFIX, token]), own: path(&[PREFIX, token, "members", &member.to_string()]) };
    registry.check(None).await?;
    registry.register(own).await;
    let mut seen = None;
    loop {
        let found = registry.check(seen.as_ref()).await?;
        if found.members.len() >= found.size {
            return found.cluster();
        }
        registry.wait(&found).await;
        seen = Some(found);
    }
}

/// As Go's `path.Join`, for parts without dots between slashes.
fn path(parts: &[&str]) -> String {
    let names: Vec<&str> = parts.iter().flat_map(|part| part.split('/')).filter(|name| !name.is_empty()).collect();
    format!("/{}", names.join("/"))
}

struct Registry {
    client: Client,
    /// Where the token's keys are.
    keys: String,
    /// This member's key.
    own: String,
}

/// Who is there, in the order they came.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    size: usize,
    /// Keys and what stands there.
    members: Vec<(String, String)>,
    /// As of which revision of the registry.
    revision: i64,
}

impl Found {
    fn new(size: usize, mut pairs: Vec<KeyValue>, revision: i64, known: Option<&Found>) -> Self {
        pairs.sort_by_key(|pair| pair.create_revision);
        let mut members: Vec<(String, String)> = Vec::new();
        for pair in pairs {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let (key, told) = (text(&pair.key), text(&pair.value));
            if !told.contains('=') {
                let why = "invalid peer info returned from discovery service";
                tracing::warn!(memberKey = key, memberInfo = told, "{why}");
                continue;
            }
            if known.is_none_or(|known| !known.members.iter().any(|(known, _)| *known == key)) {
                tracing::info!(memberKey = key, memberInfo = told, "found peer from discovery service");
            }
            members.push((key, told));
        }
        Self { size, members, revision }
    }

    /// Whether as many others are there as fit in.
    fn is_full_for(&self, own: &str) -> bool {
        let others_before = self.members.iter().take_while(|(key, _)| key != own).count();
        others_before >= self.size
    }

    /// The first of them, as `--initial-cluster` has them.
    fn cluster(&self) -> Result<String, RegistryError> {
        let told: Vec<&str> = self.members.iter().take(self.size).map(|(_, told)| told.as_str()).collect();
        let cluster = told.join(",");
        let urls = cluster.split(',').map(|pair| pair.split_once('=').map_or("", |(_, url)| url));
        match urls.map(Url::read).collect::<Result<Vec<_>, _>>() {
            Ok(_) => Ok(cluster),
            Err(_) => Err(RegistryError::BadUrl),
        }
    }
}

/// The size a registry says.
fn size_of(pairs: &[KeyValue]) -> Result<usize, RegistryError> {
    let pair = pairs.first().ok_or(RegistryError::SizeNotFound)?;
    let size = std::str::from_utf8(&pair.value).ok().and_then(|text| text.parse::<usize>().ok());
    size.filter(|size| *size > 0).ok_or(RegistryError::BadSize)
}

impl Registry {
    fn members_prefix(&self) -> String {
        format!("{}/members", self.keys)
    }

    /// Who is there, unless this member has no place among them.
    async fn check(&self, known: Option<&Found>) -> Result<Found, RegistryError> {
        let mut retries = 0;
        loop {
            match self.look(known).await {
                Err(RegistryError::Client(_)) => pause(&mut retries, "cluster status check").await,
                Ok(found) if found.is_full_for(&self.own) => return Err(RegistryError::Full),
                answer => return answer,
            }
        }
    }

    async fn look(&self, known: Option<&Found>) -> Result<Found, RegistryError> {
        let key = format!("{}/_config/size", self.keys);
        let request = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
        let answer = self.client.range(request).await.map_err(|error| {
            tracing::warn!(clusterSizeKey = key, %error, "failed to get cluster size from discovery service");
            RegistryError::Client(error)
        })?;
        let size = size_of(&answer.kvs)?;
        let key = self.members_prefix();
        let range_end = prefix_end(key.as_bytes());
        let request = pb::RangeRequest { key: key.clone().into(), range_end, ..Default::default() };
        let answer = self.client.range(request).await.map_err(|error| {
            tracing::warn!(membersKeyPrefix = key, %error, "failed to get cluster members from discovery service");
            RegistryError::Client(error)
        })?;
        let revision = answer.header.map_or(0, |header| header.revision);
        Ok(Found::new(size, answer.kvs, revision, known))
    }

    async fn register(&self, own: &str) {
        let mut retries = 0;
        loop {
            let request =
                pb::PutRequest { key: self.own.clone().into(), value: own.to_owned().into(), ..Default::default() };
            match self.client.put(request).await {
                Ok(_) => {
                    let text = "register member itself successfully";
                    return tracing::info!(memberKey = self.own, memberInfo = own, "{text}");
                }
                Err(error) => {
                    let text = "failed to register members itself to the discovery service";
                    tracing::warn!(memberKey = self.own, %error, "{text}");
                }
            }
            pause(&mut retries, "register member itself").await;
        }
    }

    /// Waits until anything happened among the members since then.
    async fn wait(&self, found: &Found) {
        let (size, peers) = (found.size as u64, found.members.len() as u64);
        tracing::info!(clusterSize = size, "found-peers" = peers, "waiting for peers from discovery service");
        let key = self.members_prefix();
        let range_end = prefix_end(key.as_bytes());
        let range =
            WatchRange { key: key.into(), range_end, start_revision: found.revision + 1, ..WatchRange::default() };
        let mut watcher = self.client.watch(range);
        loop {
            match watcher.next().await {
                Some(Ok(response)) if response.canceled => break,
                Some(Ok(response)) if response.events.is_empty() => {}
                Some(Ok(_)) => return,
                Some(Err(_)) | None => break,
            }
        }
        // What was to be seen may have been compacted, or the watch was refused: looking again tells.
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// The pause before another attempt.
async fn pause(retries: &mut u32, reason: &str) {
    *retries = (*retries + 1).min(MAX_DOUBLINGS);
    let backoff = Duration::from_secs(1 << *retries);
    tracing::warn!(reason, ?backoff, "retry connecting to discovery service");
    tokio::time::sleep(backoff).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str, create_revision: i64) -> KeyValue {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        KeyValue { key, value, create_revision, ..Default::default() }
    }

    #[test]
    fn a_size_is_a_number_above_nought() {
        let size = |text: &str| size_of(&[pair("k", text, 1)]).map_err(|error| error.to_string());
        assert_eq!(size("3"), Ok(3));
        for bad in ["", "0", "-1", "three", " 3"] {
            assert_eq!(size(bad), Err("discovery: size key is bad".to_owned()), "{bad:?}");
        }
        assert_eq!(size_of(&[]).map_err(|error| error.to_string()), Err("discovery: size key not found".to_owned()));
    }

    #[test]
    fn who_came_first_is_taken() {
        let pairs = |last: &str| {
            vec![pair("m/c", "c=http://c:1", 7), pair("m/a", "a=http://a:1,a=http://a:2", 5), pair("m/b", last, 6)]
        };
        let two = Found::new(2, pairs(" b=http://b:1\n"), 9, None);
        assert_eq!(two.cluster().expect("URLs"), "a=http://a:1,a=http://a:2,b=http://b:1");
        assert!(two.is_full_for("m/c") && two.is_full_for("m/d") && !two.is_full_for("m/b") && !two.is_full_for("m/a"));
        let three = Found::new(3, pairs("not a member"), 9, None);
        assert_eq!(three.members.len(), 2, "what is no member is passed over");
        assert!(!three.is_full_for("m/d"));
        let bad = Found::new(1, vec![pair("m/a", "a=ftp://a", 1)], 9, None);
        assert_eq!(bad.cluster().map_err(|error| error.to_string()), Err("discovery: invalid peer URL".to_owned()));
    }

    #[test]
    fn keys_are_etcds() {
        assert_eq!(path(&[PREFIX, "/a//b/", "members", "1f"]), "/_etcd/registry/a/b/members/1f");
    }
}
