//! Loopback ports for servers under test that must keep theirs over a restart.
//!
//! They lie below those that the system gives to outgoing connections, so that none of these takes the port of a server
//! that is down for a moment, and whoever dials that one meanwhile does not reach itself.

use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the least that any system gives to outgoing connections, beside those the README names.
const PORTS: Range<u16> = 14_000..20_000;

/// A port that is free now and was not handed out before by this process, nor by another that still runs.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    // Test programs side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    (0..span)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span)
        .map(|step| PORTS.start + u16::try_from(step).expect("smaller than the span of ports"))
        .find(|port| reserves(*port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Whether no other test program has this port. A name that the system forgets with this process says so to others.
fn reserves(port: u16) -> bool {
    let name = SocketAddr::from_abstract_name(format!("quorate-test-port-{port}")).expect("a short name");
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}
