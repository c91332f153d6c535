//! The members a cluster is founded with: `--initial-cluster`, read and held against the other flags.
//!
//! Invariants: the rules and texts are etcd's; a configuration that passes [`check`] names this member and gives no URL
//! twice. Unlike etcd, no name server is asked whether two names are one address, but where they were found by one. Does
//! not know of directories.

use crate::base::Url;

/// A member as `--initial-cluster` names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted.
    pub peer_urls: Vec<String>,
}

/// What `--initial-cluster` is in etcd when it is not given.
const DEFAULT_NAME: &str = "default";
const DEFAULT_CLUSTER: &str = "default=http://localhost:2380";

/// The members that `given` names, sorted by name. Where it is not given (or, as in etcd, is the default while the name
/// is not), it is this member alone, under its own name and peer URLs.
///
/// # Errors
/// A URL is refused.
pub fn members(given: Option<&str>, name: &str, peer_urls: &[String]) -> Result<Vec<InitialMember>, String> {
    let given = given.filter(|given| *given != DEFAULT_CLUSTER || name == DEFAULT_NAME);
    // Read as if it were given, so that a name that cannot be is found.
    let alone = || shown(&[InitialMember { name: name.to_owned(), peer_urls: peer_urls.to_vec() }]);
    read(&given.map_or_else(alone, str::to_owned)).map_err(|why| format!("error setting up initial cluster: {why}"))
}

/// The members that `given` names, sorted by name.
///
/// # Errors
/// A URL is refused.
pub fn read(given: &str) -> Result<Vec<InitialMember>, String> {
    let mut members: Vec<InitialMember> = Vec::new();
    for entry in given.split(',').filter(|entry| !entry.is_empty()) {
        let (name, url) = entry.split_once('=').unwrap_or((entry, ""));
        let url = Url::read(url)?.text;
        match members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.peer_urls.push(url),
            None => members.push(InitialMember { name: name.to_owned(), peer_urls: vec![url] }),
        }
    }
    members.iter_mut().for_each(|member| member.peer_urls.sort());
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(members)
}

/// Whether this member, `name`, which tells others to reach it at `advertised`, is as `members` have it. One that joins
/// a cluster that `exists` has told its URLs to that cluster before. A member without a name is none. URLs are compared by the place they are `at`.
///
/// # Errors
/// It is not, or a URL stands twice.
pub fn check(
    members: &[InitialMember],
    name: &str,
    advertised: &[String],
    exists: bool,
    at: impl Fn(&str) -> String,
) -> Result<(), String> {
    let Some(local) = members.iter().find(|member| member.name == name && !name.is_empty()) else {
        return Err(format!("couldn't find local name {name:?} in the initial cluster configuration"));
    };
    if !exists {
        check_advertised(local, advertised, at)?;
    }
    if has_duplicate_url(members) {
        return Err(format!("initial cluster {} has duplicate url", shown(members)));
    }
    Ok(())
}

/// Whether two members, or one twice, are told to be reached at one URL.
pub fn has_duplicate_url(members: &[InitialMember]) -> bool {
    let mut urls: Vec<&String> = members.iter().flat_map(|member| &member.peer_urls).collect();
    urls.sort();
    urls.windows(2).any(|pair| pair[0] == pair[1])
}

fn check_advertised(local: &InitialMember, advertised: &[String], at: impl Fn(&str) -> String) -> Result<(), String> {
    let mut advertised = advertised.to_vec();
    advertised.sort();
    let Some(why) = difference(&advertised, &local.peer_urls, at) else { return Ok(()) };
    let told = advertised.join(",");
    let only_in = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|url| !others.contains(url)).cloned().collect()
    };
    let missing = only_in(&local.peer_urls, &advertised);
    if !missing.is_empty() {
        let missing = shown(&[InitialMember { name: local.name.clone(), peer_urls: missing }]);
        return Err(format!(
            "--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={told} ({why})"
        ));
    }
    let missing = only_in(&advertised, &local.peer_urls);
    let ours = shown(&[InitialMember { name: local.name.clone(), peer_urls: advertised }]);
    if !missing.is_empty() {
        let missing = missing.join(",");
        return Err(format!("--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={ours}"));
    }
    Err(format!("failed to resolve {told} to match --initial-cluster={ours} ({why})"))
}

