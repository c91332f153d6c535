//! Applying: one log entry, one step.

use std::sync::Arc;

use bytes::Bytes;

use super::alarms::Alarms;
use super::carrying::{Carried, Grounds, Rest, Told, UnderWay};
use super::codec::{self, Proposal};
use super::command::{AlarmAction, AlarmKind, Answer, Applied, Command, Expiry, Put, Remainder};
use super::cost::put_cost;
use super::digest::{RunningDigest, Shared};
use super::image::{Image, State};
use super::members::{Member, MemberChange, Members};
use super::permission;
use super::slice::Slice;
use super::txn::Writer;
use crate::auth::{Access, Asker, Auth, AuthCommand};
use crate::base::{Corruption, Event, LeaseId, LogIndex, MemberId, Refusal, Term, Wrong};
use crate::env::Disk;
use crate::lease::{Lease, LeaseTable};
use crate::mvcc::{Half, Loading, Retained, SnapshotSource, Store, StoreOptions, StorePosition, WantsPrev};
use crate::wal::WalIdentity;

/// What applying one entry did, for the node.
#[derive(Debug)]
pub struct Outcome {
    /// The proposal the entry carried, if it carried one.
    pub proposal: Option<Proposal>,
    /// What came of it.
    pub applied: Applied,
}

/// What came of a slice of an entry.
#[derive(Debug)]
pub struct Progress {
    /// Keys changed by it, and compared ([`Slice::made`]).
    pub changes: usize,
    /// Bytes of values read from the history's files because they are compared, or somebody wants to know what there was before.
    pub read: usize,
    /// What applying the entry did, once it is done. An entry may also not be begun ([`Machine::is_under_way`]), because it fits
    /// into a whole slice ([`Slice::rest_of`]).
    pub outcome: Option<Outcome>,
}

/// What a machine shows of itself at one moment, to be written down elsewhere.
pub struct Shown<D: Disk> {
    /// What members share beside the data.
    pub state: State,
    /// The data.
    pub records: Retained<D>,
}

/// The replicated state. See the room's head for the invariants.
pub struct Machine<D: Disk> {
    store: Store<D>,
    leases: LeaseTable,
    members: Members,
    alarms: Alarms,
    cluster_version: Option<String>,
    downgrade: Option<String>,
    applied: (LogIndex, Term),
    digest: RunningDigest,
    identity: WalIdentity,
    auth: Arc<Auth>,
    /// The entry behind `applied`, where it was begun.
    under_way: Option<Box<UnderWay<D>>>,
}

impl<D: Disk> Machine<D> {
    /// Takes up the state an image describes; an empty image is a new cluster's beginning. The files of the
    /// images `kept` beside it stay.
    pub fn open(disk: D, options: StoreOptions, image: &Image, kept: &[&Image]) -> Result<Self, Wrong> {
        let mut machine = Self::load(disk.clone(), options, image, kept)?;
        machine.tidy_files(&disk, image, kept, None)?;
        Ok(machine)
    }

    /// The first half of [`Self::open`]: reads all of the history and changes nothing. It may run beside a machine that
    /// goes on, for [`Self::replace`].
    pub fn load(disk: D, options: StoreOptions, image: &Image, kept: &[&Image]) -> Result<Self, Wrong> {
        let store = Store::load(disk, options, &image.position, &positions(kept))?;
        Self::around(store, image)
    }

    /// As [`Self::load`], step by step: the store's part of it, which [`Self::loaded`] is given at its end.
    pub fn loading(disk: D, options: StoreOptions, image: &Image, kept: &[&Image]) -> Result<Loading<D>, Wrong> {
        Store::loading(disk, options, &image.position, &positions(kept))
    }

    /// The machine of `image`, of which all is read.
    pub fn loaded(store: Loading<D>, image: &Image) -> Result<Self, Wrong> {
        Self::around(store.finish(), image)
    }

    /// The second half of [`Self::open`], with the same images: removes and cuts what they do not name, and no `half` has.
    pub fn tidy_files(&mut self, disk: &D, image: &Image, kept: &[&Image], half: Option<&Half>) -> Result<(), Wrong> {
        self.store.tidy_files(disk, &image.position, &positions(kept), half)
    }

    /// Outlines of the history that could not be used when it was loaded.
    pub fn unusable_outlines(&self) -> &[Corruption] {
        self.store.unusable_outlines()
    }

