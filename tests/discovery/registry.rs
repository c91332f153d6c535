//! Discovery through a registry in another cluster.

use quorate::client::Client;
use quorate::wire::etcdserverpb as pb;

use crate::street::{Home, Process, homes, members_of};

async fn put(client: &Client, key: &str, value: &str) {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    client.put(pb::PutRequest { key, value, ..Default::default() }).await.unwrap();
}

/// A server that keeps registries.
fn keeper(home: &Home) -> Process {
    let mut process = Process::start(&mut home.command(&[]));
    home.until_ready(&mut process);
    process
}

fn start(home: &Home, keeper: &Home, token: &str) -> Process {
    let endpoints = format!("--discovery-endpoints=http://127.0.0.1:{}", keeper.client_port);
    Process::start(&mut home.command(&[&format!("--discovery-token={token}"), &endpoints]))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_find_each_other_and_a_fourth_finds_no_place() {
    let [kept, a, b, c, late] = homes(["keeper", "a", "b", "c", "late"]);
    let _keeper = keeper(&kept);
    let registry = kept.client().await;
    put(&registry, "/_etcd/registry/t/_config/size", "3").await;
    let mut first = start(&a, &kept, "t");
    a.wait_for_log(&mut first, "waiting for peers from discovery service");
    let mut others = [start(&b, &kept, "t"), start(&c, &kept, "t")];
    a.until_ready(&mut first);
    b.until_ready(&mut others[0]);
    c.until_ready(&mut others[1]);
    let members = members_of(&b.client().await).await;
    let url = |home: &Home| format!("http://127.0.0.1:{}", home.peer_port);
    let expected: Vec<_> = [&a, &b, &c].map(|home| (home.name.clone(), vec![url(home)])).into();
    assert_eq!(members, expected);

    let prefix = "/_etcd/registry/t/members/";
    let range_end = quorate::client::prefix_end(prefix.as_bytes());
    let request = pb::RangeRequest { key: prefix.into(), range_end, ..Default::default() };
    let mut told: Vec<_> = registry.range(request).await.unwrap().kvs.into_iter().map(|pair| pair.value).collect();
    told.sort();
    assert_eq!(told, [&a, &b, &c].map(|home| format!("{}={}", home.name, url(home))));

    let (code, text) = start(&late, &kept, "t").end();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("failed to join discovery cluster (discovery: cluster is full)"), "{text}");
    // A later start asks no registry.
    drop(first);
    std::fs::remove_file(a.path("log")).unwrap();
    drop(_keeper);
    let mut again = start(&a, &kept, "t");
    a.until_ready(&mut again);
    assert!(a.log_text().contains("discovery token is ignored since cluster already initialized"), "{}", a.log_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_good_size_is_refused_in_etcds_words() {
    let [kept, home] = homes(["keeper", "a"]);
    let _keeper = keeper(&kept);
    let registry = kept.client().await;
    put(&registry, "/_etcd/registry/bad/_config/size", "many").await;
    put(&registry, "/_etcd/registry/twice/_config/size", "2").await;
    let own = format!("b=http://127.0.0.1:{}", home.peer_port);
    put(&registry, "/_etcd/registry/twice/members/1", &own).await;
    put(&registry, "/_etcd/registry/wrong/_config/size", "2").await;
    put(&registry, "/_etcd/registry/wrong/members/1", "b=ftp://b").await;
    for (token, expected) in [
        ("none", "failed to join discovery cluster (discovery: size key not found)".to_owned()),
        ("bad", "failed to join discovery cluster (discovery: size key is bad)".to_owned()),
        ("wrong", "failed to join discovery cluster (discovery: invalid peer URL)".to_owned()),
        ("twice", format!("discovery cluster a=http://127.0.0.1:{0},{own} has duplicate url", home.peer_port)),
    ] {
        let (code, text) = start(&home, &kept, token).end();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(&expected), "{token}: {text}");
    }
    assert!(!home.path("data/wal/durable").exists(), "nothing was founded");
}
