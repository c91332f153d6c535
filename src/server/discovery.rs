//! Where the members of a new cluster are to be found that `--initial-cluster` does not name: in DNS, or in a registry that
//! another cluster keeps.
//!
//! Invariant: flags that contradict each other are refused, in etcd's words. Asks nobody.

use crate::client::{Credentials, Options, TlsOptions};
use crate::server::flags::Flags;
use crate::server::values;

/// Where to look.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// In the SRV records of a domain, of services whose names end so.
    Services {
        /// The domain.
        domain: String,
        /// The end of the services' names; may be empty.
        suffix: String,
    },
    /// In a registry.
    Registry(Box<RegistryFlags>),
}

/// A registry as the flags have it.
#[derive(Clone, Debug)]
pub struct RegistryFlags {
    /// Where the cluster is that keeps it.
    pub endpoints: Vec<String>,
    /// The name of the cluster to be.
    pub token: String,
    /// How it is spoken to.
    pub options: Options,
}

/// More than one of the flags that tell who founds the cluster.
const CONFLICT: &str = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                        \"discovery-endpoints\" or \"discovery-srv\"";

impl Discovery {
    /// As the flags have it; `None` where they name no place to look.
    ///
    /// # Errors
    /// They contradict each other, in etcd's words.
    pub fn read(flags: &Flags) -> Result<Option<Self>, String> {
        let domain = flags.get("discovery-srv").to_owned();
        let endpoints = flags.get("discovery-endpoints");
        let named = !flags.get("initial-cluster").is_empty();
        if [named, !domain.is_empty(), !endpoints.is_empty()].iter().filter(|is| **is).count() > 1 {
            return Err(CONFLICT.to_owned());
        }
        let token = flags.get("discovery-token").to_owned();
        if token.is_empty() != endpoints.is_empty() {
            return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
        }
        if !domain.is_empty() {
            return Ok(Some(Self::Services { domain, suffix: flags.get("discovery-srv-name").to_owned() }));
        }
        if endpoints.is_empty() {
            return Ok(None);
        }
        let mut list: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
        if list.iter().any(|endpoint| endpoint.trim().is_empty()) {
            return Err("--discovery-endpoints must not contain empty endpoints".to_owned());
        }
        list.sort();
        list.dedup();
        Ok(Some(Self::Registry(Box::new(RegistryFlags { endpoints: list, token, options: options(flags)? }))))
    }
}

fn options(flags: &Flags) -> Result<Options, String> {
    let duration = |name: &str| values::duration(flags.get(name)).map_err(|why| format!("--{name}: {why}"));
    let flag = |name: &str| values::boolean(flags.get(name)).map_err(|why| format!("--{name}: {why}"));
    let file = |name: &str| flags.get(name).into();
    let (plain, anyone) = (flag("discovery-insecure-transport")?, flag("discovery-insecure-skip-tls-verify")?);
    let files = TlsOptions {
        cacert: file("discovery-cacert"),
        cert: file("discovery-cert"),
        key: file("discovery-key"),
        insecure_skip_verify: anyone,
        ..TlsOptions::default()
    };
    let given = ["discovery-cacert", "discovery-cert", "discovery-key"].iter().any(|name| !flags.get(name).is_empty());
    Ok(Options {
        connect_timeout: duration("discovery-dial-timeout")?,
        timeout: Some(duration("discovery-request-timeout")?),
        keepalive_time: duration("discovery-keepalive-time")?,
        keepalive_timeout: duration("discovery-keepalive-timeout")?,
        credentials: credentials(flags.get("discovery-user"), flags.get("discovery-password")),
        tls: (given || !plain || anyone).then_some(files),
        ..Options::default()
    })
}

/// A user, whose password may stand behind a colon.
fn credentials(user: &str, password: &str) -> Option<Credentials> {
    let (name, password) = match user.split_once(':') {
        Some(pair) if password.is_empty() => pair,
        _ => (user, password),
    };
    let known = !name.is_empty() && !password.is_empty();
    known.then(|| Credentials::Password { name: name.to_owned(), password: password.to_owned() })
}
