//! Finding the cluster that a new member was added to: its members are asked, as etcd does for
//! `--initial-cluster-state=existing`.

use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::config::DriverConfig;
use crate::base::{ClusterId, MemberId, limits};
use crate::env::{Env, Tasks};
use crate::machine::{Member, members_from_json};
use crate::peer::fetch;
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

async fn ask_members<E: Env>(env: &E, config: &DriverConfig) -> Result<WalIdentity, String> {
    let mut last = "no other member is named".to_string();
    let others = config.founding_members.iter().filter(|member| member.name != config.name);
    for url in others.flat_map(|member| &member.peer_urls) {
        let timeout = Duration::from_millis(limits::PEER_QUESTION_MS);
        match fetch(env, url, "/members", timeout).await {
            Ok(fetched) => match fetched.cluster {
                Some(cluster) => return identity(config, cluster, &fetched.body),
                None => last = format!("{url}: it does not say of which cluster it is"),
            },
            Err(why) => last = why,
        }
    }
    Err(format!(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs ({last})"
    ))
}

/// Every member of the cluster is named, and this one is a member.
fn identity(config: &DriverConfig, cluster: ClusterId, members: &Bytes) -> Result<WalIdentity, String> {
    let members = members_from_json(members)?;
    if members.len() != config.founding_members.len() {
        return Err("error validating peerURLs: member count is unequal".to_string());
    }
    let same = |member: &Member, urls: &[String]| {
        let sorted = |urls: &[String]| {
            let mut urls = urls.to_vec();
            urls.sort();
            urls
        };
        sorted(&member.peer_urls) == sorted(urls)
    };
    let mut own: Option<MemberId> = None;
    for named in &config.founding_members {
        let found = members.iter().find(|member| same(member, &named.peer_urls));
        let found = found.ok_or_else(|| {
            format!(
                "error validating peerURLs: unmatched member while checking PeerURLs ({})",
                named.peer_urls.join(",")
            )
        })?;
        if named.name == config.name {
            own = Some(found.id);
        }
    }
    let member = own.ok_or("this member is not named")?;
    Ok(WalIdentity { cluster, member })
}
