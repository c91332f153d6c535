//! What the small buckets of a database say, of etcd 3.4 to 3.7 or written here.
//!
//! Invariant: a form of the future is refused, and so is what no member of etcd writes; what earlier versions did not write is
//! absent, not guessed.

use std::io::{Error, ErrorKind};

use bytes::Bytes;
use prost::Message;

use super::buckets as names;
use super::content::{AlarmEntry, CORRUPT, LeaseEntry, NO_SPACE};
use super::entry::read_revision;
use super::versions::{NEWEST, parse};
use crate::auth::Auth;
use crate::base::limits::MAX_LEASE_TTL_SECONDS;
use crate::base::{Fault, LogIndex, MemberId, Term, Wrong};
use crate::bbolt::{Database, Seen, Source};
use crate::machine::{AlarmKind, LeaseImage, Member, auth_of_records};

/// A database's small buckets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Foreign {
    /// The last entry applied; its term is 0 where an earlier version than 3.5 wrote it.
    pub applied: (LogIndex, Term),
    /// The compact revision; −1 is never. A compaction that was begun counts: etcd takes it to its end when it starts.
    pub compacted: i64,
    /// The leases.
    pub leases: Vec<LeaseImage>,
    /// The members; learners among them.
    pub members: Vec<Member>,
    /// Ids of members that were removed.
    pub removed: Vec<MemberId>,
    /// The alarms that stand.
    pub alarms: Vec<(MemberId, AlarmKind)>,
    /// The version agreed on; since 3.5.
    pub cluster_version: Option<String>,
    /// The version the cluster is to go down to, while it is; since 3.5.
    pub downgrade: Option<String>,
    /// The version of the form; since 3.6.
    pub storage_version: Option<String>,
    /// Users and roles.
    pub auth: Auth,
}

impl Foreign {
    /// Reads them from `database`, which errors call `name`.
    pub fn read<S: Source>(database: &Database<S>, name: &str, seen: &mut Seen) -> Result<Self, Wrong> {
        if !database.buckets().any(|bucket| bucket[..] == *names::META) {
            let what = "it is no database of etcd, or not a whole one: it has no bucket meta";
            return Err(Wrong::corrupt(name, 0, what));
        }
        let mut foreign = Self { compacted: -1, ..Self::default() };
        let mut each = |bucket: &[u8], take: &mut dyn FnMut(&Bytes, Bytes) -> Result<(), String>| {
            let mut walk = database.walk(bucket, seen);
            while let Some((key, value)) = walk.next_entry()? {
                take(&key, value)
                    .map_err(|what| walk.damaged(format!("bucket {}: {what}", String::from_utf8_lossy(bucket))))?;
            }
            Ok::<(), Wrong>(())
        };
        each(names::META, &mut |key, value| foreign.take_meta(key, &value))?;
        check_known(foreign.storage_version.as_deref(), name)?;
        each(names::LEASE, &mut |key, value| foreign.take_lease(key, value))?;
        each(names::MEMBERS, &mut |key, value| foreign.take_member(key, &value))?;
        each(names::MEMBERS_REMOVED, &mut |key, _| {
            foreign.removed.push(id_of(key)?);
            Ok(())
        })?;
        each(names::ALARM, &mut |key, _| foreign.take_alarm(key))?;
        each(names::CLUSTER, &mut |key, value| {
            if key[..] == *names::CLUSTER_VERSION {
                foreign.cluster_version = Some(text(&value)?);
            }
            if key[..] == *names::DOWNGRADE {
                foreign.downgrade = downgrade(&text(&value)?)?;
            }
            Ok(())
        })?;
        let (mut is_enabled, mut revision, mut users, mut roles) = (false, None, Vec::new(), Vec::new());
        each(names::AUTH, &mut |key, value| {
            is_enabled |= key[..] == *names::AUTH_ENABLED && value[..] == [1];
            if key[..] == *names::AUTH_REVISION {
                let number = value[..].try_into().map_err(|_| "the revision is no number".to_string())?;
                revision = Some(u64::from_be_bytes(number));
            }
            Ok(())
        })?;
        for (bucket, records) in [(names::AUTH_USERS, &mut users), (names::AUTH_ROLES, &mut roles)] {
            each(bucket, &mut |key, value| {
                records.push((key.to_vec(), value.to_vec()));
                Ok(())
            })?;
        }
        // etcd counts from 1.
        foreign.auth = auth_of_records(is_enabled, revision.unwrap_or(1).max(1), &users, &roles)
            .map_err(|what| Wrong::corrupt(name, 0, format!("users and roles: {what}")))?;
        Ok(foreign)
    }