    /// Puts `next`, [loaded](Self::load) beside this one, in this one's place: data, leases, members, alarms, version and
    /// applied index in one move. Answers with what was, for the caller to drop where it may take time.
    ///
    /// # Panics
    /// If that would go back.
    pub fn replace(&mut self, mut next: Self) -> Self {
        assert!(next.applied.0 > self.applied.0, "an installed snapshot is ahead of what is applied");
        assert!(next.store.revision() >= self.store.revision(), "revisions never go back");
        next.store.take_place_of(&self.store, true);
        std::mem::replace(self, next)
    }

    /// Whether [`Self::replace`] would not let revisions fall. Where it would, this state is not what the log makes: it has
    /// revisions that those who are further do not have.
    pub fn may_go_before(&self, next: &Self) -> bool {
        next.store.revision() >= self.store.revision()
    }

    /// As [`Self::replace`], for a state that was damaged or wrong: `next` may be of the same index, and what the one before
    /// said of revisions is not believed.
    ///
    /// # Panics
    /// If that would go back.
    pub fn rebuild_from(&mut self, mut next: Self) -> Self {
        assert!(next.applied.0 >= self.applied.0, "a state that is put in place never goes back");
        next.store.take_place_of(&self.store, false);
        std::mem::replace(self, next)
    }

    /// Passes over an ordinary entry, whose effect [`Self::rebuild_from`] brings: this state is about to go, and what was begun
    /// of the entry with it.
    pub fn pass_over(&mut self, index: LogIndex, term: Term) {
        self.under_way = None;
        self.advance(index, term);
    }

    fn around(store: Store<D>, image: &Image) -> Result<Self, Wrong> {
        let state = &image.state;
        let mut leases = LeaseTable::new();
        for lease in &state.leases {
            leases
                .grant(lease.id, lease.ttl, lease.granted_at)
                .map_err(|refusal| Wrong::corrupt("checkpoint", 0, format!("lease {:x}: {refusal}", lease.id)))?;
            leases.checkpoint(lease.id, lease.remaining);
        }
        // Also of leases that are not there: what came of etcd's files may have lost some (`LeaseTable::restore`).
        for (key, lease) in store.leased_keys() {
            leases.restore(lease, &key);
        }
        let mut alarms = Alarms::default();
        for (member, kind) in &state.alarms {
            alarms.activate(*member, *kind);
        }
        Ok(Self {
            store,
            leases,
            members: Members::restore(state.members.iter().cloned(), state.removed.iter().copied()),
            alarms,
            cluster_version: state.cluster_version.clone(),
            downgrade: state.downgrade.clone(),
            applied: state.applied,
            digest: RunningDigest::resume(state.digest, state.applied.0),
            identity: image.identity,
            auth: state.auth.clone(),
            under_way: None,
        })
    }

    /// What all members hold alike at this applied index, beside the data.
    pub fn state(&self) -> State {
        State {
            applied: self.applied,
            members: self.members.list(),
            removed: self.members.removed(),
            alarms: self.alarms.list(),
            cluster_version: self.cluster_version.clone(),
            downgrade: self.downgrade.clone(),
            leases: self.leases.iter().map(|(id, lease)| super::image::LeaseImage::new(id, lease)).collect(),
            revision: self.store.revision(),
            compact_revision: self.store.compact_revision(),
            digest: self.digest.now(),
            auth: self.auth.clone(),
        }
    }

    /// Everything there is at this applied index.
    pub fn show(&self) -> Shown<D> {
        Shown { state: self.state(), records: self.store.retained() }
    }

    /// Everything a checkpoint must hold beside the history up to its position.
    pub fn image(&self) -> Image {
        Image { identity: self.identity, state: self.state(), position: self.store.position() }
    }

    /// All there is, for another member.
    pub fn snapshot(&self, chunk_bytes: usize) -> SnapshotSource<D> {
        self.store.snapshot(self.applied.0, self.state().encode(), chunk_bytes)
    }

    /// Applies an ordinary entry. `wants_prev` says of which keys that are changed what they held before
    /// is loaded, for the watchers; it does not touch the state. A payload no member can have written is damage.
    pub fn apply(
        &mut self,
        index: LogIndex,
        term: Term,
        payload: &Bytes,
        wants_prev: WantsPrev<'_>,
    ) -> Result<Outcome, Wrong> {
        let progress = self.apply_some((index, term), payload, &Told::all(wants_prev), Slice::WHOLE)?;
        Ok(progress.outcome.expect("all of it was to be done"))
    }

