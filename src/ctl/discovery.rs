//! Endpoints by DNS: the SRV records of a domain, as etcdctl asks for them.
//!
//! Invariant: encrypted endpoints come first; those that are not are taken only on trust.

use crate::dns::Names;

/// The endpoints that a domain names, of services whose names end with `suffix`.
///
/// # Errors
/// It names none, or nobody can say; etcdctl's text.
pub async fn endpoints(domain: &str, suffix: &str) -> Result<Vec<String>, String> {
    let names = Names::new()?;
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (scheme, service) in [("https", "etcd-client-ssl"), ("http", "etcd-client")] {
        let service = if suffix.is_empty() { service.to_owned() } else { format!("{service}-{suffix}") };
        match names.services(&service, domain).await {
            Ok(services) => {
                found.extend(services.iter().map(|service| format!("{scheme}://{}:{}", service.target, service.port)));
            }
            Err(why) => wrong.push(why),
        }
    }
    match &wrong[..] {
        [sealed, plain] => Err(format!("dns lookup errors: {sealed} and {plain}")),
        _ => Ok(found),
    }
}

/// Those that may be used, and those that may not because nobody proves there who they are.
pub fn secure(found: Vec<String>, takes_any: bool) -> (Vec<String>, Vec<String>) {
    found.into_iter().partition(|endpoint| takes_any || !endpoint.starts_with("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_without_proof_are_taken_only_on_trust() {
        let found = vec!["https://a.:1".to_owned(), "http://b.:2".to_owned()];
        assert_eq!(secure(found.clone(), true), (found.clone(), Vec::new()));
        assert_eq!(secure(found.clone(), false), (found[..1].to_vec(), found[1..].to_vec()));
    }
}
