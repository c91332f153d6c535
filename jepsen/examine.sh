#!/bin/sh
# The head of the scripts that run one examination of the server under load.
#   jepsen/examine.sh COMMAND ROUNDS [ROUNDS [SERVER-BINARY [OPTION...]]]
# The first ROUNDS is what counts where no other is given; the server is built here where none is.
set -eu
cd "$(dirname "$0")/.."
command=$1
rounds=${3:-$2}
shift 2
[ $# -eq 0 ] || shift
. jepsen/server_under_test.sh
exec "$target/debug/quorate-jepsen" "$command" --bin "$server" --rounds "$rounds" "$@"