    /// As [`Self::apply`], but no more of it than `slice`. Where it is not done, it is to be called again with the same entry,
    /// and until then everything stands as before it.
    pub fn apply_some(
        &mut self,
        entry: (LogIndex, Term),
        payload: &Bytes,
        told: &Told<'_>,
        mut slice: Slice,
    ) -> Result<Progress, Wrong> {
        let before = (self.applied, self.digest.word());
        self.advance(entry.0, entry.1);
        let (proposal, rest, so_far) = match self.under_way.take() {
            None => (decode(entry.0, payload)?, None, None),
            Some(under_way) => {
                let UnderWay { entry: begun, proposal, digest, told, shown, rest } = *under_way;
                assert_eq!(begun, entry, "what was begun is gone on with");
                self.digest.set_word(digest);
                (Some(proposal), Some(rest), Some((shown, told)))
            }
        };
        let mut events = Vec::new();
        let carried = match &proposal {
            None => Carried::Done(Ok(Answer::Done)),
            Some(Proposal { command: Ok(command), asker, .. }) => {
                let upto = (&mut slice, &mut events);
                self.perform(command, (asker.as_ref(), rest), payload.len(), told, upto)?
            }
            Some(Proposal { command: Err(refusal), .. }) => Carried::Done(Err(refusal.clone())),
        };
        let mut progress = Progress { changes: slice.made(), read: slice.read(), outcome: None };
        let answer = match carried {
            Carried::Done(answer) => answer,
            Carried::Waits => {
                self.stand_at(before);
                return Ok(progress);
            }
            Carried::Paused(rest) => {
                self.digest.events(&events);
                let (shown, mut kept) = so_far.unwrap_or_default();
                let more = events.len();
                told.keep(shown, events, &mut kept);
                let proposal = proposal.expect("what is carried out was proposed");
                let (digest, shown) = (self.digest.word(), shown + more);
                self.under_way = Some(Box::new(UnderWay { entry, proposal, digest, told: kept, shown, rest }));
                self.stand_at(before);
                return Ok(progress);
            }
        };
        let command = proposal.as_ref().and_then(|proposal| proposal.command.as_ref().ok());
        self.digest_entry(command, &answer, &events);
        if let Some((shown, mut kept)) = so_far {
            told.keep(shown, std::mem::take(&mut events), &mut kept);
            events = kept;
        }
        let digest = self.digest.now();
        let applied = Applied { answer, revision: self.store.revision(), events, digest };
        progress.outcome = Some(Outcome { proposal, applied });
        Ok(progress)
    }

    /// Stands as it did before an entry that is not done.
    fn stand_at(&mut self, (applied, digest): ((LogIndex, Term), u64)) {
        self.applied = applied;
        self.digest.set_word(digest);
    }

    /// Applies an entry that changes who belongs to the cluster; refused where it is impossible, and then nothing
    /// changes but the applied index.
    pub fn change_member(&mut self, index: LogIndex, term: Term, change: MemberChange) -> Result<(), Refusal> {
        assert!(self.under_way.is_none(), "what was begun is done first");
        self.advance(index, term);
        let checked = self.members.check(&change);
        match &checked {
            Ok(()) => self.members.change(change),
            Err(refusal) => self.digest.refused(refusal),
        }
        self.digest.members(&self.members);
        self.digest.end(index);
        checked
    }

    /// Whether a change would be possible now.
    pub fn check_change(&self, change: &MemberChange) -> Result<(), Refusal> {
        self.members.check(change)
    }

    /// Applies an entry that founds the cluster, or a change whose member is known already: it is described anew.
    pub fn found_member(&mut self, index: LogIndex, term: Term, member: Member) {
        assert!(self.under_way.is_none(), "what was begun is done first");
        self.advance(index, term);
        self.members.add(member);
        self.digest.members(&self.members);
        self.digest.end(index);
    }

    fn advance(&mut self, index: LogIndex, term: Term) {
        assert_eq!(index, self.applied.0 + 1, "entries are applied in order without a gap");
        assert!(term >= self.applied.1, "terms never go back along the log");
        self.applied = (index, term);
        self.digest.begin(index, term);
    }

    /// Folds what the entry under way did.
    fn digest_entry(&mut self, command: Option<&Command>, answer: &Result<Answer, Refusal>, events: &[Event]) {
        match (command, answer) {
            (_, Err(refusal)) => self.digest.refused(refusal),
            (None, Ok(_)) => {}
            (Some(command), Ok(answer)) => {
                self.digest.events(events);
                let shared = Shared {
                    leases: &self.leases,
                    members: &self.members,
                    alarms: &self.alarms,
                    compact_revision: self.store.compact_revision(),
                    auth: &self.auth,
                };
                self.digest.answered(command, answer, &shared);
            }
        }
        self.digest.end(self.applied.0);
    }

