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
# A little of both over TLS, with certificates that servers and the twin show each other.
# Seldom the twin's own HTTP library resets a stream of stock's for its window, on a busy machine: then it is run again.
said=$(mktemp)
sealed() {
    for attempt in 1 2 3; do
        if "$drive" twin "$@" --tls --left-bin "$peers/etcd" --right-bin "$server" --seeds 0..3 --requests 500 \
            --left-flag=--unsafe-no-fsync >"$said" 2>&1; then
            cat "$said"
            return 0
        fi
        cat "$said"
        grep -q 'left: the watch stream has ended: .*FLOW_CONTROL_ERROR, Library' "$said" || return 1
    done
    return 1
}
sealed
sealed --users
rm -f "$said"
# With users again, and tokens that are signed.
if command -v openssl >/dev/null 2>&1; then
    keys=$(mktemp -d)
    trap 'rm -rf "$keys"' EXIT
    openssl ecparam -name prime256v1 -genkey -noout -out "$keys/own.pem"
    openssl ec -in "$keys/own.pem" -pubout -out "$keys/public.pem" 2>/dev/null
    "$drive" twin --users --left-bin "$peers/etcd" --right-bin "$server" --seeds "$seeds" --requests "$steps" \
        --left-flag=--unsafe-no-fsync \
        --flag="--auth-token=jwt,pub-key=$keys/public.pem,priv-key=$keys/own.pem,sign-method=ES256,ttl=1h"
    rm -rf "$keys"
else
    echo "SKIPPED: no openssl, so no signed tokens"
fi
"$drive" rawwire --left-bin "$peers/etcd" --right-bin "$server"
exec "$drive" edges --left-bin "$peers/etcd" --right-bin "$server"
