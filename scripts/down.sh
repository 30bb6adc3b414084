#!/usr/bin/env bash
# Summary: stops what `up` started; the data stay. Where nothing was ever set up, nothing is set up.
# Usage: make down
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

if [ "$STACK" = local ] && [ ! -d "$RUN_DIR/pids" ]; then
  echo "nothing was started from ${RUN_DIR#"$PWD/"}"
else
  [ "$STACK" = docker ] || scripts/setup.sh --quiet
  exec scripts/env.sh python scripts/down.py
fi
