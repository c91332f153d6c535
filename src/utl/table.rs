//! The commands there are, with their flags: etcdutl's, and `--from-etcd` with `--from-wal-dir`, and the man page.

use super::command::{Command, Flag, Kind};

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, kind, default, help }
}

const DATA_DIR: &str = "data-dir";

/// Flags that every command takes.
pub const GLOBALS: &[Flag] = &[
    flag("timeout", Kind::Duration, "10s", "time to wait to obtain a file lock on db file, 0 to block indefinitely"),
    Flag {
        name: "write-out",
        short: Some('w'),
        kind: Kind::Text,
        default: "simple",
        help: "set the output format (fields, json, protobuf, simple, table)",
    },
];

/// Commands that have others below them.
pub const GROUPS: &[(&str, &str)] = &[("snapshot", "Manages etcd node snapshots")];

const fn command(
    words: &'static [&'static str],
    follows: &'static str,
    short: &'static str,
    flags: &'static [Flag],
) -> Command {
    Command {
        words,
        follows,
        short,
        flags,
        required: &[],
        arguments: None,
        bare: false,
        example: "",
        whole_name: false,
    }
}

/// What shows the help of others.
pub const HELP: Command = command(&["help"], "[command]", "Help about any command", &[]);

/// The commands.
pub const COMMANDS: &[Command] = &[
    Command {
        arguments: Some(1),
        bare: true,
        example: "quorateutl completion bash > /etc/bash_completion.d/quorateutl",
        ..command(&["completion"], "[bash|zsh|fish|powershell]", "Generate completion script", &[])
    },
    Command {
        required: &[DATA_DIR],
        example: "quorateutl defrag --data-dir /var/lib/quorate",
        ..command(
            &["defrag"],
            "",
            "Defragments the storage of the etcd",
            &[flag(DATA_DIR, Kind::Text, "", "Required. Defragments a data directory not in use by etcd.")],
        )
    },
    Command {
        arguments: Some(1),
        example: "quorateutl hashkv backup.db",
        ..command(
            &["hashkv"],
            "<filename>",
            "Prints the KV history hash of a given file",
            &[flag("rev", Kind::Int, "0", "maximum revision to hash (default: latest revision)")],
        )
    },
    Command {
        whole_name: true,
        example: "quorateutl man-page > /usr/local/share/man/man1/quorateutl.1",
        ..command(&["man-page"], "", "Writes the man page", &[])
    },
    Command {
        required: &[DATA_DIR, "target-version"],
        example: "quorateutl migrate --from-etcd /var/lib/etcd --data-dir /var/lib/quorate",
        ..command(
            &["migrate"],
            "",
            "Migrates schema of etcd data dir files to make them compatible with different etcd version",
            &[
                flag(DATA_DIR, Kind::Text, "", "Path to the etcd data dir"),
                flag(
                    "force",
                    Kind::Switch,
                    "",
                    "Ignore migration failure and forcefully override storage version. Not recommended.",
                ),
                flag(
                    "from-etcd",
                    Kind::Text,
                    "",
                    "Path to a data dir of a stopped etcd: makes a data dir of this server of it, under --data-dir",
                ),
                flag(
                    "from-wal-dir",
                    Kind::Text,
                    "",
                    "Path to the WAL dir of that etcd, if it ran with --wal-dir (default: member/wal in --from-etcd)",
                ),
                flag(
                    "target-version",
                    Kind::Text,
                    "",
                    "Target etcd version to migrate contents of data dir. Minimal value 3.5. Format \"X.Y\" for example 3.6.",
                ),
            ],
        )
    },
    Command {
        example: "quorateutl snapshot restore backup.db --data-dir /var/lib/quorate",
        ..command(
            &["snapshot", "restore"],
            "<filename> --data-dir {output dir} [options]",
            "Restores an etcd member snapshot to an etcd directory",
            &[
                flag("bump-revision", Kind::Uint, "0", "How much to increase the latest revision after restore"),
                flag(DATA_DIR, Kind::Text, "", "Path to the output data directory"),
                flag(
                    "initial-advertise-peer-urls",
                    Kind::Text,
                    "http://localhost:2380",
                    "List of this member's peer URLs to advertise to the rest of the cluster",
                ),
                flag(
                    "initial-cluster",
                    Kind::Text,
                    "default=http://localhost:2380",
                    "Initial cluster configuration for restore bootstrap",
                ),
                flag(
                    "initial-cluster-token",
                    Kind::Text,
                    "etcd-cluster",
                    "Initial cluster token for the etcd cluster during restore bootstrap",
                ),
                flag(
                    "initial-memory-map-size",
                    Kind::Uint,
                    "10737418240",
                    "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to 0",
                ),
                flag(
                    "mark-compacted",
                    Kind::Switch,
                    "",
                    "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision > 0, disallowed otherwise)",
                ),
                flag("name", Kind::Text, "default", "Human-readable name for this member"),
                flag(
                    "skip-hash-check",
                    Kind::Switch,
                    "",
                    "Ignore snapshot integrity hash value (required if copied from data directory)",
                ),
                flag("wal-dir", Kind::Text, "", "Path to the WAL directory (use --data-dir if none given)"),
            ],
        )
    },
    Command {
        example: "quorateutl snapshot status backup.db -w table",
        ..command(&["snapshot", "status"], "<filename>", "Gets backend snapshot status of a given file", &[])
    },
    Command { example: "quorateutl version", ..command(&["version"], "", "Prints the version of quorateutl", &[]) },
];
