//! The one table from refusals to gRPC codes.
//!
//! Invariant: clients match on the text, which is the refusal's own; this table only adds the number, with
//! etcd's quirks (too many requests leaves etcd as `Unknown`, because its map points at the wrong value).
//! Does not know of metadata, HTTP or who asked.

use tonic::{Code, Status};

use crate::base::Refusal;

/// The gRPC code a refusal leaves with.
pub fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::EmptyKey
        | Refusal::KeyNotFound
        | Refusal::ValueProvided
        | Refusal::LeaseProvided
        | Refusal::TooManyOps
        | Refusal::DuplicateKey
        | Refusal::InvalidSortOption
        | Refusal::RequestTooLarge
        | Refusal::MemberBadUrls
        | Refusal::InvalidClientApiVersion
        | Refusal::UserEmpty
        | Refusal::RoleEmpty
        | Refusal::AuthFailed
        | Refusal::PermissionNotGiven
        | Refusal::InvalidAuthManagement
        | Refusal::AuthOldRevision
        | Refusal::WrongDowngradeVersion
        | Refusal::InvalidDowngradeTarget => Code::InvalidArgument,
        Refusal::Compacted | Refusal::FutureRevision | Refusal::LeaseTtlTooLarge => Code::OutOfRange,
        Refusal::NoSpace | Refusal::AnswerTooLarge => Code::ResourceExhausted,
        Refusal::LeaseNotFound | Refusal::MemberNotFound => Code::NotFound,
        Refusal::LeaseExists
        | Refusal::NotLeader
        | Refusal::MemberExists
        | Refusal::PeerUrlExists
        | Refusal::MemberNotLearner
        | Refusal::LearnerNotReady
        | Refusal::TooManyLearners
        | Refusal::BadTransferee
        | Refusal::NotSupportedForLearner
        | Refusal::RootUserNotExist
        | Refusal::RootRoleNotExist
        | Refusal::UserAlreadyExists
        | Refusal::UserNotFound
        | Refusal::RoleAlreadyExists
        | Refusal::RoleNotFound
        | Refusal::RoleNotGranted
        | Refusal::PermissionNotGranted
        | Refusal::AuthNotEnabled
        | Refusal::DowngradeInProgress => Code::FailedPrecondition,
        Refusal::PermissionDenied => Code::PermissionDenied,
        Refusal::InvalidAuthToken => Code::Unauthenticated,
        Refusal::TooManyRequests
        | Refusal::NotEnoughStarted
        | Refusal::TimeoutTransfer
        | Refusal::NoPasswordUser
        | Refusal::PasswordTooLong
        | Refusal::VerifyOnly
        | Refusal::Told(_) => Code::Unknown,
        Refusal::NoLeader
        | Refusal::LeaderChanged
        | Refusal::Stopped
        | Refusal::Timeout
        | Refusal::TimeoutLeaderFail
        | Refusal::TimeoutConnectionLost
        | Refusal::Unhealthy
        | Refusal::TimeoutWaitingForApply => Code::Unavailable,
        Refusal::Corrupt | Refusal::Damaged(_) => Code::DataLoss,
        Refusal::Canceled | Refusal::WatchCanceled => Code::Cancelled,
        Refusal::StreamSortUnsupported | Refusal::StreamFilterUnsupported | Refusal::Unimplemented(_) => {
            Code::Unimplemented
        }
    }
}

/// The status a refusal leaves with.
pub fn status_of(refusal: &Refusal) -> Status {
    Status::new(code_of(refusal), refusal.text())
}

/// The status of a request whose deadline passed while it was served.
pub fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("etcdserver: context deadline exceeded")
}

