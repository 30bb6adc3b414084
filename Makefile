# A pipeline for assessment attempts: Kafka -> Spark -> HDFS, one target a step, one script a target.
# `make` alone explains itself.

SHELL := /bin/sh
.NOTPARALLEL: # each step needs what the one before it has made, whatever -j says
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Knobs: set one as `make NAME=value` or in the environment. scripts/pipeline/settings.py checks each of them.

# The Kafka topic (the default is the course's name), and the name of its database and HDFS folder; none that Spark or Hive has for itself (default, sys, …). Names that begin with synthetic are only for synthetic data.
TOPIC ?= assessments
# Several feeds for `make land` and `make follow`, in one process: names of topics with commas between them, or all.
TOPICS ?=
# The course's file: a JSON array, or JSON objects, one a line; also compressed by gzip.
DATA ?= data/assessment-attempts-20180128-121051-nested.json
# The course's link, as the assignment gives it; several are tried in order, file:///path works.
DATA_URL ?= https://goo.gl/ME6hjp
# 1: accept a data file with another sha256.
ANY_HASH ?=
# A number: `make data` makes that many synthetic attempts and fetches nothing.
SYNTHETIC ?=
# The same seed gives the same synthetic data.
SEED ?= 1
# Partitions of a new topic. Landing uses all cores whatever their number; more spread writing and storage over brokers.
PARTITIONS ?= 1
# Copies of each record of a new topic: as many as there are brokers to hold them, here one.
REPLICATION ?= 1
# 1: publish a file that is already in the topic once more.
FORCE ?=
# 1: land continues without records that Kafka deleted before they were landed; the loss is noted with the ledger.
SKIP_EXPIRED ?=
# 1: do not ask before deleting.
YES ?=
# The file that backup writes and restore reads; none means data/TOPIC.tar.
BACKUP ?=
# The folder that export writes; it must not exist yet.
OUT ?=
# What export writes: parquet, csv or duckdb.
FORMAT ?= parquet
# The only table that export writes; none: all four.
TABLE ?=
# How often `make test-faults` and `make test-all` kill; SEED says where and when.
KILLS ?= 30
# Unique messages that `make bench` lands. Above 100000 it measures 100000, then half of this number (also on one core) and all of
# it, once each. Below, it is a trial of the bench.
MESSAGES ?= 100000
# How often `make bench` measures each thing; the tables show the median and the range.
RUNS ?= 3
# A git commit that `make bench` measures in turn with this checkout; none: no comparison.
BASELINE ?=
# local: processes of this machine, no Docker, no root at run time; docker: docker-compose.yml; cluster: services that run somewhere already.
STACK ?= local
# 1, with STACK=docker: three brokers, three DataNodes and a Spark cluster in containers, and three of PARTITIONS and REPLICATION unless set.
CLUSTER ?=
# A folder with client.properties, core-site.xml, hdfs-site.xml or spark-defaults.conf, as services with passwords and certificates need them (STACK=cluster).
CLIENT_CONF ?=
# A query through `make serve` that runs longer than so many seconds is stopped. The slowest one in queries/ takes less than 5.
QUERY_LIMIT_S ?= 900
# 1: `make notebook` opens nothing; it executes the notebook from top to bottom and fails when a cell does.
NOTEBOOK_CHECK ?=
# The customer of `make customer`, and the name of its feed: on the command line only, because some systems have a variable NAME.
NAME ?=
# 1: make customer takes the customer's rights away.
REMOVE ?=
# Kafka's bootstrap servers; 29092 is the port of the course's compose file.
KAFKA ?= 127.0.0.1:29092
# The file system; 8020 is the NameNode's usual port, and the course's.
HDFS ?= hdfs://127.0.0.1:8020
# Spark's master. local[*]: all cores of this machine; also spark://…, yarn, k8s://….
SPARK_MASTER ?= local[*]
# Tables lie at $HDFS$WAREHOUSE/$TOPIC/<table>.
WAREHOUSE ?= /warehouse
# Pids, logs, scratch, rendered configuration and the stack's storage, and a link to the jars; deleting it deletes them all.
RUN_DIR ?= .run

