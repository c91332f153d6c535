//! What a leader of another make is asked in place of a [`Question`], and what its answers mean. Does not ask.

use bytes::Bytes;

use super::questions::{Question, Told};
use crate::base::Refusal;
use crate::machine::{LeaseTimes, etcd_peer};
use crate::node::LeaseStanding;
use crate::peer::EtcdQuestion;

/// The same question by one of etcd's paths; nothing where etcd has none.
pub(super) fn as_etcd(question: &Question) -> Option<EtcdQuestion> {
    match *question {
        Question::KeepAlive(id) => Some(EtcdQuestion::KeepAlive(etcd_peer::keep_alive_to_bytes(id))),
        Question::TimeToLive { id, keys } => Some(EtcdQuestion::TimeToLive(etcd_peer::time_to_live_to_bytes(id, keys))),
        Question::Promote { member, .. } => Some(EtcdQuestion::Promote(member)),
        Question::Digest(_) | Question::State | Question::Recollection { .. } | Question::Promises(_) => None,
    }
}

/// What the answer of another make's leader means.
pub(super) fn heard(question: &Question, status: u16, body: &Bytes) -> Result<Told, Refusal> {
    match (question, status) {
        (Question::KeepAlive(_), 200) => {
            etcd_peer::kept_alive_from_bytes(body).map(|ttl| Told::KeepAlive(Some(ttl))).ok_or(Refusal::NoLeader)
        }
        (Question::KeepAlive(_), 404) => Ok(Told::KeepAlive(None)),
        (Question::TimeToLive { .. }, 200) => {
            let LeaseTimes { ttl, granted_ttl, keys, .. } =
                etcd_peer::times_from_bytes(body).ok_or(Refusal::NoLeader)?;
            Ok(Told::TimeToLive(Some(LeaseStanding { granted_ttl, ttl, keys: keys.into_iter().collect() })))
        }
        (Question::TimeToLive { .. }, 404) => Ok(Told::TimeToLive(None)),
        (Question::Promote { .. }, 200) => Ok(Told::Done),
        (Question::Promote { .. }, 404) => Err(Refusal::MemberNotFound),
        (Question::Promote { .. }, 412) if body.starts_with(b"membership:") => Err(Refusal::MemberNotLearner),
        (Question::Promote { .. }, 412) => Err(Refusal::LearnerNotReady),
        // It leads no more, or not yet.
        _ => Err(Refusal::NotLeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;
    use crate::lease::KeySet;

    #[test]
    fn what_another_make_answers_is_understood() {
        let (kept, times) = (Question::KeepAlive(5), Question::TimeToLive { id: 5, keys: false });
        let promoted = Question::Promote { member: MemberId(5), id: 7 };
        let standing = LeaseStanding { granted_ttl: 100, ttl: 99, keys: KeySet::default() };
        for (question, status, body, told) in [
            (&kept, 200, &b"\x10\x05\x18\x64"[..], Ok(Told::KeepAlive(Some(100)))),
            (&kept, 404, b"lease not found\n", Ok(Told::KeepAlive(None))),
            (&kept, 400, b"not a primary lessor\n", Err(Refusal::NotLeader)),
            (&times, 200, b"\x0a\x08\x0a\x00\x10\x05\x18\x63\x20\x64", Ok(Told::TimeToLive(Some(standing)))),
            (&times, 404, b"lease not found\n", Ok(Told::TimeToLive(None))),
            (&times, 500, b"not a primary lessor\n", Err(Refusal::NotLeader)),
            (&promoted, 200, b"[]\n", Ok(Told::Done)),
            (&promoted, 404, b"membership: ID not found\n", Err(Refusal::MemberNotFound)),
            (&promoted, 412, b"membership: can only promote a learner member\n", Err(Refusal::MemberNotLearner)),
            (&promoted, 412, b"etcdserver: can only promote a learner\n", Err(Refusal::LearnerNotReady)),
            (&promoted, 500, b"{}", Err(Refusal::NotLeader)),
        ] {
            let heard = heard(question, status, &Bytes::from_static(body));
            assert_eq!(heard, told, "{question:?} {status}");
            assert!(as_etcd(question).is_some());
        }
        assert_eq!(as_etcd(&Question::State), None);
    }
}
