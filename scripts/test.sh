#!/usr/bin/env bash
# Summary: all tests, on a real stack of their own (.run-stack, other ports) beside a running one.
# Usage: scripts/test.sh [ARGUMENT OF PYTEST…]   (without one: all but faults, containers, cluster)
#        make test     (DATA or DATA_URL names the real file; otherwise its tests are skipped)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

# The real file, when it can be had without the network's help or by an address that somebody gave.
if [ ! -f "$DATA" ] && [[ " $KNOB_ORIGINS " != *" DATA_URL=default "* ]]; then scripts/data.sh; fi
[ $# -gt 0 ] || set -- tests/unit tests/stack
run pytest --quiet --durations=10 -p no:cacheprovider "$@"
