//! The configuration file (`--config-file`): YAML, read into the flags.
//!
//! As in etcd the file stands alone: what the command line and the environment say besides is not looked at. Keys are the
//! names of flags, in letters of any case, but for the maps of security, sockets and discovery; durations are whole nanoseconds; keys that nobody
//! knows are passed over. Invariant: a value goes through the same checks as a flag's.

use std::path::Path;

use serde_json::{Map, Value};

use crate::server::flag_table::{FLAGS, Kind};
use crate::server::yaml_documents;
use crate::tls::read_error;

/// What a file says: names of flags, and their values as the command line would have them.
pub type Given = Vec<(&'static str, String)>;

/// Keys of the maps of security, and the flags of clients and of peers that they are. Some are keys alone.
const SECURITY: [(&str, &str, &str); 10] = [
    ("cert-file", "cert-file", "peer-cert-file"),
    ("key-file", "key-file", "peer-key-file"),
    ("client-cert-file", "client-cert-file", "peer-client-cert-file"),
    ("client-key-file", "client-key-file", "peer-client-key-file"),
    ("client-cert-auth", "client-cert-auth", "peer-client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file", "peer-trusted-ca-file"),
    ("auto-tls", "auto-tls", "peer-auto-tls"),
    ("allowed-cn", "cert-allowed-cn", "peer-cert-allowed-cn"),
    ("allowed-hostname", "client-cert-allowed-hostname", "peer-cert-allowed-hostname"),
    ("skip-client-san-verification", "skip-client-san-verification", "peer-skip-client-san-verification"),
];

/// The map of the security of peers. etcd refuses it where it is nothing, and that of clients not.
const PEERS: &str = "peer-transport-security";

const SOCKETS: [(&str, &str); 2] = [("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")];

/// The name that the registry's certificate is to be for: a key of the file, and no flag. etcd looks at its kind alone.
pub const SERVER_NAME: &str = "discovery-server-name";

/// Keys of the registry of v3 discovery, by the map they stand in below `discovery-config`, and the flags that they are.
const DISCOVERY: [(&[&str], &str, &str); 14] = [
    (&[], "token", "discovery-token"),
    (&["client"], "endpoints", "discovery-endpoints"),
    (&["client"], "dial-timeout", "discovery-dial-timeout"),
    (&["client"], "request-timeout", "discovery-request-timeout"),
    (&["client"], "keepalive-time", "discovery-keepalive-time"),
    (&["client"], "keepalive-timeout", "discovery-keepalive-timeout"),
    (&["client", "secure"], "cert", "discovery-cert"),
    (&["client", "secure"], "key", "discovery-key"),
    (&["client", "secure"], "cacert", "discovery-cacert"),
    (&["client", "secure"], "insecure-transport", "discovery-insecure-transport"),
    (&["client", "secure"], "insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"),
    (&["client", "secure"], "server-name", SERVER_NAME),
    (&["client", "auth"], "username", "discovery-user"),
    (&["client", "auth"], "password", "discovery-password"),
];

/// Reads a file.
///
/// # Errors
/// It cannot be read, is no YAML, or a value is of another kind; in etcd's words as far as they go.
pub fn read(path: &Path) -> Result<Given, String> {
    let bytes = std::fs::read(path).map_err(|error| read_error(path, &error))?;
    let text =
        String::from_utf8(bytes).map_err(|_| "error converting YAML to JSON: yaml: invalid UTF-8".to_string())?;
    of_text(&text)
}

fn of_text(text: &str) -> Result<Given, String> {
    // Editors put it there, and it would hide a remark or the mark of a document from whoever looks at a line's head.
    let text = yaml_documents::first(text.trim_start_matches('\u{feff}'))?;
    let has_content = text.lines().any(|line| !matches!(line.trim_start().chars().next(), None | Some('#')));
    // A file of blanks and remarks says nothing; but no line begins with a tab.
    if !has_content && text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return Err("error converting YAML to JSON: yaml: found character that cannot start any token".to_string());
    }
    let file = match has_content {
        true => {
            let read = |strict| {
                serde_saphyr::from_str_with_options::<Value>(text, as_gos(strict)).map_err(|error| {
                    let text = error.to_string();
                    format!("error converting YAML to JSON: yaml: {}", text.lines().next().unwrap_or_default())
                })
            };
            with_words(read(true)?, &read(false)?)
        }
        false => Value::Null,
    };
    // By this very name, whatever else says of peers in letters of another case.
    let peers_are_nothing = file.get(PEERS).is_some_and(Value::is_null);
    let keys = match file {
        Value::Null => Map::new(),
        Value::Object(keys) => in_small_letters(keys),
        other => {
            let kind = kind_of(&other);
            let text = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
            return Err(format!("{text} {kind} into Go value of type embed.configYAML"));
        }
    };
    let mut given = Given::new();
    for (key, value) in &keys {
        if let Some(flag) = FLAGS.iter().find(|flag| flag.name == key && flag.kind != Kind::Any && is_key(key)) {
            take(&mut given, flag.name, flag.kind, key, value)?;
        }
    }
    for (map, is_peer) in [("client-transport-security", false), (PEERS, true)] {
        let Some(inside) = inside(&keys, map)? else { continue };
        for (key, client, peer) in SECURITY {
            let kind = match key {
                "client-cert-auth" | "auto-tls" | "skip-client-san-verification" => Kind::Bool,
                "allowed-cn" | "allowed-hostname" => Kind::Words,
                _ => Kind::Text,
            };
            let name = if is_peer { peer } else { client };
            inside.get(key).map_or(Ok(()), |value| take(&mut given, name, kind, &format!("{map}.{key}"), value))?;
        }
    }
    if let Some(inside) = inside(&keys, "socket-options")? {
        for (key, name) in SOCKETS {
            let path = format!("socket-options.{key}");
            inside.get(key).map_or(Ok(()), |value| take(&mut given, name, Kind::Bool, &path, value))?;
        }
    }
    take_discovery(&mut given, &keys)?;
    if peers_are_nothing { Err(format!("invalid {PEERS}")) } else { Ok(given) }
}

