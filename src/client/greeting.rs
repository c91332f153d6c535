//! The first words of HTTP/2, exchanged before a connection counts as made.
//!
//! A port that takes a connection may be nobody's: of a process that stands still, of a proxy without a server behind it, of one that
//! speaks TLS. What is written there may have been done, for all that its client can know. So nothing is asked before the server has said its
//! first word (as in gRPC for Go, RFC 9113 section 3.4).
//!
//! Invariants: what the library above says and hears is as if it had greeted itself: its own first word is swallowed, for it was said; and of
//! what is heard the one acknowledgement that is not for it. Does not know what is asked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What a client says first.
const MAGIC: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings that set nothing.
const NO_SETTINGS: &[u8] = &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];

/// Bytes before the content of a frame: its length, type, flags and stream.
const HEAD_BYTES: usize = 9;
const TYPE_AT: usize = 3;
const FLAGS_AT: usize = 4;
const SETTINGS: u8 = 4;
const ACKNOWLEDGES: u8 = 1;

/// No first frame is longer.
const LONGEST_FRAME: usize = 1 << 14;

/// A connection whose server has said its first word.
#[derive(Debug)]
pub struct Greeted<L> {
    line: L,
    /// Bytes of the library's first word that are to come: they were said.
    unsaid: usize,
    /// What has come and was not looked at.
    came: BytesMut,
    /// What is to be read.
    heard: BytesMut,
    /// Bytes of the frame that is passed on which are to come.
    within: usize,
    /// What is not for the library was taken out.
    is_sifted: bool,
    /// By it whoever made it counts what there is.
    _alive: Arc<()>,
}

/// Greets a server, and waits for its first word. The connection holds `alive` from then on.
///
/// # Errors
/// The connection's, or what was said is no HTTP/2: in the words of etcd's client.
pub async fn greet<L: AsyncRead + AsyncWrite + Unpin>(mut line: L, alive: &Arc<()>) -> io::Result<Greeted<L>> {
    line.write_all(&[&MAGIC[..], NO_SETTINGS].concat()).await.map_err(unread)?;
    line.flush().await.map_err(unread)?;
    let mut came = BytesMut::with_capacity(LONGEST_FRAME);
    while came.len() < HEAD_BYTES {
        if line.read_buf(&mut came).await.map_err(unread)? == 0 {
            return Err(unread(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF")));
        }
        if came.get(TYPE_AT).is_some_and(|kind| *kind != SETTINGS || length(&came) > LONGEST_FRAME) {
            let why = if length(&came) > LONGEST_FRAME { "http2: frame too large" } else { NOT_SETTINGS };
            return Err(unread(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
    }
    let (heard, unsaid) = (BytesMut::new(), MAGIC.len());
    let mut greeted = Greeted { line, unsaid, came, heard, within: 0, is_sifted: false, _alive: alive.clone() };
    greeted.sift();
    Ok(greeted)
}

const NOT_SETTINGS: &str = "initial http2 frame from server is not a settings frame";

/// Whether a failure is one of those that come of what is no HTTP/2, such as an alert of TLS.
pub fn speaks_otherwise(why: &str) -> bool {
    ["http2: frame too large", NOT_SETTINGS].iter().any(|sign| why.contains(sign))
}

/// Whether nothing was heard before the connection ended.
pub fn was_closed(why: &str) -> bool {
    why.contains(DOING) && (why.ends_with("EOF") || why.contains("reset by peer"))
}

const DOING: &str = "error reading server preface: ";

fn unread(error: io::Error) -> io::Error {
    let text = error.to_string();
    if text.starts_with(DOING) { error } else { io::Error::new(error.kind(), format!("{DOING}{text}")) }
}

/// Of the frame that begins here, without its head.
fn length(frame: &[u8]) -> usize {
    usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2])
}

impl<L> Greeted<L> {
    /// Lets what has come be read, but for the first acknowledgement: it is of the settings that were said here.
    fn sift(&mut self) {
        while !self.came.is_empty() {
            if self.is_sifted {
                self.heard.unsplit(self.came.split());
            } else if self.within > 0 {
                let part = self.came.len().min(self.within);
                self.within -= part;
                self.heard.extend_from_slice(&self.came.split_to(part));
            } else if self.came.len() < HEAD_BYTES {
                return;
            } else if self.came[TYPE_AT] == SETTINGS && self.came[FLAGS_AT] & ACKNOWLEDGES != 0 {
                self.came.advance(HEAD_BYTES);
                self.is_sifted = true;
            } else {
                self.within = HEAD_BYTES + length(&self.came);
            }
        }
    }
}

impl<L: AsyncRead + Unpin> Greeted<L> {
    /// Whether its server holds it still, as far as is known here: nobody reads while it waits to be used.
    pub fn is_there(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        while self.heard.len() + self.came.len() < LONGEST_FRAME {
            let mut space = [0; 1024];
            let mut more = ReadBuf::new(&mut space);
            match Pin::new(&mut self.line).poll_read(&mut cx, &mut more) {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) if !more.filled().is_empty() => {
                    self.came.extend_from_slice(more.filled());
                    self.sift();
                }
                Poll::Ready(_) => return false,
            }
        }
        // Whoever says so much unasked is no server of ours.
        false
    }
}

impl<L: AsyncRead + Unpin> AsyncRead for Greeted<L> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.heard.is_empty() {
            if this.is_sifted {
                return Pin::new(&mut this.line).poll_read(cx, buf);
            }
            let mut space = [0; 1024];
            let mut more = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.line).poll_read(cx, &mut more))?;
            if more.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.came.extend_from_slice(more.filled());
            this.sift();
        }
        let part = this.heard.len().min(buf.remaining());
        buf.put_slice(&this.heard.split_to(part));
        Poll::Ready(Ok(()))
    }
}

