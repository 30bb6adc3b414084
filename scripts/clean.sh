#!/usr/bin/env bash
# Summary: removes the run folder: jars, logs, and all data of the stack in it. Asks first.
#          With STACK=docker: its containers, its volumes and their data, never its image.
# Usage: make clean [RUN_DIR=folder] [YES=1] [STACK=docker]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
case ${1:-} in -h|--help) help_from_header "$0"; exit ;; esac

[ "${STACK:-local}" != docker ] || exec scripts/env.sh clean
run_dir=${RUN_DIR:-.run}
[ -d "$run_dir" ] || { echo "there is no $run_dir; nothing to remove"; exit; }
# Setup marks only a folder that it made, or found empty: whatever the knob says, nothing else is removed.
[ -f "$run_dir/run-folder" ] || die 1 "$run_dir is no run folder of this project" "it has no file named run-folder, which setup puts into one" "remove it by hand if you mean it"
if [ -d "$run_dir/pids" ] && [ -n "$(ls -A "$run_dir/pids")" ]; then
  scripts/env.sh python scripts/stack.py down
fi
if [ "${YES:-}" != 1 ]; then
  read -r -p "Remove $run_dir with everything that was published and landed in it ($(du -sh "$run_dir" | cut -f1))? Type yes: " answer || true
  [ "${answer:-}" = yes ] || die 1 "nothing was removed" "the answer was not yes" "to remove it without a question: make clean YES=1"
fi
rm -rf -- "${run_dir:?}" 2>/dev/null || rm -rf -- "${run_dir:?}" # a second time, because archives.py may just have written a file
echo "removed $run_dir"