    fn take_meta(&mut self, key: &[u8], value: &Bytes) -> Result<(), String> {
        let number = || -> Result<u64, String> {
            let bytes = value[..].try_into().map_err(|_| format!("{} is no number", String::from_utf8_lossy(key)))?;
            Ok(u64::from_be_bytes(bytes))
        };
        match key {
            names::CONSISTENT_INDEX => self.applied.0 = number()?,
            names::TERM => self.applied.1 = number()?,
            names::SCHEDULED_COMPACTION | names::FINISHED_COMPACTION => {
                let (main, _) = read_revision(value).ok_or("a compact revision is no revision")?;
                if main < 0 {
                    return Err(format!("it was compacted at {main}"));
                }
                // etcd writes a revision of 0 nowhere, and takes it for never.
                self.compacted = self.compacted.max(if main == 0 { -1 } else { main });
            }
            names::STORAGE_VERSION => {
                let version = text(value)?;
                parse(&version).ok_or_else(|| format!("{version:?} is no version"))?;
                self.storage_version = Some(version);
            }
            // Who votes follows from the members; what later versions add is theirs.
            _ => {}
        }
        Ok(())
    }

    fn take_lease(&mut self, key: &[u8], value: Bytes) -> Result<(), String> {
        let lease = LeaseEntry::decode(value).map_err(|error| error.to_string())?;
        if lease.id == 0 || key != lease.id.to_be_bytes() || lease.remaining < 0 {
            return Err(format!("lease {:x} contradicts itself", lease.id));
        }
        if lease.ttl > MAX_LEASE_TTL_SECONDS {
            return Err(format!("lease {:x} is of {} seconds, and none can be", lease.id, lease.ttl));
        }
        self.leases.push(LeaseImage { id: lease.id, ttl: lease.ttl, remaining: lease.remaining, granted_at: 0 });
        Ok(())
    }

    fn take_member(&mut self, key: &[u8], value: &Bytes) -> Result<(), String> {
        let member = Member::from_context(value)?;
        if member.id != id_of(key)? {
            return Err(format!("member {} stands under another id", member.id));
        }
        self.members.push(member);
        Ok(())
    }

    fn take_alarm(&mut self, key: &Bytes) -> Result<(), String> {
        let alarm = AlarmEntry::decode(key.clone()).map_err(|error| error.to_string())?;
        let kind = match alarm.kind {
            NO_SPACE => AlarmKind::NoSpace,
            CORRUPT => AlarmKind::Corrupt,
            other => return Err(format!("alarm {other} is not known")),
        };
        self.alarms.push((MemberId(alarm.member), kind));
        Ok(())
    }
}

/// Refuses a database of a version that is not known here: it may be sound, and hold what would be lost.
fn check_known(version: Option<&str>, name: &str) -> Result<(), Wrong> {
    let Some(version) = version.filter(|version| parse(version).is_some_and(|number| number > NEWEST)) else {
        return Ok(());
    };
    let text = format!("the database is of version {version}, and forms up to {}.{} are known", NEWEST.0, NEWEST.1);
    Err(Fault::new("read", name, Error::new(ErrorKind::Unsupported, text)).into())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a version is no text".to_string())
}

/// The target of a downgrade that is under way, from etcd's JSON of two fields.
fn downgrade(json: &str) -> Result<Option<String>, String> {
    let parts: Vec<&str> = json.split('"').collect();
    let target = parts.windows(3).find(|part| part[0] == "target-version" && part[1] == ":").map(|part| part[2]);
    let enabled = json.replace(' ', "").contains("\"enabled\":true");
    match target {
        _ if !enabled => Ok(None),
        Some(target) => Ok(Some(target.to_string())),
        None => Err(format!("a downgrade without a target: {json}")),
    }
}

fn id_of(key: &[u8]) -> Result<MemberId, String> {
    let id = std::str::from_utf8(key).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    id.map(MemberId).ok_or_else(|| format!("{key:?} is no member's id"))
}
