//! The named shapes of a partition: which directed links are cut among a set of hosts.
//!
//! Pure functions: flapping and swizzling are a plan's, made of these and of healing.

/// Directed links, each from a host to another.
pub type Cuts = Vec<(String, String)>;

#[cfg(test)]
fn where_cut(hosts: &[&str], cut: impl Fn(usize, usize) -> bool) -> Cuts {
    let mut cuts = Vec::new();
    for (nth, from) in hosts.iter().enumerate() {
        for (mth, to) in hosts.iter().enumerate() {
            if nth != mth && cut(nth, mth) {
                cuts.push(((*from).to_string(), (*to).to_string()));
            }
        }
    }
    cuts
}

/// One host hears nobody and nobody hears it.
#[cfg(test)]
pub fn isolate(hosts: &[&str], one: usize) -> Cuts {
    where_cut(hosts, |from, to| from == one || to == one)
}

/// The first `left` hosts, and the others.
#[cfg(test)]
pub fn halves(hosts: &[&str], left: usize) -> Cuts {
    where_cut(hosts, |from, to| (from < left) != (to < left))
}

/// Two halves, and one host that both of them reach: the bridge.
#[cfg(test)]
pub fn bridge(hosts: &[&str], bridge: usize) -> Cuts {
    let half = hosts.len() / 2;
    // The bridge stands aside; the others count on without it.
    let left = move |host: usize| host - usize::from(host > bridge) < half;
    where_cut(hosts, |from, to| from != bridge && to != bridge && left(from) != left(to))
}

/// Each host reaches a majority, itself counted, and no two the same one: those next to it in a ring.
#[cfg(test)]
pub fn majority_ring(hosts: &[&str]) -> Cuts {
    let count = hosts.len();
    let reach = count / 4 + usize::from(count % 4 > 1);
    where_cut(hosts, |from, to| {
        let forth = (to + count - from) % count;
        forth.min(count - forth) > reach
    })
}

/// One host hears nobody, but is heard.
#[cfg(test)]
pub fn deaf(hosts: &[&str], one: usize) -> Cuts {
    where_cut(hosts, |_, to| to == one)
}

/// One host is not heard, but hears.
#[cfg(test)]
pub fn mute(hosts: &[&str], one: usize) -> Cuts {
    where_cut(hosts, |from, _| from == one)
}

/// One host does not reach another.
#[cfg(test)]
pub fn one_way(from: &str, to: &str) -> Cuts {
    vec![(from.to_string(), to.to_string())]
}
