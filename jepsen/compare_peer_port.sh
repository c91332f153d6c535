#!/usr/bin/env bash
# Holds the answers of the peer port against stock etcd's, request by request, in a fresh cluster of three of each make.
#
#   jepsen/compare_peer_port.sh ETCD QUORATE ETCDCTL
#
# FIRST_PORT (12700) and the five ports after it are used; ids follow from them, so that those of both are the same. Ends with 0
# where every status, head (but for the date, and the order of its lines) and body is the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != ask ]; then
    [ $# -eq 3 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$here/three_members.sh" "$1" -- "$here/compare_peer_port.sh" ask "$3" '{}' "$work" >"$work/etcd"
    "$here/three_members.sh" "$2" -- "$here/compare_peer_port.sh" ask "$3" '{}' "$work" >"$work/quorate"
    diff "$work/etcd" "$work/quorate" && echo "$(grep -c '^=== ' "$work/etcd") answers, all the same"
    exit
fi
ctl=$2 work=$4
IFS=, read -ra clients <<<"$3"
peer_of() { echo "${1%:*}:$((${1##*:} + 1))"; }
ctl() { "$ctl" --endpoints="${clients[0]}" "$@"; }
# Tries until it succeeds, far longer than a busy machine needs.
until_it() {
    for _ in $(seq 180); do
        "$@" && return
        sleep 1
    done
    echo "in vain: $*" >&2
    return 1
}
first=$(peer_of "${clients[0]}")
# Asked of the leader (L), of a follower (F); what is asked is told without their addresses.
ask() {
    local whom=$1 path=$2
    shift 2
    local at=$leader
    [ "$whom" = L ] || at=$follower
    echo "=== $whom $path $*"
    curl -s -i --max-time 60 "$@" "http://$at$path" | tr -d '\r' >"$work/answer" || true
    sed '/^$/q' "$work/answer" | grep -vi '^date:' | tr '[:upper:]' '[:lower:]' | sort
    sed '1,/^$/d' "$work/answer" | sed -E "${mask:-}" | cat -v
    echo
}
leader='' follower=''
for client in "${clients[@]}"; do
    # A lease that there is none of: only who leads looks for it.
    answer=$(printf '\010\005' | curl -s --max-time 60 --data-binary @- "http://$(peer_of "$client")/leases")
    case $answer in 'lease not found') leader=$(peer_of "$client") ;; *) follower=$(peer_of "$client") ;; esac
done
ctl put a 1 >/dev/null; ctl put a 2 >/dev/null; ctl put b 2 >/dev/null; ctl compaction 2 >/dev/null
# A follower may be a moment behind.
alike() { [ "$(IFS=,; "$ctl" --endpoints="${clients[*]}" endpoint hashkv | cut -d, -f2 | sort -u | wc -l)" = 1 ]; }
until_it alike
# A stock member brings its store to the cluster's version some seconds after that was agreed on.
current() {
    local client
    for client in "${clients[@]}"; do
        curl -s --max-time 60 "http://$(peer_of "$client")/version" | grep -q '"etcdcluster":"\([^"]*\)","storage":"\1"' || return
    done
}
until_it current
for whom in L F; do
    ask $whom /version
    ask $whom /version -X POST
    ask $whom /members
    ask $whom /members -X POST
    ask $whom /members/
    ask $whom /nothing
    mask='s/"Now":"[^"]*"/"Now"/'
    ask $whom /raft/probing | grep -v content-length
    ask $whom /raft/probing -X POST | grep -v content-length
    mask=
    ask $whom /raft
    ask $whom /members/promote/1
    for id in x '' 12345/ 12345; do ask $whom "/members/promote/$id" -X POST; done
    ask $whom /members/promote -X POST
    for body in '{}' '{"revision":3}' '{"revision":1}' '{"revision":100}' '{"revision":"3"}' '{"Revision":3,"x":1}' null x; do
        ask $whom /members/hashkv -X GET -d "$body"
    done
    ask $whom /members/hashkv
    ask $whom /members/hashkv -X POST -d '{}'
    ask $whom /members/hashkv -X GET -H 'X-Etcd-Cluster-ID: 1234' -d '{}'
    ask $whom /members/hashkv/ -X GET -d '{}'
    ask $whom /leases -d xyz
    ask $whom /leases -d ''
    ask $whom /leases
    ask $whom /leases/internal -d xyz
    ask $whom /leases/internal
    ask $whom /leases/other -X POST
    ask $whom /downgrade/enabled
    ask $whom /downgrade/enabled -X POST
done
id=$(curl -s "http://$first/members" | sed -E 's/^\[\{"id":([0-9]+).*/\1/')
ask L "/members/promote/$id" -X POST
ask F "/members/promote/$id" -X POST
# Ids of leases are drawn: of what tells them the length is told.
lease=$(ctl lease grant 1000 | awk '{print $2}')
ctl put k1 v --lease="$lease" >/dev/null
python3 - "$lease" "$work" <<'P'
import sys
def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])
lease, work = int(sys.argv[1], 16), sys.argv[2]
named = b'\x08' + varint(lease)
open(work + '/lease', 'wb').write(named)
for name, asked in (('times', named), ('keys', named + b'\x10\x01'), ('none', b'\x08\x05')):
    open(work + '/' + name, 'wb').write(b'\x0a' + bytes([len(asked)]) + asked)
open(work + '/long', 'wb').write(b'x' * 70000)
P
body_length() { sed '/^$/q;s/.*/&/' | grep -a -E '^(===|content-|http)'; }
ask L /leases --data-binary "@$work/lease" | body_length
ask F /leases --data-binary "@$work/lease"
ask L /leases/internal --data-binary "@$work/times" | body_length
ask L /leases/internal --data-binary "@$work/keys" | body_length
ask F /leases/internal --data-binary "@$work/keys"
ask L /leases/internal --data-binary "@$work/none"
ask L /leases --data-binary "@$work/long"
# Refused as unhealthy until the connections have stood for five seconds.
added() { ctl member add learner --learner --peer-urls=http://127.0.0.1:1 >/dev/null 2>&1; }
until_it added
id=$(curl -s "http://$first/members" | sed -E 's/.*"id":([0-9]+),"peerURLs":\["http:\/\/127.0.0.1:1"\].*/\1/')
mask='s/"id":[0-9]+,"peerURLs":\["http:\/\/127.0.0.1:1"\]/"learner"/'
ask L "/members/promote/$id" -X POST | sed "s/$id/ID/"
ask F "/members/promote/$id" -X POST | sed "s/$id/ID/"
