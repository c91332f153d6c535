//! One direction of a connection: what was written and not yet read, each piece with the moment it arrives.
//!
//! Invariants: pieces arrive in the order they were written, the end of the stream last; at most [`CAPACITY`] bytes
//! are on their way, wait for the reader, or were read while the reader's side could not say so. An abandoned pipe gets
//! nothing more onto its way, as when nobody is left to send again.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// Bytes written and not yet read: what the system buffers on both sides.
pub const CAPACITY: usize = 256 * 1024;

/// A writer that had to wait goes on when so many bytes are free.
const WORTH_WAKING: usize = CAPACITY / 4;

/// The arrival of what the link does not let pass.
pub const HELD: Duration = Duration::MAX;

struct Piece {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    arrives: Duration,
}

/// See the module's head.
#[derive(Default)]
pub struct Pipe {
    pieces: VecDeque<Piece>,
    /// Bytes that count against the writer.
    bytes: usize,
    /// Of these, read already, without that the writer's side could hear of it.
    unheard: usize,
    /// When the last piece arrives, or the end of the stream.
    last: Duration,
    /// Nothing more will be written; the end arrives then.
    end: Option<Duration>,
    /// Nobody is left who would send again.
    abandoned: bool,
    /// Who waits for something to read.
    pub reader: Option<Waker>,
    /// Who waits for room.
    pub writer: Option<Waker>,
}

/// What a reader finds.
#[derive(PartialEq, Eq, Debug)]
pub enum Found {
    /// So many bytes; none at the end of the stream.
    Bytes(usize),
    /// Nothing, before this moment at least; [`HELD`] where nothing is on its way.
    NothingUntil(Duration),
}

impl Pipe {
    /// Bytes that may be written now.
    pub fn room(&self) -> usize {
        CAPACITY - self.bytes
    }

    /// Takes bytes in, at most [`Pipe::room`], that arrive at `arrives` or, if that is later, with what was written
    /// before.
    pub fn push(&mut self, bytes: &[u8], arrives: Duration) {
        if bytes.is_empty() || self.abandoned {
            return;
        }
        self.last = self.last.max(arrives);
        self.bytes += bytes.len();
        match self.pieces.back_mut().filter(|piece| piece.arrives == HELD) {
            Some(held) => held.bytes.extend_from_slice(bytes),
            None => self.pieces.push_back(Piece { bytes: bytes.to_vec(), read: 0, arrives: self.last }),
        }
        wake(&mut self.reader);
    }

    /// The stream ends with what was written so far.
    pub fn finish(&mut self, arrives: Duration) {
        if self.end.is_none() {
            let arrives = if self.abandoned { HELD } else { arrives };
            self.last = self.last.max(arrives);
            self.end = Some(self.last);
            wake(&mut self.reader);
        }
    }

    /// Whether nothing is on its way or left to read.
    pub fn is_quiet(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether [`Pipe::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// The link is clogged: what is on its way at `now` waits. Whether anything was.
    pub fn hold(&mut self, now: Duration) -> bool {
        let on_its_way = |arrives: &Duration| *arrives > now;
        let mut held = false;
        for piece in self.pieces.iter_mut().filter(|piece| on_its_way(&piece.arrives)) {
            piece.arrives = HELD;
            held = true;
        }
        if let Some(end) = self.end.as_mut().filter(|end| on_its_way(end)) {
            *end = HELD;
            held = true;
        }
        if held {
            self.last = HELD;
        }
        if self.abandoned {
            self.abandon();
        }
        held
    }

    /// Whoever wrote is gone: what waits to be sent again never is.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        let lost = |piece: &Piece| piece.arrives == HELD;
        self.bytes -= self.pieces.iter().filter(|piece| lost(piece)).map(|piece| piece.bytes.len()).sum::<usize>();
        self.pieces.retain(|piece| !lost(piece));
    }

    /// The link is released: what waited is sent again, and arrives when `arrival` says of each. Whether anything
    /// waited.
    pub fn release(&mut self, mut arrival: impl FnMut(usize) -> Duration) -> bool {
        if self.last != HELD || self.abandoned {
            return false;
        }
        let mut last = Duration::ZERO;
        for piece in &mut self.pieces {
            if piece.arrives == HELD {
                piece.arrives = last.max(arrival(piece.bytes.len()));
            }
            last = last.max(piece.arrives);
        }
        if let Some(end) = self.end.as_mut().filter(|end| **end == HELD) {
            *end = last.max(arrival(0));
            last = *end;
        }
        self.last = last;
        wake(&mut self.reader);
        true
    }

    /// What was read is heard of on the writer's side from now on.
    pub fn hear(&mut self) {
        self.bytes -= std::mem::take(&mut self.unheard);
        if self.room() >= WORTH_WAKING {
            wake(&mut self.writer);
        }
    }

    /// Of the bytes that are on their way at `now` only a part arrives, and nothing after; when the last of these does.
    pub fn cut(&mut self, now: Duration, arriving_of: impl Fn(usize) -> usize) -> Duration {
        let on_their_way = |piece: &&Piece| piece.arrives > now;
        let mut left = arriving_of(self.pieces.iter().filter(on_their_way).map(|piece| piece.bytes.len()).sum());
        let mut last = now;
        let mut gone = 0;
        self.pieces.retain_mut(|piece| {
            if piece.arrives <= now {
                return true;
            }
            // What never got through before the cut does not after it.
            let kept = if piece.arrives == HELD { 0 } else { piece.bytes.len().min(left) };
            left -= kept;
            gone += piece.bytes.len() - kept;
            piece.bytes.truncate(kept);
            if kept > 0 {
                last = piece.arrives;
            }
            kept > 0
        });
        self.bytes -= gone;
        self.end = self.end.filter(|end| *end <= now);
        self.abandon();
        last
    }

    /// Reads what has arrived by `now`; `heard` says whether the writer's side hears of it.
    pub fn read(&mut self, now: Duration, buf: &mut [u8], heard: bool) -> Found {
        let mut done = 0;
        while let Some(piece) = self.pieces.front_mut().filter(|piece| piece.arrives <= now && done < buf.len()) {
            let left = &piece.bytes[piece.read..];
            let taken = left.len().min(buf.len() - done);
            buf[done..done + taken].copy_from_slice(&left[..taken]);
            piece.read += taken;
            done += taken;
            if piece.read == piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
        self.unheard += done;
        if heard && self.unheard > 0 {
            self.hear();
        }
        if done > 0 {
            return Found::Bytes(done);
        }
        match self.pieces.front().map(|piece| piece.arrives).or(self.end) {
            // The end; or a buffer of no bytes, into which none go.
            Some(arrives) if arrives <= now => Found::Bytes(0),
            Some(arrives) => Found::NothingUntil(arrives),
            None => Found::NothingUntil(HELD),
        }
    }
}

/// Wakes who waits, once.
pub fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
