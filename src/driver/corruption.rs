//! Holding the members' data against each other as they lie on their disks, as etcd does: at a start, on an interval, and by
//! the digests made at compactions. The running digest (`comparison.rs`) sees what members did; this sees what became of it.
//!
//! Invariants: rules and log lines are etcd's; only a leader asks on an interval; who differs is named by an alarm in the
//! log. Members whose compact revisions differ are not held against each other: each forgets at its own time. A digest that
//! a compaction left is held against one of its kind alone: where nothing is alive the two count differently, as etcd's. So a
//! member is named by it only once it has applied the compaction.

use std::collections::BTreeMap;
use std::time::Duration;

use super::comparison::{EVERYBODY, ended_while, other_voters, raise};
use super::config::CorruptionChecks;
use super::handle::Handle;
use super::questions::{Question, Told};
use crate::base::{LogIndex, MemberId, Refusal, limits};
use crate::env::{Env, Tasks};
use crate::machine::{AlarmKind, MemberHash};
use crate::mvcc::HashKv;
use crate::node::Input;
use crate::peer::AskFailure;

/// What another member answered.
struct PeerHash {
    member: MemberId,
    /// Whether it is one of those whose majority says what is right.
    votes: bool,
    hash: Result<MemberHash, String>,
}

/// Begins the checks that are asked for; they end with the member.
pub(super) fn begin<E: Env>(handle: &Handle<E>, checks: CorruptionChecks) {
    if let Some(interval) = checks.interval {
        handle.env().tasks().spawn_light("corruption check", check_on_interval(handle.clone(), interval));
    }
    if let Some(interval) = checks.compactions {
        handle.env().tasks().spawn_light("compaction check", check_compactions(handle.clone(), interval));
    }
}

impl<E: Env> Handle<E> {
    /// Holds this member's data against those of every member that answers, before clients are served. Damage that it meets
    /// on the way is healed first, from the others where others vote.
    ///
    /// # Errors
    /// They differ at the same revision and compact revision; etcd's text.
    pub async fn check_at_start(&self) -> Result<(), String> {
        let local = self.identity().member;
        tracing::info!("local-member-id" = %local, "starting initial corruption check");
        let mut own = self.own_hash().await;
        if matches!(own, Err(Refusal::Damaged(_))) && other_voters(self) > 0 {
            until_healed(self).await;
            own = self.own_hash().await;
        }
        let own = own.map_err(|why| format!("{local} failed to fetch hash ({})", why.text()))?;
        let peers = hashes_of_peers(self, own.hash_revision).await;
        let different: Vec<&PeerHash> = peers.iter().filter(|peer| differs_at_start(local, own, peer)).collect();
        // They may have compacted there meanwhile, which this member has still to hear of.
        let again = if different.is_empty() { None } else { own_again(self, own.hash_revision).await };
        if different.into_iter().any(|peer| !is_same(again, peer)) {
            return Err(format!("{local} found data inconsistency with peers"));
        }
        tracing::info!("local-member-id" = %local, "initial corruption checking passed; no corruption");
        Ok(())
    }
}

/// Damage was met, and others have what it took: until theirs is here, or the member ends.
async fn until_healed<E: Env>(handle: &Handle<E>) {
    let (mut began, mut looks) = (false, 0);
    while !ended_while(handle, Duration::from_millis(limits::HEALING_LOOK_MS)).await {
        let status = handle.status();
        began |= handle.facts().is_corrupt();
        // Nothing is healed yet while the node looks into it, which takes as long as the disk does.
        if status.damaged > 0 {
            looks = 0;
            continue;
        }
        looks += 1;
        if status.ready && (began || looks >= limits::HEALING_LOOKS) {
            return;
        }
    }
}

