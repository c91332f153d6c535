#!/bin/sh
# The head of the scripts that run one examination of the server under load.
#   jepsen/examine.sh COMMAND ROUNDS [ROUNDS [SERVER-BINARY [OPTION...]]]
# The first ROUNDS is what counts where no other is given; the server is built here where none is.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
command=$1
rounds=${3:-$2}
shift 2
[ $# -eq 0 ] || shift
server=${1:-}
[ $# -eq 0 ] || shift
if [ -z "$server" ]; then
    cargo build --quiet --release --bin quorate
    server=$target/release/quorate
fi
cargo build --quiet -p quorate-jepsen
exec "$target/debug/quorate-jepsen" "$command" --bin "$server" --rounds "$rounds" "$@"
