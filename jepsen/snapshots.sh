#!/bin/sh
# Data across the border, both ways: a snapshot of quorate into stock etcd, one of stock etcd into quorate, a stopped etcd's files
# into quorate, each time with digest, leases and their keys, alarms, users, roles and what they may do; and the offline tool against
# the stock one, byte for byte. Prints what went over and says which step differs.
# Needs curl and the binaries: PEERS_DIR (jepsen/build_peers.sh) and BIN_DIR (target/debug).
set -eu
cd "$(dirname "$0")/.."
peers=${PEERS_DIR:-$PWD/target/peers}
bin=${BIN_DIR:-$PWD/target/debug}
port=${PORT:-27100}
if [ ! -x "$peers/etcdutl" ]; then
    echo "SKIPPED: no stock etcdutl in $peers (jepsen/build_peers.sh)"
    exit 0
fi
dir=$(mktemp -d)
pid=
stop() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    pid=
}
# Where a command fails that should not, what it said last. Nobody may read that any more.
ended() {
    status=$?
    trap '' PIPE
    stop
    [ $status = 0 ] || for told in said "${log:-none}"; do
        [ ! -s "$dir/$told" ] || { echo "FAILED: the end of $told:" && tail -n 5 "$dir/$told"; } || true
    done
    rm -rf "$dir"
    exit $status
}
trap ended EXIT
trap 'exit 1' HUP INT PIPE TERM
client=http://127.0.0.1:$port
peer=http://127.0.0.1:$((port + 1))
cluster="--name one --initial-cluster one=$peer --initial-advertise-peer-urls $peer"
user=
ctl() {
    echo "etcdctl $*" >>"$dir/said"
    "$peers/etcdctl" --endpoints="$client" --command-timeout=120s ${user:+--user "$user"} "$@" 2>>"$dir/said"
}
start() { # binary, directory
    "$1" --data-dir "$2" $cluster --listen-peer-urls "$peer" --listen-client-urls "$client" --advertise-client-urls "$client" \
        >"$2.log" 2>&1 &
    pid=$!
    log=$2.log
    # Far longer than a busy machine needs.
    for _ in $(seq 600); do
        # Not whoever else listens there.
        kill -0 "$pid" 2>/dev/null || break
        ctl get ready >/dev/null && return
        sleep 0.1
    done
    echo "FAILED: $1 does not start: $(tail -1 "$2.log")"
    exit 1
}
same() { # what, one, other
    if [ "$2" = "$3" ]; then echo "same: $1: $(echo "$2" | head -1)"; else
        echo "DIFFERS: $1: $2 and $3"
        exit 1
    fi
}
fill() { # revision to compact at
    lease=$(ctl lease grant 900 | cut -d' ' -f2)
    for i in $(seq 60); do ctl put "k$((i % 20))" "v$i" >/dev/null; done
    ctl del k3 >/dev/null
    ctl put leased x --lease="$lease" >/dev/null
    ctl compaction "$1" >/dev/null
    ctl put after 1 >/dev/null
    ctl del after >/dev/null
}
guard() { # users, a role, and authentication
    for name in root app; do
        ctl user add "$name:pw" >/dev/null
    done
    ctl role add reader >/dev/null
    ctl role grant-permission reader read k --prefix >/dev/null
    ctl user grant-role root root >/dev/null
    ctl user grant-role app reader >/dev/null
    ctl auth enable >/dev/null
    user=root:pw
}
# Everything that has to come over: the digest on the first line.
holdings() {
    ctl endpoint hashkv
    # Which of two that end together comes first is nobody's promise.
    leases=$(ctl lease list | tail -n +2 | sort)
    for id in $leases; do ctl lease timetolive "$id" --keys | sed -E 's/remaining\([0-9]+s\)/remaining/'; done
    ctl alarm list
    ctl auth status
    for name in $(ctl user list); do ctl user get "$name"; done
    for name in $(ctl role list); do ctl role get "$name"; done
    # Its password holds, and so do the limits of its role.
    user=app:pw
    ctl get k1 || echo "not allowed: k1"
    ctl get leased || echo "not allowed: leased"
    user=$admin
}
alarm() { # an alarm that a client raises, as a member would
    id=$(ctl member list -w json | sed -E 's/.*"ID":([0-9]+).*/\1/')
    token=$(curl -s "$client/v3/auth/authenticate" -d '{"name":"root","password":"pw"}' | sed -E 's/.*"token":"([^"]*)".*/\1/')
    curl -s -H "Authorization: $token" "$client/v3/maintenance/alarm" -d "{\"action\":\"ACTIVATE\",\"memberID\":\"$id\",\"alarm\":\"NOSPACE\"}" >/dev/null
}
cd "$dir"
admin=root:pw

