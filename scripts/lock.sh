#!/usr/bin/env bash
# Summary: writes the lock files of conf/, after a version changed in pyproject.toml or ivy.xml.
# Usage: make lock     (needs the network and Java; look at the diff before you commit it)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv
# lock NAME OPTION…: groups of pyproject.toml, in one file for every Python from 3.10 on and every
# system, each package by hash. What the file has is kept where it still fits.
lock() {
  run "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header "${@:2}" -o "conf/$1.txt"
}
lock requirements-build --group build
lock requirements --group run --group report --group docs --group test
lock requirements-run --group run --constraints conf/requirements.txt # the same versions
lock requirements-notebook --group notebook
# --no-strip-extras: dbt-adapters requires mashumaro[msgpack]. pip 23.2 does not apply a line
# mashumaro==… to it, and fails because it is not pinned.
lock requirements-dbt --group dbt --no-strip-extras
pyspark=$(grep -o '^pyspark==[0-9.]*' conf/requirements.txt)
"$work/venv/bin/pip" install --quiet --no-deps "$pyspark"
java -jar "$work"/venv/lib/python3*/site-packages/pyspark/jars/ivy-*.jar \
  -settings conf/ivysettings.xml -ivy conf/ivy.xml -cache "$work/ivy" -confs kafka hdfs spark \
  -types jar bundle -retrieve "$work/jars/[conf]/[artifact]-[revision].[ext]"
(cd "$work/jars" && find . -name '*.jar' | cut -c 3- | LC_ALL=C sort | xargs sha256sum) \
  > conf/jars.lock
echo "conf/requirements*.txt and conf/jars.lock are new"
