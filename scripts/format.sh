#!/usr/bin/env bash
# Summary: formats and lints the Python files (ruff) and the shell scripts (shfmt).
# Usage: make format     (scripts/format.sh --check changes nothing, and fails where it would)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

shell_scripts=(scripts/*.sh scripts/bin/* .ci/*)
style=(-i 2 -ci -bn -sr)
if [ "${1:-}" = --check ]; then
  run ruff check --no-cache .
  run ruff format --no-cache --check .
  run shfmt "${style[@]}" -d "${shell_scripts[@]}"
else
  run ruff check --no-cache --fix .
  run ruff format --no-cache .
  run shfmt "${style[@]}" -w "${shell_scripts[@]}"
fi
