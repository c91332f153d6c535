//! The three kinds of wrong: a client is *refused*, the world is at *fault*, and a *bug* asserts.

use std::fmt;

/// A request that is turned down. The texts are etcd's own, because clients match on them; the gRPC code
/// belonging to each stands in one table in `api::status`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is its text, below")]
pub enum Refusal {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    TooManyOps,
    DuplicateKey,
    InvalidSortOption,
    Compacted,
    FutureRevision,
    NoSpace,
    LeaseNotFound,
    LeaseExists,
    LeaseTtlTooLarge,
    RequestTooLarge,
    AnswerTooLarge,
    TooManyRequests,
    MemberNotFound,
    MemberExists,
    PeerUrlExists,
    MemberNotLearner,
    LearnerNotReady,
    TooManyLearners,
    NotEnoughStarted,
    Unhealthy,
    BadTransferee,
    TimeoutTransfer,
    NotSupportedForLearner,
    MemberBadUrls,
    NoLeader,
    NotLeader,
    LeaderChanged,
    Stopped,
    Timeout,
    TimeoutLeaderFail,
    TimeoutConnectionLost,
    TimeoutWaitingForApply,
    Corrupt,
    Canceled,
    WatchCanceled,
    InvalidClientApiVersion,
    StreamSortUnsupported,
    StreamFilterUnsupported,
    RootUserNotExist,
    RootRoleNotExist,
    UserAlreadyExists,
    UserEmpty,
    UserNotFound,
    RoleAlreadyExists,
    RoleNotFound,
    RoleEmpty,
    AuthFailed,
    NoPasswordUser,
    PermissionNotGiven,
    PermissionDenied,
    RoleNotGranted,
    PermissionNotGranted,
    AuthNotEnabled,
    InvalidAuthToken,
    InvalidAuthManagement,
    AuthOldRevision,
    PasswordTooLong,
    VerifyOnly,
    WrongDowngradeVersion,
    InvalidDowngradeTarget,
    DowngradeInProgress,
    /// A method or form that is not built yet; the text names it.
    Unimplemented(String),
    /// What another member refused with, in words this version does not know.
    Told(String),
    /// Damage was found while reading for this request; the text names file and offset.
    Damaged(String),
}

/// What is said of a request whose entry is not applied in time.
const APPLIED_TOO_LATE: &str = "etcdserver: request timed out, waiting for the applied index took too long";

/// The words of etcd's gRPC library; no more is counted than shows that it is too large.
const TOO_LARGE: &str = "grpc: trying to send message larger than max (268435457 vs. 268435456)";

