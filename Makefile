# A pipeline for assessment attempts: Kafka -> Spark -> HDFS, one target a step, one script a target.
# `make` alone explains itself.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Knobs: set one as `make NAME=value` or in the environment. scripts/env.sh checks each of them.

# The course's name for its topic; also the database and the HDFS folder that the feed lands in. Names that begin with synthetic are for invented data.
TOPIC ?= assessments
# The course's file: a JSON array, or one JSON object a line.
DATA ?= data/assessment-attempts-20180128-121051-nested.json
# The course's link, as the assignment gives it; several are tried in order, file:///path works.
DATA_URL ?= https://goo.gl/ME6hjp
# 1: take a data file whose sha256 is another than the known one.
ANY_HASH ?=
# A number: `make data` makes that many synthetic attempts and fetches nothing.
SYNTHETIC ?=
# The same seed gives the same synthetic data.
SEED ?= 1
# Of a new topic. One is the course's; more let more readers work side by side.
PARTITIONS ?= 1
# Copies of each record: as many as there are brokers to hold them, here one.
REPLICATION ?= 1
# 1: publish a file that is already in the topic once more.
FORCE ?=
# 1: do not ask before deleting.
YES ?=
# local: processes of this machine, no Docker, no root at run time.
STACK ?= local
# Kafka's bootstrap servers; 29092 is the port of the course's compose file.
KAFKA ?= 127.0.0.1:29092
# The file system; 8020 is the NameNode's usual port, and the course's.
HDFS ?= hdfs://127.0.0.1:8020
# All cores of this machine; also spark://…, yarn, k8s://….
SPARK_MASTER ?= local[*]
# Tables lie at $HDFS$WAREHOUSE/$TOPIC/<table>.
WAREHOUSE ?= /warehouse
# Jars, pids, logs, rendered configuration and the stack's storage; deleting it deletes them all.
RUN_DIR ?= .run

KNOBS := STACK TOPIC DATA DATA_URL ANY_HASH SYNTHETIC SEED PARTITIONS REPLICATION FORCE YES KAFKA HDFS SPARK_MASTER WAREHOUSE RUN_DIR

# Where each value came from, for `make up` and for error messages (a make below this make keeps what the first one saw).
KNOB_ORIGINS ?= $(foreach k,$(KNOBS),$(k)=$(subst $() ,_,$(origin $(k))))
KNOB_ORIGINS := $(KNOB_ORIGINS)
# A value is text: make must not expand a `$(…)` in it, and the shell never sees it but as an environment variable.
$(foreach k,$(KNOBS),$(eval override $(k) := $$(value $(k))))
export KNOB_ORIGINS $(KNOBS)

# Runs a command with the knobs checked, the addresses derived, and the tools on the PATH.
ENV := scripts/env.sh

##@ The pipeline, in order
.PHONY: all
all: setup ## everything below, in order: up, data, topic, publish, land, verify, list, query
	$(ENV) python scripts/all.py

.PHONY: setup
setup: ## install what is missing: Java, kcat, jq, curl; Python packages; server jars
	@$(ENV) --check
	@scripts/setup.sh $(if $(filter setup,$(MAKECMDGOALS)),,--quiet)

.PHONY: up
up: setup ## start broker, NameNode and DataNode, and wait until each answers
	$(ENV) python scripts/stack.py up

.PHONY: data
data: setup ## get the data file and check its hash; SYNTHETIC=100000 DATA=file.json makes data up
	$(ENV) scripts/data.sh

.PHONY: topic
topic: ensure-up ## create the topic if it is missing, and describe it
	$(ENV) scripts/topic.sh

.PHONY: publish
publish: topic ensure-data ## send the file to the topic, one message an attempt (once; FORCE=1 again)
	$(ENV) scripts/publish.sh

.PHONY: consume
consume: ensure-up ## show the first messages of the topic, and their number
	$(ENV) scripts/consume.sh

.PHONY: land
land: ensure-up ## Kafka -> Spark -> HDFS: every message that is new, exactly once
	$(ENV) python scripts/land.py

.PHONY: list
list: ensure-up ## what lies in HDFS, with sizes
	$(ENV) scripts/list.sh

.PHONY: query
query: ensure-up ## every question in queries/, with its answer
	$(ENV) python scripts/query.py

.PHONY: verify
verify: ensure-up ## reconcile: file = topic = ledger = tables; non-zero on any difference
	$(ENV) python scripts/verify.py

##@ Looking around
.PHONY: status
status: setup ## what runs, where, with which log; for each feed what is landed and what is not
	$(ENV) python scripts/stack.py status

.PHONY: shell
shell: ensure-up ## a bash with kafka-topics, kcat, jq, hadoop, pyspark, spark-sql on its path
	$(ENV) scripts/shell.sh

.PHONY: pyspark
pyspark: ensure-up ## an interactive pyspark with the tables already there
	$(ENV) pyspark

.PHONY: sql
sql: ensure-up ## an interactive spark-sql with the tables already there
	$(ENV) spark-sql

##@ Stopping, testing, cleaning
.PHONY: down
down: ## stop what `up` started; the data stay
	@if [ -d "$$RUN_DIR/pids" ]; then scripts/setup.sh --quiet && $(ENV) python scripts/stack.py down; else echo "nothing was started from $$RUN_DIR"; fi

.PHONY: test
test: setup ## all tests, on a real stack of their own beside a running one
	$(ENV) scripts/test.sh

.PHONY: clean
clean: ## remove the run folder: jars, logs, and the stack's data (asks first; YES=1 does not)
	@scripts/clean.sh

.PHONY: lock
lock: ## after a version changed in conf/: write the lock files anew
	scripts/lock.sh

.PHONY: help
help: ## this text
	@scripts/help.sh

# What a step needs and a user need not type.
.PHONY: ensure-up
ensure-up: setup
	@$(ENV) python scripts/stack.py up --quiet

.PHONY: ensure-data
ensure-data: setup
	@$(ENV) scripts/data.sh --if-missing
