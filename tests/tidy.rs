//! The house keeps its own order: layers, sizes, words and guests, read from the sources.
//!
//! Every rule is a function from one [`Source`] to the findings in it (that of circles, from all of them), so that each
//! has a test that shows it can fail.
//! Findings that are known stand in [`EXCEPTIONS`] with a reason. The list is a ratchet: an exception that is no
//! longer needed fails the test as well. Knows nothing of types: it reads the text with comments and strings blanked.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/source.rs"]
mod source;

use source::{Finding, Source, blank, item_end, line_of, occurrences, skip_blanks, sources, word_at};

// ---------------------------------------------------------------------------------------------------- the plan

/// A room, its layer, and who may enter besides the rooms above it.
struct Room {
    name: &'static str,
    layer: u8,
    /// When given, the room imports from these alone.
    imports_only: Option<&'static [&'static str]>,
    /// When given, only these import it.
    entered_only_by: Option<&'static [&'static str]>,
}

const fn room(name: &'static str, layer: u8) -> Room {
    Room { name, layer, imports_only: None, entered_only_by: None }
}

const ROOMS: &[Room] = &[
    room("base", 0),
    // Protobuf types end with those who speak the protocol.
    Room {
        name: "wire",
        layer: 0,
        imports_only: None,
        entered_only_by: Some(&["machine", "backend", "api", "client", "ctl"]),
    },
    room("bbolt", 1),
    room("env", 1),
    Room { name: "manual", layer: 1, imports_only: Some(&[]), entered_only_by: Some(&["ctl", "utl"]) },
    Room { name: "progress", layer: 1, imports_only: Some(&["base"]), entered_only_by: Some(&["ctl", "utl"]) },
    room("tls", 1),
    room("dns", 1),
    room("log", 2),
    room("lease", 2),
    room("auth", 2),
    room("watch", 2),
    room("wal", 3),
    room("mvcc", 3),
    room("machine", 4),
    room("consensus", 4),
    room("backend", 5),
    room("peer", 5),
    room("node", 5),
    room("driver", 6),
    room("passport", 6),
    room("api", 7),
    room("server", 8),
    Room {
        name: "client",
        layer: 2,
        imports_only: Some(&["base", "tls", "wire"]),
        entered_only_by: Some(&["server", "ctl"]),
    },
    Room {
        name: "ctl",
        layer: 3,
        imports_only: Some(&["base", "client", "dns", "manual", "progress", "wire"]),
        entered_only_by: Some(&["bin"]),
    },
    room("utl", 9),
    room("bin", 10),
    room("lib", 10),
];

/// Rooms the simulator runs: no time, files, threads, sockets or chance of their own.
const BELOW_THE_PORCH: &[&str] = &[
    "base",
    "wire",
    "bbolt",
    "backend",
    "env",
    "log",
    "lease",
    "auth",
    "watch",
    "wal",
    "mvcc",
    "machine",
    "consensus",
    "peer",
    "node",
    "driver",
];

