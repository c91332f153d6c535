#!/bin/sh
# A leader whose disk answers nothing for five seconds: time without a put, and writes that failed after another led.
#   jepsen/disk_freeze.sh [ROUNDS [SERVER-BINARY [OPTION...]]]    default: 5 rounds of quorate, built here
# Needs root (loop mounts and fsfreeze); says SKIPPED without. Options go to the command, e.g. --seconds 8.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
rounds=${1:-5}
[ $# -eq 0 ] || shift
server=${1:-}
[ $# -eq 0 ] || shift
if [ -z "$server" ]; then
    cargo build --quiet --release --bin quorate
    server=$target/release/quorate
fi
cargo build --quiet -p quorate-jepsen
exec "$target/debug/quorate-jepsen" freeze --bin "$server" --rounds "$rounds" "$@"
