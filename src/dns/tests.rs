//! Questions to a name server of a few records.

use std::net::IpAddr;

use super::lookup::{Names, Service};
use super::own_servers;

#[path = "../../tests/discovery/name_server.rs"]
#[allow(clippy::unwrap_used, reason = "a test")]
mod name_server;

use name_server::{NameServer, Record};

fn started() -> NameServer {
    let srv = |name: &str, port, target: &str| Record::Srv(name.to_owned(), port, target.to_owned());
    NameServer::start(vec![
        srv("_etcd-server._tcp.example.test", 2380, "m1.example.test"),
        srv("_etcd-server._tcp.example.test", 2381, "m0.example.test"),
        srv("_etcd-client-ssl._tcp.example.test", 2379, "127.0.0.2"),
        Record::A("m0.example.test".to_owned(), [127, 0, 0, 2]),
        Record::A("m1.example.test".to_owned(), [127, 0, 0, 3]),
    ])
}

#[tokio::test]
async fn the_servers_of_a_service_are_found_in_one_order() {
    let server = started();
    let names = Names::at(&[server.address]);
    let found = names.services("etcd-server", "example.test").await.expect("there are two");
    let service = |target: &str, port| Service { target: target.to_owned(), port };
    assert_eq!(found, [service("m1.example.test.", 2380), service("m0.example.test.", 2381)]);
}

#[tokio::test]
async fn what_is_not_there_is_told_in_gos_words() {
    let server = started();
    let names = Names::at(&[server.address]);
    let at = server.address;
    for (domain, text) in [
        ("other.test", format!("lookup _etcd-server._tcp.other.test on {at}: no such host")),
        ("broken.test", format!("lookup _etcd-server._tcp.broken.test on {at}: server misbehaving")),
        ("a..b", format!("lookup _etcd-server._tcp.a..b on {at}: no such host")),
    ] {
        assert_eq!(names.services("etcd-server", domain).await, Err(text));
    }
    let gone = Names::at(&["127.0.0.1:1".parse().expect("an address")]);
    let text = gone.services("etcd-server", "example.test").await.expect_err("nobody answers");
    assert!(text.starts_with("lookup _etcd-server._tcp.example.test on 127.0.0.1:1: "), "{text}");
}

#[tokio::test]
async fn a_host_has_an_address() {
    let server = started();
    let names = Names::at(&[server.address]);
    for (host, address) in [
        ("m1.example.test", "127.0.0.3"),
        ("m0.example.test.", "127.0.0.2"),
        ("::1", "::1"),
        ("localhost", "127.0.0.1"),
    ] {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(names.address(host).await, Ok(address), "{host}");
    }
    assert!(names.address("nobody.example.test").await.is_err());
}

#[test]
fn own_servers_are_addresses_with_a_port_or_without() {
    let read =
        |list| own_servers::read(list).map(|servers| servers.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(
        read("127.0.0.1:5353, 10.0.0.1,[::1]:53,::1"),
        Ok(["127.0.0.1:5353", "10.0.0.1:53", "[::1]:53", "[::1]:53"].map(String::from).to_vec())
    );
    assert_eq!(read(""), Ok(Vec::new()));
    assert_eq!(read("here"), Err("QUORATE_NAME_SERVERS: \"here\" is no address".to_owned()));
}
