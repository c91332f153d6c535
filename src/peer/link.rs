//! One peer, as this member sees it: where it is, what waits for it, and how its connections do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lines::Lines;
use super::outbox::Outbox;
use super::traffic::Traffic;
use super::url::PeerUrl;
use super::wait::Latch;
use super::wrong::LineWrong;
use crate::base::{MemberId, limits};
use crate::env::Instant;

#[derive(Default)]
struct Status {
    /// Streams from the peer that are open now. Those to it say nothing: who is cut off is written to all the same.
    open: usize,
    /// When the first of them was opened.
    since: Option<Instant>,
    /// Which start of the peer is being heard, and by how many streams.
    life: Option<(u64, usize)>,
    /// When another start of the same peer, or of this member, was last complained of.
    complained: Option<Instant>,
}

#[derive(Default)]
struct Urls {
    urls: Vec<PeerUrl>,
    picked: usize,
}

/// One peer.
pub(super) struct Link {
    pub(super) member: MemberId,
    pub(super) outbox: Outbox,
    /// Falls when the peer is let go.
    pub(super) latch: Latch,
    /// Whether it is a peer, or only someone who talked to this member and has to be answered.
    peer: AtomicBool,
    urls: Mutex<Urls>,
    status: Mutex<Status>,
    /// A snapshot is on its way to it.
    pub(super) sends_snapshot: AtomicBool,
    /// Questions to it under way, and waiting.
    pub(super) questions: AtomicUsize,
    /// Connections that carry them.
    pub(super) lines: Arc<Lines>,
    pub(super) traffic: Traffic,
}

impl Link {
    pub(super) fn new(member: MemberId, urls: &[String], peer: bool, question_lines: usize) -> Self {
        let link = Self {
            member,
            outbox: Outbox::default(),
            latch: Latch::default(),
            peer: AtomicBool::new(peer),
            urls: Mutex::default(),
            status: Mutex::default(),
            sends_snapshot: AtomicBool::new(false),
            questions: AtomicUsize::new(0),
            lines: Lines::new(question_lines),
            traffic: Traffic::default(),
        };
        link.set_urls(urls);
        link
    }

    pub(super) fn is_peer(&self) -> bool {
        self.peer.load(Ordering::Relaxed)
    }

    /// It is a peer from now on; whether it was one before.
    pub(super) fn make_peer(&self) -> bool {
        self.peer.swap(true, Ordering::Relaxed)
    }

    /// Where it is from now on. What is no URL is passed over, with a line in the log.
    pub(super) fn set_urls(&self, urls: &[String]) {
        let mut read = Vec::new();
        for url in urls {
            match PeerUrl::parse(url) {
                Ok(url) => read.push(url),
                Err(error) => tracing::warn!("remote-peer-id" = %self.member, error, "a peer URL is of no use"),
            }
        }
        let mut own = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if own.urls != read {
            *own = Urls { urls: read, picked: 0 };
        }
    }

    /// The URL to try now.
    pub(super) fn pick(&self) -> Option<PeerUrl> {
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        urls.urls.get(urls.picked).cloned()
    }

    /// That one did not work: the next one is tried.
    pub(super) fn pick_another(&self, failed: &PeerUrl) {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.urls.get(urls.picked) == Some(failed) {
            urls.picked = (urls.picked + 1) % urls.urls.len();
        }
    }

    /// A stream from the peer is open.
    pub(super) fn stream_opened(&self, now: Instant) {
        let mut status = self.lock();
        status.open += 1;
        if status.since.is_none() {
            status.since = Some(now);
            tracing::info!("peer-id" = %self.member, "peer became active");
        }
    }

    /// A stream from it is closed, for this reason.
    pub(super) fn stream_closed(&self, wrong: &LineWrong) {
        let mut status = self.lock();
        status.open = status.open.checked_sub(1).expect("a stream is closed once, after it was opened");
        if status.open == 0 {
            status.since = None;
            self.traffic.disconnected.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "peer-id" = %self.member,
                error = %wrong,
                "peer became inactive (message send to peer failed)"
            );
        }
    }

    /// How long at least one stream from it has been open.
    pub(super) fn connected_for(&self, now: Instant) -> Option<Duration> {
        self.lock().since.map(|since| now.since(since))
    }

    /// A start of the peer is heard from now on, until [`Self::life_gone`].
    pub(super) fn life_heard(&self, life: u64) {
        let mut status = self.lock();
        status.life = match status.life {
            Some((known, streams)) if known == life => Some((life, streams + 1)),
            _ => Some((life, 1)),
        };
    }

    pub(super) fn life_gone(&self, life: u64) {
        let mut status = self.lock();
        if let Some((known, streams)) = status.life
            && known == life
        {
            status.life = (streams > 1).then_some((life, streams - 1));
        }
    }

    /// Whether another process than this start of the peer is being heard under the same id.
    pub(super) fn has_other_life(&self, life: u64) -> bool {
        self.lock().life.is_some_and(|(known, _)| known != life)
    }

    /// Whether to say now that two processes are alive under one id: they try again and again.
    pub(super) fn complains(&self, now: Instant) -> bool {
        let mut status = self.lock();
        let pause = Duration::from_millis(limits::SELDOM_MS);
        let says = status.complained.is_none_or(|at| now.since(at) >= pause);
        if says {
            status.complained = Some(now);
        }
        says
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_tried_in_turn() {
        let link =
            Link::new(MemberId(1), &["http://a:1".to_string(), "junk".to_string(), "http://b:1".to_string()], true, 1);
        let first = link.pick().expect("a URL");
        assert_eq!(first.address, "a:1");
        link.pick_another(&first);
        link.pick_another(&first);
        assert_eq!(link.pick().expect("a URL").address, "b:1", "a failure told twice counts once");
        link.set_urls(&[]);
        assert_eq!(link.pick(), None);
    }

    #[test]
    fn a_peer_is_good_while_a_stream_is_open() {
        let link = Link::new(MemberId(1), &[], true, 1);
        assert_eq!(link.connected_for(Instant(5)), None);
        link.stream_opened(Instant(10));
        link.stream_opened(Instant(20));
        link.stream_closed(&LineWrong::Cut);
        assert_eq!(link.connected_for(Instant(30)), Some(Duration::from_nanos(20)));
        link.stream_closed(&LineWrong::Cut);
        assert_eq!(link.connected_for(Instant(40)), None);
    }

    #[test]
    fn another_life_is_noticed_while_the_first_is_heard() {
        let link = Link::new(MemberId(1), &[], true, 1);
        assert!(!link.has_other_life(7));
        link.life_heard(7);
        link.life_heard(7);
        assert!(!link.has_other_life(7));
        assert!(link.has_other_life(8));
        link.life_gone(7);
        assert!(link.has_other_life(8));
        link.life_gone(7);
        assert!(!link.has_other_life(8));
    }

    #[test]
    fn that_there_are_two_is_said_seldom() {
        let link = Link::new(MemberId(1), &[], true, 1);
        let pause = limits::SELDOM_MS * 1_000_000;
        let said: Vec<bool> = [0, 1, pause - 1, pause, pause + 1].map(|at| link.complains(Instant(at))).to_vec();
        assert_eq!(said, [true, false, false, true, false]);
    }
}
