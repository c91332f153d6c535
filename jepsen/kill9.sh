#!/bin/sh
# kill -9 under load with an external ledger of acknowledged writes.
#   jepsen/kill9.sh [ROUNDS [SERVER-BINARY [OPTION...]]]    default: 200 rounds of quorate, built here
# Further options go to the command, e.g. --writers 50, --seed 7, --flag=--snapshot-count=100.
exec "$(dirname "$0")/examine.sh" kill9 200 "$@"
