//! The two ends of a connection: heads and bodies read within their time, and bytes written within theirs.
//!
//! Invariants: memory grows with what has arrived, never with what was promised; a read that is given up has taken
//! nothing, so that waiting can be shared with other things.

use std::future::Future;
use std::time::Duration;

use super::head::{BodyLength, RequestHead, ResponseHead, parse_request, parse_response};
use super::wait::Timer;
use super::wrong::LineWrong;
use crate::base::limits;
use crate::env::{Clock, Instant, NetReader, NetWriter};

/// Bytes that arrived and were not used yet.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn take(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end, "no more is taken than is there");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > limits::PEER_KEPT_BUFFER_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Room to read into. Grows by doubling, so that a long frame is moved few times.
    fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < limits::PEER_READ_BYTES / 4 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let wanted = (self.end * 2).max(limits::PEER_READ_BYTES);
            if self.bytes.len() < wanted {
                self.bytes.resize(wanted, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    fn put(&mut self, bytes: &[u8]) {
        while self.bytes.len() - self.end < bytes.len() {
            self.room();
            if self.bytes.len() - self.end < bytes.len() {
                self.bytes.resize((self.bytes.len() * 2).max(self.end + bytes.len()), 0);
            }
        }
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
}

/// Where a body that comes in chunks stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chunk {
    /// Before the line with the next one's size.
    Size,
    /// So many bytes before the end of one.
    Bytes(u64),
    /// Before the line's end behind one.
    LineEnd,
    /// Before the lines behind the last one.
    Trailer,
    Done,
}

/// How much of the body is still to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Bytes(u64),
    Chunked(Chunk),
    ToEnd,
}

/// The end that is read from.
pub(super) struct Incoming<R, C> {
    reader: R,
    timer: Timer<C>,
    /// What came over the connection.
    raw: Buffer,
    /// What came in chunks, put together.
    plain: Buffer,
    left: Left,
    /// Nothing more will come over the connection.
    finished: bool,
    /// Time without a byte after which it is given up.
    silence: Duration,
    /// When all must have come, if there is such a moment.
    deadline: Option<Instant>,
    /// The other half of the connection, where nothing is written any more but closing it would end both.
    kept: Option<Box<dyn Send>>,
    /// Bytes of bodies that were taken.
    taken: u64,
}

impl<R: NetReader, C: Clock> Incoming<R, C> {
    pub(super) fn new(reader: R, clock: C, silence: Duration) -> Self {
        Self {
            reader,
            timer: Timer::new(clock),
            raw: Buffer::default(),
            plain: Buffer::default(),
            left: Left::Bytes(0),
            finished: false,
            silence,
            deadline: None,
            kept: None,
            taken: 0,
        }
    }

    /// All that is waited for from now on must have come by then.
    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// What is waited for from now on may be silent for so long.
    pub(super) fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Keeps the other half of the connection for as long as this one.
    pub(super) fn keep(&mut self, other: Box<dyn Send>) {
        self.kept = Some(other);
    }

    /// The moment this long from now.
    pub(super) fn after(&self, duration: Duration) -> Instant {
        self.timer.after(duration)
    }

    /// The next request; nothing when the other end has finished instead.
    pub(super) async fn request(&mut self) -> Result<Option<RequestHead>, LineWrong> {
        let head = self.head(parse_request).await?;
        if let Some(head) = &head {
            self.begin(head.body);
        }
        Ok(head)
    }

    /// The answer. Interim ones are passed over.
    pub(super) async fn response(&mut self) -> Result<ResponseHead, LineWrong> {
        loop {
            let head = self.head(parse_response).await?.ok_or(LineWrong::Cut)?;
            if head.status >= 200 {
                self.begin(head.body);
                return Ok(head);
            }
        }
    }

