#!/bin/sh
# Summary: runs a command in the project's environment: the knobs checked, the addresses and paths
#          that follow from them, the tools on the PATH, and nothing of the user's own settings
#          (scripts/pipeline/environment.py). With STACK=docker it runs in a container.
# Usage: scripts/env.sh [--up | --kafka | --hdfs] COMMAND [ARGUMENT…]
#          --up, --kafka, --hdfs   start these servers first, if they do not run
#        scripts/env.sh --bare COMMAND [ARGUMENT…]
#          the knobs only: no set-up is needed, nothing is started (set-up itself, clean)
# A POSIX shell: unlike bash it reads no file that a variable names.
case ${1:-} in
  '' | -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
here=$(dirname -- "$0")
if [ ! -x "$here/env.sh" ]; then
  echo "error: the scripts are not executable" >&2
  case $(ls -l "$here/env.sh") in
    -??x*)
      echo "       $here is on a file system that lets nothing be executed (noexec)" >&2
      echo "       clone to another place; findmnt --target . shows what this one is" >&2
      exit 2
      ;;
  esac
  echo "       $here/env.sh lost its permission (copied over a file system that keeps none?)" >&2
  echo "       type: chmod +x scripts/*.sh scripts/bin/* .ci/*" >&2
  exit 2
fi

# The project's own Python, once there is one: shims of version managers take long. -E -s: no
# variable and no folder of the user's changes it.
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
# Set-up, which makes it again when it does not start, must not depend on it.
[ "$1" != --bare ] || "$python" -c '' 2> /dev/null || python=python3
if ! command -v "$python" > /dev/null; then
  echo "error: there is no python3" >&2
  echo "       the scripts are written in it" >&2
  echo "       install Python 3.10 or newer" >&2
  exit 1
fi
if [ "$python" = python3 ] && ! said=$(python3 --version 2>&1); then
  echo "error: python3 does not start: $(echo "$said" | tail -n 1)" >&2
  echo "       it is $(command -v python3)" >&2
  echo "       put Python 3.10 or newer first on the PATH" >&2
  exit 1
fi
exec "$python" -E -s "$here/environment.py" "$@"