/// Whether a member is known to hold other data.
fn differs_at_start(local: MemberId, own: MemberHash, peer: &PeerHash) -> bool {
    let text = match &peer.hash {
        Ok(hash) if hash.hash == own.hash => return false,
        Ok(hash) if hash.compact_revision == own.compact_revision => "found different hash values from remote peer",
        Ok(_) => "found different compact revision values from remote peer",
        Err(why) if why.contains("future revision") => "cannot fetch hash from slow remote peer",
        Err(why) if why.contains("compacted") => "cannot fetch hash from remote peer; local member is behind",
        Err(why) if why.contains("cluster ID mismatch") => "cluster ID mismatch",
        Err(_) => return false,
    };
    let theirs = peer.hash.as_ref().ok();
    tracing::warn!(
        "local-member-id" = %local,
        "local-member-revision" = own.hash_revision,
        "local-member-compact-revision" = own.compact_revision,
        "local-member-hash" = own.hash,
        "remote-peer-id" = %peer.member,
        "remote-peer-revision" = theirs.map(|hash| hash.revision),
        "remote-peer-compact-revision" = theirs.map(|hash| hash.compact_revision),
        "remote-peer-hash" = theirs.map(|hash| hash.hash),
        "{text}"
    );
    theirs.is_some_and(|hash| hash.hash != own.hash && hash.compact_revision == own.compact_revision)
}

async fn check_on_interval<E: Env>(handle: Handle<E>, interval: Duration) {
    tracing::info!(
        "local-member-id" = %handle.identity().member,
        interval = ?interval,
        "enabled corruption checking"
    );
    while !ended_while(&handle, interval).await {
        if handle.facts().leads()
            && let Err(why) = check_data(&handle).await
        {
            tracing::warn!(error = why, "failed to check hash KV");
        }
    }
}

/// One comparison of all data with all members.
async fn check_data<E: Env>(handle: &Handle<E>) -> Result<(), String> {
    let failed = |refusal: crate::base::Refusal| refusal.text().to_string();
    let before = handle.own_hash().await.map_err(failed)?;
    let peers = hashes_of_peers(handle, before.hash_revision).await;
    // Nothing that a sound follower told is beyond what this member has from here on.
    handle.inspect(true).await.map_err(failed)?;
    let after = handle.own_hash().await.map_err(failed)?;
    let leader = handle.identity().member;
    let answered = peers.iter().filter(|peer| peer.hash.is_ok()).count();
    if who_differs(leader, before, after, &peers).is_some() {
        // Some may have compacted there before they answered.
        let again = own_again(handle, before.hash_revision).await;
        let others: Vec<PeerHash> = peers.into_iter().filter(|peer| !is_same(again, peer)).collect();
        if let Some(member) = who_differs(leader, before, after, &others) {
            name(handle, member).await;
        }
    }
    tracing::info!("number-of-peers-checked" = answered, "finished peer corruption check");
    Ok(())
}

/// This member's digest at a revision once it has heard of everything: the one a compaction made, where there was one there.
async fn own_again<E: Env>(handle: &Handle<E>, revision: i64) -> Option<MemberHash> {
    handle.inspect(true).await.ok()?;
    handle.hash_kv(revision).await.ok()
}

/// Whether a member has the same digest of the same data.
fn is_same(own: Option<MemberHash>, peer: &PeerHash) -> bool {
    let data = |hash: &MemberHash| (hash.hash, hash.compact_revision);
    own.is_some_and(|own| peer.hash.as_ref().is_ok_and(|hash| data(hash) == data(&own)))
}

