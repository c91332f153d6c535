//! Finding the cluster that a new member was added to: its members are asked, as etcd does for
//! `--initial-cluster-state=existing`.

use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::boot::founders;
use super::config::DriverConfig;
use super::questions::{Question, Told};
use super::replacing::replacing;
use crate::base::{ClusterId, LogIndex, MemberId, limits};
use crate::consensus::Promise;
use crate::env::{Env, Tasks};
use crate::machine::{Member, members_from_json};
use crate::peer::{Asker, Inquired, fetch, inquire};
use crate::wal::WalIdentity;

/// Who this member is in the cluster that the configuration's other members belong to. The error is for people; the
/// texts are etcd's where it has one.
pub async fn find_cluster<E: Env>(env: &E, config: &DriverConfig) -> Result<WalIdentity, String> {
    let (told, found) = oneshot::channel();
    let (world, config) = (env.clone(), config.clone());
    env.tasks().spawn_light("joining", async move {
        let _ = told.send(ask_members(&world, &config).await);
    });
    found.await.unwrap_or_else(|_| Err("the process ends".to_string()))
}

/// Whether others know a member of this name that has begun before: then this member's disk was lost or is another's,
/// and it must not found again what it has forgotten, least of all vote. Or whether they have added it, so that it would found
/// another cluster beside theirs. Others that cannot be reached are passed over, as
/// in etcd: a cluster begins when the first of its members are there. So are those of a cluster of another token: in its place
/// another one may be begun while the last of its members still run, and neither listens to the other.
///
/// # Errors
/// It has begun before, in etcd's text, or was added; and what to do.
pub async fn check_not_begun<E: Env>(env: &E, config: &DriverConfig) -> Result<(), String> {
    let (told, found) = oneshot::channel();
    let (world, config) = (env.clone(), config.clone());
    env.tasks().spawn_light("founding", async move {
        let _ = told.send(ask_whether_begun(&world, &config).await);
    });
    found.await.unwrap_or_else(|_| Err("the process ends".to_string()))
}

/// Whether who answers at this URL remembers anything of a member that is about to start with nothing.
async fn is_remembered<E: Env>(env: &E, url: &str, own: WalIdentity) -> bool {
    let asker = Asker { member: own.member, cluster: own.cluster };
    let question = Question::Recollection(LogIndex::MAX);
    let timeout = Duration::from_millis(limits::FOUNDING_QUESTION_MS);
    let Ok(Inquired::Answer(answer)) = inquire(env, url, asker, &question.encode(), timeout).await else {
        return false;
    };
    let told = question.answer(answer);
    matches!(told, Some(Ok(Told::Recollection(remembered))) if remembered.promise != Promise::default())
}

async fn ask_whether_begun<E: Env>(env: &E, config: &DriverConfig) -> Result<(), String> {
    let (founders, _, founded) = founders(config);
    let others = config.founding_members.iter().filter(|member| member.name != config.name);
    for url in others.flat_map(|member| &member.peer_urls) {
        let timeout = Duration::from_millis(limits::FOUNDING_QUESTION_MS);
        let Ok(fetched) = fetch(env, url, "/members", timeout).await else { continue };
        let Ok(members) = members_from_json(&fetched.body) else { continue };
        if fetched.cluster != Some(founded) && !are_of_one_token(&members, &founders) {
            let cluster = fetched.cluster.map(tracing::field::display);
            tracing::warn!(%url, cluster, "members of a cluster of another token still run where this one begins");
            continue;
        }
        if let Some(begun) = members.iter().find(|member| member.name == config.name && !member.client_urls.is_empty())
        {
            return Err(begun_before(begun.id, config));
        }
        if let Some(added) = members.iter().find(|member| was_added(member, config)) {
            return Err(added_to(added.id, url));
        }
        let own = members.iter().find(|member| member.name == config.name).zip(fetched.cluster);
        if let Some((own, cluster)) = own
            && is_remembered(env, url, WalIdentity { cluster, member: own.id }).await
        {
            return Err(begun_before(own.id, config));
        }
    }
    Ok(())
}

async fn ask_members<E: Env>(env: &E, config: &DriverConfig) -> Result<WalIdentity, String> {
    let mut last = "no other member is named".to_string();
    let others = config.founding_members.iter().filter(|member| member.name != config.name);
    for url in others.flat_map(|member| &member.peer_urls) {
        let timeout = Duration::from_millis(limits::PEER_QUESTION_MS);
        match fetch(env, url, "/members", timeout).await {
            Ok(fetched) => match fetched.cluster {
                Some(cluster) => {
                    let own = identity(config, cluster, &fetched.body)?;
                    return not_remembered(env, config, own).await;
                }
                None => last = format!("{url}: it does not say of which cluster it is"),
            },
            Err(why) => last = why,
        }
    }
    Err(format!(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs ({last})"
    ))
}

/// One that was added starts with nothing, and so has promised nothing to anybody who can be reached.
async fn not_remembered<E: Env>(env: &E, config: &DriverConfig, own: WalIdentity) -> Result<WalIdentity, String> {
    let others = config.founding_members.iter().filter(|member| member.name != config.name);
    for url in others.flat_map(|member| &member.peer_urls) {
        if is_remembered(env, url, own).await {
            return Err(begun_before(own.member, config));
        }
    }
    Ok(own)
}

fn begun_before(id: MemberId, config: &DriverConfig) -> String {
    let own = config.founding_members.iter().find(|member| member.name == config.name);
    let replacing = replacing(id, &config.name, own.map_or(&[], |own| &own.peer_urls));
    format!(
        "member {id} has already been bootstrapped: its data directory is empty or another's. To replace it: {replacing}"
    )
}

fn is_at(member: &Member, urls: &[String]) -> bool {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    sorted(&member.peer_urls) == sorted(urls)
}

/// Whether some founder is a member there: ids come of URLs and token, so none is where the token is another.
fn are_of_one_token(members: &[Member], founders: &[Member]) -> bool {
    members.iter().any(|member| founders.iter().any(|founder| founder.id == member.id))
}

/// Whether a cluster's member is this one, as it was added and not started yet: those that found a cluster have their names
/// from the beginning.
fn was_added(member: &Member, config: &DriverConfig) -> bool {
    let own = config.founding_members.iter().find(|founder| founder.name == config.name);
    member.name.is_empty() && own.is_some_and(|own| is_at(member, &own.peer_urls))
}

fn added_to(id: MemberId, url: &str) -> String {
    format!(
        "member {id} was added to the cluster at {url} under this member's peer URLs, and the flags here would found another \
         cluster: start it with --initial-cluster-state=existing"
    )
}

/// Every member of the cluster is named, and this one is a member.
fn identity(config: &DriverConfig, cluster: ClusterId, members: &Bytes) -> Result<WalIdentity, String> {
    let members = members_from_json(members)?;
    if members.len() != config.founding_members.len() {
        return Err("error validating peerURLs: member count is unequal".to_string());
    }
    let mut own: Option<MemberId> = None;
    for named in &config.founding_members {
        let found = members.iter().find(|member| is_at(member, &named.peer_urls));
        let found = found.ok_or_else(|| {
            format!(
                "error validating peerURLs: unmatched member while checking PeerURLs ({})",
                named.peer_urls.join(",")
            )
        })?;
        if named.name == config.name {
            if !found.client_urls.is_empty() {
                return Err(begun_before(found.id, config));
            }
            own = Some(found.id);
        }
    }
    let member = own.ok_or("this member is not named")?;
    Ok(WalIdentity { cluster, member })
}
