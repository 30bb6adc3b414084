#!/usr/bin/env bash
# Summary: writes the lock files of conf/, after a version changed in requirements*.in or ivy.xml.
# Usage: make lock     (needs the network; look at the diff before you commit it)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
help_if_asked "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv
for name in requirements-build requirements requirements-notebook; do
  # One file for every Python from 3.10 on and every system, each package by hash.
  run "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header "conf/$name.in" -o "conf/$name.txt"
done
pyspark=$(grep -o '^pyspark==[0-9.]*' conf/requirements.txt)
"$work/venv/bin/pip" install --quiet --no-deps "$pyspark"
java -jar "$work"/venv/lib/python3*/site-packages/pyspark/jars/ivy-*.jar \
  -settings conf/ivysettings.xml -ivy conf/ivy.xml -cache "$work/ivy" -confs kafka hdfs spark \
  -types jar bundle -retrieve "$work/jars/[conf]/[artifact]-[revision].[ext]"
(cd "$work/jars" && find . -name '*.jar' | cut -c 3- | LC_ALL=C sort | xargs sha256sum) \
  > conf/jars.lock
echo "conf/requirements*.txt and conf/jars.lock are new"