/// The first member whose data are wrong, with the leader's digests before and after the others were asked.
fn who_differs(leader: MemberId, before: MemberHash, after: MemberHash, peers: &[PeerHash]) -> Option<MemberId> {
    let mut wrong = None;
    if after.hash != before.hash
        && (after.hash_revision, after.compact_revision) == (before.hash_revision, before.compact_revision)
    {
        tracing::warn!(
            "revision-1" = before.hash_revision,
            "compact-revision-1" = before.compact_revision,
            "hash-1" = before.hash,
            "revision-2" = after.hash_revision,
            "compact-revision-2" = after.compact_revision,
            "hash-2" = after.hash,
            "found hash mismatch"
        );
        wrong = Some(leader);
    }
    for PeerHash { member, hash, .. } in peers {
        let Ok(hash) = hash else { continue };
        let mut found = None;
        if hash.revision > after.revision {
            found = Some("revision from follower must be less than or equal to leader's");
        }
        if hash.compact_revision > after.compact_revision {
            found = Some("compact revision from follower must be less than or equal to leader's");
        }
        if hash.compact_revision == before.compact_revision && hash.hash != before.hash {
            found = Some("same compact revision then hashes must match");
        }
        let Some(text) = found else { continue };
        tracing::warn!(
            "leader-revision" = after.revision,
            "follower-revision" = hash.revision,
            "leader-compact-revision" = after.compact_revision,
            "leader-hash" = before.hash,
            "follower-compact-revision" = hash.compact_revision,
            "follower-hash" = hash.hash,
            "follower-peer-id" = %member,
            "{text}"
        );
        wrong = wrong.or(Some(*member));
    }
    wrong
}

async fn check_compactions<E: Env>(handle: Handle<E>, interval: Duration) {
    let mut checked = 0;
    while !ended_while(&handle, interval).await {
        if handle.facts().leads() {
            checked = check_unchecked(&handle, checked).await;
        }
    }
}

/// One comparison by the newest compaction that all members still have the digest of; the revision up to which all is checked.
async fn check_unchecked<E: Env>(handle: &Handle<E>, checked: i64) -> i64 {
    let leader = handle.identity().member;
    tracing::info!("local-member-id" = %leader, "starting compact hash check");
    let Ok(view) = handle.inspect(false).await else { return checked };
    let hashes = view.compaction_digests();
    let unchecked: Vec<HashKv> = hashes.into_iter().rev().take_while(|hash| hash.hash_revision > checked).collect();
    let mut all = checked;
    let mut looked_at = 0;
    for own in unchecked {
        looked_at += 1;
        let mut peers = hashes_of_peers(handle, own.hash_revision).await;
        if peers.is_empty() {
            continue;
        }
        for peer in peers.iter_mut().filter(|peer| is_other(own, peer)) {
            peer.hash = hash_behind(handle, peer.member, own).await;
        }
        match held_against(leader, own, &peers) {
            Compared::Alike => all = own.hash_revision,
            Compared::Differ(members) => {
                for member in members {
                    name(handle, member).await;
                }
            }
            // An older one may still be known to all.
            Compared::NotAll => continue,
        }
        break;
    }
    tracing::info!("number-of-hashes-checked" = looked_at as u64, "finished compaction hash check");
    all
}

/// Whether a member has another digest of the same compaction, or seems to.
fn is_other(own: HashKv, peer: &PeerHash) -> bool {
    let is_other = |hash: &MemberHash| hash.compact_revision == own.compact_revision && hash.hash != own.hash;
    peer.hash.as_ref().is_ok_and(is_other)
}

/// A member's digest of a compaction that the leader has applied, asked once the member has applied it, too: one that lacks
/// nothing but the compaction itself makes a digest of the same two revisions that is of another kind.
pub(super) async fn hash_behind<E: Env>(
    handle: &Handle<E>,
    member: MemberId,
    own: HashKv,
) -> Result<MemberHash, String> {
    let noted = handle.ask(|reply| Input::DigestNoted { since: None, reply }).await;
    let (_, at, digest) = noted.map_err(|refusal| refusal.text().to_string())?;
    let has_applied = if digest.is_some() {
        has_applied(handle, member, at).await || has_compacted(handle, member, own).await
    } else {
        // Nobody knows running digests. It may need a moment.
        let ended = ended_while(handle, Duration::from_millis(limits::ASK_LEADER_AGAIN_MS)).await;
        !ended && has_compacted(handle, member, own).await
    };
    if !has_applied {
        return Err("it has not applied as much".to_string());
    }
    hash_of_peer(handle, member, own.hash_revision).await
}

