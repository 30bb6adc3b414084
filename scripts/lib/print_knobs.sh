#!/usr/bin/env bash
# Summary: prints each knob that has a value, and where the value came from.
# Usage: scripts/lib/print_knobs.sh     (up and status run it, in the environment of env.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib/common.sh
help_if_asked "$@"

for pair in $KNOB_ORIGINS; do
  name=${pair%%=*} origin=${pair#*=}
  value=${!name-}
  case $origin in
    file) origin='default' ;;
    command_line) origin='make' ;;
    environment*) origin='environment' ;;
  esac
  case $name in
    DATA_URL) value=$(without_secrets "$value") ;;
    RUN_DIR) value=${value#"$PWD/"} ;;
  esac
  [ -z "$value" ] || printf '  %-14s %-62s %s\n' "$name" "$value" "$origin"
done