/// Each dependency of the package and the rooms that may name it. A dependency without a line is a finding.
const GUESTS: &[(&str, &[&str])] = &[
    ("base64", &["api", "ctl", "machine", "passport"]),
    ("bcrypt", &["passport"]),
    ("bytes", &["*"]),
    ("clap", &["manual", "ctl", "utl"]),
    ("clap_complete", &["manual"]),
    ("clap_mangen", &["manual"]),
    ("crc32c", &["backend", "driver", "log", "machine", "mvcc", "peer"]),
    ("dns_lookup", &["tls"]),
    ("domain", &["dns"]),
    ("flate2", &["api", "server"]),
    ("futures_channel", &["peer", "node", "driver", "client"]),
    ("futures_util", &["api", "server", "client", "ctl"]),
    ("fxhash", &["*"]),
    ("http", &["wire", "api", "server", "client"]),
    ("httparse", &["peer"]),
    ("http_body", &["api", "server"]),
    ("http_body_util", &["api", "server", "client"]),
    ("h2", &["client"]),
    ("hyper", &["server", "client"]),
    ("hyper_util", &["server", "client"]),
    ("mimalloc", &["bin"]),
    ("p521", &["passport"]),
    ("prometheus", &["api"]),
    ("prost", &["wire", "machine", "backend", "api", "client", "ctl", "utl"]),
    ("prost_reflect", &["api"]),
    ("protobuf", &["consensus"]),
    ("raft", &["consensus"]),
    ("rcgen", &["tls"]),
    ("ring", &["passport", "tls"]),
    ("rustix", &["ctl", "env", "server"]),
    ("rustls", &["tls"]),
    ("serde", &["machine", "api"]),
    ("serde_saphyr", &["server"]),
    ("serde_json", &["machine", "passport", "api", "server", "utl"]),
    ("sha1", &["base", "api"]),
    ("sha2", &["backend", "utl"]),
    ("slog", &["consensus"]),
    ("socket2", &["server"]),
    ("tokio", &["dns", "env", "tls", "passport", "api", "server", "client", "ctl", "utl"]),
    ("tokio_rustls", &["tls"]),
    ("tokio_stream", &["api", "server", "client", "ctl"]),
    ("tokio_tungstenite", &["server"]),
    ("tower_service", &["client"]),
    ("tonic", &["wire", "api", "server", "client", "ctl"]),
    ("tonic_prost", &["wire", "api", "client"]),
    ("tracing", &["env", "tls", "peer", "driver", "passport", "api", "server", "client", "ctl"]),
    ("tracing_subscriber", &["server"]),
    ("webpki", &["tls"]),
    ("x509_parser", &["tls"]),
    // Development only.
    ("proptest", &["*"]),
    ("tempfile", &["env", "tls", "api", "server", "client", "ctl", "utl"]),
];

const BANNED_BELOW: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "rand",
    "tokio",
    "ahash",
    "HashMap",
    "HashSet",
    "RandomState",
    "unbounded",
];

const FORBIDDEN_NAMES: [&str; 8] = ["Manager", "Helper", "Util", "Info", "Data", "Inner", "Impl", "Context"];

const FILE_LINES: usize = 600;
const TEST_FILE_LINES: usize = 1000;
const FUNCTION_LINES: usize = 70;

/// What is allowed although a rule forbids it.
struct Exception {
    rule: &'static str,
    path: &'static str,
    what: &'static str,
    /// Lines for a size, occurrences for the rest.
    most: usize,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        rule: "names",
        path: "src/api/transport/body.rs",
        what: "Data",
        most: 1,
        why: "the name is the HTTP library's: a body's type of bytes",
    },
    Exception {
        rule: "names",
        path: "src/api/transport/receive_room.rs",
        what: "Data",
        most: 2,
        why: "the name is the HTTP library's: a body's type of bytes",
    },
    Exception {
        rule: "names",
        path: "src/api/transport/replies.rs",
        what: "Data",
        most: 1,
        why: "the name is the HTTP library's: a body's type of bytes",
    },
    Exception {
        rule: "guests",
        path: "src/mvcc/entry_digest.rs",
        what: "prost",
        most: 1,
        why: "etcd's digest is over its protobuf bytes; only the two varint functions are used, no message",
    },
];

// ---------------------------------------------------------------------------------------------------- the rules

type Rule = fn(&Source) -> Vec<Finding>;

const RULES: [Rule; 10] =
    [layers, escapes, guests, file_size, function_size, words_below, biased_select, heads, unwraps, names];

fn find_room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

/// Rooms named by `crate::x`, `crate::{x, y}` and, in binaries, `quorate::x`.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for prefix in ["crate::", "quorate::"] {
        for at in occurrences(&source.code, prefix.trim_end_matches(':')) {
            let after = at + prefix.len();
            if !source.code[at..].starts_with(&prefix.chars().collect::<Vec<_>>()) {
                continue;
            }
            if source.code.get(after) != Some(&'{') {
                found.push((at, word_at(&source.code, after)));
                continue;
            }
            let (mut depth, mut next) = (0, after);
            while next < source.code.len() {
                match source.code[next] {
                    '{' => depth += 1,
                    '}' if depth == 1 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && matches!(source.code[next], '{' | ',') {
                    let word = word_at(&source.code, skip_blanks(&source.code, next + 1));
                    found.extend((!word.is_empty()).then_some((next, word)));
                }
                next += 1;
            }
        }
    }
    found
}

