#!/usr/bin/env bash
# Prints the metrics of the first of several members, once it has told of everything that alert rules and dashboards look at: an
# alarm, requests of several kinds, and how far the others are. To be run by three_members.sh. Needs curl.
#
#   jepsen/metrics_of_members.sh ENDPOINT[,ENDPOINT...]
set -euo pipefail
first=http://${1%%,*}
ask() { curl -fsS -d "$2" "$first/v3/$1" >/dev/null; }
ask kv/put '{"key":"aw==","value":"dg=="}'
ask kv/range '{"key":"aw=="}'
ask kv/deleterange '{"key":"aw=="}'
ask lease/grant '{"ID":"0","TTL":"60"}'
ask maintenance/alarm '{"action":"ACTIVATE","memberID":"0","alarm":"NOSPACE"}'
# Round trips between members are told some time after the start (etcd: 30 s), bytes when there were some.
for _ in $(seq 900); do
    page=$(curl -fsS "$first/metrics")
    missing=
    for family in etcd_network_peer_round_trip_time_seconds etcd_network_peer_sent_bytes_total etcd_network_active_peers; do
        grep -q "^# TYPE $family " <<<"$page" || missing+=" $family"
    done
    [ -n "$missing" ] || break
    sleep 0.2
done
[ -z "$missing" ] || { echo "not told:$missing" >&2; exit 1; }
printf '%s\n' "$page"