KNOBS := STACK CLUSTER CLIENT_CONF TOPIC TOPICS DATA DATA_URL ANY_HASH SYNTHETIC SEED PARTITIONS REPLICATION FORCE SKIP_EXPIRED YES BACKUP OUT FORMAT TABLE KILLS MESSAGES RUNS BASELINE QUERY_LIMIT_S NOTEBOOK_CHECK NAME REMOVE KAFKA HDFS SPARK_MASTER WAREHOUSE RUN_DIR

# The origin of each value, for `make up` and for error messages: command_line, environment, or file (the default).
# A nested make keeps the origins that the outer one found.
KNOB_ORIGINS ?= $(foreach k,$(KNOBS),$(k)=$(subst $() ,_,$(origin $(k))))
KNOB_ORIGINS := $(KNOB_ORIGINS)
# A value is text: make must not expand a `$(…)` in it, and the shell never sees it but as an environment variable.
$(foreach k,$(KNOBS),$(eval override $(k) := $$(value $(k))))
export KNOB_ORIGINS $(KNOBS)

# Runs a command with the knobs checked, the addresses derived, and the tools on the PATH; with --up, --kafka or --hdfs
# after these servers were started. (Shells use a variable ENV of their own, which make -e would take for this one.)
override ENV := sh scripts/env.sh

##@ The pipeline
.PHONY: all
all: setup ## set up, then: up, data, topic, publish, land, verify, list, query
	$(ENV) python scripts/all.py

.PHONY: setup
setup: ## install what is missing: Java, kcat, jq, curl; Python packages; server jars with class archives
	@$(ENV) --bare scripts/setup.sh $(if $(filter setup,$(MAKECMDGOALS)),,--quiet)

.PHONY: up
up: setup ## start broker, NameNode and DataNode, and wait until each answers
	$(ENV) python scripts/up.py

.PHONY: data
data: setup ## get the data file and check its hash; SYNTHETIC=100000 DATA=file.json generates data
	$(ENV) scripts/data.sh

.PHONY: validate
validate: ensure-data ## which records of the file would be rejected, and why, before anything is sent
	$(ENV) python scripts/validate.py

.PHONY: topic
topic: setup ## create the topic if it is missing, and describe it
	$(ENV) --kafka scripts/topic.sh

.PHONY: publish
publish: topic ensure-data ## send the file to the topic, one message per attempt; a file already there only with FORCE=1
	$(ENV) --kafka python scripts/publish.py

.PHONY: consume
consume: setup ## show the first messages of the topic, and their number
	$(ENV) --kafka scripts/consume.sh

.PHONY: land
land: setup ## Kafka -> Spark -> HDFS: every message that is new, exactly once
	$(ENV) --up python scripts/land.py

.PHONY: follow
follow: setup ## land what is new, again and again, within seconds, until Ctrl-C
	$(ENV) --up python scripts/follow.py

.PHONY: list
list: setup ## what lies in HDFS, with sizes
	$(ENV) --hdfs scripts/list.sh

.PHONY: query
query: setup ## every question in queries/, with its answer
	$(ENV) --hdfs python scripts/query.py

.PHONY: verify
verify: setup ## reconcile: file = topic = ledger = tables; non-zero on any difference
	$(ENV) --up python scripts/verify.py

##@ The report
.PHONY: plots
plots: setup ## pictures of the answers, from the landed tables, to plots/
	$(ENV) --hdfs python report/plots.py

.PHONY: annotate
annotate: ensure-data ## make the report: run every command of report/template.md on a fresh stack, write what it shows
	$(ENV) python report/annotate.py

.PHONY: check-annotations
check-annotations: ensure-data ## run the report again, change nothing, and fail on any difference
	$(ENV) python report/annotate.py --check

.PHONY: dictionary
dictionary: setup ## after the declaration changed (scripts/pipeline/message/declaration.py): write the JSON Schema and the data dictionary (docs/tables.md) again
	$(ENV) python scripts/dictionary.py

.PHONY: check-dictionary
check-dictionary: setup ## do the JSON Schema and the data dictionary agree with the declaration of the message?
	$(ENV) python scripts/dictionary.py --check

.PHONY: check-submission
check-submission: setup ## is everything there that the assignment asks for?
	$(ENV) python report/submission.py

