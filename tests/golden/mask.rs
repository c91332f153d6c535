//! What of an output cannot be equal, and is masked. This is the whole list:
//!
//! - the name of the tool and what it is for, the example that `--help` shows only here, and the line of `man-page`;
//! - where the server listens;
//! - lines of the client library's log on standard error, which are JSON there (so are, there, a variable
//!   shadowed by a flag, and the endpoint that could not be reached);
//! - what `stty` says where there is no terminal;
//! - how long something took;
//! - in files that ask for it: ids of leases and what is left of them (`lease`), sizes and raft's counters (`status`), ids of members
//!   that were added, with the blanks around them (`member`).

/// What is masked in a file beyond what always is.
pub struct Masks {
    lease: bool,
    status: bool,
    member: bool,
}

impl Masks {
    /// As the head of a file of cases asks for it.
    pub fn of(cases: &str) -> Masks {
        let asked = |name: &str| cases.lines().any(|line| line.strip_prefix("#mask ") == Some(name));
        Masks { lease: asked("lease"), status: asked("status"), member: asked("member") }
    }
}

/// One output, masked.
pub fn mask(bytes: &[u8], masks: &Masks, endpoint: &str) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut in_example = false;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let logged = [
            &b"{\"level\":"[..],
            b"stty: ",
            b"endpoint 127.",
            b"  man-page  ",
            b"Error: conflicting environment variable is shadowed",
        ];
        if logged.iter().any(|begin| line.starts_with(begin)) {
            continue;
        }
        // A section lasts to the next one's head.
        let is_head = line.first().is_some_and(|first| first.is_ascii_alphabetic());
        in_example = if line == b"Examples:\n" { true } else { in_example && !is_head };
        if !in_example {
            kept.extend_from_slice(line);
        }
    }
    for (from, to) in
        [("etcdctl", "CTL"), ("quoratectl", "CTL"), (endpoint, "SERVER"), ("for quorate and etcd3", "for etcd3")]
    {
        kept = replaced(&kept, from.as_bytes(), to.as_bytes());
    }
    for before in ["took = ", "took ", "\"took\":\"", "\"Took\" : "] {
        kept = cut(&kept, before, is_duration, "T");
    }
    if masks.lease {
        for before in ["lease ", "\"Lease\" : ", "\"ID\" : ", "\"ID\":", "\"id\":", "\"lease\":", "remaining("] {
            kept = cut(&kept, before, |byte| byte.is_ascii_hexdigit(), "L");
        }
        kept = cut(&kept, "\"TTL\" : ", |byte| byte.is_ascii_digit(), "S");
        kept = cut(&kept, "\"ttl\":", |byte| byte.is_ascii_digit(), "S");
        kept = alone(&kept, |line| line.len() == 16 && line.iter().all(u8::is_ascii_hexdigit), b"L");
        // The end of a key that is made of one; a path has shorter words.
        kept = cut_long(&kept, ("/", 8), |byte| byte.is_ascii_hexdigit(), "L");
    }
    if masks.status {
        for before in
            ["dbSize\":", "dbSizeInUse\":", "raftIndex\":", "raftAppliedIndex\":", "DBSize\" : ", "DBSizeInUse\" : "]
        {
            kept = cut(&kept, before, |byte| byte.is_ascii_digit(), "N");
        }
        for before in ["RaftIndex\" : ", "RaftAppliedIndex\" : "] {
            kept = cut(&kept, before, |byte| byte.is_ascii_digit(), "N");
        }
    }
    if masks.member { unless_known(&kept) } else { kept }
}

/// The ids that follow from the name, the URLs and the token that the suite gives: those of its member and its cluster.
const KNOWN: [&[u8]; 4] = [b"2700a49d914fd7e8", b"2810427164133939176", b"4f2f6fcab14cff10", b"5705902169250397968"];

/// Other ids are replaced by one word, whatever their width.
fn unless_known(text: &[u8]) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
    let mut new = Vec::with_capacity(text.len());
    for word in text.chunk_by(|one, other| is_digit(one) == is_digit(other)) {
        if word.len() < 12 || !is_digit(&word[0]) || KNOWN.contains(&word) {
            // Behind an id one blank is as good as two.
            let blanks = word.iter().take_while(|byte| **byte == b' ').count();
            let dropped = if new.ends_with(b"M") && blanks > 1 { blanks - 1 } else { 0 };
            new.extend_from_slice(&word[dropped..]);
            continue;
        }
        while new.ends_with(b"  ") {
            new.pop();
        }
        new.push(b'M');
    }
    new
}

fn is_duration(byte: u8) -> bool {
    byte.is_ascii_digit() || b".hmsn\xc2\xb5".contains(&byte)
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with(from) {
            new.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            new.push(rest[0]);
            rest = &rest[1..];
        }
    }
    new
}

/// What follows `before` and consists of `kind` is replaced by one word; where nothing of the kind follows, nothing is.
fn cut(text: &[u8], before: &str, kind: impl Fn(u8) -> bool, word: &str) -> Vec<u8> {
    cut_long(text, (before, 1), kind, word)
}

/// As [`cut`], where at least so many bytes of the kind follow.
fn cut_long(text: &[u8], (before, least): (&str, usize), kind: impl Fn(u8) -> bool, word: &str) -> Vec<u8> {
    let before = before.as_bytes();
    let mut new = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if !rest.starts_with(before) {
            new.push(rest[0]);
            rest = &rest[1..];
            continue;
        }
        new.extend_from_slice(before);
        rest = &rest[before.len()..];
        let length = rest.iter().position(|&byte| !kind(byte)).unwrap_or(rest.len());
        new.extend_from_slice(if length < least { &rest[..length] } else { word.as_bytes() });
        rest = &rest[length..];
    }
    new
}

fn alone(text: &[u8], is: impl Fn(&[u8]) -> bool, word: &[u8]) -> Vec<u8> {
    let lines = text.split(|&byte| byte == b'\n').map(|line| if is(line) { word } else { line });
    lines.collect::<Vec<_>>().join(&b'\n')
}

#[test]
fn masks_what_they_should_and_no_more() {
    let of =
        |text: &str, head: &str| String::from_utf8(mask(text.as_bytes(), &Masks::of(head), "127.0.0.1:5")).unwrap();
    assert_eq!(of("Finished. took 1.2ms\n", ""), "Finished. took T\n");
    assert_eq!(of("x 127.0.0.1:5 y\n{\"level\":1}\n", ""), "x SERVER y\n");
    assert_eq!(of("Usage:\n\nExamples:\n  a\n\n  b\n\nFlags:\n", ""), "Usage:\n\nFlags:\n");
    assert_eq!(of("lease 00000000000000ff revoked\n", ""), "lease 00000000000000ff revoked\n");
    assert_eq!(of("lease 00000000000000ff revoked\n", "#mask lease"), "lease L revoked\n");
    assert_eq!(of("00000000000000ff\nabc\n", "#mask lease"), "L\nabc\n");
    assert_eq!(of("k/32695410dcc0ca06 fork/exec\n", "#mask lease"), "k/L fork/exec\n");
    let added = "Member  8e9e05c52164694 added to cluster 4f2f6fcab14cff10\n{\"ID\":10276657743932975437}\n| 8e9e05c52164694  |\n";
    let masked = "Member M added to cluster 4f2f6fcab14cff10\n{\"ID\":M}\n| M |\n";
    assert_eq!(of(added, "#mask member"), masked);
    assert_eq!(of("\"dbSize\":20,\"x\":1", "#mask status"), "\"dbSize\":N,\"x\":1");
}