    fn perform(
        &mut self,
        command: &Command,
        (asker, rest): (Option<&Asker>, Option<Box<Rest<D>>>),
        backing_bytes: usize,
        told: &Told<'_>,
        (slice, events): (&mut Slice, &mut Vec<Event>),
    ) -> Result<Carried<D>, Wrong> {
        if rest.is_some() {
            return self.grounds().carry_out(command, rest, backing_bytes, told, (slice, events));
        }
        if let Command::LeaseRevoke { id, expiry: Some(expiry) } = command
            && !self.has_expired(*id, expiry)
        {
            return Ok(Carried::Done(Err(Refusal::LeaseNotFound)));
        }
        // Alarms first, as in etcd.
        let may = self.permitted(command).and_then(|()| permission::check(&self.auth, &self.leases, asker, command));
        if let Err(refusal) = may {
            return Ok(Carried::Done(Err(refusal)));
        }
        Ok(Carried::Done(match command {
            Command::Put(put) => {
                slice.changed(1);
                self.put(put, backing_bytes, told.wants_prev, (slice, events))?
            }
            Command::DeleteRange(_) | Command::Txn(_) | Command::LeaseRevoke { .. } => {
                return self.grounds().carry_out(command, None, backing_bytes, told, (slice, events));
            }
            Command::Compact { revision, .. } => self.store.compact(*revision).map(|()| Answer::Compact),
            Command::LeaseGrant { id, ttl } => self.lease_grant(*id, *ttl),
            Command::LeaseCheckpoint { remainders, counted_in } => {
                self.lease_checkpoint(remainders, *counted_in);
                Ok(Answer::Done)
            }
            Command::Alarm { action, member, kind } => Ok(Answer::Alarm(match action {
                AlarmAction::Activate => self.alarms.activate(*member, *kind),
                AlarmAction::Deactivate => self.alarms.deactivate(*member, *kind),
            })),
            Command::SetMemberAttributes { member, name, client_urls } => {
                self.members.describe(*member, name.clone(), client_urls.clone());
                Ok(Answer::Done)
            }
            Command::SetClusterVersion(version) => {
                self.cluster_version = Some(version.clone());
                Ok(Answer::Done)
            }
            Command::SetDowngrade(target) => {
                self.downgrade.clone_from(target);
                Ok(Answer::Done)
            }
            Command::Auth(command) => self.change_auth(command),
        }))
    }

