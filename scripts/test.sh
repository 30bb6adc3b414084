#!/usr/bin/env bash
# Summary: all tests, on a real stack of their own (.run-test, other ports) beside a running one.
# Usage: scripts/test.sh [ARGUMENT OF PYTEST…]     (without one: all but the faults, which make test-faults runs)
#        make test     (DATA or DATA_URL names the real file; without it the tests on it are skipped, and say so)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac
need_env

# The real file, when it can be had without the network's help or by an address that somebody gave.
if [ ! -f "$DATA" ] && [[ " $KNOB_ORIGINS " != *" DATA_URL=file "* ]]; then scripts/data.sh; fi
[ $# -gt 0 ] || set -- tests
run pytest --quiet --durations=10 -p no:cacheprovider "$@"