/// How two sorted lists of URLs differ, as to where they lead.
fn difference(some: &[String], others: &[String], at: impl Fn(&str) -> String) -> Option<String> {
    let list =
        |urls: &[String]| format!("[{}]", urls.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(" "));
    if some.len() != others.len() {
        return Some(format!("len({}) != len({})", list(some), list(others)));
    }
    let places = |urls: &[String]| {
        let mut places: Vec<String> = urls.iter().map(|url| at(url)).collect();
        places.sort();
        places
    };
    if some == others {
        return None;
    }
    let (one, other) = places(some).into_iter().zip(places(others)).find(|(one, other)| one != other)?;
    Some(format!("resolved urls: {one:?} != {other:?}"))
}

/// The members as the flag would name them.
pub fn shown(members: &[InitialMember]) -> String {
    let mut pairs: Vec<String> =
        members.iter().flat_map(|member| member.peer_urls.iter().map(|url| format!("{}={url}", member.name))).collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "http://localhost:2380";

    fn founded(given: &str, advertised: &[&str], exists: bool) -> Result<Vec<InitialMember>, String> {
        let advertised: Vec<String> = advertised.iter().map(|url| (*url).to_owned()).collect();
        let members = members(Some(given), "default", &advertised)?;
        check(&members, "default", &advertised, exists, str::to_owned)?;
        Ok(members)
    }

    #[test]
    fn members_are_by_name_with_all_their_urls() {
        let several = "c=http://c:1,default=http://localhost:2380,,b=http://b:2,b=HTTP://b:1";
        let members = founded(several, &[OURS], false).expect("three");
        assert_eq!(shown(&members), "b=http://b:1,b=http://b:2,c=http://c:1,default=http://localhost:2380");
        assert_eq!(members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["b", "c", "default"]);
        founded("default=http://localhost:1,b=http://b:1", &[OURS], true).expect("who joins has told its URLs before");
    }

    #[test]
    fn a_name_takes_the_place_of_the_default() {
        for given in [None, Some(DEFAULT_CLUSTER)] {
            let alone = members(given, "m1", &["http://10.0.0.1:2380".to_owned()]).expect("one");
            assert_eq!(shown(&alone), "m1=http://10.0.0.1:2380");
        }
    }

    /// Each text was recorded from stock etcd 3.7.1.
    #[test]
    fn what_contradicts_itself_is_refused_in_etcds_words() {
        let two = &[OURS, "http://localhost:2381"][..];
        for (given, advertised, text) in [
            (
                "a=http://localhost:2380",
                &[OURS][..],
                "couldn't find local name \"default\" in the initial cluster configuration",
            ),
            ("", &[OURS], "couldn't find local name \"default\" in the initial cluster configuration"),
            (",", &[OURS], "couldn't find local name \"default\" in the initial cluster configuration"),
            ("default", &[OURS], "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: "),
            (
                "default=ftp://a",
                &[OURS],
                "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ftp://a",
            ),
            (
                "default=http://localhost:1",
                &[OURS],
                "--initial-cluster has default=http://localhost:1 but missing from --initial-advertise-peer-urls=\
                 http://localhost:2380 (resolved urls: \"http://localhost:2380\" != \"http://localhost:1\")",
            ),
            (
                "default=http://localhost:2380,b=http://localhost:2380",
                &[OURS],
                "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url",
            ),
            (
                "default=http://localhost:2380,default=http://localhost:2380",
                &[OURS],
                "failed to resolve http://localhost:2380 to match --initial-cluster=default=http://localhost:2380 \
                 (len([\"http://localhost:2380\"]) != len([\"http://localhost:2380\" \"http://localhost:2380\"]))",
            ),
            (
                "default=http://localhost:2380",
                two,
                "--initial-advertise-peer-urls has http://localhost:2381 but missing from \
                 --initial-cluster=default=http://localhost:2380,default=http://localhost:2381",
            ),
        ] {
            assert_eq!(founded(given, advertised, false), Err(text.to_owned()), "{given}");
        }
    }
}