##@ Access for others
.PHONY: serve
serve: setup ## start the server for queries: Spark Connect and JDBC, with a token, read only; docs/access.md
	$(ENV) --hdfs python scripts/serve.py

.PHONY: notebook
notebook: serve ## JupyterLab on 127.0.0.1, with a notebook to start from; NOTEBOOK_CHECK=1 executes that notebook instead
	@$(ENV) --bare scripts/setup.sh --notebook
	$(ENV) python scripts/notebook.py

##@ Looking after the tables
.PHONY: customer
customer: setup ## on a cluster with accounts: a topic, a publisher and readers for NAME, and nobody else's; REMOVE=1 takes them away
	$(ENV) python scripts/customer.py

.PHONY: reprocess
reprocess: setup ## after a rule changed: rebuild the tables from the ledger, without Kafka; readers continue
	$(ENV) --hdfs python scripts/reprocess.py

.PHONY: backup
backup: setup ## write a feed to one file: its tables and the committed position
	$(ENV) --hdfs python scripts/backup.py

.PHONY: restore
restore: setup ## restore a feed from its backup, here or in an empty stack; landing continues after it
	$(ENV) --up python scripts/restore.py

.PHONY: export
export: setup ## write a feed's tables, with their dictionary, as Parquet, CSV or one DuckDB file: OUT=folder FORMAT=csv
	$(ENV) --hdfs python scripts/export.py

##@ Looking around
.PHONY: status
status: setup ## what runs, where, with which log; for each feed what is landed and what is not
	$(ENV) python scripts/status.py

.PHONY: shell
shell: setup ## a bash with kafka-topics, kcat, jq, hadoop, pyspark, spark-sql on its path
	$(ENV) --up scripts/shell.sh

.PHONY: pyspark
pyspark: setup ## an interactive pyspark with the tables already there
	$(ENV) --hdfs pyspark

.PHONY: sql
sql: setup ## an interactive spark-sql with the tables already there
	$(ENV) --hdfs spark-sql

##@ Stopping, testing, cleaning
.PHONY: down
down: ## stop what `up` started; the data stay
	@$(ENV) --bare scripts/down.sh

.PHONY: test
test: setup ## the tests of a few minutes, on real stacks of their own beside a running one; says what it leaves out
	$(ENV) scripts/test.sh

.PHONY: test-all
test-all: setup ## all tests but containers and cluster, with KILLS kills
	$(ENV) scripts/test.sh --all

.PHONY: test-faults
test-faults: setup ## kill everything while it works, fill the disk, lose records: nothing may be lost or doubled
	$(ENV) scripts/test.sh --capture=no tests/faults

.PHONY: bench
bench: ensure-data ## time and memory against the course's ways, and files, on a stack of its own, to bench/results.md
	$(ENV) python bench/bench.py

.PHONY: test-docker
test-docker: ## the stack in containers: it must hold what the local one holds, row by row; CLUSTER=1: the cluster and three kills too
	@STACK=local CLUSTER= $(ENV) --bare scripts/setup.sh --quiet
	STACK=local CLUSTER= $(ENV) scripts/test.sh $(if $(CLUSTER),,-m "not cluster") tests/docker

.PHONY: test-cluster
test-cluster: setup ## a secured cluster on loopback (Kerberos, YARN, TLS, ACLs): the pipeline on it, and the rights of each account
	$(ENV) scripts/test.sh tests/cluster

.PHONY: clean
clean: ## remove the run folder: logs, and the stack's data (asks first; YES=1 does not)
	@$(ENV) --bare scripts/clean.sh

.PHONY: format
format: setup ## format and lint the scripts: ruff and shfmt
	$(ENV) scripts/format.sh

.PHONY: dist
dist: setup ## the archive to hand in: dist/ gets one file, without data and git, the same bytes each time
	$(ENV) python scripts/dist.py

.PHONY: lock
lock: setup ## after a version changed in conf/: write the lock files and the list of licences again
	$(ENV) --bare scripts/lock.sh

.PHONY: help
help: ## this text
	@python3 -E -s scripts/help.py

# What a step needs and a user need not type.
.PHONY: ensure-data
ensure-data: setup
	@$(ENV) scripts/data.sh --if-missing