/// Keys as they are written here: Go's library takes them whatever the case of their letters, the last one in the order of bytes
/// where there are several, and lays maps over each other; an empty one says nothing. So what protects an etcd is never
/// passed over.
fn in_small_letters(keys: Map<String, Value>) -> Map<String, Value> {
    let mut ordered: Vec<(String, Value)> = keys.into_iter().collect();
    ordered.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut small = Map::new();
    for (key, value) in ordered {
        let value = match value {
            Value::Object(keys) => Value::Object(in_small_letters(keys)),
            value => value,
        };
        let key = key.to_ascii_lowercase();
        match (small.get_mut(&key), value) {
            (Some(_), Value::Null) => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                before.extend(after.into_iter().filter(|(_, value)| !value.is_null()))
            }
            (_, value) => drop(small.insert(key, value)),
        }
    }
    small
}

/// How etcd's library reads YAML. Its bools are read twice, see [`with_words`].
fn as_gos(strict: bool) -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: strict,
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    }
}

/// Words that are bools in YAML of old, as etcd's library has them; in letters of other cases they are texts.
const WORDS: [&str; 16] =
    ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// What was read, where `true` and `false` alone are bools, with the words that are, too. The library that takes words takes
/// them whatever the case of their letters, but tells those that are quoted, which are texts.
fn with_words(exact: Value, loose: &Value) -> Value {
    match (exact, loose) {
        (Value::String(word), Value::Bool(value)) if WORDS.contains(&word.as_str()) => Value::Bool(*value),
        (Value::Object(keys), Value::Object(others)) => {
            let with = |(key, value)| {
                // A key that is such a word is another one there; nobody knows it.
                let value = match others.get(&key) {
                    Some(other) => with_words(value, other),
                    None => value,
                };
                (key, value)
            };
            Value::Object(keys.into_iter().map(with).collect())
        }
        (Value::Array(values), Value::Array(others)) => {
            Value::Array(values.into_iter().zip(others).map(|(value, other)| with_words(value, other)).collect())
        }
        (exact, _) => exact,
    }
}

/// The whole number that a float says: in JSON, by way of which etcd reads YAML, they are written alike.
fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(number) = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)) {
        return Some(number);
    }
    // From here on Go writes an exponent, which its numbers do not take.
    const PLAIN: f64 = 1e21;
    number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < PLAIN).map(|float| float as i128)
}

