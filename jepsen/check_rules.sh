#!/usr/bin/env bash
# Holds contrib's alert rules and dashboard against Prometheus' own parsers, against what three members of ours print as metrics,
# and against what stock etcd was recorded to print. Needs Go and curl.
#
#   jepsen/check_rules.sh SERVER        SERVER: the binary of quorate
set -euo pipefail
server=$(realpath "$1")
cd "$(dirname "$0")"
target=$(realpath -m "${CARGO_TARGET_DIR:-../target}")
mkdir -p "$target/rules"
(cd rules && go build -o "$target/rules/check" .)
FIRST_PORT=${FIRST_PORT:-12480} ./three_members.sh "$server" --metrics extensive -- ./metrics_of_members.sh '{}' \
    >"$target/rules/ours.txt"
"$target/rules/check" ../contrib/prometheus/alerts.yaml ../contrib/grafana/dashboard.json -- "$target/rules/ours.txt" \
    -- recorded/metrics-3.7.1.txt recorded/metrics-members-3.7.1.txt
