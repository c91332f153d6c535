//! The command line, as etcd reads it.

use super::*;

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Flags, FlagStop> {
    Flags::read(
        arguments.iter().map(|argument| argument.to_string()),
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())),
    )
}

#[test]
fn names_are_unique_and_defaults_are_of_their_kind() {
    for (place, flag) in FLAGS.iter().enumerate() {
        assert!(FLAGS[..place].iter().all(|other| other.name != flag.name), "{} stands twice", flag.name);
        assert_eq!(check(flag, flag.default), Ok(()), "{}", flag.name);
        assert!(flag.is_default(flag.default));
    }
}

#[test]
fn one_dash_or_two_and_both_forms() {
    for arguments in [&["--name", "a"][..], &["-name", "a"], &["--name=a"], &["-name=a"]] {
        let flags = read(arguments, &[]).expect("well formed");
        assert_eq!(flags.get("name"), "a");
        assert!(flags.is_given("name") && !flags.is_given("data-dir"));
    }
    assert_eq!(read(&[], &[]).expect("nothing is fine").get("name"), "default");
}

#[test]
fn a_bool_alone_is_true_and_takes_no_word() {
    assert_eq!(read(&["--pre-vote=false"], &[]).expect("well formed").get("pre-vote"), "false");
    assert_eq!(read(&["--pre-vote"], &[]).expect("well formed").get("pre-vote"), "true");
    assert_eq!(
        read(&["--pre-vote", "false"], &[]),
        Err(FlagStop::Refused("\"false\" is not a valid flag".to_string()))
    );
}

#[test]
fn wrong_command_lines_are_named() {
    let table = [
        (&["--bogus"][..], "flag provided but not defined: -bogus"),
        (&["--name"], "flag needs an argument: -name"),
        (&["---name"], "bad flag syntax: ---name"),
        (&["--=a"], "bad flag syntax: --=a"),
        (&["--heartbeat-interval=x"], "invalid value \"x\" for flag -heartbeat-interval: parse error"),
        (&["--max-txn-ops=-1"], "invalid value \"-1\" for flag -max-txn-ops: parse error"),
        (
            &["--max-txn-ops=99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -max-txn-ops: value out of range",
        ),
        (&["--grpc-keepalive-timeout", "5"], "invalid value \"5\" for flag -grpc-keepalive-timeout: parse error"),
        (&["--initial-cluster-state=foo"], "invalid value \"foo\" for flag -initial-cluster-state: invalid value"),
        (
            &["--v2-deprecation=not-yet"],
            "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"",
        ),
        (&["--v2-deprecation=gone,x"], "invalid value \"gone,x\" for flag -v2-deprecation: invalid value \"x\""),
        (
            &["--listen-peer-urls=http://a"],
            "invalid value \"http://a\" for flag -listen-peer-urls: URL address does not have the form \"host:port\": \
             http://a",
        ),
        (
            &["--log-level=loud"],
            "invalid value \"loud\" for flag -log-level: must be one of debug, info, warn, error, dpanic, panic, fatal",
        ),
    ];
    for (arguments, text) in table {
        assert_eq!(read(arguments, &[]), Err(FlagStop::Usage(text.to_string())));
    }
    for stray in ["x", "-"] {
        assert!(matches!(read(&[stray], &[]), Err(FlagStop::Refused(text)) if text.contains("is not a valid flag")));
    }
}

#[test]
fn flags_that_do_nothing_are_warned_of_unless_they_change_nothing() {
    let warnings = |arguments: &[&str]| read(arguments, &[]).expect("it starts etcd").warnings;
    let none: &[&str] = &[];
    assert_eq!(warnings(&["--client-cert-auth=false", "--unsafe-no-fsync=false", "--max-wals=0x5"]), none);
    assert_eq!(
        warnings(&["--unsafe-no-fsync", "--enable-pprof"]),
        [
            "--enable-pprof is accepted and has no effect: profiles are Go's",
            "--unsafe-no-fsync is accepted and has no effect: an acknowledged write is always on the disk first",
        ]
    );
    for taken in ["-1s", "0s", "1ns"] {
        assert_eq!(warnings(&["--warning-unary-request-duration", taken]), none, "it does what it says");
    }
    for arguments in [&["--v"][..], &["-vv"], &["--snapshot=x", "--test.coverprofile="]] {
        assert!(
            warnings(arguments)
                .iter()
                .all(|warning| warning.ends_with("etcd takes it for the sake of old scripts alone, too"))
        );
    }
    assert!(matches!(read(&["--config", "x"], &[]), Err(FlagStop::Refused(text)) if text.starts_with("\"x\"")));
    for flag in FLAGS {
        assert!(!matches!(flag.standing, Standing::Ignored("")), "--{}: why?", flag.name);
    }
}

/// Each text was recorded from stock etcd 3.7.1, which warns of them though they say the default.
#[test]
fn flags_that_etcd_will_take_away_are_warned_of_wherever_they_are_given() {
    let snapshots = "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.";
    let v2 = "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.";
    let warnings = |arguments: &[&str], environment| read(arguments, environment).expect("it starts etcd").warnings;
    assert_eq!(warnings(&["--v2-deprecation=write-only", "--max-snapshots=5"], &[]), [snapshots, v2]);
    assert_eq!(warnings(&[], &[("ETCD_V2_DEPRECATION", "write-only")]), [v2]);
    let both = warnings(&["--v2-deprecation=gone,write-only"], &[]);
    assert_eq!((both[0].as_str(), both.len()), (v2, 2), "and of what has no effect");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "max-snapshots: 5\n").expect("written");
    let of_file = warnings(&["--config-file", file.path().to_str().expect("text")], &[]);
    assert!(of_file.contains(&snapshots.to_string()), "{of_file:?}");
    for (name, _) in DEPRECATED {
        assert!(find(name).is_some(), "{name}");
    }
}

