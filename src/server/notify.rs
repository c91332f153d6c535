//! Telling the service manager how the server stands, in systemd's protocol (`sd_notify(3)`): a datagram to the socket
//! that `NOTIFY_SOCKET` names.
//!
//! Invariants: without that variable nothing is done; telling never stops or delays the server for more than a moment. A
//! name that begins with `@` is one of the abstract name space.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest wait for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The server serves.
pub fn ready() {
    tell("READY=1");
}

/// The server is about to end.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(name.as_encoded_bytes(), state) {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => {
            use std::os::unix::ffi::OsStrExt as _;
            SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_reached() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("quorate-test-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&abstracted).expect("bound");
        for (socket, name) in
            [(by_path, path.into_os_string().into_encoded_bytes()), (by_name, format!("@{name}").into_bytes())]
        {
            send(&name, "READY=1").expect("told");
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).expect("heard");
            assert_eq!(&heard[..length], b"READY=1");
        }
        assert!(send(b"/nowhere/at/all", "READY=1").is_err());
    }
}