    fn grounds(&mut self) -> Grounds<'_, D> {
        Grounds { store: &mut self.store, leases: &mut self.leases }
    }

    fn change_auth(&mut self, command: &AuthCommand) -> Result<Answer, Refusal> {
        let change = self.auth.judge(command)?;
        if let AuthCommand::Authenticate { .. } = command {
            return Ok(Answer::Authenticated { auth_revision: self.auth.revision() });
        }
        // Others hold the table as it was: it is copied, which shares all that does not change.
        Arc::make_mut(&mut self.auth).change(change);
        Ok(Answer::Done)
    }

    /// What alarms forbid, decided in the log so that all members decide alike: damage forbids every change
    /// of data, a lack of space every change that needs more of it.
    fn permitted(&self, command: &Command) -> Result<(), Refusal> {
        let is_data = !matches!(
            command,
            Command::Alarm { .. }
                | Command::LeaseCheckpoint { .. }
                | Command::SetMemberAttributes { .. }
                | Command::SetClusterVersion(_)
                | Command::SetDowngrade(_)
                | Command::Auth(_)
        );
        if is_data && self.alarms.any(AlarmKind::Corrupt) {
            return Err(Refusal::Corrupt);
        }
        if put_cost(command) > 0 && self.alarms.any(AlarmKind::NoSpace) {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    /// Whether this log payload, applied now, may add to what is stored. One that deletes adds no more than a small record for
    /// each key that is there.
    pub fn would_put(&self, payload: &Bytes) -> bool {
        let command = codec::decode(payload).ok().flatten().and_then(|proposal| proposal.command.ok());
        command.is_some_and(|command| put_cost(&command) > 0 && self.permitted(&command).is_ok())
    }

    fn put(
        &mut self,
        put: &Put,
        backing_bytes: usize,
        wants_prev: WantsPrev<'_>,
        (slice, events): (&mut Slice, &mut Vec<Event>),
    ) -> Result<Result<Answer, Refusal>, Wrong> {
        let mut write = self.store.begin(wants_prev);
        let mut writer = Writer { write: &mut write, leases: &mut self.leases, backing_bytes };
        if let Err(refusal) = writer.check_put(put) {
            return Ok(Err(refusal));
        }
        let prev_kv = writer.put(put)?;
        slice.has_read(write.read_bytes());
        *events = write.commit();
        Ok(Ok(match prev_kv {
            Ok(prev_kv) => Answer::Put { prev_kv },
            Err(later) => Answer::Later(Box::new(Answer::Put { prev_kv: None }), later),
        }))
    }

    fn lease_grant(&mut self, id: LeaseId, ttl: i64) -> Result<Answer, Refusal> {
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        // The time is the proposer's: a bound of this member's flags here would make members, and replays, differ.
        self.leases.grant(id, ttl, self.applied.0)?;
        Ok(Answer::LeaseGrant { id, ttl })
    }

    /// Whether the entry under way may end the lease as expired: it is still the one that was named, and the entry is
    /// of the term whose leader named it.
    fn has_expired(&self, id: LeaseId, expiry: &Expiry) -> bool {
        let same = self.leases.get(id).is_some_and(|lease| lease.granted_at == expiry.granted_at);
        same && expiry.term == self.applied.1
    }

    /// What one term's leader counted is nothing in another term: it does not know of the renewals since.
    fn lease_checkpoint(&mut self, remainders: &[Remainder], counted_in: Option<Term>) {
        if counted_in.is_some_and(|term| term != self.applied.1) {
            return;
        }
        for it in remainders {
            let same = |lease: Lease| counted_in.is_none() || lease.granted_at == it.granted_at;
            if self.leases.get(it.id).is_some_and(same) {
                self.leases.checkpoint(it.id, it.seconds);
            }
        }
    }

    /// Whether an entry was begun and is not done: nothing else is applied before it is. A lease may have lost keys to it that
    /// are still to be seen.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether such an entry may hang keys on leases. Another only takes some off.
    pub fn hangs_keys_on(&self) -> bool {
        let command = self.under_way.as_ref().and_then(|under_way| under_way.proposal.command.as_ref().ok());
        command.is_some_and(|command| put_cost(command) > 0)
    }

    /// The last entry applied.
    pub fn applied(&self) -> (LogIndex, Term) {
        self.applied
    }

    /// The digest of everything the entries up to `index` did, equal on all members; nothing where `index` is not applied
    /// or too long ago, or this state comes from a version that kept none.
    pub fn digest_at(&self, index: LogIndex) -> Option<u64> {
        self.digest.at(index)
    }

    /// An index of now at which members can be compared in a while; `since` is what was applied when one was chosen before.
    pub fn lasting_index(&self, since: Option<LogIndex>) -> LogIndex {
        self.digest.lasting_index(since)
    }

    /// The data.
    pub fn store(&self) -> &Store<D> {
        &self.store
    }

    /// The data, for work that clients do not see: compacting, writing out, reclaiming.
    pub fn store_mut(&mut self) -> &mut Store<D> {
        &mut self.store
    }

    /// The leases.
    pub fn leases(&self) -> &LeaseTable {
        &self.leases
    }

    /// Users and roles.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Refuses an asker who may not access all the keys on a lease so.
    pub fn check_lease(&self, asker: Option<&Asker>, id: LeaseId, access: Access) -> Result<(), Refusal> {
        permission::check_lease(&self.auth, &self.leases, asker, id, access)
    }

    /// Refuses an asker who may not read all the keys on all leases.
    pub fn check_leases(&self, asker: Option<&Asker>) -> Result<(), Refusal> {
        self.leases.ids().try_for_each(|id| self.check_lease(asker, id, Access::Read))
    }

    /// The members, by id.
    pub fn members(&self) -> Vec<Member> {
        self.members.list()
    }

    /// Those who were members once.
    pub fn removed(&self) -> Vec<MemberId> {
        self.members.removed()
    }

    /// The alarms that stand, by member.
    pub fn alarms(&self) -> Vec<(MemberId, AlarmKind)> {
        self.alarms.list()
    }

    /// The version all members agreed to speak, once they have.
    pub fn cluster_version(&self) -> Option<&str> {
        self.cluster_version.as_deref()
    }

    /// The version the cluster is to go down to, while it is.
    pub fn downgrade(&self) -> Option<&str> {
        self.downgrade.as_deref()
    }
}

fn decode(index: LogIndex, payload: &Bytes) -> Result<Option<Proposal>, Wrong> {
    codec::decode(payload)
        .map_err(|wrong| Wrong::corrupt("wal", 0, format!("the payload of entry {index} cannot be read: {}", wrong.0)))
}

fn positions<'a>(images: &[&'a Image]) -> Vec<&'a StorePosition> {
    images.iter().map(|image| &image.position).collect()
}