impl Refusal {
    /// The text a client sees.
    pub fn text(&self) -> &str {
        match self {
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOps => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::InvalidSortOption => "etcdserver: invalid sort option",
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Self::NoSpace => "etcdserver: mvcc: database space exceeded",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExists => "etcdserver: lease already exists",
            Self::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            Self::RequestTooLarge => "etcdserver: request is too large",
            Self::AnswerTooLarge => TOO_LARGE,
            Self::TooManyRequests => "etcdserver: too many requests",
            Self::MemberNotFound => "etcdserver: member not found",
            Self::MemberExists => "etcdserver: member ID already exist",
            Self::PeerUrlExists => "etcdserver: Peer URLs already exists",
            Self::MemberNotLearner => "etcdserver: can only promote a learner member",
            Self::LearnerNotReady => "etcdserver: can only promote a learner member which is in sync with leader",
            Self::TooManyLearners => "etcdserver: too many learner members in cluster",
            Self::NotEnoughStarted => "etcdserver: re-configuration failed due to not enough started members",
            Self::Unhealthy => "etcdserver: unhealthy cluster",
            Self::BadTransferee => "etcdserver: bad leader transferee",
            Self::TimeoutTransfer => "etcdserver: request timed out, leader transfer took too long",
            Self::NotSupportedForLearner => "etcdserver: rpc not supported for learner",
            Self::MemberBadUrls => "etcdserver: given member URLs are invalid",
            Self::NoLeader => "etcdserver: no leader",
            Self::NotLeader => "etcdserver: not leader",
            Self::LeaderChanged => "etcdserver: leader changed",
            Self::Stopped => "etcdserver: server stopped",
            Self::Timeout => "etcdserver: request timed out",
            Self::TimeoutLeaderFail => "etcdserver: request timed out, possibly due to previous leader failure",
            Self::TimeoutConnectionLost => "etcdserver: request timed out, possibly due to connection lost",
            Self::WrongDowngradeVersion => "etcdserver: wrong downgrade target version format",
            Self::InvalidDowngradeTarget => "etcdserver: invalid downgrade target version",
            Self::DowngradeInProgress => "etcdserver: cluster has a downgrade job in progress",
            Self::TimeoutWaitingForApply => APPLIED_TOO_LATE,
            Self::Corrupt => "etcdserver: corrupt cluster",
            Self::Canceled => "etcdserver: request canceled",
            Self::WatchCanceled => "etcdserver: watch canceled",
            Self::InvalidClientApiVersion => "etcdserver: invalid client api version",
            Self::StreamSortUnsupported => "RangeStream does not support custom sort orders",
            Self::StreamFilterUnsupported => "RangeStream does not support revision filters",
            Self::RootUserNotExist => "etcdserver: root user does not exist",
            Self::RootRoleNotExist => "etcdserver: root user does not have root role",
            Self::UserAlreadyExists => "etcdserver: user name already exists",
            Self::UserEmpty => "etcdserver: user name is empty",
            Self::UserNotFound => "etcdserver: user name not found",
            Self::RoleAlreadyExists => "etcdserver: role name already exists",
            Self::RoleNotFound => "etcdserver: role name not found",
            Self::RoleEmpty => "etcdserver: role name is empty",
            Self::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
            Self::NoPasswordUser => "auth: authentication failed, password was given for no password user",
            Self::PermissionNotGiven => "etcdserver: permission not given",
            Self::PermissionDenied => "etcdserver: permission denied",
            Self::RoleNotGranted => "etcdserver: role is not granted to the user",
            Self::PermissionNotGranted => "etcdserver: permission is not granted to the role",
            Self::AuthNotEnabled => "etcdserver: authentication is not enabled",
            Self::InvalidAuthToken => "etcdserver: invalid auth token",
            Self::InvalidAuthManagement => "etcdserver: invalid auth management",
            Self::AuthOldRevision => "etcdserver: revision of auth store is old",
            Self::PasswordTooLong => "bcrypt: password length exceeds 72 bytes",
            Self::VerifyOnly => "auth: token signing attempted with verify-only key",
            Self::Unimplemented(text) | Self::Told(text) | Self::Damaged(text) => text,
        }
    }
}

