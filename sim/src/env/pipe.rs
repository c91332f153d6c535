//! One direction of a connection: what was written and not yet read, each piece with the moment it arrives.
//!
//! Invariants: pieces arrive in the order they were written; at most [`CAPACITY`] bytes are on their way or wait for
//! the reader.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// Bytes written and not yet read: what the system buffers on both sides.
pub const CAPACITY: usize = 256 * 1024;

/// A writer that had to wait goes on when so many bytes are free.
const WORTH_WAKING: usize = CAPACITY / 4;

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
    bytes: usize,
    /// When the last piece arrives, or the end of the stream.
    last: Duration,
    /// Nothing more will be written; the end arrives then.
    end: Option<Duration>,
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
    /// Nothing, before this moment at least.
    NothingUntil(Duration),
    /// Nothing is on its way.
    Nothing,
}

impl Pipe {
    /// Bytes that may be written now.
    pub fn room(&self) -> usize {
        CAPACITY - self.bytes
    }

    /// Takes bytes in, at most [`Pipe::room`], that arrive at `arrives` or, if that is later, with what was written
    /// before.
    pub fn push(&mut self, bytes: &[u8], arrives: Duration) {
        self.last = self.last.max(arrives);
        self.bytes += bytes.len();
        self.pieces.push_back(Piece { bytes: bytes.to_vec(), read: 0, arrives: self.last });
        wake(&mut self.reader);
    }

    /// The stream ends with what was written so far.
    pub fn finish(&mut self, arrives: Duration) {
        if self.end.is_none() {
            self.last = self.last.max(arrives);
            self.end = Some(self.last);
            wake(&mut self.reader);
        }
    }

    /// Whether nothing is left to read.
    pub fn is_quiet(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether [`Pipe::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// Reads what has arrived.
    pub fn read(&mut self, now: Duration, buf: &mut [u8]) -> Found {
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
        self.bytes -= done;
        if done > 0 && self.room() >= WORTH_WAKING {
            wake(&mut self.writer);
        }
        match (done, self.pieces.front()) {
            (0, Some(piece)) => Found::NothingUntil(piece.arrives),
            (0, None) => match self.end {
                Some(end) if end <= now => Found::Bytes(0),
                Some(end) => Found::NothingUntil(end),
                None => Found::Nothing,
            },
            (done, _) => Found::Bytes(done),
        }
    }
}

/// Wakes who waits, once.
pub fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
