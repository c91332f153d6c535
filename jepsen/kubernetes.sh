#!/bin/sh
# Runs the tests of Kubernetes' own storage layer (k8s.io/apiserver, pkg/storage/etcd3), unmodified but for how their server is
# started, against quorate.
#   jepsen/kubernetes.sh [SERVER-BINARY [PATTERN]]      default: the release build, all tests
# The first build takes ten minutes on two cores. Without Go this says so and is no failure.
set -eu
cd "$(dirname "$0")/.."
if ! command -v go >/dev/null 2>&1; then
    echo "SKIPPED: Go is not installed, so the tests of Kubernetes' storage are not run"
    exit 0
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
server=$(realpath "${1:-$target/release/quorate}")
place=$target/kubernetes
if [ ! -e "$place/go.mod" ]; then
    mkdir -p "$target"
    dir=$(cd jepsen/peers && go mod download -json k8s.io/apiserver@v0.35.0 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    rm -rf "$place.copying"
    cp -r "$dir" "$place.copying"
    chmod -R u+w "$place.copying"
    mv "$place.copying" "$place"
fi
cp jepsen/clients/kubernetes/test_server.go "$place/pkg/storage/etcd3/testserver/test_server.go"
cd "$place"
GOFLAGS=-mod=mod go test -c -o etcd3.test ./pkg/storage/etcd3
cd pkg/storage/etcd3
SERVER=$server exec "$place/etcd3.test" -test.timeout 20m -test.run "${2:-.}"
