#!/usr/bin/env bash
# Records the families of stock etcd's metrics (name, kind, labels; every value as 0) into recorded/metrics-3.7.1.txt, which a
# test of src/api/metrics/registry.rs holds ours against. Takes the stock binaries of build_peers.sh; needs curl.
#
#   jepsen/record_metrics.sh [directory of the binaries]
set -euo pipefail
cd "$(dirname "$0")"
peers=${1:-${PEERS_DIR:-../target/peers}}
home=$(mktemp -d)
client=http://127.0.0.1:${CLIENT_PORT:-12379} peer=http://127.0.0.1:${PEER_PORT:-12380}
"$peers/etcd" --data-dir "$home/d" --listen-client-urls "$client" --advertise-client-urls "$client" --log-level fatal \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    --metrics extensive 2>/dev/null &
etcd=$!
trap 'kill "$etcd"; wait "$etcd" || true; rm -rf "$home"' EXIT
ctl=("$peers/etcdctl" --endpoints "$client")
until "${ctl[@]}" endpoint health >/dev/null 2>&1; do sleep 0.1; done
# What has labels shows itself once it counted something.
"${ctl[@]}" put k v >/dev/null
"${ctl[@]}" get k >/dev/null
"${ctl[@]}" lease grant 60 >/dev/null
curl -fs "$client/metrics" | awk '
    /^# TYPE / { print; family = $3; shown = 0; next }
    /^#/ { next }
    !shown { sub(/ [^ ]*$/, " 0"); print; shown = 1 }
' > recorded/metrics-3.7.1.txt
wc -l recorded/metrics-3.7.1.txt
