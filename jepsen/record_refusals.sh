#!/usr/bin/env bash
# Records how a stock etcd refuses the command lines of tests/refusals/cases.txt: its exit code and its last word. The test
# `refusals` holds quorate against the record.
#
#   jepsen/record_refusals.sh ETCD >tests/refusals/etcd-3.7.1.txt
set -u
if [ $# -ne 1 ]; then sed -n '2,6p' "$0" >&2; exit 2; fi
etcd=$1 here=$(cd "$(dirname "$0")/.." && pwd)
unset "${!ETCD_@}"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
while IFS= read -r line; do
  case $line in ''|'#'*) continue ;; esac
  variables=() arguments=()
  case $line in
    'yaml '*)
      text=${line#yaml }
      printf '%s\n' "${text//\\n/$'\n'}" >conf.yml
      arguments=(--config-file=conf.yml) ;;
    *)
      set -f
      for word in $line; do
        case $word in ETCD_*=*) variables+=("$word") ;; *) arguments+=("$word") ;; esac
      done
      set +f ;;
  esac
  timeout 10 env "${variables[@]}" "$etcd" "${arguments[@]}" >out 2>err </dev/null
  code=$?
  # A line of the log says it, most often in its field `error`; the library of flags in its first line.
  cat out err | python3 -c '
import json, sys
plain, logged = [], []
for line in sys.stdin.read().split("\n"):
    try:
        entry = json.loads(line)
        if entry.get("level") in ("error", "fatal", "panic", "warn"):
            logged.append(entry.get("error") or entry["msg"])
    except (ValueError, AttributeError):
        if line.strip():
            plain.append(line)
print((logged[-1:] or plain[:1] or [""])[0].replace("\n", "\\n"))
' >text
  if [ "$code" = 124 ]; then code=accepted; echo >text; fi
  printf '%s\n%s %s\n' "$line" "$code" "$(cat text)"
  rm -rf default.etcd
done <"$here/tests/refusals/cases.txt"