/// A room imports only from rooms strictly below it.
fn layers(source: &Source) -> Vec<Finding> {
    let Some(name) = source.room() else { return Vec::new() };
    let Some(from) = find_room(name) else { return vec![source.finding("layers", 0, format!("no plan for {name}"))] };
    let mut found = Vec::new();
    for (at, name) in imports(source) {
        let Some(to) = find_room(&name) else {
            found.push(source.finding("layers", at, format!("{} -> {name}, which is no room", from.name)));
            continue;
        };
        let down = to.layer < from.layer && from.imports_only.is_none_or(|rooms| rooms.contains(&to.name));
        let open = to.entered_only_by.is_none_or(|rooms| rooms.contains(&from.name) || from.name == "bin");
        if from.name != to.name && !(down && open) {
            found.push(source.finding("layers", at, format!("{} -> {}", from.name, to.name)));
        }
    }
    found
}

/// `super::` does not lead out of a room, past the rule above.
fn escapes(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix("src/") else { return Vec::new() };
    let file_depth = inside.split('/').count() - usize::from(inside.ends_with("/mod.rs"));
    let starts = occurrences(&source.code, "super");
    let chained = |at: usize| at >= 7 && source.code[at - 7..at].iter().collect::<String>() == "super::";
    let mut found = Vec::new();
    for at in starts.into_iter().filter(|at| !chained(*at)) {
        let mut up = 0;
        while source.code[at + 7 * up..].starts_with(&['s', 'u', 'p', 'e', 'r', ':', ':']) {
            up += 1;
        }
        let inline = occurrences(&source.code[..at], "mod")
            .into_iter()
            .filter(|open| {
                let end = item_end(&source.code, *open);
                end > at && source.code[*open..end].contains(&'{')
            })
            .count();
        if up >= file_depth + inline {
            found.push(source.finding("escapes", at, "super"));
        }
    }
    found
}

/// A dependency is named only in the rooms that are planned for it.
fn guests(source: &Source) -> Vec<Finding> {
    let Some(room) = source.room() else { return Vec::new() };
    let mut found = Vec::new();
    for (guest, rooms) in GUESTS {
        if rooms.contains(&"*") || rooms.contains(&room) {
            continue;
        }
        for at in occurrences(&source.code, guest) {
            let path = source.code[at + guest.len()..].starts_with(&[':', ':']);
            let rooted = at < 2 || source.code[at - 1] != ':';
            let declared = source.code[..at].iter().rev().take(4).collect::<String>() == " esu";
            if rooted && (path || declared) {
                found.push(source.finding("guests", at, *guest));
            }
        }
    }
    found
}

fn file_size(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let most = if source.test.iter().all(|test| *test) { TEST_FILE_LINES } else { FILE_LINES };
    if lines <= most {
        return Vec::new();
    }
    vec![Finding { amount: lines, ..source.finding("file_size", 0, "file") }]
}

/// Functions outside tests, from `fn` to the closing brace.
fn function_size(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in occurrences(&source.code, "fn") {
        let name = word_at(&source.code, skip_blanks(&source.code, at + 2));
        if name.is_empty() || source.in_test(at) {
            continue;
        }
        let lines = line_of(&source.code, item_end(&source.code, at)) + 1 - line_of(&source.code, at);
        if lines > FUNCTION_LINES {
            found.push(Finding { amount: lines, ..source.finding("function_size", at, name) });
        }
    }
    found
}

/// Below the porch there is no time, file, thread, socket or chance but the seam's, and no order of a std map.
fn words_below(source: &Source) -> Vec<Finding> {
    let Some(room) = source.room() else { return Vec::new() };
    let mut found = Vec::new();
    // The simulator's switch never reaches the product.
    for at in occurrences(&source.text.chars().collect::<Vec<_>>(), "cfg(madsim") {
        found.push(source.finding("words_below", at, "cfg(madsim)"));
    }
    if !BELOW_THE_PORCH.contains(&room) || source.path.starts_with("src/env/tokio_") {
        return found;
    }
    for word in BANNED_BELOW {
        found.extend(occurrences(&source.code, word).into_iter().map(|at| source.finding("words_below", at, word)));
    }
    for at in occurrences(&source.code, "std::time") {
        let rest: String = source.code[at..].iter().take(19).collect();
        if rest != "std::time::Duration" {
            found.push(source.finding("words_below", at, "std::time"));
        }
    }
    found
}

