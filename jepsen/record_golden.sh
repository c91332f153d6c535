#!/usr/bin/env bash
# Records anew what tests/golden.rs compares with: the stock tool against the stock server.
#
#   jepsen/record_golden.sh [ETCD ETCDCTL]            (target/peers/etcd and target/peers/etcdctl: jepsen/build_peers.sh)
set -eu
cd "$(dirname "$0")/.."
GOLDEN_SERVER=$(realpath "${1:-target/peers/etcd}") GOLDEN_CTL=$(realpath "${2:-target/peers/etcdctl}")
export GOLDEN_SERVER GOLDEN_CTL GOLDEN_RECORD=1
cargo test --test golden
