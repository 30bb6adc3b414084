#!/bin/sh
# Summary: runs a command in an environment of the project's own. Of the user's variables only those
#          listed here reach it, so that settings made for other work do not change our tools.
#          (Settings in the home folder do not reach them either: env.sh sets another HOME.)
# Usage: scripts/lib/own_environment.sh COMMAND [ARGUMENT…]     (make runs every recipe line with
#        it, and env.sh itself)
# A POSIX shell: unlike bash it reads no file that a variable names.
case ${1:-} in
  '' | -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac
[ -z "${PIPELINE_INSTALLED:-}" ] || exec "$@" # in our containers the environment is the image's
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
  echo "       type: chmod +x scripts/*.sh scripts/bin/* scripts/lib/*.sh .ci/*" >&2
  exit 2
fi
[ -n "${OWN_ENVIRONMENT:-}" ] || USER_HOME=${HOME:-}
OWN_ENVIRONMENT=1
[ -d "${TMPDIR:-}" ] || unset TMPDIR
DOCKER_CONFIG=${DOCKER_CONFIG:-$USER_HOME/.docker}
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}

knobs=$(sed -n 's/^KNOBS := //p' "$here/../../Makefile")
# From one of our scripts to another.
own="OWN_ENVIRONMENT USER_HOME KNOB_ORIGINS TRACE REAL_DATA ARCHIVES_FOR CLASS_LISTS"
# Where the system's programs and their libraries are.
programs="PATH LD_LIBRARY_PATH JAVA_HOME TMPDIR"
terminal="TERM COLUMNS LINES PYTHON_BASIC_REPL PYTHONUNBUFFERED"
# How the network is reached; the last one in set-up only.
network="http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
  SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE JAVA_TOOL_OPTIONS"
# Where Python packages come from, and no other setting of pip.
packages="PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT
  PIP_PROXY PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CONFIG_FILE PIP_CACHE_DIR"
# Who one is on somebody else's services, and the Python there.
cluster="HADOOP_USER_NAME HADOOP_TOKEN_FILE_LOCATION KRB5CCNAME KRB5_CONFIG PYSPARK_PYTHON"
docker="DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH
  XDG_RUNTIME_DIR COMPOSE_PROJECT_NAME BASE"

for name in $knobs $own $programs $terminal $network $packages $cluster $docker; do
  eval "value=\${$name-} is_set=\${$name+yes}"
  # An empty knob is a value of its own; another variable that is empty might as well not be there.
  # shellcheck disable=SC2154  # eval assigns both
  case " $knobs " in *" $name "*) [ -n "$is_set" ] ;; *) [ -n "$value" ] ;; esac || continue
  # zsh, and make itself, leave this alone in NAME=~/file.
  case $value in "~"/*) value=$USER_HOME/${value#"~/"} ;; esac
  set -- "$name=$value" "$@"
done
exec env -i "$@"