impl Refusal {
    /// The refusal with this text, as another member told it; one this version does not know keeps its text.
    pub fn from_text(text: &str) -> Self {
        let known = [
            Self::EmptyKey,
            Self::KeyNotFound,
            Self::ValueProvided,
            Self::LeaseProvided,
            Self::TooManyOps,
            Self::DuplicateKey,
            Self::InvalidSortOption,
            Self::Compacted,
            Self::FutureRevision,
            Self::NoSpace,
            Self::LeaseNotFound,
            Self::LeaseExists,
            Self::LeaseTtlTooLarge,
            Self::RequestTooLarge,
            Self::TooManyRequests,
            Self::MemberNotFound,
            Self::MemberExists,
            Self::MemberBadUrls,
            Self::PeerUrlExists,
            Self::MemberNotLearner,
            Self::LearnerNotReady,
            Self::TooManyLearners,
            Self::NotEnoughStarted,
            Self::Unhealthy,
            Self::BadTransferee,
            Self::TimeoutTransfer,
            Self::NotSupportedForLearner,
            Self::NoLeader,
            Self::NotLeader,
            Self::LeaderChanged,
            Self::Stopped,
            Self::Timeout,
            Self::TimeoutLeaderFail,
            Self::TimeoutConnectionLost,
            Self::TimeoutWaitingForApply,
            Self::Corrupt,
            Self::Canceled,
            Self::WatchCanceled,
            Self::InvalidClientApiVersion,
            Self::StreamSortUnsupported,
            Self::StreamFilterUnsupported,
            Self::RootUserNotExist,
            Self::RootRoleNotExist,
            Self::UserAlreadyExists,
            Self::UserEmpty,
            Self::UserNotFound,
            Self::RoleAlreadyExists,
            Self::RoleNotFound,
            Self::RoleEmpty,
            Self::AuthFailed,
            Self::NoPasswordUser,
            Self::PermissionNotGiven,
            Self::PermissionDenied,
            Self::RoleNotGranted,
            Self::PermissionNotGranted,
            Self::AuthNotEnabled,
            Self::InvalidAuthToken,
            Self::InvalidAuthManagement,
            Self::AuthOldRevision,
            Self::PasswordTooLong,
            Self::VerifyOnly,
            Self::WrongDowngradeVersion,
            Self::InvalidDowngradeTarget,
            Self::DowngradeInProgress,
        ];
        known.into_iter().find(|refusal| refusal.text() == text).unwrap_or_else(|| Self::Told(text.to_string()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}

/// What a system says where a device fails: `EIO`, 5 on every Unix.
#[cfg(not(target_os = "linux"))]
const OF_DEVICE: [i32; 1] = [5];

/// What Linux says where a device fails: `EIO`, and by the way in which it does `ENODATA` (a medium that cannot be read), `ENOLINK`,
/// `EILSEQ`, `ETIMEDOUT` and `EREMOTEIO`; and of a damaged directory, or a damaged place of a file, `EBADMSG` (a checksum) and
/// `EUCLEAN` (ext4, XFS, btrfs, f2fs).
#[cfg(target_os = "linux")]
const OF_DEVICE: [i32; 8] = [5, 61, 67, 74, 84, 110, 117, 121];

/// The world did not do what it was asked: a disk call failed. Never retried where it guards durability.
#[derive(Debug)]
pub struct Fault {
    /// What was being done: `open`, `read`, `write`, `sync`, ...
    pub doing: &'static str,
    /// The file or directory, relative to the data directory.
    pub path: String,
    /// The system's own words.
    pub source: std::io::Error,
}

/// EMFILE and ENFILE, on every system this runs on: the process, or the system, has no descriptor left.
const TOO_MANY_OPEN: [i32; 2] = [24, 23];

impl Fault {
    /// A fault with its circumstances.
    pub fn new(doing: &'static str, path: impl Into<String>, source: std::io::Error) -> Self {
        Self { doing, path: path.into(), source }
    }

    /// Whether there is no room now for what was to be written: the disk is full, or the quota of the file system is reached, or
    /// what the process may write to one file, or open; or the system has no memory for it.
    pub fn is_no_space(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory | WouldBlock)
            || self.source.raw_os_error().is_some_and(|number| TOO_MANY_OPEN.contains(&number))
    }

    /// Whether the device could not do it, or the file system finds its own account of where things lie damaged: of a read, that
    /// what lies there cannot be had.
    pub fn is_of_device(&self) -> bool {
        self.source.raw_os_error().is_some_and(|number| OF_DEVICE.contains(&number))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.path, self.source)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Stored bytes are not what was written. Names the place, so that an operator can look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corruption {
    /// The file, relative to the data directory.
    pub file: String,
    /// Offset of the damaged record, in bytes.
    pub offset: u64,
    /// What does not hold.
    pub what: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at offset {}: {}", self.file, self.offset, self.what)
    }
}

impl std::error::Error for Corruption {}

/// Anything that can go wrong below the porch and is not a client's doing.
#[derive(Debug)]
pub enum Wrong {
    /// The world is at fault.
    Fault(Fault),
    /// Stored bytes are damaged.
    Corruption(Corruption),
}

impl Wrong {
    /// Damage at a place.
    pub fn corrupt(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corruption(Corruption { file: file.into(), offset, what: what.into() })
    }

    /// Asks once more where the device failed: what fails once may be a hiccup.
    ///
    /// # Errors
    /// As `once`.
    pub fn unless_twice<T>(mut once: impl FnMut() -> Result<T, Self>) -> Result<T, Self> {
        once().or_else(|wrong| if wrong.is_of_device() { once() } else { Err(wrong) })
    }

    /// A fault of the device ([`Fault::is_of_device`]).
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_of_device())
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Corruption> for Wrong {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(corruption)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Corruption(corruption) => corruption.fmt(f),
        }
    }
}

impl std::error::Error for Wrong {}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    /// A member of several takes from the others what its disk cannot give; a file that is not there, or a process that may not
    /// open more of them, is another matter.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_damaged_file_system_says_is_of_the_device() {
        let is = |number| Fault::new("open", "history/1", Error::from_raw_os_error(number)).is_of_device();
        for number in [5, 61, 67, 74, 84, 110, 117, 121] {
            assert!(is(number), "{}", Error::from_raw_os_error(number));
        }
        for number in [1, 2, 11, 12, 13, 22, 23, 24, 28, 30, 122] {
            assert!(!is(number), "{}", Error::from_raw_os_error(number));
        }
    }
}
