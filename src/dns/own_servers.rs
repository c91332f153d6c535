//! Name servers that are named to the process, in place of the system's.

use std::net::{IpAddr, SocketAddr};

/// The variable that names them: `address` or `address:port`, separated by commas. For networks whose members are known
/// to servers that the machine as a whole does not ask, and for tests.
pub const NAME_SERVERS: &str = "QUORATE_NAME_SERVERS";

/// Where name servers listen.
const PORT: u16 = 53;

/// Reads such a list; an empty one is none.
///
/// # Errors
/// A part is no address.
pub(super) fn read(list: &str) -> Result<Vec<SocketAddr>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let alone = || part.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
            part.parse::<SocketAddr>()
                .or_else(|_| alone())
                .map_err(|_| format!("{NAME_SERVERS}: {part:?} is no address"))
        })
        .collect()
}