/// Whether a member knows the running digest at an index, within a second. One that applies a great deal, or has started behind it,
/// has it no more; one that took its state from elsewhere knows none.
async fn has_applied<E: Env>(handle: &Handle<E>, member: MemberId, at: LogIndex) -> bool {
    for _ in 0..limits::ASK_NEW_PEER_TIMES {
        if let Ok(Told::Digest(Some(_))) = handle.ask_member(member, Question::Digest(at)).await {
            return true;
        }
        if ended_while(handle, Duration::from_millis(limits::ASK_LEADER_AGAIN_MS)).await {
            break;
        }
    }
    false
}

/// Whether a member says that it has applied a compaction: of the revision before, which that forgot, it has nothing any more.
/// False where there is none between this compaction and the last, and for every other answer: one that is late says that it
/// knows no such revision yet.
async fn has_compacted<E: Env>(handle: &Handle<E>, member: MemberId, own: HashKv) -> bool {
    let forgotten = own.hash_revision - 1;
    forgotten > own.compact_revision.max(0)
        && hash_of_peer(handle, member, forgotten)
            .await
            .is_err_and(|why| why.contains("required revision has been compacted"))
}

/// What came of a comparison.
#[derive(PartialEq, Eq, Debug)]
enum Compared {
    Alike,
    /// Who is wrong; [`EVERYBODY`] where no majority says who.
    Differ(Vec<MemberId>),
    /// Alike, but not everybody could be asked.
    NotAll,
}

fn held_against(leader: MemberId, own: HashKv, peers: &[PeerHash]) -> Compared {
    let mut by_hash = BTreeMap::from([(own.hash, vec![leader])]);
    let mut answered = 0;
    for PeerHash { member, hash, .. } in peers {
        let skipped = match hash {
            Ok(hash) if hash.compact_revision == own.compact_revision => {
                answered += 1;
                by_hash.entry(hash.hash).or_default().push(*member);
                continue;
            }
            Ok(hash) => format!(
                "the peer's CompactRevision {} doesn't match leader's CompactRevision {}",
                hash.compact_revision, own.compact_revision
            ),
            Err(_) => "no response".to_string(),
        };
        tracing::warn!(
            "number-of-peers" = peers.len() as u64,
            "leader-id" = %leader,
            "peer-id" = %member,
            reason = skipped,
            "Skipped peer's hash"
        );
    }
    if by_hash.len() == 1 {
        return if answered == peers.len() {
            tracing::info!(
                "number-of-peers-checked" = answered as u64,
                revision = own.hash_revision,
                compactRevision = own.compact_revision,
                "successfully checked hash on whole cluster"
            );
            Compared::Alike
        } else {
            tracing::warn!(
                "number-of-peers-checked" = answered as u64,
                "number-of-peers" = peers.len() as u64,
                revision = own.hash_revision,
                compactRevision = own.compact_revision,
                "skipped revision in compaction hash check; was not able to check all peers"
            );
            Compared::NotAll
        };
    }
    Compared::Differ(who_is_wrong(leader, own, by_hash, peers))
}

