//! What one member asks another, as bytes.
//!
//! Kinds are numbered, and a number is never given anew: 3 was the list of leases, which every member tells itself since. A member of
//! a build before that, in a cluster whose leader is of a later one, is refused that list until it is of the later one too; no version
//! with it was released, so nobody answers it.
//!
//! A question is a kind and its numbers, an answer either what was asked for or the text of a refusal; all numbers are
//! big-endian. Both ends are of this program: a member of another make answers no such questions. Any bytes may come.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{LeaseId, LogIndex, MemberId, Refusal, limits};
use crate::consensus::{Acknowledged, Promise, Promises, Remembered};
use crate::lease::KeySet;
use crate::node::LeaseStanding;

/// A question; all but that for a digest only the leader can answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Question {
    KeepAlive(LeaseId),
    TimeToLive {
        id: LeaseId,
        keys: bool,
    },
    /// Under the id its entry is to carry: who asks twice means one promotion.
    Promote {
        member: MemberId,
        id: u64,
    },
    /// Of everything applied up to this entry.
    Digest(LogIndex),
    /// The state is to be sent to who asks, as a snapshot.
    State,
    /// What is remembered of who asks, whose log ends here.
    Recollection(LogIndex),
    /// No question: what the leader knows that members promised, to be remembered.
    Promises(Promises),
}

/// What comes back where it was not refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    KeepAlive(Option<i64>),
    TimeToLive(Option<LeaseStanding>),
    Digest(Option<u64>),
    Recollection(Remembered),
    Done,
}

impl Question {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::KeepAlive(id) => {
                out.put_u8(1);
                out.put_i64(*id);
            }
            Self::TimeToLive { id, keys } => {
                out.put_u8(2);
                out.put_i64(*id);
                out.put_u8(u8::from(*keys));
            }
            Self::Promote { member, id } => {
                out.put_u8(4);
                out.put_u64(member.0);
                out.put_u64(*id);
            }
            Self::Digest(at) => {
                out.put_u8(5);
                out.put_u64(*at);
            }
            Self::State => out.put_u8(6),
            Self::Recollection(last) => {
                out.put_u8(7);
                out.put_u64(*last);
            }
            Self::Promises(promises) => {
                out.put_u8(8);
                put_promises(&mut out, promises);
            }
        }
        out.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let question = match bytes.try_get_u8().ok()? {
            1 => Self::KeepAlive(bytes.try_get_i64().ok()?),
            2 => Self::TimeToLive { id: bytes.try_get_i64().ok()?, keys: bytes.try_get_u8().ok()? != 0 },
            4 => Self::Promote { member: MemberId(bytes.try_get_u64().ok()?), id: bytes.try_get_u64().ok()? },
            5 => Self::Digest(bytes.try_get_u64().ok()?),
            6 => Self::State,
            7 => Self::Recollection(bytes.try_get_u64().ok()?),
            8 => Self::Promises(promises(&mut bytes)?),
            _ => return None,
        };
        bytes.is_empty().then_some(question)
    }

    /// Reads an answer to this question.
    pub(super) fn answer(&self, mut bytes: Bytes) -> Option<Result<Told, Refusal>> {
        if bytes.try_get_u8().ok()? != 0 {
            let text = std::str::from_utf8(&bytes).ok()?;
            return Some(Err(Refusal::from_text(text)));
        }
        let told = match self {
            Self::KeepAlive(_) => {
                Told::KeepAlive(if bytes.is_empty() { None } else { Some(bytes.try_get_i64().ok()?) })
            }
            Self::TimeToLive { .. } => {
                Told::TimeToLive(if bytes.is_empty() { None } else { Some(standing(&mut bytes)?) })
            }
            Self::Digest(_) => Told::Digest(if bytes.is_empty() { None } else { Some(bytes.try_get_u64().ok()?) }),
            Self::Recollection(_) => Told::Recollection(remembered(&mut bytes)?),
            Self::Promote { .. } | Self::State | Self::Promises(_) => Told::Done,
        };
        bytes.is_empty().then_some(Ok(told))
    }
}

fn standing(bytes: &mut Bytes) -> Option<LeaseStanding> {
    let (granted_ttl, ttl) = (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?);
    let mut keys = KeySet::default();
    while !bytes.is_empty() {
        let len = bytes.try_get_u32().ok()? as usize;
        if bytes.len() < len {
            return None;
        }
        keys.insert(bytes.split_to(len));
    }
    Some(LeaseStanding { granted_ttl, ttl, keys })
}

fn put_promise(out: &mut BytesMut, promise: &Promise) {
    let Promise { term, vote, entry } = promise;
    for number in [*term, vote.0, vote.1.0, entry.in_term, entry.index, entry.term] {
        out.put_u64(number);
    }
}

fn promise(bytes: &mut Bytes) -> Option<Promise> {
    let mut next = || bytes.try_get_u64().ok();
    let (term, vote) = (next()?, (next()?, MemberId(next()?)));
    Some(Promise { term, vote, entry: Acknowledged { in_term: next()?, index: next()?, term: next()? } })
}

