#!/usr/bin/env bash
# Asks a server what gateway_sessions.txt says, with curl, and writes what it answers: heads and bodies as they came.
# Without an address a stock etcd is started and its answers go to recorded/gateway-3.7.1.txt, which tests/gateway.rs holds ours
# against without Go. Takes the stock binaries of build_peers.sh; needs curl.
#
#   jepsen/record_gateway.sh [http://host:port [output]]
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
etcd=
trap 'if [ -n "$etcd" ]; then kill "$etcd"; wait "$etcd" || true; fi; rm -rf "$work"' EXIT
if [ $# -eq 0 ]; then
  url=http://127.0.0.1:${CLIENT_PORT:-12379} peer=http://127.0.0.1:${PEER_PORT:-12380} out=recorded/gateway-3.7.1.txt
  "${PEERS_DIR:-../target/peers}/etcd" --data-dir "$work/d" --name default --log-level fatal \
    --listen-client-urls "$url" --advertise-client-urls "$url" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" 2>/dev/null &
  etcd=$!
  until curl -fs "$url/health" >/dev/null; do sleep 0.1; done
else
  url=$1 out=${2:-/dev/stdout}
fi

# ask FILE METHOD PATH FIELDS BODY LINES: until the answer ends, or has so many lines.
ask() {
  local file=$1 method=$2 path=$3 fields=$4 body=$5 lines=$6 field
  local -a arguments=(-s -i -N --http1.1 --path-as-is --max-time 4 -X "$method")
  if [ "$method" = HEAD ]; then arguments=(-s --http1.1 -I); fi
  while [[ $fields =~ \{([^}]*)\} ]]; do fields=${fields//"${BASH_REMATCH[0]}"/$(token "${BASH_REMATCH[1]}")}; done
  if [ -n "$fields" ]; then
    while IFS= read -r -d ';' field; do arguments+=(-H "$field"); done <<<"$fields;"
  fi
  if [ -n "$body" ]; then arguments+=(-d "$body"); fi
  if [ -z "$lines" ]; then
    curl "${arguments[@]}" "$url$path" >"$file" || true
    return
  fi
  # The head has an empty line, and then come the lines that are wanted.
  coproc CURL { exec curl "${arguments[@]}" "$url$path"; }
  local curl=$CURL_PID have=-1 line
  while [ "$have" -lt "$lines" ] && IFS= read -r line <&"${CURL[0]}"; do
    printf '%s\n' "$line" >>"$file"
    if [ "$have" -ge 0 ] || [ "$line" = $'\r' ]; then have=$((have + 1)); fi
  done
  kill "$curl" 2>/dev/null || true
  wait "$curl" 2>/dev/null || true
}

# The token in the answer of this name.
token() { sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$work/${1// /_}"; }
trim() { local text=${1#"${1%%[! ]*}"}; printf '%s' "${text%"${text##*[! ]}"}"; }
write() { printf '=== %s\n' "$1"; cat "$2"; printf '\n'; }

declare -A later=()
while IFS='|' read -r name method path fields body lines; do
  name=$(trim "$name")
  case $name in
    '' | '#'*) continue ;;
    =*)
      name=${name#=}
      wait "${later[$name]}" || true
      write "$name" "$work/${name// /_}"
      continue
      ;;
  esac
  file=$work/${name// /_}
  file=${file/&/}
  : >"$file"
  arguments=("$file" "$(trim "$method")" "$(trim "$path")" "$(trim "$fields")" "$(trim "$body")" "$(trim "$lines")")
  if [ "${name#&}" != "$name" ]; then
    ask "${arguments[@]}" &
    later[${name#&}]=$!
    sleep 0.5
  else
    ask "${arguments[@]}"
    write "$name" "$file"
  fi
done <gateway_sessions.txt >"$work/out"
cat "$work/out" >"$out"
