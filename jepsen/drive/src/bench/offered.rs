//! An open loop over one connection: puts that are due at a steady pace, and what became of each.
//!
//! Invariants: what is offered is counted by when it was due; a put is sent only while the server allows another. Does not
//! know how many connections there are, nor who answers.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lean::{HEAD, Lane};
use super::members::Puts;
use crate::process::Trouble;

/// What one connection offers.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) every: Duration,
    pub(super) patience: Duration,
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// What became of it, of what was due within the window; times in microseconds from when it was due.
#[derive(Default)]
pub(super) struct Told {
    pub(super) offered: usize,
    pub(super) unsent: usize,
    pub(super) good: Vec<u32>,
    pub(super) refused: Vec<u32>,
    pub(super) late: usize,
    /// Of the good those that were due in the second half of the window.
    pub(super) good_at_rest: usize,
}

impl Told {
    /// Of several connections.
    pub(super) fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.unsent += other.unsent;
        self.good.extend(other.good);
        self.refused.extend(other.refused);
        self.late += other.late;
        self.good_at_rest += other.good_at_rest;
    }
}

/// Offers puts over one connection until the window and the patience are over.
pub(super) async fn offer(address: String, puts: Puts, load: Load) -> Result<Told, Trouble> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = stream.into_split();
    let mut lane = Lane::with_patience(puts, address, load.patience);
    let mut told = Told::default();
    let mut due = Instant::now();
    let (mut bytes, mut held, mut written) = (vec![0; 1 << 18], 0, 0);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    loop {
        let now = Instant::now();
        if now >= load.until + load.patience || (now >= load.until && lane.under_way() == 0) {
            return Ok(told);
        }
        told.late += lane.give_up(now, load.from);
        while due <= now && due < load.until {
            let counts = due >= load.from;
            let waits = written < lane.out.len() || !lane.has_room();
            if now > due + load.patience / 2 {
                told.unsent += usize::from(counts);
            } else if waits {
                break;
            } else {
                lane.begin(due)?;
            }
            told.offered += usize::from(counts);
            due += load.every;
            if lane.out.len() > 1 << 16 {
                break;
            }
        }
        tokio::select! {
            _ = tick.tick() => {}
            sent = writing.write(&lane.out[written..]), if written < lane.out.len() => {
                written += sent?;
                if written == lane.out.len() {
                    lane.out.clear();
                    written = 0;
                }
            }
            read = reading.read(&mut bytes[held..]) => {
                let read = read?;
                if read == 0 {
                    return Err("the server closed the connection".into());
                }
                held += read;
                let used = take(&mut lane, &bytes[..held], load, &mut told)?;
                bytes.copy_within(used..held, 0);
                held -= used;
            }
        }
    }
}

/// Takes the frames that are whole; how many bytes they were.
fn take(lane: &mut Lane<Puts>, bytes: &[u8], load: Load, told: &mut Told) -> Result<usize, Trouble> {
    let (mut at, now) = (0, Instant::now());
    while bytes.len() - at >= HEAD {
        let length = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
        if bytes.len() - at < HEAD + length {
            break;
        }
        let (head, payload) = bytes[at..at + HEAD + length].split_at(HEAD);
        at += HEAD + length;
        let Some((due, whole)) = lane.take(head, payload)? else { continue };
        if due < load.from {
            continue;
        }
        let took = now - due;
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        match whole {
            false => told.refused.push(micros),
            true if took <= load.patience => {
                told.good.push(micros);
                told.good_at_rest += usize::from(due >= load.until - (load.until - load.from) / 2);
            }
            true => told.late += 1,
        }
    }
    Ok(at)
}
