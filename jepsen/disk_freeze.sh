#!/bin/sh
# A leader whose disk answers nothing for five seconds: time without a put, and writes that failed after another led.
#   jepsen/disk_freeze.sh [ROUNDS [SERVER-BINARY [OPTION...]]]    default: 5 rounds of quorate, built here
# Needs root (loop mounts and fsfreeze); says SKIPPED without. Options go to the command, e.g. --seconds 8.
exec "$(dirname "$0")/examine.sh" freeze 5 "$@"
