#!/usr/bin/env bash
# Summary: the tests, by two workers of pytest, each on a real stack of its own (.run-stack-gw0 and
#          -gw1, other ports) beside a running one.
# Usage: make test, make test-all     (DATA or DATA_URL names the real file; without it the tests of
#                                      that file are skipped)
#        scripts/env.sh scripts/test.sh [--all | ARGUMENT OF PYTEST…]
#          without an argument: all but what is marked as thorough; --all: all but containers and
#          cluster; others: what they say, by one worker
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

# The real file, when it can be had without the network's help or by an address that somebody gave.
if [ ! -f "$DATA" ] && [[ " $KNOB_ORIGINS " != *" DATA_URL=default "* ]]; then scripts/data.sh; fi
# The longest files first: at the end, one worker would be left with them.
by_two_workers=(--numprocesses 2 --no-loadscope-reorder
  tests/faults tests/stack/test_serve.py tests/stack/test_schema_change.py tests/stack tests/unit)
case ${1:-} in
  '') set -- -m 'not thorough' "${by_two_workers[@]}" ;;
  --all) set -- --examples 100000 "${by_two_workers[@]}" ;;
esac
run pytest --quiet --durations=10 -p no:cacheprovider "$@"