/// Everybody but those with a majority of the voters; [`EVERYBODY`] where there is none. At etcd's learners count, too: one that
/// was added and never started would keep anybody from being named.
fn who_is_wrong(
    leader: MemberId,
    own: HashKv,
    by_hash: BTreeMap<u32, Vec<MemberId>>,
    peers: &[PeerHash],
) -> Vec<MemberId> {
    let voters: Vec<MemberId> =
        peers.iter().filter(|peer| peer.votes).map(|peer| peer.member).chain([leader]).collect();
    let votes = |members: &[MemberId]| members.iter().filter(|member| voters.contains(member)).count();
    let majority = by_hash.iter().find(|(_, members)| votes(members) > voters.len() / 2);
    let majority = majority.map(|(hash, _)| *hash);
    if majority.is_none() {
        tracing::error!(
            "leader-id" = %leader,
            "leader-revision" = own.hash_revision,
            "leader-compact-revision" = own.compact_revision,
            "leader-hash" = own.hash,
            "Detected compaction hash mismatch but cannot identify the corrupted members, so intentionally set the memberID as 0"
        );
    }
    let mut named = Vec::new();
    for (hash, members) in by_hash.into_iter().filter(|(hash, _)| Some(*hash) != majority) {
        let ids: Vec<String> = members.iter().map(ToString::to_string).collect();
        tracing::error!(
            "leader-id" = %leader,
            "leader-revision" = own.hash_revision,
            "leader-compact-revision" = own.compact_revision,
            "leader-hash" = own.hash,
            "peer-hash" = hash,
            "peer-ids" = ids.join(","),
            "quorum-exist" = majority.is_some(),
            "Detected compaction hash mismatch"
        );
        named.extend(members);
    }
    if majority.is_some() { named } else { vec![EVERYBODY] }
}

/// Names a member once for as long as its alarm stands.
async fn name<E: Env>(handle: &Handle<E>, member: MemberId) {
    if !handle.status().alarms.contains(&(member, AlarmKind::Corrupt)) {
        raise(handle, member).await;
    }
}

/// Every other member's digest at a revision, asked one after the other: each reads all of its data for it.
async fn hashes_of_peers<E: Env>(handle: &Handle<E>, revision: i64) -> Vec<PeerHash> {
    let own = handle.identity().member;
    let others = handle.status().members.into_iter().filter(|member| member.id != own);
    let mut peers = Vec::new();
    for (member, votes) in others.map(|member| (member.id, !member.is_learner)) {
        let hash = hash_of_peer(handle, member, revision).await;
        if let Err(why) = &hash {
            tracing::warn!(
                "local-member-id" = %own,
                "requested-revision" = revision,
                "remote-peer-id" = %member,
                error = why.as_str(),
                "failed hash kv request"
            );
        }
        peers.push(PeerHash { member, votes, hash });
    }
    peers
}

