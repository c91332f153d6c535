//! The members of a new cluster are found where `--initial-cluster` does not name them: by DNS, or through a registry in
//! another cluster.
//!
//! Invariants: they are looked for only before the first start; what is found goes through the same rules as what a flag
//! names. Rules and texts are etcd's. Does not know how the cluster is then founded.

use crate::base::{Url, derive_member_id};
use crate::client::registry;
use crate::dns::{Names, Service};
use crate::server::config::Config;
use crate::server::discovery::{Discovery, RegistryFlags};
use crate::server::founding::{self, InitialMember};

/// Finds the members, where there is a place to look, and puts them into the configuration.
///
/// # Errors
/// They cannot be found, or this one is not among them.
pub async fn find(config: &mut Config) -> Result<(), String> {
    match config.discovery.clone() {
        None => Ok(()),
        Some(Discovery::Services { domain, suffix }) => by_services(config, &domain, &suffix).await,
        Some(Discovery::Registry(registry)) => by_registry(config, &registry).await,
    }
}

async fn by_registry(config: &mut Config, flags: &RegistryFlags) -> Result<(), String> {
    if config.cluster_exists {
        return Err("discovery URL should not be set when joining existing initial cluster".to_owned());
    }
    tracing::info!("Bootstrapping cluster using v3 discovery.");
    let own = founding::shown(&config.initial_cluster);
    let member = derive_member_id(&config.advertise_peer_urls, &flags.token, None);
    let (token, endpoints) = (flags.token.as_str(), flags.endpoints.join(","));
    let joined = registry::join(&flags.endpoints, flags.options.clone(), token, member, &own).await;
    let cluster = joined.map_err(|error| {
        tracing::error!("discovery-token" = token, "discovery-endpoints" = endpoints, %error, "discovery failed to join cluster");
        let hint = "do not reuse discovery token; generate a new one to bootstrap a cluster";
        format!("failed to join discovery cluster ({error}); {hint}")
    })?;
    tracing::info!(
        "discovery-token" = token,
        "discovery-endpoints" = endpoints,
        cluster,
        "discovery joined cluster successfully"
    );
    let members = founding::read(&cluster)?;
    if founding::has_duplicate_url(&members) {
        return Err(format!("discovery cluster {} has duplicate url", founding::shown(&members)));
    }
    config.initial_cluster = members;
    config.initial_cluster_token.clone_from(&flags.token);
    Ok(())
}

async fn by_services(config: &mut Config, domain: &str, suffix: &str) -> Result<(), String> {
    let setting_up = |why: String| format!("error setting up initial cluster: {why}");
    let names = Names::new().map_err(setting_up)?;
    let cluster = cluster_of_services(&names, config, domain, suffix).await.map_err(setting_up)?;
    for node in cluster.split(',') {
        tracing::info!(node, "got bootstrap from DNS for etcd-server");
    }
    if cluster.contains("https://") {
        config.security.peers_are_of(domain);
    }
    let members = founding::read(&cluster).map_err(setting_up)?;
    if !members.iter().any(|member| member.name == config.name) {
        return Err(setting_up(format!("cannot find local etcd member {:?} in SRV records", config.name)));
    }
    let resolved = Resolved::of(&names, &members, config).await;
    founding::check(&members, &config.name, &config.advertise_peer_urls, config.cluster_exists, |url| {
        resolved.url(url)
    })?;
    config.initial_cluster = members;
    Ok(())
}

/// The members as `--initial-cluster` would name them. Both kinds of services are looked for, and one is enough.
async fn cluster_of_services(names: &Names, config: &Config, domain: &str, suffix: &str) -> Result<String, String> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = if suffix.is_empty() { service.to_owned() } else { format!("{service}-{suffix}") };
        let text = format!("get cluster for {service} SRV");
        let asked = pairs_of_service(names, config, (scheme, &service), domain).await;
        let (pairs, error) = match asked {
            Ok(pairs) => (pairs, None),
            Err(why) => (Vec::new(), Some(format!("error querying DNS SRV records for _{service} {why}"))),
        };
        tracing::info!(
            "service-scheme" = scheme,
            "service-name" = service,
            "server-name" = config.name,
            "discovery-srv" = domain,
            "advertise-peer-urls" = config.advertise_peer_urls.join(","),
            "found-cluster" = pairs.join(","),
            error,
            "{text}"
        );
        found.extend(pairs);
        wrong.extend(error);
    }
    if !wrong.is_empty() {
        tracing::warn!(error = wrong.join("; "), "failed to resolve during SRV discovery");
    }
    if found.is_empty() { Err(wrong.join("\n")) } else { Ok(found.join(",")) }
}

/// `name=URL` of each server of a service. This member's are those at an address that it tells others itself; the others
/// are numbered.
async fn pairs_of_service(
    names: &Names,
    config: &Config,
    (scheme, service): (&str, &str),
    domain: &str,
) -> Result<Vec<String>, String> {
    let mut own = Vec::new();
    for url in &config.advertise_peer_urls {
        let url = Url::read(url)?;
        own.push((names.address(&url.host).await?, url.port.clone(), url));
    }
    let (mut pairs, mut numbered, mut wrong) = (Vec::new(), 0, String::new());
    for Service { target, port } in names.services(service, domain).await? {
        let address = match names.address(&target).await {
            Ok(address) => address,
            Err(why) => {
                wrong = why;
                continue;
            }
        };
        let port = port.to_string();
        let advertised = own.iter().find(|(own, own_port, _)| *own == address && *own_port == port);
        let name = match advertised {
            Some(_) => config.name.clone(),
            None => {
                numbered += 1;
                (numbered - 1).to_string()
            }
        };
        let host = target.strip_suffix('.').unwrap_or(&target);
        let url = if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        };
        match advertised {
            Some((_, _, expected)) if expected.scheme != scheme => {
                let expected = &expected.text;
                wrong = format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {expected}"
                );
            }
            _ => pairs.push(format!("{name}={url}")),
        }
    }
    if pairs.is_empty() { Err(wrong) } else { Ok(pairs) }
}

/// URLs with their addresses in place of hosts: two that are one place have different texts.
struct Resolved(Vec<(String, String)>);

impl Resolved {
    async fn of(names: &Names, members: &[InitialMember], config: &Config) -> Self {
        let of_flags = config.advertise_peer_urls.iter();
        let mut resolved = Vec::new();
        for text in members.iter().flat_map(|member| &member.peer_urls).chain(of_flags) {
            let Ok(url) = Url::read(text) else { continue };
            let at = match names.address(&url.host).await {
                Ok(address) if url.host != "localhost" => {
                    format!("{}://{}", url.scheme, std::net::SocketAddr::new(address, url.port.parse().unwrap_or(0)))
                }
                _ => text.clone(),
            };
            resolved.push((text.clone(), at));
        }
        Self(resolved)
    }

    fn url(&self, text: &str) -> String {
        self.0.iter().find(|(known, _)| known == text).map_or_else(|| text.to_owned(), |(_, at)| at.clone())
    }
}
