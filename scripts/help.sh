#!/usr/bin/env bash
# Summary: prints the targets and knobs of the Makefile with their explanations.
# Usage: make help
set -euo pipefail
cd "$(dirname "$0")/.."
printf 'usage: make TARGET [KNOB=value …]\n'
# `##@ Section` starts a section, `target: … ## text` explains a target,
# and a comment above `KNOB ?= value` explains the knob.
awk '
  /^##@ / { printf "\n%s\n", substr($0, 5) }
  /^[a-z-]+:.*## / {
    target = $1; sub(/:.*/, "", target)
    sub(/^.*## /, "")
    printf "  %-17s %s\n", target, $0
  }
  /^# / { comment = comment (comment == "" ? "" : " ") substr($0, 3); next }
  /^[A-Z_]+ [?]=/ && $1 != "KNOB_ORIGINS" {
    value = $0; sub(/^[^=]*= ?/, "", value)
    if (value == "") value = "none"
    knobs = knobs sprintf("  %-12s %s\n  %-12s   default: %s\n", $1, comment, "", value)
  }
  { comment = "" }
  END { printf "\nKnobs\n%s", knobs }
' Makefile