    async fn head<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, LineWrong>,
    ) -> Result<Option<T>, LineWrong> {
        loop {
            if self.raw.len() > 0
                && let Some((head, taken)) = parse(self.raw.filled())?
            {
                self.raw.take(taken);
                return Ok(Some(head));
            }
            if self.finished {
                return if self.raw.len() == 0 { Ok(None) } else { Err(LineWrong::Cut) };
            }
            self.read().await?;
        }
    }

    /// A body of this length comes next.
    pub(super) fn begin(&mut self, body: BodyLength) {
        self.left = match body {
            BodyLength::Bytes(bytes) => Left::Bytes(bytes),
            BodyLength::Chunked => Left::Chunked(Chunk::Size),
            BodyLength::ToEnd => Left::ToEnd,
        };
    }

    /// Waits for bytes of the connection, within the time for them.
    pub(super) async fn read(&mut self) -> Result<(), LineWrong> {
        let quiet = self.timer.after(self.silence);
        let until = self.deadline.map_or(quiet, |deadline| deadline.min(quiet));
        match self.timer.within(until, self.reader.read(self.raw.room())).await {
            Some(Ok(0)) => self.finished = true,
            Some(Ok(n)) => self.raw.end += n,
            Some(Err(fault)) => return Err(fault.into()),
            None if until < quiet => return Err(LineWrong::Late("a request or its answer")),
            None => return Err(LineWrong::Silent(self.silence)),
        }
        Ok(())
    }

    /// Waits until the other end says that it is finished, or anything else that ends the connection. For ends that
    /// have nothing to say: what they say is dropped, and how long they are silent does not matter.
    pub(super) async fn finished(&mut self) {
        while !self.finished {
            match self.reader.read(self.raw.room()).await {
                Ok(n) if n > 0 => {}
                _ => self.finished = true,
            }
        }
    }

    /// The next `n` bytes of the body; nothing when the body has ended before them.
    pub(super) async fn exactly(&mut self, n: usize) -> Result<Option<&[u8]>, LineWrong> {
        loop {
            let (have, ended) = self.available()?;
            if have >= n {
                break;
            }
            if ended {
                return if have == 0 { Ok(None) } else { Err(LineWrong::Cut) };
            }
            self.read().await?;
        }
        let chunked = matches!(self.left, Left::Chunked(_));
        let buffer = if chunked { &self.plain } else { &self.raw };
        Ok(Some(&buffer.filled()[..n]))
    }

    /// Bytes of bodies that were taken away so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes `n` bytes away that [`Self::exactly`] has shown.
    pub(super) fn take(&mut self, n: usize) {
        self.taken += n as u64;
        match &mut self.left {
            Left::Chunked(_) => self.plain.take(n),
            Left::ToEnd => self.raw.take(n),
            Left::Bytes(left) => {
                *left = left.checked_sub(n as u64).expect("no more is taken than was shown");
                self.raw.take(n);
            }
        }
    }

    /// Bytes of the body that are here, and whether no more will come.
    fn available(&mut self) -> Result<(usize, bool), LineWrong> {
        match self.left {
            Left::Bytes(left) => {
                let have = usize::try_from(left).map_or(self.raw.len(), |left| left.min(self.raw.len()));
                if self.finished && (have as u64) < left {
                    return Err(LineWrong::Cut);
                }
                Ok((have, have as u64 == left))
            }
            Left::ToEnd => Ok((self.raw.len(), self.finished)),
            Left::Chunked(mut chunk) => {
                let moved = self.join_chunks(&mut chunk);
                self.left = Left::Chunked(chunk);
                moved?;
                let done = chunk == Chunk::Done;
                if self.finished && !done {
                    return if self.plain.len() == 0 && chunk == Chunk::Size {
                        Err(LineWrong::Finished)
                    } else {
                        Err(LineWrong::Cut)
                    };
                }
                Ok((self.plain.len(), done))
            }
        }
    }

    /// Moves what has come in chunks to where it is put together.
    fn join_chunks(&mut self, chunk: &mut Chunk) -> Result<(), LineWrong> {
        loop {
            match *chunk {
                Chunk::Size => {
                    let Some(line) = self.line()? else { return Ok(()) };
                    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(size).ok().map(str::trim);
                    let size = size.filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
                    let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
                    let size = size.ok_or_else(|| LineWrong::malformed("the size of a chunk is no number"))?;
                    *chunk = if size == 0 { Chunk::Trailer } else { Chunk::Bytes(size) };
                }
                Chunk::Bytes(left) => {
                    let n = usize::try_from(left).map_or(self.raw.len(), |left| left.min(self.raw.len()));
                    if n == 0 {
                        return Ok(());
                    }
                    self.plain.put(&self.raw.filled()[..n]);
                    self.raw.take(n);
                    let left = left - n as u64;
                    *chunk = if left == 0 { Chunk::LineEnd } else { Chunk::Bytes(left) };
                }
                Chunk::LineEnd => {
                    let Some(line) = self.line()? else { return Ok(()) };
                    if !line.is_empty() {
                        return Err(LineWrong::malformed("a chunk is longer than it says"));
                    }
                    *chunk = Chunk::Size;
                }
                Chunk::Trailer => {
                    let Some(line) = self.line()? else { return Ok(()) };
                    if line.is_empty() {
                        *chunk = Chunk::Done;
                    }
                }
                Chunk::Done => return Ok(()),
            }
        }
    }

    /// Takes a line, without its end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, LineWrong> {
        const LONGEST: usize = 256;
        let filled = self.raw.filled();
        match filled.iter().take(LONGEST).position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = filled[..end].strip_suffix(b"\r").unwrap_or(&filled[..end]).to_vec();
                self.raw.take(end + 1);
                Ok(Some(line))
            }
            None if filled.len() >= LONGEST => Err(LineWrong::malformed("the line of a chunk has no end")),
            None => Ok(None),
        }
    }

    /// The whole body, which may have `limit` bytes.
    pub(super) async fn whole(&mut self, what: &'static str, limit: usize) -> Result<Vec<u8>, LineWrong> {
        let too_long = |bytes: u64| LineWrong::TooLong { what, bytes, limit };
        if let Left::Bytes(bytes) = self.left
            && bytes > limit as u64
        {
            return Err(too_long(bytes));
        }
        loop {
            let (have, ended) = self.available()?;
            if have > limit {
                return Err(too_long(have as u64));
            }
            if ended {
                let body = self.exactly(have).await?.unwrap_or_default().to_vec();
                self.take(body.len());
                return Ok(body);
            }
            self.read().await?;
        }
    }
}