#[test]
fn variables_set_flags() {
    let flags = read(&[], &[("ETCD_LISTEN_CLIENT_URLS", "http://1.2.3.4:1"), ("ETCD_NAME", ""), ("PATH", "x")]);
    let flags = flags.expect("well formed");
    assert_eq!((flags.get("listen-client-urls"), flags.get("name")), ("http://1.2.3.4:1", "default"));
    assert!(flags.warnings.is_empty());

    let flags = read(&[], &[("ETCD_BOGUS", "1"), ("ETCD_VERSION", "3")]).expect("only warnings");
    assert_eq!(flags.warnings.len(), 2);

    let stop = read(&["--name=a"], &[("ETCD_NAME", "b")]);
    assert!(matches!(stop, Err(FlagStop::Refused(text)) if text.contains("ETCD_NAME is shadowed")));
    let stop = read(&[], &[("ETCD_PRE_VOTE", "perhaps")]);
    assert!(matches!(stop, Err(FlagStop::Refused(text)) if text.contains("ETCD_PRE_VOTE")));
}

#[test]
fn help_shows_every_built_flag() {
    let Err(FlagStop::Help(text)) = read(&["-h"], &[]) else { panic!("help") };
    for flag in FLAGS.iter().filter(|flag| flag.standing == Standing::Built) {
        assert!(text.contains(&format!("--{} ", flag.name)), "{}", flag.name);
        assert!(!flag.help.is_empty());
    }
    assert_eq!(read(&["--version"], &[]), Err(FlagStop::Version));
    assert_eq!(read(&["--version", "--"], &[]), Err(FlagStop::Version));
    assert!(read(&["--version=false"], &[]).is_ok());
    for stray in [&["--version", "extra"][..], &["--version", "--", "extra"]] {
        assert_eq!(read(stray, &[]), Err(FlagStop::Refused("\"extra\" is not a valid flag".into())));
    }
}

#[test]
fn a_key_that_etcd_passes_over_is_told_of() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text");
    std::fs::write(path, "discovery-config: {client: {secure: {server-name: registry.test}}}").expect("written");
    let warnings = read(&["--config-file", path], &[]).expect("well formed").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("server-name")), "{warnings:?}");
}

#[test]
fn of_several_wrong_variables_the_last_by_its_flag_is_named_as_by_etcd() {
    let variables = [("ETCD_MAX_TXN_OPS", "y"), ("ETCD_SNAPSHOT_COUNT", "q"), ("ETCD_AUTO_TLS", "maybe")];
    let named = FlagStop::Refused("invalid value \"q\" for ETCD_SNAPSHOT_COUNT: parse error".to_string());
    assert_eq!(read(&[], &variables), Err(named));
}