/// The order in which branches are asked is written down, not drawn.
fn biased_select(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in occurrences(&source.code, "select!") {
        let body = skip_blanks(&source.code, at + "select!".len());
        if word_at(&source.code, skip_blanks(&source.code, body + 1)) != "biased" && source.path.starts_with("src/") {
            found.push(source.finding("biased_select", at, "select!"));
        }
    }
    found
}

/// Every file says what it is for. A file of a line or two needs no plate at the door.
fn heads(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    if first.starts_with("//!") || source.text.lines().count() <= 3 {
        return Vec::new();
    }
    vec![source.finding("heads", 0, "no //! at the top")]
}

fn unwraps(source: &Source) -> Vec<Finding> {
    let product = ["src/", "sim/", "jepsen/"].iter().any(|top| source.path.starts_with(top));
    occurrences(&source.code, ".unwrap()")
        .into_iter()
        .filter(|at| product && !source.in_test(*at))
        .map(|at| source.finding("unwraps", at, ".unwrap()"))
        .collect()
}

/// A name says what a thing is; these words say nothing.
fn names(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for keyword in ["struct", "enum", "trait", "type", "union"] {
        for at in occurrences(&source.code, keyword) {
            let name = word_at(&source.code, skip_blanks(&source.code, at + keyword.len()));
            let vague = camel_words(&name).iter().any(|word| FORBIDDEN_NAMES.contains(&word.as_str()));
            if vague {
                found.push(source.finding("names", at, name));
            }
        }
    }
    found
}

fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

// ---------------------------------------------------------------------------------------------------- the ratchet

/// What is wrong after the exceptions, and which exceptions are no longer needed.
fn judge(findings: &[Finding], exceptions: &[Exception]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry((finding.rule, &finding.path, &finding.what)).or_default().push(finding);
    }
    for ((rule, path, what), group) in &groups {
        let amount: usize = group.iter().map(|finding| finding.amount).sum();
        let allowed = exceptions.iter().find(|e| (e.rule, e.path, e.what) == (*rule, *path, *what));
        if allowed.is_none_or(|exception| amount > exception.most) {
            let lines: Vec<String> = group.iter().map(|finding| finding.line.to_string()).collect();
            complaints.push(format!("{rule}: {path}:{}: {what} ({amount})", lines.join(",")));
        }
    }
    for exception in exceptions {
        assert!(!exception.why.is_empty(), "an exception has a reason: {}", exception.path);
        if !groups.contains_key(&(exception.rule, exception.path, exception.what)) {
            complaints.push(format!(
                "{}: {}: the exception for {} is no longer needed: strike it",
                exception.rule, exception.path, exception.what
            ));
        }
    }
    complaints
}

#[test]
fn the_house_is_tidy() {
    let sources = sources();
    let mut findings: Vec<Finding> =
        sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect();
    findings.extend(circles::circles(&sources));
    let complaints = judge(&findings, EXCEPTIONS);
    assert!(complaints.is_empty(), "{} findings:\n{}", complaints.len(), complaints.join("\n"));
}

/// Every direct dependency has its rooms above and its reason in docs/dependencies.md.
#[test]
fn every_guest_is_announced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let own = dependencies(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    for name in &own {
        assert!(GUESTS.iter().any(|(guest, _)| *guest == name.replace('-', "_")), "{name} has no line in GUESTS");
    }
    for (guest, _) in GUESTS {
        assert!(own.iter().any(|name| name.replace('-', "_") == *guest), "{guest} has left: strike it from GUESTS");
    }
    for manifest in
        ["", "sim/", "sim/interleavings/", "jepsen/drive/", "jepsen/spec/", "tools/httpdate/", "tools/wiregen/"]
    {
        let Ok(text) = fs::read_to_string(root.join(manifest).join("Cargo.toml")) else { continue };
        for name in dependencies(&text).iter().filter(|name| !name.starts_with("quorate")) {
            assert!(page.contains(&format!("`{name}`")), "{manifest}: {name} has no line in docs/dependencies.md");
        }
    }
}

