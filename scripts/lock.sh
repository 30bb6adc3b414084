#!/usr/bin/env bash
# Summary: writes the lock files of conf/, after a version changed in pyproject.toml or ivy.xml, and
#          the list of licences in docs/third-party.md.
# Usage: make lock     (needs the network and Java; look at the diff before you commit it)
#        scripts/env.sh scripts/lock.sh --check
#          downloads and changes nothing; fails if a lock file has a package that cannot be had for
#          one of the Python versions and systems that are supported
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "$@"
need_env

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# These have no wheels; they are built from source archives on every system.
from_source=(pyspark pyspark-client pyhive pure-sasl thrift)
if [ "${1:-}" = --check ]; then
  read_pip_settings .venv
  for version in 3.10 3.11 3.12 3.13 3.14; do
    # An Intel Mac is left out: some packages of the notebook have no wheels for it any more.
    for platform in x86_64-manylinux_2_31 aarch64-manylinux_2_31 aarch64-apple-darwin; do
      for file in conf/requirements*.txt; do
        uv pip install --quiet --dry-run --target "$work/none" --require-hashes --no-deps \
          --python-version $version --python-platform $platform --only-binary :all: \
          "${from_source[@]/#/--no-binary=}" -r "$file" \
          || die 1 "$file cannot be installed with Python $version on $platform" \
            "uv's message is above" \
            "choose a version that has a wheel for it in pyproject.toml; then: make lock"
      done
      echo "Python $version, $platform: every package of every lock file can be had"
    done
  done
  exit
fi

python3 -m venv "$work/venv"
read_pip_settings "$work/venv"
"$work/venv/bin/pip" install --quiet --require-hashes -r conf/requirements-build.txt
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
  -types jar bundle \
  -retrieve "$work/jars/[conf]/[organisation]/[artifact]/[revision]/[artifact]-[revision].[ext]"
(
  cd "$work/jars"
  find . -name '*.jar' | while IFS=/ read -r _ folder organisation name version file; do
    # shellcheck disable=SC2119
    hash=$(sha256 < "$folder/$organisation/$name/$version/$file" | cut -d' ' -f1)
    echo "$hash  $folder/$file  $organisation:$name:$version"
  done
) | LC_ALL=C sort -k 2 > conf/jars.lock
scripts/env.sh python scripts/third_party.py "$work/ivy"
echo "conf/requirements*.txt, conf/jars.lock and docs/third-party* are new"
