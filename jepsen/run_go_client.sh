#!/bin/sh
# Runs a program on etcd's own Go client, unmodified, against a fresh server.
#   jepsen/run_go_client.sh [SERVER-BINARY [FLAG...]]      default: quorate, built here
# Without Go this says so and is no failure.
set -eu
cd "$(dirname "$0")/.."
if ! command -v go >/dev/null 2>&1; then
    echo "SKIPPED: Go is not installed, so the Go client is not run"
    exit 0
fi
. jepsen/server_under_test.sh
mkdir -p "$target/clients"
(cd jepsen/clients/go && go build -o "$target/clients/go-client" .)
flags=
for flag in "$@"; do flags="$flags --flag=$flag"; done
# shellcheck disable=SC2086 # flags are words without blanks
exec "$target/debug/quorate-jepsen" serve --bin "$server" $flags -- "$target/clients/go-client" '{}'