/// The end that is written to.
pub(super) struct Outgoing<W, C> {
    writer: W,
    timer: Timer<C>,
    patience: Duration,
}

impl<W: NetWriter, C: Clock> Outgoing<W, C> {
    pub(super) fn new(writer: W, clock: C, patience: Duration) -> Self {
        Self { writer, timer: Timer::new(clock), patience }
    }

    /// Writes all of it, within the time for one writing; after an error the connection is of no use.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), LineWrong> {
        // Each piece has its time, so that a long message on a slow line is progress, not silence.
        for piece in bytes.chunks(limits::PEER_WRITE_BYTES) {
            let until = self.timer.after(self.patience);
            match self.timer.within(until, self.writer.write(piece)).await {
                Some(done) => done?,
                None => return Err(LineWrong::Silent(self.patience)),
            }
        }
        Ok(())
    }

    /// One writing may take so long from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// What the future gives, or nothing after so long.
    pub(super) async fn within<T>(&mut self, duration: Duration, future: impl Future<Output = T>) -> Option<T> {
        let until = self.timer.after(duration);
        self.timer.within(until, future).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::NoClock;
    use super::*;
    use crate::env::{MemoryNet, Net, NetListener, NetStream, run_ready};

    /// What a body of this length is, of these bytes.
    fn whole(bytes: &[u8], length: BodyLength, limit: usize) -> Result<Vec<u8>, LineWrong> {
        run_ready(async {
            let net = MemoryNet::new("a");
            let mut listener = net.listen("a:1").await?;
            let (reader, _writer) = net.dial("a:1").await?.split();
            let (_, mut writer) = listener.accept().await?.0.split();
            writer.write(bytes).await?;
            writer.finish().await?;
            let mut incoming = Incoming::new(reader, NoClock, Duration::from_secs(1));
            incoming.begin(length);
            incoming.whole("a body", limit).await
        })
    }

    #[test]
    fn bodies_end_where_they_say() {
        assert_eq!(whole(b"abcdef", BodyLength::Bytes(3), 9).ok().as_deref(), Some(&b"abc"[..]));
        assert_eq!(whole(b"abc", BodyLength::ToEnd, 9).ok().as_deref(), Some(&b"abc"[..]));
        assert_eq!(whole(b"", BodyLength::Bytes(0), 9).ok().as_deref(), Some(&b""[..]));
        let chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\nnext";
        assert_eq!(whole(chunked, BodyLength::Chunked, 9).ok().as_deref(), Some(&b"abcde"[..]));
        assert!(matches!(whole(b"ab", BodyLength::Bytes(3), 9), Err(LineWrong::Cut)));
        for bad in
            ["3\r\nabcd\r\n", "x\r\n", "-1\r\n", "+1\r\na\r\n", "10000000000000000\r\n", "3\r\nab", "3\r\nabc\r\n0\r\n"]
        {
            assert!(whole(bad.as_bytes(), BodyLength::Chunked, 9).is_err(), "{bad}");
        }
        assert!(whole(&b"1;".repeat(400), BodyLength::Chunked, 9).is_err(), "a line without an end");
    }

    #[test]
    fn a_body_has_a_limit_however_it_comes() {
        let too_long = |result| matches!(result, Err(LineWrong::TooLong { .. }));
        assert!(too_long(whole(b"", BodyLength::Bytes(10), 9)), "it is refused before it comes");
        assert!(too_long(whole(&[0; 10], BodyLength::ToEnd, 9)));
        assert!(too_long(whole(b"a\r\n0123456789\r\n0\r\n\r\n", BodyLength::Chunked, 9)));
    }

    proptest! {
        #[test]
        fn chunks_are_put_together(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..20)) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(whole(&bytes, BodyLength::Chunked, 10_000).ok(), Some(parts.concat()));
        }

        #[test]
        fn any_chunks_are_judged_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = whole(&bytes, BodyLength::Chunked, 50);
        }
    }
}
