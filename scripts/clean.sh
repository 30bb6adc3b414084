#!/usr/bin/env bash
# Summary: removes the run folder: jars, logs, and all data of the stack in it. Asks first. With
#          STACK=docker: its containers, its volumes and their data, never its image.
# Usage: make clean [RUN_DIR=folder] [YES=1] [STACK=docker]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
help_if_asked "$@"

[ "${STACK:-local}" != docker ] || exec scripts/lib/env.sh clean
run_dir=${RUN_DIR:=.run}
[ -d "$run_dir" ] || {
  echo "there is no $run_dir; nothing to remove"
  exit
}
# Setup marks only a folder that it made, or found empty: whatever the knob says, nothing else is
# removed.
[ -f "$run_dir/run-folder" ] || die 1 "$run_dir is not a run folder of this project" \
  "it has no file named run-folder, which setup puts into one" \
  "remove it by hand if you mean it"
if [ -d "$run_dir/pids" ] && [ -n "$(ls -A "$run_dir/pids")" ]; then
  scripts/lib/env.sh python scripts/down.py
fi
if [ "${YES:-}" != 1 ]; then
  size=$(du -sh "$run_dir" 2> /dev/null | cut -f1) || true # files may vanish meanwhile
  echo "This removes $run_dir ($size) with everything that was published and landed in it."
  read -r -p "Type yes: " answer || true
  [ "${answer:-}" = yes ] || die 1 "nothing was removed" \
    "the answer was not yes" \
    "to remove it without a question: make clean$(of_stack) YES=1"
fi
# a second time, because archives.py may just have written a file
rm -rf -- "${run_dir:?}" 2> /dev/null || rm -rf -- "${run_dir:?}"
echo "removed $run_dir"