start "$bin/quorate" ours
fill 40
guard
alarm
held=$(holdings)
ctl snapshot save ours.db >/dev/null
stop
echo "$held"
"$peers/etcdutl" snapshot restore ours.db --data-dir theirs $cluster 2>/dev/null
start "$peers/etcd" theirs
same "quorate's snapshot in etcd" "$held" "$(holdings)"
ctl snapshot save theirs.db >/dev/null
stop
"$bin/quorateutl" snapshot restore theirs.db --data-dir back $cluster 2>/dev/null
start "$bin/quorate" back
same "etcd's snapshot in quorate" "$held" "$(holdings)"
stop
raise="--bump-revision 1000 --mark-compacted"
"$peers/etcdutl" snapshot restore theirs.db --data-dir raised1 $cluster $raise 2>/dev/null
start "$peers/etcd" raised1
held=$(holdings)
stop
"$bin/quorateutl" snapshot restore theirs.db --data-dir raised2 $cluster $raise 2>/dev/null
start "$bin/quorate" raised2
same "a raised revision" "$held" "$(holdings)"
stop
start "$peers/etcd" theirs
ctl alarm disarm >/dev/null
fill 100
alarm
held=$(holdings)
kill -9 "$pid"
stop
"$bin/quorateutl" migrate --from-etcd theirs --data-dir copied 2>/dev/null
start "$bin/quorate" copied
same "etcd's files in quorate" "$held" "$(holdings)"
stop
user=

# The stock tool writes to the file it digests, and leaves a part of what it refuses to restore: each begins afresh.
fresh() {
    rm -rf new
    cp theirs.db one.db
}
compare() {
    fresh
    a=0
    b=0
    "$peers/etcdutl" "$@" >a.out 2>a.all || a=$?
    grep -v "$(printf '\t')\(info\|debug\)$(printf '\t')" a.all >a.err || true
    fresh
    "$bin/quorateutl" "$@" >b.said 2>b.all || b=$?
    # The man page is ours alone.
    sed -e 's/quorateutl/etcdutl/g' -e '/^  man-page  /d' b.said >b.out
    sed -e 's/quorateutl/etcdutl/g' -e '/^  man-page  /d' b.all >b.err
    if [ $a = $b ] && cmp -s a.out b.out && cmp -s a.err b.err; then echo "same: $*"; else
        echo "DIFFERS: $*"
        diff a.out b.out || true
        diff a.err b.err || true
        exit 1
    fi
}
for format in simple fields json table protobuf bogus; do
    compare snapshot status one.db -w "$format"
    compare hashkv one.db -w "$format"
done
compare hashkv one.db --rev 50
compare hashkv one.db --rev 3
compare hashkv one.db --rev 3000
compare hashkv one.db --rev x
compare hashkv one.db --rev 99999999999999999999
compare hashkv one.db --timeout x
compare hashkv one.db more
compare hashkv one.db --bogus
compare hashkv missing
compare hashkv
compare hashkv --help
compare snapshot
compare snapshot status
compare snapshot status missing
compare snapshot restore
compare snapshot restore --help
compare snapshot restore one.db --data-dir theirs
compare snapshot restore one.db --data-dir new --name other
compare snapshot restore one.db --data-dir new --bump-revision 5
compare snapshot restore missing --data-dir new
compare snapshot restore one.db --data-dir new --mark-compacted
compare snapshot restore one.db --data-dir new --bump-revision -1
compare snapshot restore one.db --data-dir new --initial-cluster default=bad
compare snapshot restore one.db --data-dir new --initial-advertise-peer-urls bad
compare snapshot restore theirs/member/snap/db --data-dir new
compare snapshot restore one.db more --data-dir new
compare completion
compare completion tcsh
compare completion bash more
compare completion --help
compare --help
compare defrag
compare migrate --data-dir theirs --target-version 3
compare hashkv one.db --timeout 99999999999999999999x
compare hashkv one.db --timeout 1é
compare hashkv one.db --rev "$(printf '\001é')"
compare ma
compare --version
compare bogus