/// A number as Go writes it in JSON, by way of which etcd reads YAML.
fn in_json(number: &serde_json::Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if float == 0.0 || (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    if text.contains("e-") { text } else { text.replace('e', "e+") }
}

fn take_discovery(given: &mut Given, keys: &Map<String, Value>) -> Result<(), String> {
    for (maps, key, name) in DISCOVERY {
        let mut path = "discovery-config".to_owned();
        let mut map = inside(keys, &path)?;
        for below in maps {
            path = format!("{path}.{below}");
            map = map.map_or(Ok(None), |map| inside(map, &path))?;
        }
        let kind = FLAGS.iter().find(|flag| flag.name == name).map_or(Kind::Text, |flag| flag.kind);
        if let Some(value) = map.and_then(|map| map.get(key)) {
            take(given, name, kind, &format!("{path}.{key}"), value)?;
        }
    }
    Ok(())
}

/// Flags that are no keys of the file, or stand in one of its maps.
fn is_key(name: &str) -> bool {
    let in_maps = ["socket-reuse-port", "socket-reuse-address", "config-file", "client-crl-file", "peer-crl-file"];
    // What etcd's file cannot set, and so passes over.
    let on_the_command_line = ["raft-read-timeout", "raft-write-timeout"];
    let is_secure = SECURITY.iter().any(|(_, client, peer)| *client == name || *peer == name);
    !in_maps.contains(&name)
        && !on_the_command_line.contains(&name)
        && !is_secure
        && (!name.starts_with("discovery-") || name.starts_with("discovery-srv"))
}

/// The map below the last key of a path; none where it is missing or empty.
fn inside<'a>(keys: &'a Map<String, Value>, path: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    match keys.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => {
            let text = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
            let (kind, holder, wanted) = (kind_of(other), holder(path), struct_of(name));
            Err(format!("{text} {kind} into Go struct field {holder}{path} of type {wanted}"))
        }
    }
}

/// The struct of etcd's that a key stands in, and the way there.
fn holder(key: &str) -> &'static str {
    let holders = [
        ("client-transport-security.", "securityConfig.configJSON."),
        ("peer-transport-security.", "securityConfig.configJSON."),
        ("discovery-config.client.secure.", "SecureConfig.Config."),
        ("discovery-config.client.auth.", "AuthConfig.Config."),
        ("discovery-config.client.", "ConfigSpec.Config."),
        ("discovery-config.", "DiscoveryConfig.Config."),
        ("socket-options.", "SocketOpts.Config."),
    ];
    if let Some((_, holder)) = holders.iter().find(|(before, _)| key.starts_with(before)) {
        return holder;
    }
    let as_text = [
        "listen-peer-urls",
        "listen-client-urls",
        "listen-client-http-urls",
        "initial-advertise-peer-urls",
        "advertise-client-urls",
        "cors",
        "host-whitelist",
        "feature-gates",
        "client-transport-security",
        "peer-transport-security",
    ];
    if as_text.contains(&key) { "configYAML.configJSON." } else { "configYAML.Config." }
}

/// The struct of etcd's that a map is.
fn struct_of(map: &str) -> &'static str {
    match map {
        "client-transport-security" | "peer-transport-security" => "embed.securityConfig",
        "socket-options" => "transport.SocketOpts",
        "discovery-config" => "v3discovery.DiscoveryConfig",
        "client" => "clientv3.ConfigSpec",
        "secure" => "clientv3.SecureConfig",
        _ => "clientv3.AuthConfig",
    }
}

/// The type of Go's that etcd keeps a flag in.
fn type_of(flag: &str, kind: Kind) -> &'static str {
    match (flag, kind) {
        ("snapshot-count" | "snapshot-catchup-entries", _) => "uint64",
        ("max-concurrent-streams", _) => "uint32",
        ("quota-backend-bytes", _) => "int64",
        ("v2-deprecation", _) => "config.V2DeprecationEnum",
        (_, Kind::Unsigned) => "uint",
        (_, Kind::Signed) => "int",
        _ => "string",
    }
}