/// The bytes of what is remembered of members.
pub(super) fn put_promises(out: &mut BytesMut, promises: &Promises) {
    for (member, promise) in promises.all() {
        out.put_u64(member.0);
        put_promise(out, promise);
    }
}

/// Reads them, to the end.
pub(super) fn promises(bytes: &mut Bytes) -> Option<Promises> {
    let mut told = Vec::new();
    while !bytes.is_empty() {
        told.push((MemberId(bytes.try_get_u64().ok()?), promise(bytes)?));
    }
    Some(Promises::told(told))
}

fn remembered(bytes: &mut Bytes) -> Option<Remembered> {
    let promise = promise(bytes)?;
    let committed = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
    if bytes.is_empty() {
        return Some(Remembered { promise, leads: None, committed });
    }
    let mut next = || bytes.try_get_u64().ok();
    Some(Remembered { promise, leads: Some((next()?, (next()?, next()?))), committed })
}

/// The bytes of an answer; one too long to be carried becomes a refusal.
pub(super) fn encode_answer(answer: &Result<Told, Refusal>) -> Bytes {
    let mut out = BytesMut::new();
    match answer {
        Ok(told) => {
            out.put_u8(0);
            put_told(&mut out, told);
        }
        Err(refusal) => {
            out.put_u8(1);
            out.put_slice(refusal.text().as_bytes());
        }
    }
    if out.len() > limits::PEER_ANSWER_BYTES {
        return encode_answer(&Err(Refusal::RequestTooLarge));
    }
    out.freeze()
}

fn put_told(out: &mut BytesMut, told: &Told) {
    match told {
        Told::KeepAlive(None) | Told::TimeToLive(None) | Told::Digest(None) | Told::Done => {}
        Told::Digest(Some(digest)) => out.put_u64(*digest),
        Told::Recollection(Remembered { promise, leads, committed }) => {
            put_promise(out, promise);
            out.put_u64(committed.0);
            out.put_u64(committed.1);
            if let Some((term, (last, last_term))) = leads {
                [*term, *last, *last_term].into_iter().for_each(|number| out.put_u64(number));
            }
        }
        Told::KeepAlive(Some(ttl)) => out.put_i64(*ttl),
        Told::TimeToLive(Some(standing)) => {
            out.put_i64(standing.granted_ttl);
            out.put_i64(standing.ttl);
            for key in standing.keys.iter() {
                out.put_u32(u32::try_from(key.len()).expect("a key is within the request limit"));
                out.put_slice(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_way() {
        let standing = LeaseStanding {
            granted_ttl: 9,
            ttl: 3,
            keys: [Bytes::from_static(b"a"), Bytes::new()].into_iter().collect(),
        };
        let entry = Acknowledged { in_term: 4, index: 5, term: 3 };
        let promise = Promise { term: 7, vote: (6, MemberId(9)), entry };
        let known = Remembered { promise, leads: Some((7, (8, 7))), committed: (6, 5) };
        let cases = [
            (Question::KeepAlive(-5), Ok(Told::KeepAlive(Some(7)))),
            (Question::KeepAlive(5), Ok(Told::KeepAlive(None))),
            (Question::TimeToLive { id: 4, keys: true }, Ok(Told::TimeToLive(Some(standing)))),
            (Question::TimeToLive { id: 4, keys: false }, Ok(Told::TimeToLive(None))),
            (Question::Promote { member: MemberId(8), id: 77 }, Ok(Told::Done)),
            (Question::Digest(7), Ok(Told::Digest(Some(u64::MAX)))),
            (Question::Digest(7), Ok(Told::Digest(None))),
            (Question::State, Ok(Told::Done)),
            (Question::Recollection(4), Ok(Told::Recollection(Remembered::default()))),
            (Question::Recollection(4), Ok(Told::Recollection(known))),
            (Question::Promises(Promises::told(vec![(MemberId(1), known.promise)])), Ok(Told::Done)),
            (Question::State, Err(Refusal::Corrupt)),
            (Question::Promote { member: MemberId(8), id: 77 }, Err(Refusal::LearnerNotReady)),
            (Question::KeepAlive(5), Err(Refusal::Told("of a later version".to_string()))),
        ];
        for (question, answer) in cases {
            assert_eq!(Question::decode(question.encode()), Some(question.clone()));
            assert_eq!(question.answer(encode_answer(&answer)), Some(answer));
        }
    }

    #[test]
    fn nonsense_is_nothing() {
        for bytes in [&b""[..], b"\x09", b"\x01\x00", b"\x03\x00"] {
            assert_eq!(Question::decode(Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
        let asked = Question::TimeToLive { id: 1, keys: true };
        assert_eq!(asked.answer(Bytes::from_static(b"\x00\x01")), None);
        let cut = [&[0_u8; 17][..], b"\x00\x00\x00\x09abc"].concat();
        assert_eq!(asked.answer(cut.into()), None, "a key longer than what is there");
    }
}