impl<L: AsyncWrite + Unpin> AsyncWrite for Greeted<L> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unsaid > 0 {
            let part = this.unsaid.min(bytes.len());
            this.unsaid -= part;
            return Poll::Ready(Ok(part));
        }
        Pin::new(&mut this.line).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().line).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().line).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.unsaid > 0 {
            let first = bytes.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
            return self.as_mut().poll_write(cx, first);
        }
        Pin::new(&mut self.get_mut().line).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let head = [0, (content.len() >> 8) as u8, content.len() as u8, kind, flags, 0, 0, 0, 0];
        [&head[..], content].concat()
    }

    async fn answered(answer: &[u8]) -> io::Result<Greeted<DuplexStream>> {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(answer).await.expect("room");
        theirs.shutdown().await.expect("open");
        greet(ours, &Arc::default()).await
    }

    #[tokio::test]
    async fn the_library_hears_and_says_as_if_it_had_greeted_itself() {
        let settings = frame(SETTINGS, 0, &[7; 18]);
        let (ack, window) = (frame(SETTINGS, ACKNOWLEDGES, &[]), frame(8, 0, &[0, 0, 1, 0]));
        let (data, own_ack) = (frame(0, 0, &[9; 3_000]), ack.clone());
        let sent = [&settings[..], &window, &ack, &data, &own_ack].concat();
        let wanted = [&settings[..], &window, &data, &own_ack].concat();
        for portion in [1, 2, 8, 9, 10, 27, 100, sent.len()] {
            let (ours, mut theirs) = duplex(portion);
            let said = async {
                let mut said = vec![0; MAGIC.len() + NO_SETTINGS.len()];
                theirs.read_exact(&mut said).await.expect("a greeting");
                theirs.write_all(&sent).await.expect("heard");
                let mut more = [0; 3];
                theirs.read_exact(&mut more).await.expect("more");
                (said, more, theirs)
            };
            let heard = async {
                let mut greeted = greet(ours, &Arc::default()).await.expect("HTTP/2");
                let mut heard = vec![0; wanted.len()];
                greeted.read_exact(&mut heard).await.expect("all of it");
                greeted.write_all(&[&MAGIC[..], b"abc"].concat()).await.expect("heard");
                greeted.flush().await.expect("open");
                heard
            };
            let ((said, more, _open), heard) = tokio::join!(said, heard);
            assert!(said == [&MAGIC[..], NO_SETTINGS].concat() && heard == wanted, "in portions of {portion}");
            assert_eq!(&more, b"abc", "its own greeting was said");
        }
    }

    #[tokio::test]
    async fn who_has_closed_what_waits_is_not_there() {
        let settings = frame(SETTINGS, 0, &[]);
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(&settings).await.expect("room");
        let mut greeted = greet(ours, &Arc::default()).await.expect("HTTP/2");
        assert!(greeted.is_there());
        theirs.write_all(&frame(SETTINGS, ACKNOWLEDGES, &[])).await.expect("room");
        theirs.write_all(&frame(6, 0, &[1; 8])).await.expect("room");
        assert!(greeted.is_there(), "it may say something");
        let mut heard = vec![0; settings.len() + HEAD_BYTES + 8];
        greeted.read_exact(&mut heard).await.expect("which is not lost");
        assert!(heard.ends_with(&[1; 8]));
        drop(theirs);
        assert!(!greeted.is_there());
    }

    #[tokio::test]
    async fn who_says_nothing_or_something_else_has_not_greeted() {
        let alert = [21, 3, 1, 0, 2, 2, 70];
        let headers = frame(1, 0, &[0; 4]);
        for (answer, why, otherwise) in [
            (&b""[..], "EOF", false),
            (&[0, 0], "EOF", false),
            (&alert, "http2: frame too large", true),
            (b"HTTP/1.1 400 Bad Request\r\n", "http2: frame too large", true),
            (&headers, NOT_SETTINGS, true),
        ] {
            let told = answered(answer).await.expect_err("no greeting").to_string();
            assert_eq!(told, format!("error reading server preface: {why}"));
            assert_eq!(speaks_otherwise(&told), otherwise, "{told}");
        }
    }
}
