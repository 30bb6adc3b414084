#!/usr/bin/env bash
# Summary: STACK=docker. Brings docker-compose.yml up, and runs a command in a container on its
#          network, where the same scripts find the stack as a cluster at addresses of its own. The
#          project folder is mounted at its own path, so that files and messages are the same in
#          there.
# Usage: scripts/containers.sh setup | clean | [--up | --kafka | --hdfs] COMMAND [ARGUMENT…]
#        (setup.sh, clean.sh and env.sh do, in the environment of env.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
help_if_asked "${1:---help}"
need_env
image=tracking-user-activity up_limit_s=240
own=$RUN_DIR/docker # logs, locks and the shells' histories

docker info > /dev/null 2>&1 || die 1 "Docker does not answer" \
  "$(docker info 2>&1 | grep -iE 'error|denied|cannot|not found' | tail -n 1)" \
  "start it (Docker Desktop, or: sudo systemctl start docker)
       permission denied: sudo usermod -aG docker \$USER, then log in again
       without Docker: STACK=local"
if docker compose version > /dev/null 2>&1; then
  compose=(docker compose)
elif docker-compose version > /dev/null 2>&1; then
  compose=(docker-compose)
else
  die 1 "there is no Docker Compose that runs" \
    "neither docker compose (v2) nor docker-compose (1.29) gives its version" \
    "install one: apt-get install docker-compose, or Docker's own packages"
fi

# The project name that Compose gives this folder, so that docker compose by hand finds the same
# containers. The cluster, and stacks with a run folder of their own, have other names.
lower() { basename "$1" | tr '[:upper:]' '[:lower:]'; }
project=$(lower "$PWD" | tr -cd 'a-z0-9_-')
[ "$RUN_DIR" = "$PWD/.run" ] || project+=$(lower "$RUN_DIR" | tr -c 'a-z0-9\n' '-')
project=${COMPOSE_PROJECT_NAME:-$project}
if [ "$CLUSTER" = 1 ]; then
  project+=-cluster
  compose+=(-f docker-compose.yml -f docker-compose.cluster.yml)
fi
compose+=(-p "$project")

# Containers run under your user number and group 0 (see the Dockerfile). If you are root, they run
# as the image's user, who reaches root's files through the group.
HOST_UID=$(id -u)
[ "$HOST_UID" != 0 ] || HOST_UID=1000
# Ports of the cluster's further servers follow those that the knobs name.
KAFKA_2_PORT=$((${KAFKA_PORT:?} + 1)) KAFKA_3_PORT=$((KAFKA_PORT + 2))
DATANODE_2_PORT=$((HDFS_PORT + 3)) DATANODE_3_PORT=$((HDFS_PORT + 4))
SPARK_PAGE_PORT=$((HDFS_PORT + 7))
export HOST_UID KAFKA_2_PORT KAFKA_3_PORT DATANODE_2_PORT DATANODE_3_PORT SPARK_PAGE_PORT

own_folder() {
  (
    umask 077
    mkdir -p "$own/home" "$own/logs"
  )
  [ "$(id -u)" != 0 ] || { chmod -R g+rwX "$own" && chmod g+x "$RUN_DIR"; } # it may be entered
}

