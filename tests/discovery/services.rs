//! Discovery by the SRV records of a domain.

use std::time::Duration;

use crate::name_server::{NameServer, Record};
use crate::street::{Home, Process, bare, homes, members_of};

/// What points a process at a name server.
pub const NAME_SERVERS: &str = "QUORATE_NAME_SERVERS";

pub fn srv(service: &str, port: u16, target: &str) -> Record {
    Record::Srv(format!("_{service}._tcp.example.test"), port, target.to_owned())
}

fn start(home: &Home, server: &NameServer, flags: &[&str]) -> Process {
    Process::start(home.command(flags).env(NAME_SERVERS, server.address.to_string()))
}

fn refused(home: &Home, server: &NameServer, flags: &[&str]) -> String {
    let (code, text) = start(home, server, flags).end();
    assert_eq!(code, 1, "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_find_each_other_and_are_found() {
    let three = homes(["m0", "m1", "m2"]);
    let mut records: Vec<_> = three.iter().map(|home| srv("etcd-server-our", home.peer_port, "localhost")).collect();
    records.extend(three.iter().map(|home| srv("etcd-client", home.client_port, "localhost")));
    let server = NameServer::start(records);
    let flags = ["--discovery-srv=example.test", "--discovery-srv-name=our"];
    // A host of this name is compared as it is written, as by etcd.
    let begin = |home: &Home, server: &NameServer| {
        let advertised = format!("--initial-advertise-peer-urls=http://localhost:{}", home.peer_port);
        start(home, server, &[&flags[..], &[&advertised]].concat())
    };
    let mut processes: Vec<Process> = three.iter().map(|home| begin(home, &server)).collect();
    for (home, process) in three.iter().zip(&mut processes) {
        home.until_ready(process);
    }
    let members = members_of(&three[1].client().await).await;
    let expected = three.iter().map(|home| (home.name.clone(), vec![format!("http://localhost:{}", home.peer_port)]));
    assert_eq!(members, expected.collect::<Vec<_>>());
    // A later start looks for nobody.
    drop(processes.remove(2));
    std::fs::remove_file(three[2].path("log")).unwrap();
    let nothing = NameServer::start(Vec::new());
    let mut again = begin(&three[2], &nothing);
    three[2].until_ready(&mut again);

    let ctl = |flags: &[&str]| {
        let mut command = bare(env!("CARGO_BIN_EXE_quoratectl"));
        command.args(["--discovery-srv=example.test", "--command-timeout=60s"]).args(flags);
        let output = command.env(NAME_SERVERS, server.address.to_string()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(ctl(&["put", "k", "v"]), (Some(0), "OK\n".to_owned(), String::new()));
    let (code, told, _) = ctl(&["endpoint", "health"]);
    assert_eq!((code, told.matches("is healthy").count()), (Some(0), 3), "{told}");
    // Each knew the others by numbers at first, and is held against them every second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ctl(&["alarm", "list"]), (Some(0), String::new(), String::new()), "nobody is found to differ");
    let (code, _, told) = ctl(&["--discovery-srv-name=none", "get", "k"]);
    let lookup = |service: &str| format!("lookup _{service}._tcp.example.test on {}: no such host", server.address);
    let expected =
        format!("Error: dns lookup errors: {} and {}\n", lookup("etcd-client-ssl-none"), lookup("etcd-client-none"));
    assert_eq!((code, told), (Some(1), expected));
    // Who takes nothing on trust gets none of these, and falls back on what is given.
    let (_, _, told) =
        ctl(&["--insecure-discovery=false", "--endpoints=127.0.0.1:1", "--command-timeout=10ms", "get", "k"]);
    assert_eq!(told.matches("ignoring discovered insecure endpoint").count(), 3, "{told}");
}

/// The texts are those of etcd 3.7.1.
#[test]
fn what_is_not_found_is_refused_in_etcds_words() {
    let [home] = homes(["m0"]);
    let server = NameServer::start(vec![
        srv("etcd-server-others", home.peer_port + 1, "localhost"),
        srv("etcd-server-ssl-sealed", home.peer_port, "localhost"),
        srv("etcd-server-lost", home.peer_port, "nobody.example.test"),
        srv("etcd-server-away", home.peer_port, "away.example.test"),
        Record::A("away.example.test".to_owned(), [127, 0, 0, 9]),
    ]);
    let domain = "--discovery-srv=example.test";
    let missing = |service: &str| {
        let at = server.address;
        format!(
            "error querying DNS SRV records for _{service} lookup _{service}._tcp.example.test on {at}: no such host"
        )
    };
    let setting_up = "error setting up initial cluster: ";
    let none = format!("{setting_up}{}\n{}", missing("etcd-server-ssl-none"), missing("etcd-server-none"));
    assert!(refused(&home, &server, &[domain, "--discovery-srv-name=none"]).contains(&none));
    let others = refused(&home, &server, &[domain, "--discovery-srv-name=others"]);
    assert!(others.contains(&format!("{setting_up}cannot find local etcd member \"m0\" in SRV records")), "{others}");
    let away = refused(&home, &server, &[domain, "--discovery-srv-name=away"]);
    assert!(
        away.contains("cannot find local etcd member \"m0\" in SRV records"),
        "its port, another's address: {away}"
    );
    let sealed = refused(&home, &server, &[domain, "--discovery-srv-name=sealed"]);
    let port = home.peer_port;
    let mismatch = format!(
        "{setting_up}error querying DNS SRV records for _etcd-server-ssl-sealed bootstrap at https://localhost:{port} \
         from DNS for etcd-server-ssl-sealed has scheme mismatch with expected peer http://127.0.0.1:{port}\n"
    );
    assert!(sealed.contains(&mismatch), "{sealed}");
    let lost = refused(&home, &server, &[domain, "--discovery-srv-name=lost"]);
    assert!(lost.contains("lookup nobody.example.test. on "), "{lost}");
    assert!(!home.path("data/wal/durable").exists(), "nothing was founded");
}