/// The HTTP library asks it for a date at every request, and the one of that name panics where the clock is wrong.
#[test]
fn dates_of_the_http_library_come_from_tools_httpdate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let found: Vec<&str> =
        lock.split("[[package]]").filter(|package| package.contains("name = \"httpdate\"")).collect();
    assert!(matches!(found[..], [one] if !one.contains("source = ")), "{found:?}");
}

/// Names in the `dependencies` and `dev-dependencies` tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            names.push(name.trim().to_string());
        }
    }
    names
}

/// A link in a page leads to a file of this tree.
#[test]
fn pages_link_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for dir in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let target = page.parent().unwrap().join(link);
            assert!(link.contains("://") || target.exists(), "{}: no {link}", page.display());
        }
    }
}

// ---------------------------------------------------------------------------------------------------- each can fail

/// The findings of one rule in a piece of code, as `what`.
fn found(rule: Rule, path: &str, text: &str) -> Vec<String> {
    rule(&Source::new(path, text)).into_iter().map(|finding| finding.what).collect()
}

#[test]
fn layers_can_fail() {
    let seen = |path: &str, text: &str| found(layers, path, text);
    assert_eq!(seen("src/mvcc/a.rs", "use crate::base::X;\nuse crate::log::Y; // crate::node"), [""; 0]);
    assert_eq!(seen("src/mvcc/a.rs", "use crate::wal::X;"), ["mvcc -> wal"]);
    assert_eq!(seen("src/log/a.rs", "fn f() { crate::node::g(); }"), ["log -> node"]);
    assert_eq!(seen("src/log/a.rs", "use crate::{base::{X, node}, watch::Y};"), ["log -> watch"]);
    assert_eq!(seen("src/node/a.rs", "use crate::wire::X;"), ["node -> wire"]);
    assert_eq!(seen("src/ctl/a.rs", "use crate::{client::X, base::Z};\nuse crate::tls::Y;"), ["ctl -> tls"]);
    assert_eq!(seen("src/api/a.rs", "use crate::client::X;"), ["api -> client"]);
    assert_eq!(seen("src/bin/a.rs", "use quorate::server::X; use quorate::ctl::Y; use quorate::attic::Z;").len(), 1);
    assert_eq!(seen("src/attic/mod.rs", ""), ["no plan for attic"]);
}

#[test]
fn escapes_can_fail() {
    assert_eq!(found(escapes, "src/log/mod.rs", "mod tests { use super::*; }"), [""; 0]);
    assert_eq!(found(escapes, "src/log/a.rs", "use super::b; mod tests { use super::super::c; }"), [""; 0]);
    assert_eq!(found(escapes, "src/log/mod.rs", "use super::node::X;"), ["super"]);
    assert_eq!(found(escapes, "src/log/a.rs", "use super::super::node::X;"), ["super"]);
}

#[test]
fn guests_can_fail() {
    assert_eq!(found(guests, "src/consensus/a.rs", "use raft::RawNode; use bytes::Bytes;"), [""; 0]);
    assert_eq!(found(guests, "src/node/a.rs", "use raft::RawNode;"), ["raft"]);
    assert_eq!(found(guests, "src/log/a.rs", "fn f() { serde_json::from_str(x); my::raft::y(); }"), ["serde_json"]);
    assert_eq!(dependencies("[a]\nx = 1\n[dependencies]\n# y = 1\nz = \"1\"\n"), ["z"]);
}