# The image is built once. It knows the files that it was made from; when one is another here, it is
# built again.
setup() {
  local id made_from
  own_folder
  id=$(docker image inspect -f '{{.Id}}' "$image" 2> /dev/null || true)
  made_from=$own/made-from-${id#sha256:}
  if [ -n "$id" ]; then
    [ -s "$made_from" ] || {
      rm -f "$own"/made-from-*
      docker run --rm "$image" cat /opt/pipeline/made-from > "$made_from"
    }
    ! sha256 -c "$made_from" > /dev/null 2>&1 || return 0
    echo "setup: the image $image was made from other files; building it again" >&2
  else
    echo "setup: building the image $image: Java, Python packages and server jars," \
      "about three minutes (once)" >&2
  fi
  run "${compose[@]}" build kafka >&2 || die 1 "the image could not be built" \
    "the builder's message is above" \
    "no connection: check the network; the base image cannot be had: name another one of Debian 12,
       BASE=image make setup$STACK_KNOBS; otherwise mend what it says; then the same again"
}

# Each container of the stack: SERVICE ID IMAGE STATUS
containers() {
  docker ps -a --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.oneoff=False \
    --format '{{.Label "com.docker.compose.service"}} {{.ID}} {{.Image}} {{.Status}}'
}

# The services that are wanted. Compose 1.29 lists those of other profiles, too.
services() { "${compose[@]}" config --services | grep -vx "${without:-}"; }

# Services that are not healthy, or run another image than the present one.
not_ready() {
  local running
  running=$(containers)
  for service in $(services); do
    grep -q "^$service [0-9a-f]* $image .*(healthy)" <<< "$running" || echo "$service"
  done
}

up() {
  local waiting still service begin=$SECONDS
  python3 scripts/help.py --in-force
  run "${compose[@]}" up -d > "$own/logs/compose.log" 2>&1 || {
    tail -n 20 "$own/logs/compose.log" >&2
    die 1 "the containers could not be started" \
      "Docker's message is above; all of it: $own/logs/compose.log" \
      "a port is taken: stop the program that holds it, or choose others:
       make up STACK=docker${CLUSTER:+ CLUSTER=1} KAFKA=127.0.0.1:19092 HDFS=hdfs://127.0.0.1:18020
       otherwise: ${compose[*]} logs"
  }
  waiting=$(services)
  while [ -n "$waiting" ]; do
    still=$(not_ready)
    for service in $waiting; do
      ! grep -qx "$service" <<< "$still" || continue
      printf '  %-14s container %-30s healthy after %3d s\n' "$service" \
        "$(containers | awk -v s="$service" '$1 == s {print $2}')" $((SECONDS - begin))
    done
    waiting=$still
    [ -z "$waiting" ] || [ $((SECONDS - begin)) -lt $up_limit_s ] || {
      service=${waiting%%$'\n'*}
      "${compose[@]}" logs --tail=20 "$service" >&2
      die 1 "${waiting//$'\n'/, } not healthy after $up_limit_s s" \
        "the end of the log of $service is above" \
        "all of it: ${compose[*]} logs $service; then: make up$STACK_KNOBS"
    }
    [ -z "$waiting" ] || sleep 0.5 # between two probes
  done
}

# inspect CONTAINER FORMAT: something of a container, by Docker's template.
inspect() { docker inspect -f "$2" "$1"; }

# Runs a command in a container like the spark service's: same network, addresses, memory, user.
in_container() {
  local spark path folder data option addresses network
  spark=$(containers | awk '$1 == "spark" {print $2}')
  [ -n "$spark" ] || die 1 "the stack does not run" \
    "there is no container of the service spark in project $project" \
    "make up$STACK_KNOBS"
  own_folder
  # shellcheck disable=SC2016  # Docker's own template
  network=$(inspect "$spark" '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}')
  local options=(--rm --init --interactive --cap-drop ALL --security-opt no-new-privileges
    --user "$HOST_UID:0" --label "pipeline-of=$project" --network "$network"
    --memory "$(inspect "$spark" '{{.HostConfig.Memory}}')"
    --volume "$PWD:$PWD" --volume "$RUN_DIR:$RUN_DIR" --workdir "$PWD")
  [ ! -t 0 ] || [ ! -t 1 ] || options+=(--tty)
  # The data file and the backup, wherever they are, and what a file:// address names. Folders
  # inside this one may still have to be created.
  data=${DATA:?}
  [[ $data = /* ]] || data=$PWD/$data
  case $data in "$PWD"/*)
    mkdir -p "$(dirname "$data")"
    if [ "$(id -u)" = 0 ]; then
      chmod g+rwx "$(dirname "$data")"
      for path in "$data"*; do [ ! -f "$path" ] || chmod g+r "$path"; done
    fi
    ;;
  esac
  read -ra addresses <<< "$DATA_URL"
  for path in "$(realpath -m "${BACKUP:-$data}")" "$(realpath -m "${OUT:-$data}")" "$data" \
    "$(realpath "$data" 2> /dev/null || true)" "${addresses[@]/#file:\/\//}"; do
    case $path in
      "$PWD"/*) continue ;;
      /*) folder=$(dirname "$path") ;;
      *) continue ;;
    esac
    # The file's folder, for files beside it and new ones; but none that would hide the image's own.
    case $folder in
      / | /bin* | /dev* | /etc* | /home | /lib* | /opt | /opt/pipeline*) folder=$path ;;
      /proc* | /run* | /sbin* | /sys* | /usr* | /var) folder=$path ;;
    esac
    [ ! -e "$folder" ] || options+=(--volume "$folder:$folder")
  done
  # The service's own addresses, then the knobs, then what differs in there. Knobs come by the
  # environment: every user of this machine can read the arguments of a process.
  while read -r option; do options+=(--env "$option"); done < <(
    inspect "$spark" '{{range .Config.Env}}{{println .}}{{end}}' \
      | grep -E '^(STACK|KAFKA|HDFS|HDFS_COPIES)='
  )
  for option in $KNOBS KNOB_ORIGINS STACK_KNOBS TRACE; do
    case $option in STACK | CLUSTER | CLIENT_CONF | KAFKA | HDFS | RUN_DIR) continue ;; esac
    options+=(--env "$option")
  done
  options+=(--env CLUSTER= --env CLIENT_CONF= --env "RUN_DIR=$own" --env "HOME=$own/home"
    --env "TERM=${TERM:-dumb}" --env "COLUMNS=${COLUMNS:-}")
  exec docker run "${options[@]}" "$image" "$PWD/scripts/env.sh" "$@"
}

needs_servers=''
case $1 in --*)
  needs_servers=1
  shift
  ;;
esac
script=$1 without=serve
[ "$script" != python ] || script=${2:-}
case $script in scripts/serve.py | scripts/down.py | clean)
  compose+=(--profile serve)
  without=''
  ;;
esac
case $script in
  setup) setup ;;
  scripts/serve.py)
    token=$RUN_DIR/connect.token
    if [ ! -s "$token" ]; then
      (umask 077 && head -c 32 /dev/urandom | base64 | tr -d '=+/\n' > "$token.new")
      mv "$token.new" "$token"
    fi
    SPARK_CONNECT_AUTHENTICATE_TOKEN=$(< "$token")
    export SPARK_CONNECT_AUTHENTICATE_TOKEN
    up
    echo "
Spark Connect: sc://localhost:$CONNECT_PORT   JDBC: jdbc:hive2://127.0.0.1:$JDBC_PORT
token, and password: in $token   (docs/access.md)"
    ;;
  scripts/up.py | scripts/all.py)
    up
    in_container "$@"
    ;;
  scripts/down.py)
    # Commands that still run.
    docker ps -q --filter "label=pipeline-of=$project" | xargs -r docker stop > /dev/null
    run "${compose[@]}" down
    ;;
  scripts/status.py)
    "${compose[@]}" ps
    containers | awk '{print $2}' | xargs -r docker stats --no-stream \
      --format 'table {{.Name}}\t{{.MemUsage}}\t{{.CPUPerc}}'
    in_container "$@"
    ;;
  clean)
    if [ "$YES" != 1 ]; then
      echo "This removes the containers of $project, its volumes with everything that was published"
      read -r -p "and landed in them, and $own. Type yes: " answer || true
      [ "${answer:-}" = yes ] || die 1 "nothing was removed" \
        "the answer was not yes" \
        "to remove it without a question: make clean$STACK_KNOBS YES=1"
    fi
    run "${compose[@]}" down --volumes
    [ ! -f "$RUN_DIR/run-folder" ] || rm -rf -- "${own:?}" # never in somebody else's folder
    echo "the image stays; to remove it: docker rmi $image"
    ;;
  bench/* | report/* | scripts/test.sh | scripts/notebook.py | scripts/dictionary.py | \
    scripts/format.sh)
    die 2 "$* does not run in a container" \
      "the image holds what the pipeline needs, and nothing for tests, pictures and pages" \
      "type it without STACK=docker; the tests of the containers: make test-docker"
    ;;
  *)
    # Called by nearly every target: returns early when the stack is healthy.
    if [ -n "$needs_servers" ] && [ -n "$(not_ready)" ]; then up; fi
    in_container "$@"
    ;;
esac
