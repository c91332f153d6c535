//! Requests of etcd's version 2 store in a log: etcd up to 3.4 wrote there what its members are called and which version they
//! agreed on, and 3.5 still reads it.
//!
//! Invariants: what etcd 3.6 and later make of such an entry is made of it here; what they refuse is refused, because data of the
//! version 2 API would be lost without a word. Source: etcd server/etcdserver/apply/apply_v2.go.

use bytes::Bytes;
use prost::Message;

use crate::base::MemberId;
use crate::machine::{Command, codec};

/// The parts of a request that say what it does. Source: etcd 3.4 etcdserver/etcdserverpb/etcdserver.proto.
#[derive(Clone, PartialEq, Message)]
struct OldRequest {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "3")]
    path: String,
    #[prost(string, tag = "4")]
    value: String,
}

/// What a member says of itself.
struct Attributes {
    name: String,
    client_urls: Vec<String>,
}

/// The payload of today that does what an entry's does, whose payload is none of today's; empty where it did nothing that is kept.
/// `None` where it is no such request either. The text says why it cannot be taken over.
pub fn translated(payload: &Bytes) -> Option<Result<Bytes, String>> {
    let request = OldRequest::decode(payload.clone()).ok().filter(|request| !request.method.is_empty())?;
    let command = match &request.method[..] {
        // Questions, and the clock of keys that are not taken over.
        "QGET" | "SYNC" => return Some(Ok(Bytes::new())),
        "PUT" if request.path == "/0/version" => Command::SetClusterVersion(request.value.clone()),
        "PUT" => match attributes(&request) {
            Some(Ok(command)) => command,
            Some(Err(what)) => return Some(Err(what)),
            None => return Some(Err(refused(&request))),
        },
        _ => return Some(Err(refused(&request))),
    };
    Some(Ok(codec::encode(request.id, &command)))
}

fn refused(request: &OldRequest) -> String {
    format!(
        "a request of the version 2 API ({} {}), whose keys no version since 3.6 holds: copy what is still wanted of them with a \
         client of that API",
        request.method, request.path
    )
}

/// What a member says of itself; nothing where the request is of something else.
fn attributes(request: &OldRequest) -> Option<Result<Command, String>> {
    let id = request.path.strip_prefix("/0/members/")?.strip_suffix("/attributes")?;
    let member = MemberId(u64::from_str_radix(id, 16).ok()?);
    Some(match read_attributes(&request.value) {
        Some(Attributes { name, client_urls }) => Ok(Command::SetMemberAttributes { member, name, client_urls }),
        None => Err(format!("what member {id} says of itself cannot be read: {:?}", request.value)),
    })
}

fn read_attributes(json: &str) -> Option<Attributes> {
    let read: serde_json::Value = serde_json::from_str(json).ok()?;
    let fields = read.as_object()?;
    let name = fields.get("name").map_or(Some(""), |name| name.as_str())?.to_string();
    let urls = match fields.get("clientURLs") {
        None | Some(serde_json::Value::Null) => Vec::new(),
        Some(urls) => urls.as_array()?.iter().map(|url| url.as_str().map(str::to_owned)).collect::<Option<_>>()?,
    };
    Some(Attributes { name, client_urls: urls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str, value: &str) -> Option<Result<Bytes, String>> {
        let request = OldRequest { id: 7, method: method.into(), path: path.into(), value: value.into() };
        translated(&request.encode_to_vec().into())
    }

    #[test]
    fn what_members_said_of_themselves_goes_on_and_data_are_refused() {
        let command = |done: Option<Result<Bytes, String>>| {
            codec::decode(&done.unwrap().unwrap()).unwrap().map(|proposal| proposal.command.unwrap())
        };
        let named = of("PUT", "/0/members/8e9e05c52164694d/attributes", r#"{"name":"a","clientURLs":["http://a:1"]}"#);
        let (member, name, client_urls) = (MemberId(0x8e9e_05c5_2164_694d), "a".into(), vec!["http://a:1".into()]);
        assert_eq!(command(named), Some(Command::SetMemberAttributes { member, name, client_urls }));
        assert_eq!(command(of("PUT", "/0/version", "3.4.0")), Some(Command::SetClusterVersion("3.4.0".into())));
        assert_eq!((command(of("SYNC", "", "")), command(of("QGET", "/1/a", ""))), (None, None));
        for (method, path, why) in [
            ("PUT", "/1/key", "PUT /1/key"),
            ("DELETE", "/1/key", "version 2 API"),
            ("PUT", "/0/members/x/attributes", "version 2 API"),
            ("PUT", "/0/members/1/attributes", "cannot be read"),
        ] {
            let text = of(method, path, "value").unwrap().unwrap_err();
            assert!(text.contains(why), "{text}");
        }
        assert!(translated(&Bytes::from_static(b"\xff\xff")).is_none());
    }
}
