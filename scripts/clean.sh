#!/usr/bin/env bash
# Summary: removes the run folder: logs, and all data of the stack in it. Asks first. With
#          STACK=docker: its containers, its volumes and their data, never its image.
# Usage: make clean [RUN_DIR=folder] [YES=1] [STACK=docker]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

[ "$STACK" != docker ] || exec scripts/containers.sh clean
shown=${RUN_DIR#"$PWD/"}
[ -d "$RUN_DIR" ] || {
  echo "there is no $shown; nothing to remove"
  exit
}
# Setup marks only a folder that it made, or found empty: whatever the knob says, nothing else is
# removed.
[ -f "$RUN_DIR/run-folder" ] || die 1 "$shown is not a run folder of this project" \
  "it has no file named run-folder, which setup puts into one" \
  "remove it by hand if you mean it"
if [ -d "$RUN_DIR/pids" ] && [ -n "$(ls -A "$RUN_DIR/pids")" ]; then
  scripts/env.sh python scripts/down.py
fi
if [ "$YES" != 1 ]; then
  size=$(du -sh "$RUN_DIR" 2> /dev/null | cut -f1) || true # files may vanish meanwhile
  echo "This removes $shown ($size) with everything that was published and landed in it."
  read -r -p "Type yes: " answer || true
  [ "${answer:-}" = yes ] || die 1 "nothing was removed" \
    "the answer was not yes" \
    "to remove it without a question: make clean$STACK_KNOBS YES=1"
fi
rm -rf -- "${RUN_DIR:?}"
echo "removed $shown"
