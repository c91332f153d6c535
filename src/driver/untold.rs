//! A member that was added, has begun, and was never told anything: it may have been removed before the leader reached it.
//!
//! Then nobody speaks to it any more, and it knows no other member by its log whom it could ask. So it asks whoever it was
//! started with, at this and every later start, until it is told of itself or hears that it is gone.
//!
//! Does not know what a removed member does then.

use std::time::Duration;

use super::comparison::ended_while;
use super::config::DriverConfig;
use super::handle::Handle;
use super::questions::Question;
use crate::base::{LogIndex, limits};
use crate::env::{Env, Tasks};
use crate::peer::{Asker, Inquired, inquire};

/// Begins it.
pub(super) fn begin<E: Env>(handle: &Handle<E>, config: &DriverConfig) {
    let others = config.founding_members.iter().filter(|member| member.name != config.name);
    let urls: Vec<String> = others.flat_map(|member| member.peer_urls.iter().cloned()).collect();
    if !urls.is_empty() {
        handle.env().tasks().spawn_light("untold", ask_around(handle.clone(), urls));
    }
}

async fn ask_around<E: Env>(handle: Handle<E>, urls: Vec<String>) {
    let asker = Asker { member: handle.identity().member, cluster: handle.identity().cluster };
    // Whatever is asked, who was removed is told so; this changes nothing.
    let question = Question::Recollection(LogIndex::MAX).encode();
    let timeout = Duration::from_millis(limits::FOUNDING_QUESTION_MS);
    while !ended_while(&handle, Duration::from_millis(limits::UNTOLD_ASK_MS)).await {
        if handle.status().members.iter().any(|member| member.id == asker.member) {
            return;
        }
        for url in &urls {
            // Who does not know of it yet says nothing of the kind: removed ones stand in the log.
            if let Ok(Inquired::Removed) = inquire(handle.env(), url, asker, &question, timeout).await {
                handle.facts().told_removed();
                return;
            }
        }
    }
}
