#!/bin/sh
# Stock etcd and quorate side by side: random and hostile sequences, then hand-made bad frames. No difference is allowed.
#   jepsen/twin.sh [SEEDS [STEPS [SERVER-BINARY]]]          default: 0..100, 2000 steps each, quorate built here
# Without Go (and without stock etcd in target/peers) this says so and is no failure.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
peers=${PEERS_DIR:-$PWD/target/peers}
seeds=${1:-0..100}
steps=${2:-2000}
server=${3:-}
[ -x "$peers/etcd" ] || jepsen/build_peers.sh
if [ ! -x "$peers/etcd" ]; then
    echo "SKIPPED: no stock etcd, so there is no twin"
    exit 0
fi
if [ -z "$server" ]; then
    cargo build --quiet --release --bin quorate
    server=$target/release/quorate
fi
cargo build --quiet -p quorate-jepsen
drive=$target/debug/quorate-jepsen
"$drive" twin --left-bin "$peers/etcd" --right-bin "$server" --seeds "$seeds" --requests "$steps" --left-flag=--unsafe-no-fsync
# With authentication on: users and roles change while everybody asks for everything.
"$drive" twin --users --left-bin "$peers/etcd" --right-bin "$server" --seeds "$seeds" --requests "$steps" --left-flag=--unsafe-no-fsync
"$drive" rawwire --left-bin "$peers/etcd" --right-bin "$server"
exec "$drive" edges --left-bin "$peers/etcd" --right-bin "$server"
