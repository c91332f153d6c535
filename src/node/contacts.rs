//! When the other members were last heard of.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::MemberId;
use crate::env::Instant;

/// By member: since when messages have come without a pause, and the last one.
#[derive(Debug)]
pub(super) struct Contacts {
    heard: BTreeMap<MemberId, (Instant, Instant)>,
    /// Longer silence is a pause.
    patience: Duration,
}

impl Contacts {
    pub(super) fn new(patience: Duration) -> Self {
        Self { heard: BTreeMap::new(), patience }
    }

    pub(super) fn heard(&mut self, member: MemberId, now: Instant) {
        let (since, last) = self.heard.entry(member).or_insert((now, now));
        if now.since(*last) > self.patience {
            *since = now;
        }
        *last = now;
    }

    /// The connection to the member is gone: it counts as silent until it is heard of again.
    pub(super) fn lost(&mut self, member: MemberId) {
        self.heard.remove(&member);
    }

    /// Whether it was heard of since its connection was last lost.
    pub(super) fn is_known(&self, member: MemberId) -> bool {
        self.heard.contains_key(&member)
    }

    /// Whether the member was heard of without a pause from `since` on until now.
    pub(super) fn connected_since(&self, member: MemberId, since: Instant, now: Instant) -> bool {
        let Some((first, last)) = self.heard.get(&member) else { return false };
        *first <= since && now.since(*last) <= self.patience
    }

    /// Those who are no members are forgotten.
    pub(super) fn keep(&mut self, is_member: impl Fn(MemberId) -> bool) {
        self.heard.retain(|member, _| is_member(*member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_begins_the_connection_anew() {
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        let mut contacts = Contacts::new(Duration::from_secs(1));
        let member = MemberId(1);
        assert!(!contacts.connected_since(member, at(0), at(0)));
        contacts.heard(member, at(10));
        contacts.heard(member, at(11));
        assert!(contacts.connected_since(member, at(10), at(12)));
        assert!(!contacts.connected_since(member, at(9), at(12)), "not for so long");
        assert!(!contacts.connected_since(member, at(10), at(13)), "silent since");
        contacts.heard(member, at(14));
        assert!(!contacts.connected_since(member, at(10), at(14)), "there was a pause");
        contacts.keep(|_| false);
        assert!(!contacts.connected_since(member, at(14), at(14)));
    }
}