/// The transport hears of the members in the first turn: until then they are unknown.
async fn hash_of_peer<E: Env>(handle: &Handle<E>, member: MemberId, revision: i64) -> Result<MemberHash, String> {
    for _ in 0..limits::ASK_NEW_PEER_TIMES {
        match handle.hash_of_member(member, revision).await {
            Err(AskFailure::Unknown) => {}
            hash => return hash.map_err(|failure| failure.to_string()),
        }
        if ended_while(handle, Duration::from_millis(limits::ASK_LEADER_AGAIN_MS)).await {
            break;
        }
    }
    Err(AskFailure::Unknown.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: MemberId = MemberId(1);

    fn hash(revision: i64, hash: u32, compact_revision: i64) -> MemberHash {
        MemberHash { revision, hash, compact_revision, hash_revision: revision }
    }

    fn peer(id: u64, hash: Result<MemberHash, String>) -> PeerHash {
        PeerHash { member: MemberId(id), votes: true, hash }
    }

    fn away(id: u64) -> PeerHash {
        peer(id, Err("unreachable".to_string()))
    }

    #[test]
    fn only_data_of_one_revision_and_compact_revision_differ_at_a_start() {
        let own = hash(9, 5, 3);
        let differs = |hash| differs_at_start(LEADER, own, &peer(2, hash));
        assert!(differs(Ok(hash(12, 6, 3))));
        assert!(!differs(Ok(hash(12, 5, 3))));
        assert!(!differs(Ok(hash(12, 6, 4))), "it forgot more");
        assert!(!differs(Err("mvcc: required revision is a future revision".to_string())));
        assert!(!differs(Err("no route".to_string())));
    }

    #[test]
    fn the_first_that_is_wrong_is_named_on_an_interval() {
        let own = hash(9, 5, 3);
        let named = |after, peers: &[PeerHash]| who_differs(LEADER, own, after, peers);
        assert_eq!(named(own, &[peer(2, Ok(hash(9, 5, 3))), away(3)]), None);
        assert_eq!(named(own, &[peer(2, Ok(hash(9, 5, 3))), peer(3, Ok(hash(9, 6, 3)))]), Some(MemberId(3)));
        assert_eq!(named(own, &[peer(2, Ok(hash(9, 6, 2)))]), None, "it has not compacted yet");
        assert_eq!(named(own, &[peer(2, Ok(hash(9, 6, 4)))]), Some(MemberId(2)), "it compacted what nobody asked for");
        assert_eq!(named(own, &[peer(2, Ok(hash(10, 5, 3)))]), Some(MemberId(2)), "it has what nobody wrote");
        assert_eq!(named(hash(10, 7, 3), &[peer(2, Ok(hash(10, 5, 3)))]), None, "written meanwhile");
        assert_eq!(named(hash(9, 6, 3), &[peer(2, Ok(hash(9, 7, 3)))]), Some(LEADER), "itself, first of all");
    }

    #[test]
    fn who_has_the_digest_of_a_compaction_does_not_differ_from_who_has_it_too() {
        let (fresh, made) = (hash(9, 5, 3), hash(9, 6, 3));
        let follower = peer(2, Ok(MemberHash { revision: 12, ..made }));
        assert_eq!(who_differs(LEADER, fresh, fresh, std::slice::from_ref(&follower)), Some(MemberId(2)));
        assert!(is_same(Some(made), &follower));
        assert!(!is_same(Some(fresh), &follower) && !is_same(None, &follower) && !is_same(Some(made), &away(2)));
        assert!(!is_same(Some(MemberHash { compact_revision: 4, ..made }), &follower), "of other data");
    }

    #[test]
    fn a_majority_names_who_differs_before_a_compaction() {
        let own = HashKv { hash: 5, compact_revision: 3, hash_revision: 9 };
        let held = |peers: &[PeerHash]| held_against(LEADER, own, peers);
        let (good, bad) = (|id| peer(id, Ok(hash(12, 5, 3))), |id, of| peer(id, Ok(hash(12, of, 3))));
        assert_eq!(held(&[good(2), good(3)]), Compared::Alike);
        assert_eq!(held(&[good(2), away(3)]), Compared::NotAll);
        assert_eq!(held(&[good(2), peer(3, Ok(hash(12, 6, 9)))]), Compared::NotAll, "another compaction");
        assert_eq!(held(&[good(2), bad(3, 6)]), Compared::Differ(vec![MemberId(3)]));
        assert_eq!(held(&[bad(2, 6), bad(3, 6)]), Compared::Differ(vec![LEADER]));
        assert_eq!(held(&[bad(2, 6), bad(3, 7)]), Compared::Differ(vec![EVERYBODY]));
        assert_eq!(held(&[bad(2, 6), away(3)]), Compared::Differ(vec![EVERYBODY]));
        let five = [good(2), good(3), bad(4, 6), bad(5, 7)];
        assert_eq!(held(&five), Compared::Differ(vec![MemberId(4), MemberId(5)]));
        let four = [good(2), bad(3, 6), bad(4, 6)];
        assert_eq!(held(&four), Compared::Differ(vec![EVERYBODY]), "two against two");
        let learns = |peer| PeerHash { votes: false, ..peer };
        assert_eq!(
            held(&[good(2), bad(3, 6), learns(away(4))]),
            Compared::Differ(vec![MemberId(3)]),
            "of three voters"
        );
        assert_eq!(held(&[good(2), good(3), learns(bad(4, 6))]), Compared::Differ(vec![MemberId(4)]));
        let two_learn = [good(2), bad(3, 6), learns(bad(4, 6)), learns(bad(5, 6))];
        assert_eq!(held(&two_learn), Compared::Differ([3, 4, 5].map(MemberId).to_vec()), "they say nothing");
    }
}
