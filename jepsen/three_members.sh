#!/usr/bin/env bash
# Starts a cluster of three members on loopback, runs a command, and ends them again.
#
#   jepsen/three_members.sh SERVER [FLAGS...] -- COMMAND...
#
# SERVER is any program with etcd's flags. In COMMAND, {} stands for the three endpoints, separated by commas. FIRST_PORT
# (12700) and the five ports after it are used. Ends as COMMAND does, or with 1 when the members do not come up.
set -u
flags=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do flags+=("$1"); shift; done
if [ ${#flags[@]} -eq 0 ] || [ $# -lt 2 ]; then sed -n '2,7p' "$0" >&2; exit 2; fi
shift
port=${FIRST_PORT:-12700} endpoints='' cluster=''
work=$(mktemp -d) members=()
stop() {
  [ ${#members[@]} -eq 0 ] || { kill "${members[@]}"; wait "${members[@]}"; } 2>/dev/null
  rm -rf "$work"
}
trap stop EXIT
for member in 0 1 2; do
  endpoints+=,127.0.0.1:$((port + 2 * member))
  cluster+=,m$member=http://127.0.0.1:$((port + 2 * member + 1))
done
endpoints=${endpoints#,}
for member in 0 1 2; do
  client=http://127.0.0.1:$((port + 2 * member)) peer=http://127.0.0.1:$((port + 2 * member + 1))
  "${flags[@]}" --name m$member --data-dir "$work/m$member" --log-level error --initial-cluster "${cluster#,}" \
    --listen-client-urls "$client" --advertise-client-urls "$client" --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" >"$work/m$member.log" 2>&1 &
  members+=($!)
done
for _ in $(seq 900); do
  up=0
  for member in 0 1 2; do
    # bash itself asks, so that nothing else need be there.
    { exec 3<>"/dev/tcp/127.0.0.1/$((port + 2 * member))"; } 2>/dev/null || continue
    printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    head -c 4096 <&3 | grep -q '"health":"true"' && up=$((up + 1))
    exec 3>&-
  done
  [ $up -eq 3 ] && break
  sleep 0.2
done
if [ $up -ne 3 ]; then echo "the three members did not come up:" >&2; cat "$work"/m?.log >&2; exit 1; fi
"${@//\{\}/$endpoints}"
