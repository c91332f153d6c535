//! Questions to name servers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Name, Rtype, ToName};
use domain::rdata::{A, Aaaa, Srv};
use domain::resolv::resolver::SearchNames;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use domain::resolv::stub::{Answer, StubResolver};

use super::own_servers;
use crate::base::limits;

/// A server of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its host, with the dot that ends a full name.
    pub target: String,
    /// Its port.
    pub port: u16,
}

/// The name servers that are asked.
#[derive(Debug)]
pub struct Names {
    stub: StubResolver,
    /// The first of them, for texts.
    first: String,
    /// Whether they were named to this process: then they are asked for addresses, too, before the system is.
    own: bool,
}

impl Names {
    /// The system's, or those that the environment names. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the environment names is no address.
    pub fn new() -> Result<Self, String> {
        let own = std::env::var(own_servers::NAME_SERVERS).unwrap_or_default();
        let own = own_servers::read(&own)?;
        Ok(match own.is_empty() {
            true => Self::asking(ResolvConf::default(), false),
            false => Self::at(&own),
        })
    }

    /// Those at these addresses.
    pub fn at(servers: &[SocketAddr]) -> Self {
        let mut conf = ResolvConf::new();
        conf.servers = servers.iter().map(|server| ServerConf::new(*server, Transport::UdpTcp)).collect();
        conf.finalize();
        Self::asking(conf, true)
    }

    fn asking(conf: ResolvConf, own: bool) -> Self {
        let first = conf.servers.first().map(|server| server.addr.to_string()).unwrap_or_default();
        Self { stub: StubResolver::from_conf(conf), first, own }
    }

    /// The servers of `service` over TCP in a domain: those to be tried first come first, and of these the ones that
    /// are to have most of the work.
    ///
    /// # Errors
    /// There are none, or nobody can say; in Go's words.
    pub async fn services(&self, service: &str, domain: &str) -> Result<Vec<Service>, String> {
        let name = format!("_{service}._tcp.{domain}");
        let mut services: Vec<Srv<Name<Vec<u8>>>> = Vec::new();
        for full in self.full_names(&name)? {
            let answer = self.ask(&name, full, Rtype::SRV).await?;
            let records = answer.answer().into_iter().flat_map(|records| records.limit_to_in::<Srv<_>>()).flatten();
            for record in records.take(limits::MAX_SERVICES) {
                let srv = record.data();
                let target = srv.target().to_vec();
                services.push(Srv::new(srv.priority(), srv.weight(), srv.port(), target));
            }
            if !services.is_empty() {
                break;
            }
        }
        if services.is_empty() {
            return Err(self.no_such_host(&name));
        }
        services.sort_by_key(|srv| (srv.priority(), u16::MAX - srv.weight(), srv.port(), srv.target().to_string()));
        let service = |srv: &Srv<Name<Vec<u8>>>| Service { target: format!("{}.", srv.target()), port: srv.port() };
        Ok(services.iter().map(service).collect())
    }

    /// The address of a host: the first of the fourth version where it has one.
    ///
    /// # Errors
    /// It has none, or nobody can say; in Go's words.
    pub async fn address(&self, host: &str) -> Result<IpAddr, String> {
        if let Ok(address) = host.parse() {
            return Ok(address);
        }
        if self.own {
            for kind in [Rtype::A, Rtype::AAAA] {
                for full in self.full_names(host)? {
                    let answer = self.ask(host, full, kind).await?;
                    if let Some(address) = first_address(&answer) {
                        return Ok(address);
                    }
                }
            }
        }
        let bare = host.strip_suffix('.').unwrap_or(host);
        let found = tokio::net::lookup_host((bare, 0)).await;
        let addresses: Vec<IpAddr> = found.map_err(|_| self.no_such_host(host))?.map(|found| found.ip()).collect();
        let fourth = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        fourth.copied().ok_or_else(|| self.no_such_host(host))
    }

    /// The names that a name may stand for: itself, and what it is in the domains that are searched.
    fn full_names(&self, name: &str) -> Result<Vec<Name<Vec<u8>>>, String> {
        let bad = |_| self.no_such_host(name);
        let alone = Name::<Vec<u8>>::vec_from_str(name).map_err(bad)?;
        if name.ends_with('.') {
            return Ok(vec![alone]);
        }
        let mut all = vec![alone];
        for suffix in self.stub.search_iter().filter(|suffix| !suffix.is_root()) {
            let longer = Name::<Vec<u8>>::vec_from_str(&format!("{name}.{suffix}"));
            all.extend(longer.ok());
        }
        Ok(all)
    }

    async fn ask(&self, name: &str, full: Name<Vec<u8>>, kind: Rtype) -> Result<Answer, String> {
        let time = Duration::from_millis(limits::NAME_QUESTION_MS);
        let failed = |why: &dyn std::fmt::Display| format!("lookup {name} on {}: {why}", self.first);
        let answer = match tokio::time::timeout(time, self.stub.query((full, kind))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => return Err(failed(&error)),
            _ => return Err(failed(&"i/o timeout")),
        };
        match answer.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => Ok(answer),
            _ => Err(failed(&"server misbehaving")),
        }
    }

    fn no_such_host(&self, name: &str) -> String {
        format!("lookup {name} on {}: no such host", self.first)
    }
}

fn first_address(answer: &Answer) -> Option<IpAddr> {
    let records = || answer.answer().ok();
    let fourth = records()?.limit_to_in::<A>().flatten().map(|record| IpAddr::from(record.data().addr())).next();
    fourth.or_else(|| records()?.limit_to_in::<Aaaa>().flatten().map(|record| record.data().addr().into()).next())
}
