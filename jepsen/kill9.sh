#!/bin/sh
# kill -9 under load with an external ledger of acknowledged writes.
#   jepsen/kill9.sh [ROUNDS [SERVER-BINARY [OPTION...]]]    default: 200 rounds of quorate, built here
# Further options go to the command, e.g. --writers 50, --seed 7, --flag=--snapshot-count=100.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
rounds=${1:-200}
[ $# -eq 0 ] || shift
server=${1:-}
[ $# -eq 0 ] || shift
if [ -z "$server" ]; then
    cargo build --quiet --release --bin quorate
    server=$target/release/quorate
fi
cargo build --quiet -p quorate-jepsen
exec "$target/debug/quorate-jepsen" kill9 --bin "$server" --rounds "$rounds" "$@"
