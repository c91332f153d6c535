#!/bin/sh
# Runs etcd's own end-to-end tests, unmodified, against quorate: servers and command line in place of etcd's.
#   jepsen/etcd_tests.sh [SUITE [PATTERN]]      SUITE: e2e, common or both (default); PATTERN: which tests (default: all)
# PROGRAMS names the directory of quorate, quoratectl and quorateutl (default: the release build's). Each test has a process and
# a time of its own. Those of jepsen/etcd_tests_left_out.txt are not run: each says why. Ends with 1 if a test fails.
# They need curl, the ports from 20000 on, and half an hour. Without Go this says so and is no failure.
set -eu
cd "$(dirname "$0")/.."
if ! command -v go >/dev/null 2>&1; then
    echo "SKIPPED: Go is not installed, so etcd's own tests are not run"
    exit 0
fi
suites=${1:-both}
[ "$suites" = both ] && suites="e2e common"
pattern=${2:-.}
version=v3.7.1
left_out=$PWD/jepsen/etcd_tests_left_out.txt
target=${CARGO_TARGET_DIR:-$PWD/target}
programs=$(cd "${PROGRAMS:-$target/release}" && pwd)
place=$target/etcd-tests
mkdir -p "$place/bin"
ln -sf "$programs/quorate" "$place/bin/etcd"
ln -sf "$programs/quoratectl" "$place/bin/etcdctl"
ln -sf "$programs/quorateutl" "$place/bin/etcdutl"
bin=$(cd "$place/bin" && pwd)

# The sources, from the public module; there they name the modules that lie beside them, here those that were published.
if [ ! -e "$place/tests/go.mod" ]; then
    dir=$(cd jepsen/peers && go mod download -json "go.etcd.io/etcd/tests/v3@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    cp -r "$dir" "$place/copying"
    chmod -R u+w "$place/copying"
    sed -i '/^replace (/,/^)/d' "$place/copying/go.mod"
    mv "$place/copying" "$place/tests"
fi

failed=0
for suite in $suites; do
    (cd "$place/tests" && GOFLAGS=-mod=mod go test -tags e2e -c -o "../$suite.test" "./$suite")
    names=$(cd "$place/tests/$suite" && "../../$suite.test" -test.list "$pattern" 2>/dev/null | grep '^Test')
    for name in $names; do
        if why=$(grep "^$name " "$left_out"); then
            echo "not run: $why"
            continue
        fi
        home=$(mktemp -d)
        begun=$(date +%s)
        if (cd "$place/tests/$suite" && TMPDIR=$home timeout 300 "../../$suite.test" -bin-dir "$bin" -test.run "^$name\$" -test.v) \
            >"$place/$name.log" 2>&1; then
            echo "$(grep -o '^--- [A-Z]*' "$place/$name.log" | head -1 | sed 's/--- //') $name: $(($(date +%s) - begun)) s"
        else
            failed=$((failed + 1))
            echo "FAIL $name: $place/$name.log"
        fi
        # What a test that failed left behind runs from its directory.
        pkill -f -- "--data-dir=$home" || true
        rm -rf "$home"
    done
done
echo "$failed failed"
[ "$failed" -eq 0 ]
