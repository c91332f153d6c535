#!/usr/bin/env bash
# Records the families of stock etcd's metrics (name, kind, labels; every value as 0) into recorded/metrics-3.7.1.txt, which a
# test of src/api/metrics/registry.rs holds ours against; and those beyond them that a member of three tells, with an alarm
# raised, into recorded/metrics-members-3.7.1.txt. Takes the stock binaries of build_peers.sh; needs curl. Half a minute.
#
#   jepsen/record_metrics.sh [directory of the binaries]
set -euo pipefail
cd "$(dirname "$0")"
peers=${1:-${PEERS_DIR:-../target/peers}}
home=$(mktemp -d)
client=http://127.0.0.1:${CLIENT_PORT:-12379} peer=http://127.0.0.1:${PEER_PORT:-12380}
families() {
    awk '/^# TYPE / { print; shown = 0; next } /^#/ { next } !shown { sub(/ [^ ]*$/, " 0"); print; shown = 1 }'
}
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
curl -fs "$client/metrics" | families > recorded/metrics-3.7.1.txt

FIRST_PORT=${FIRST_PORT:-12480} ./three_members.sh "$peers/etcd" --metrics extensive -- ./metrics_of_members.sh '{}' > "$home/page"
# Only what one member alone does not tell: a TYPE and a series each.
families < "$home/page" | awk 'NR == FNR { known[$0]; next } /^# TYPE / { new = !($0 in known) } new' \
    recorded/metrics-3.7.1.txt - > recorded/metrics-members-3.7.1.txt
wc -l recorded/metrics-3.7.1.txt recorded/metrics-members-3.7.1.txt