/// Takes one value, as the command line would have it. An empty text takes the place of its default; a list that is empty, and
/// a word of a few that is none, is not given.
fn take(given: &mut Given, name: &'static str, kind: Kind, key: &str, value: &Value) -> Result<(), String> {
    let other_is = |found: &Value, wanted: &str| {
        let kind = match found {
            Value::Number(number) if matches!(kind, Kind::Unsigned | Kind::Signed | Kind::Duration) => {
                format!("number {}", in_json(number))
            }
            found => kind_of(found).to_owned(),
        };
        let text = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
        format!("{text} {kind} into Go struct field {}{key} of type {wanted}", holder(key))
    };
    let other = |wanted: &str| other_is(value, wanted);
    let is_list = matches!(name, "cipher-suites" | "log-outputs") || key.contains('.') && kind == Kind::Words;
    let text = match (kind, value) {
        (_, Value::Null) => return Ok(()),
        (Kind::Bool, Value::Bool(value)) => value.to_string(),
        (Kind::Bool, _) => return Err(other("bool")),
        (Kind::Duration, Value::Number(nanos)) => {
            let nanos =
                whole(nanos).and_then(|nanos| i64::try_from(nanos).ok()).ok_or_else(|| other("time.Duration"))?;
            // Whole nanoseconds as the flag's reader takes them.
            format!("{nanos}ns")
        }
        (Kind::Duration, _) => return Err(other("time.Duration")),
        (Kind::Unsigned, Value::Number(number)) => {
            let wanted = type_of(name, kind);
            let most = if wanted == "uint32" { u64::from(u32::MAX) } else { u64::MAX };
            let number = whole(number).and_then(|number| u64::try_from(number).ok());
            number.filter(|number| *number <= most).ok_or_else(|| other(wanted))?.to_string()
        }
        (Kind::Unsigned, _) => return Err(other(type_of(name, kind))),
        (Kind::Signed, Value::Number(number)) => whole(number)
            .and_then(|number| i64::try_from(number).ok())
            .ok_or_else(|| other(type_of(name, kind)))?
            .to_string(),
        (Kind::Signed, _) => return Err(other(type_of(name, kind))),
        (_, Value::Array(words)) if is_list => {
            let words = words.iter().map(|word| word.as_str().ok_or_else(|| other_is(word, "string")));
            match (name, words.collect::<Result<Vec<_>, _>>()?.as_slice()) {
                // Joined it would be none at all.
                ("cipher-suites", [""]) => return Err("unexpected TLS cipher suite \"\"".to_string()),
                (_, words) => words.join(","),
            }
        }
        (_, Value::String(_)) if is_list => return Err(other("[]string")),
        (_, Value::String(text)) => text.clone(),
        _ => return Err(other(if is_list { "[]string" } else { type_of(name, kind) })),
    };
    if !text.is_empty() || matches!((kind, value), (Kind::Text | Kind::Level, Value::String(_))) {
        given.push((name, text));
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heads of etcd's own sample, with what it has beside the flags.
    const SAMPLE: &str = "
# This is the configuration file for the etcd server.
name: 'one'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
quota-backend-bytes: 0
listen-client-urls: http://localhost:2379,https://[::1]:2379
max-wals: 5
cors:
discovery: 
discovery-fallback: 'exit'
proxy: 'off'
proxy-failure-wait: 5000
strict-reconfig-check: false
enable-pprof: true
grpc-keepalive-interval: 7200000000000
client-transport-security:
  cert-file: /a b.crt
  client-cert-auth: on
  allowed-hostname: [a.example, b.example]
  skip-client-san-verification: false
peer-transport-security:
  cert-file:
  auto-tls: true
  allowed-cn:
  - 'n'
log-outputs: [stderr, /var/log/e]
socket-options: {reuse-port: true}
auto-compaction-retention: \"1\"
";

    #[test]
    fn keys_are_flags() {
        let mut given = of_text(SAMPLE).expect("well formed");
        given.sort();
        let mut wanted = [
            ("name", "one"),
            ("snapshot-count", "10000"),
            ("heartbeat-interval", "100"),
            ("quota-backend-bytes", "0"),
            ("listen-client-urls", "http://localhost:2379,https://[::1]:2379"),
            ("max-wals", "5"),
            ("strict-reconfig-check", "false"),
            ("enable-pprof", "true"),
            ("grpc-keepalive-interval", "7200000000000ns"),
            ("cert-file", "/a b.crt"),
            ("client-cert-auth", "true"),
            ("client-cert-allowed-hostname", "a.example,b.example"),
            ("skip-client-san-verification", "false"),
            ("peer-auto-tls", "true"),
            ("peer-cert-allowed-cn", "n"),
            ("log-outputs", "stderr,/var/log/e"),
            ("socket-reuse-port", "true"),
            ("auto-compaction-retention", "1"),
        ]
        .map(|(name, value)| (name, value.to_string()));
        wanted.sort();
        assert_eq!(given, wanted);
        for empty in ["", "# nothing\n\n", "{}", "---", "---\n", "--- # nothing\n---\n...\n", "raft-read-timeout: 5s\n"]
        {
            assert_eq!(of_text(empty), Ok(Vec::new()), "{empty:?}");
        }
    }

    #[test]
    fn values_are_read_as_by_gos_library() {
        for (text, name, value) in [
            ("name: ''", "name", ""),
            ("log-level: ''", "log-level", ""),
            ("heartbeat-interval: 0100", "heartbeat-interval", "64"),
            ("quota-backend-bytes: 1e9", "quota-backend-bytes", "1000000000"),
            ("quota-backend-bytes: 8_000_000_000", "quota-backend-bytes", "8000000000"),
            ("quota-backend-bytes: 0x10", "quota-backend-bytes", "16"),
            ("pre-vote: y", "pre-vote", "true"),
            ("pre-vote: n", "pre-vote", "false"),
            ("pre-vote: Off", "pre-vote", "false"),
            ("name: 'no'", "name", "no"),
            ("name: \"on\"", "name", "on"),
            ("name: nO", "name", "nO"),
            ("name: 2020-01-01", "name", "2020-01-01"),
            ("name: a\nname: b", "name", "b"),
        ] {
            assert_eq!(of_text(text), Ok(vec![(name, value.to_string())]), "{text}");
        }
        assert_eq!(of_text("cors: ''\nlisten-client-urls: ''\ninitial-cluster-state: ''\nname:"), Ok(Vec::new()));
        for wrong in ["heartbeat-interval: 1.5", "quota-backend-bytes: 1e21", "snapshot-count: -1.0"] {
            assert!(of_text(wrong).is_err_and(|why| why.contains("cannot unmarshal number")), "{wrong}");
        }
    }

    #[test]
    fn keys_are_taken_whatever_the_case_of_their_letters() {
        let text =
            "Name: a\nAuth-Token: jwt\nclient-transport-security: {Trusted-CA-File: /ca, CLIENT-CERT-AUTH: true}";
        let mut given = of_text(text).expect("well formed");
        given.sort();
        let wanted = [("auth-token", "jwt"), ("client-cert-auth", "true"), ("name", "a"), ("trusted-ca-file", "/ca")];
        assert_eq!(given, wanted.map(|(name, value)| (name, value.to_string())));
        for both in ["Name: a\nname: b", "name: b\nName: a"] {
            assert_eq!(of_text(both), Ok(vec![("name", "b".to_string())]), "{both}");
        }
        assert_eq!(of_text("NAME: a\nname:"), Ok(vec![("name", "a".to_string())]), "nothing is said by it");
        let maps = "Client-Transport-Security: {Client-Cert-Auth: true, cert-file: a}\n\
                    client-transport-security: {cert-file: b, client-cert-auth: }";
        let wanted = [("cert-file", "b"), ("client-cert-auth", "true")];
        let wanted = wanted.map(|(name, value)| (name, value.to_string()));
        assert_eq!(of_text(maps), Ok(wanted.to_vec()), "laid over each other");
    }

    #[test]
    fn a_mark_of_the_order_of_bytes_says_nothing() {
        let named = Ok(vec![("name", "x".to_string())]);
        for text in ["# saved by an editor\n---\nname: x\n", "---\nname: x\n", "name: x\n", "%YAML 1.1\n---\nname: x"] {
            assert_eq!(of_text(&format!("\u{feff}{text}")), named, "{text:?}");
        }
        for text in ["\u{feff}", "\u{feff}# nothing\n"] {
            assert_eq!(of_text(text), Ok(Vec::new()), "{text:?}");
        }
        let largest = Ok(vec![("max-concurrent-streams", u32::MAX.to_string())]);
        assert_eq!(of_text("max-concurrent-streams: 4294967295"), largest);
    }

    #[test]
    fn no_line_begins_with_a_tab() {
        let refused = "error converting YAML to JSON: yaml: found character that cannot start any token";
        for text in ["\t", "\n \t\n", "\t# nothing", "# one\n\t# two"] {
            assert_eq!(of_text(text), Err(refused.to_string()), "{text:?}");
        }
        assert_eq!(of_text("  \n\n # nothing\t"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_of_another_kind_is_refused_in_gos_words() {
        let cannot = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
        for (text, why) in [
            ("heartbeat-interval: x", "string into Go struct field configYAML.Config.heartbeat-interval of type uint"),
            (
                "heartbeat-interval: -1",
                "number -1 into Go struct field configYAML.Config.heartbeat-interval of type uint",
            ),
            (
                "grpc-keepalive-interval: 5s",
                "string into Go struct field configYAML.Config.grpc-keepalive-interval of type time",
            ),
            ("snapshot-count: x", "string into Go struct field configYAML.Config.snapshot-count of type uint64"),
            (
                "max-concurrent-streams: 1.5",
                "number 1.5 into Go struct field configYAML.Config.max-concurrent-streams of type uint32",
            ),
            (
                "max-concurrent-streams: 4294967296",
                "number 4294967296 into Go struct field configYAML.Config.max-concurrent-streams of type uint32",
            ),
            (
                "max-wals: 18446744073709551616",
                "number 18446744073709552000 into Go struct field configYAML.Config.max-wals of type uint",
            ),
            ("max-wals: 1e21", "number 1e+21 into Go struct field configYAML.Config.max-wals of type uint"),
            (
                "quota-backend-bytes: [5]",
                "array into Go struct field configYAML.Config.quota-backend-bytes of type int64",
            ),
            (
                "v2-deprecation: 5",
                "number into Go struct field configYAML.Config.v2-deprecation of type config.V2DeprecationEnum",
            ),
            ("name: 5", "number into Go struct field configYAML.Config.name of type string"),
            ("name: no", "bool into Go struct field configYAML.Config.name of type string"),
            ("name: n", "bool into Go struct field configYAML.Config.name of type string"),
            ("name: Yes", "bool into Go struct field configYAML.Config.name of type string"),
            ("log-outputs: [no]", "bool into Go struct field configYAML.Config.log-outputs of type string"),
            ("pre-vote: 'no'", "string into Go struct field configYAML.Config.pre-vote of type bool"),
            ("pre-vote: \"true\"", "string into Go struct field configYAML.Config.pre-vote of type bool"),
            ("pre-vote: tRUE", "string into Go struct field configYAML.Config.pre-vote of type bool"),
            ("pre-vote: 5", "number into Go struct field configYAML.Config.pre-vote of type bool"),
            ("log-outputs: stderr", "string into Go struct field configYAML.Config.log-outputs of type []string"),
            ("[1]", "array into Go value of type"),
        ] {
            let refused = of_text(text).expect_err(text);
            assert!(refused.starts_with(&format!("{cannot} {why}")), "{refused}");
        }
        let text =
            "number into Go struct field configYAML.configJSON.peer-transport-security of type embed.securityConfig";
        assert_eq!(of_text("peer-transport-security: 5"), Err(format!("{cannot} {text}")));
        let nothing = Err("invalid peer-transport-security".to_string());
        for text in ["", " null", " ~\nname: x", " null\nPeer-Transport-Security: {auto-tls: true}"] {
            assert_eq!(of_text(&format!("peer-transport-security:{text}")), nothing, "{text}");
        }
        for text in ["Peer-Transport-Security:", "client-transport-security:", "peer-transport-security: {}"] {
            assert_eq!(of_text(text), Ok(Given::new()), "{text}");
        }
        assert!(of_text("peer-transport-security:\nmax-wals: x").is_err_and(|why| why.starts_with(cannot)));
        for (text, why) in [
            (
                "client: x",
                "string into Go struct field DiscoveryConfig.Config.discovery-config.client of type clientv3.ConfigSpec",
            ),
            (
                "client: {secure: 5}",
                "number into Go struct field ConfigSpec.Config.discovery-config.client.secure of type clientv3.SecureConfig",
            ),
            (
                "client: {auth: [a]}",
                "array into Go struct field ConfigSpec.Config.discovery-config.client.auth of type clientv3.AuthConfig",
            ),
            (
                "client: {secure: {server-name: 5}}",
                "number into Go struct field SecureConfig.Config.discovery-config.client.secure.server-name of type string",
            ),
        ] {
            assert_eq!(of_text(&format!("discovery-config: {{{text}}}")), Err(format!("{cannot} {why}")));
        }
        assert_eq!(of_text("cipher-suites: ['']"), Err("unexpected TLS cipher suite \"\"".to_string()));
        assert_eq!(of_text("cipher-suites: []"), Ok(Given::new()));
        assert!(of_text("a: [").is_err_and(|why| why.starts_with("error converting YAML to JSON: yaml: ")));
        let gone = read(Path::new("/nowhere/c"));
        assert_eq!(gone, Err("open /nowhere/c: no such file or directory".to_string()));
    }
}
