#!/bin/sh
# Builds the stock etcd, etcdctl and etcdutl, to compare with, into target/peers (or PEERS_DIR). Their sources come from the public
# module by Go's ordinary client. Without Go this says so and is no failure.
set -eu
cd "$(dirname "$0")/.."
out=${PEERS_DIR:-$PWD/target/peers}
if ! command -v go >/dev/null 2>&1; then
    echo "SKIPPED: Go is not installed, so stock etcd, etcdctl and etcdutl are not built"
    exit 0
fi
mkdir -p "$out" "$out.new"
(cd jepsen/peers && go build -trimpath -o "$out.new/" ./etcd ./etcdctl go.etcd.io/etcd/etcdutl/v3)
# Who looks for them meanwhile finds whole ones.
mv -f "$out.new"/* "$out/"
rmdir "$out.new"
"$out/etcd" --version | head -1
echo "stock etcd, etcdctl and etcdutl are in $out"