#[test]
fn sizes_can_fail() {
    let file = |lines: usize| "\n".repeat(lines);
    assert_eq!(found(file_size, "src/log/a.rs", &file(600)), [""; 0]);
    assert_eq!(found(file_size, "src/log/a.rs", &file(601)), ["file"]);
    assert_eq!(found(file_size, "src/log/tests.rs", &file(601)), [""; 0]);
    assert_eq!(found(file_size, "src/log/tests.rs", &file(1001)), ["file"]);

    let function =
        |lines: usize| format!("fn f(x: [u8; 2]) -> F {{\n{} }}", "// }\n'}'; \"}\\\"\";\n".repeat(lines / 2));
    assert_eq!(found(function_size, "src/log/a.rs", &function(69)), [""; 0]);
    assert_eq!(found(function_size, "src/log/a.rs", &function(70)), ["f"]);
    assert_eq!(found(function_size, "src/log/a.rs", &format!("fn a() {{}}\n{}", function(70))), ["f"]);
    let tested = format!("#[cfg(test)]\nmod tests {{\n{}\n}}", function(70));
    assert_eq!(found(function_size, "src/log/a.rs", &tested), [""; 0]);
}

#[test]
fn words_can_fail() {
    let seen = |path: &str, text: &str| found(words_below, path, text);
    assert_eq!(seen("src/log/a.rs", "use std::time::Duration; // std::fs\nlet x = \"rand\"; FxHashMap"), [""; 0]);
    assert_eq!(seen("src/log/a.rs", "use std::time::{Duration, Instant};"), ["std::time"]);
    for word in BANNED_BELOW {
        assert_eq!(seen("src/log/a.rs", &format!("use {word}::x;")), [word]);
    }
    assert_eq!(seen("src/env/tokio_disk.rs", "use std::fs;"), [""; 0]);
    assert_eq!(seen("src/api/a.rs", "use std::fs;"), [""; 0]);
    assert_eq!(seen("src/api/a.rs", "#[cfg(madsim)]"), ["cfg(madsim)"]);

    assert_eq!(found(biased_select, "src/api/a.rs", "tokio::select! {\n    biased;\n a = b => c }"), [""; 0]);
    assert_eq!(found(biased_select, "src/api/a.rs", "select! { a = b => c }"), ["select!"]);

    assert_eq!(
        found(unwraps, "src/log/a.rs", "x.unwrap_or(1); // .unwrap()\n#[cfg(test)]\nmod t { y.unwrap() }"),
        [""; 0]
    );
    assert_eq!(found(unwraps, "src/log/a.rs", "#[cfg(test)]\nmod t { y }\nx.unwrap()"), [".unwrap()"]);
    assert_eq!(found(unwraps, "sim/src/a.rs", "x.unwrap()"), [".unwrap()"]);
}

#[test]
fn heads_and_names_can_fail() {
    assert_eq!(found(heads, "src/log/a.rs", "//! Head.\n\nuse x;\n\nuse y;\n"), [""; 0]);
    assert_eq!(found(heads, "sim/src/a.rs", "// Not a head.\n\nuse x;\n\nuse y;\n"), ["no //! at the top"]);
    assert_eq!(found(names, "src/log/a.rs", "struct Informal; enum Database {} /* struct Info */"), [""; 0]);
    for word in FORBIDDEN_NAMES {
        assert_eq!(found(names, "sim/src/a.rs", &format!("pub struct My{word}s;")), [""; 0]);
        assert_eq!(found(names, "sim/src/a.rs", &format!("pub struct My{word}<T>;")), [format!("My{word}")]);
    }
}

#[test]
fn literals_are_blanked() {
    let code = |text: &str| blank(text).into_iter().collect::<String>();
    assert_eq!(code("a \"x\\\"y\" b"), "a        b");
    assert_eq!(code("r#\"x\"y\"# b"), "         b");
    assert_eq!(code("'{' '\\'' 'a b<'a>"), "         'a b<'a>");
    assert_eq!(code("a /* x /* y */ z */ b // c\nd"), "a                   b     \nd");
}

#[test]
fn the_ratchet_turns_one_way() {
    let finding = |amount| Finding { rule: "r", path: "p".into(), what: "w".into(), line: 1, amount };
    let exception = |most| [Exception { rule: "r", path: "p", what: "w", most, why: "because" }];
    assert!(judge(&[finding(1)], &exception(1)).is_empty());
    assert_eq!(judge(&[finding(1)], &[]), ["r: p:1: w (1)"]);
    assert_eq!(judge(&[finding(1), finding(1)], &exception(1)), ["r: p:1,1: w (2)"]);
    assert_eq!(judge(&[], &exception(1)), ["r: p: the exception for w is no longer needed: strike it"]);
}