/// The name etcd's metrics give a code.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_texts_are_etcds() {
        let table = [
            (Refusal::EmptyKey, 3, "etcdserver: key is not provided"),
            (Refusal::KeyNotFound, 3, "etcdserver: key not found"),
            (Refusal::ValueProvided, 3, "etcdserver: value is provided"),
            (Refusal::LeaseProvided, 3, "etcdserver: lease is provided"),
            (Refusal::TooManyOps, 3, "etcdserver: too many operations in txn request"),
            (Refusal::DuplicateKey, 3, "etcdserver: duplicate key given in txn request"),
            (Refusal::InvalidClientApiVersion, 3, "etcdserver: invalid client api version"),
            (Refusal::InvalidSortOption, 3, "etcdserver: invalid sort option"),
            (Refusal::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
            (Refusal::FutureRevision, 11, "etcdserver: mvcc: required revision is a future revision"),
            (Refusal::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (Refusal::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (Refusal::LeaseExists, 9, "etcdserver: lease already exists"),
            (Refusal::LeaseTtlTooLarge, 11, "etcdserver: too large lease TTL"),
            (Refusal::WatchCanceled, 1, "etcdserver: watch canceled"),
            (Refusal::MemberNotFound, 5, "etcdserver: member not found"),
            (Refusal::MemberBadUrls, 3, "etcdserver: given member URLs are invalid"),
            (Refusal::BadTransferee, 9, "etcdserver: bad leader transferee"),
            (Refusal::RequestTooLarge, 3, "etcdserver: request is too large"),
            (Refusal::TooManyRequests, 2, "etcdserver: too many requests"),
            (Refusal::NoLeader, 14, "etcdserver: no leader"),
            (Refusal::NotLeader, 9, "etcdserver: not leader"),
            (Refusal::LeaderChanged, 14, "etcdserver: leader changed"),
            (Refusal::Stopped, 14, "etcdserver: server stopped"),
            (Refusal::Timeout, 14, "etcdserver: request timed out"),
            (
                Refusal::TimeoutWaitingForApply,
                14,
                "etcdserver: request timed out, waiting for the applied index took too long",
            ),
            (Refusal::Corrupt, 15, "etcdserver: corrupt cluster"),
            (Refusal::Canceled, 1, "etcdserver: request canceled"),
            (Refusal::StreamSortUnsupported, 12, "RangeStream does not support custom sort orders"),
            (Refusal::StreamFilterUnsupported, 12, "RangeStream does not support revision filters"),
            (Refusal::WrongDowngradeVersion, 3, "etcdserver: wrong downgrade target version format"),
            (Refusal::InvalidDowngradeTarget, 3, "etcdserver: invalid downgrade target version"),
            (Refusal::DowngradeInProgress, 9, "etcdserver: cluster has a downgrade job in progress"),
            (Refusal::RootUserNotExist, 9, "etcdserver: root user does not exist"),
            (Refusal::RootRoleNotExist, 9, "etcdserver: root user does not have root role"),
            (Refusal::UserAlreadyExists, 9, "etcdserver: user name already exists"),
            (Refusal::UserEmpty, 3, "etcdserver: user name is empty"),
            (Refusal::UserNotFound, 9, "etcdserver: user name not found"),
            (Refusal::RoleAlreadyExists, 9, "etcdserver: role name already exists"),
            (Refusal::RoleNotFound, 9, "etcdserver: role name not found"),
            (Refusal::RoleEmpty, 3, "etcdserver: role name is empty"),
            (Refusal::AuthFailed, 3, "etcdserver: authentication failed, invalid user ID or password"),
            (Refusal::NoPasswordUser, 2, "auth: authentication failed, password was given for no password user"),
            (Refusal::PermissionNotGiven, 3, "etcdserver: permission not given"),
            (Refusal::PermissionDenied, 7, "etcdserver: permission denied"),
            (Refusal::RoleNotGranted, 9, "etcdserver: role is not granted to the user"),
            (Refusal::PermissionNotGranted, 9, "etcdserver: permission is not granted to the role"),
            (Refusal::AuthNotEnabled, 9, "etcdserver: authentication is not enabled"),
            (Refusal::InvalidAuthToken, 16, "etcdserver: invalid auth token"),
            (Refusal::InvalidAuthManagement, 3, "etcdserver: invalid auth management"),
            (Refusal::AuthOldRevision, 3, "etcdserver: revision of auth store is old"),
            (Refusal::PasswordTooLong, 2, "bcrypt: password length exceeds 72 bytes"),
            (Refusal::VerifyOnly, 2, "auth: token signing attempted with verify-only key"),
            (Refusal::Unimplemented("x".into()), 12, "x"),
            (Refusal::Damaged("x".into()), 15, "x"),
        ];
        for (refusal, code, text) in table {
            let status = status_of(&refusal);
            assert_eq!((status.code() as i32, status.message()), (code, text), "{refusal:?}");
        }
        assert_eq!(deadline_exceeded().code() as i32, 4);
    }
}
