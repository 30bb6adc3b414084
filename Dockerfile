# The one image of every service in docker-compose.yml: Kafka, HDFS, Spark and the course's tools, as the project's own
# set-up installs them. So Docker and `make all` without it run the same versions, from the same lock files, and nothing
# depends on somebody's image that may vanish. Debian is the only base; it and all packages exist for amd64 and arm64.
#
#   docker compose build         (docker compose up -d does it by itself the first time: about three minutes)
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# --- set-up: Java, kcat, jq and curl by apt; Python packages and server jars by hash ------------------------------
# Only what set-up reads is copied before it, so that a change elsewhere does not download everything again.
WORKDIR /opt/pipeline
COPY conf/requirements-run.txt conf/requirements-build.txt conf/ivysettings.xml conf/jars.lock conf/
COPY scripts/setup.sh scripts/common.sh scripts/
# One RUN, because what a later one deletes stays in the image all the same. What a container never needs goes: pip and its
# build tools, libraries' own tests, C headers and examples.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv make procps >/dev/null \
 && PIPELINE_ENV=1 RUN_DIR=$PWD/.run STACK_KNOBS=' STACK=docker' PIP_NO_CACHE_DIR=1 scripts/setup.sh --image \
 && .venv/bin/pip uninstall --quiet --yes --requirement conf/requirements-build.txt pip \
 && (cd .venv/lib/python3*/site-packages && rm -rf pyarrow/include pyarrow/*flight* pyspark/examples pyspark/jars/connect-repl) \
 && find .venv -type d -name tests -prune -exec rm -rf {} + \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt .run/apt.log .run/ivy.log

# --- its user: never root -------------------------------------------------------------------------------------------
# Group 0 may write where the user may: so the tool box can run under the number of whoever owns the mounted project
# folder, and what it writes there is his (HOST_UID in docker-compose.yml). Group 0 gives no rights beyond that.
# The assignment looks for Spark's history in /root, where course images ran as root.
RUN useradd --uid 1000 --gid 0 --create-home --shell /bin/bash w205 \
 && mkdir -p .run/storage .run/logs .run/conf/kafka .run/conf/hadoop .run/conf/spark /w205 \
 && chown 1000:0 .run && chown -R 1000:0 .run/storage .run/logs .run/conf /home/w205 \
 && chmod -R g=u .run/storage .run/logs .run/conf /home/w205 /etc/passwd && chmod g=u .run \
 && ln -s /home/w205/.python_history /root/.python_history && chmod 755 /root

# --- the scripts that run the servers, and the tools by their usual names -----------------------------------------
# `docker compose exec kafka kafka-topics …`: each name runs the tool with addresses and paths set, where you stand.
COPY Makefile Dockerfile ./
COPY conf conf
COPY scripts scripts
# Every user of the image reads them, whatever the permissions of the checkout.
RUN chmod -R go+rX Makefile Dockerfile conf scripts \
 && for tool in kafka-topics kafka-console-consumer kafka-console-producer hadoop hdfs pyspark spark-sql spark-submit spark-class python; do \
      printf '#!/bin/bash\nexec /opt/pipeline/scripts/env.sh env -C "$PWD" PYTHONPATH="$PWD/scripts:/opt/pipeline/scripts" %s "$@"\n' $tool > /usr/local/bin/$tool && chmod 755 /usr/local/bin/$tool; \
    done \
 && ln -s /usr/bin/kcat /usr/local/bin/kafkacat \
 # What it was made from: `make … STACK=docker` builds it again when one of these files changed.
 && find Dockerfile Makefile conf scripts -type f | LC_ALL=C sort | xargs sha256sum > made-from

# Tells scripts/env.sh where set-up put things.
ENV PIPELINE_INSTALLED=/opt/pipeline RUN_DIR=/opt/pipeline/.run HOME=/home/w205 LANG=C.UTF-8 TZ=UTC
USER 1000:0
