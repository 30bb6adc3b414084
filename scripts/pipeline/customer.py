"""A customer's topic, login, folder and rights, on a cluster with accounts (docs/customers.md).

Each step is tried with this account, and a line is printed with what it did. Of a step that the
account has no right to, the command is kept that does the same.
"""

import contextlib
import functools
import pathlib
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import javaproperties
from kafka import KafkaAdminClient, admin
from kafka.admin import ACLOperation
from kafka.errors import ClusterAuthorizationFailedError, KafkaError, NoError

from pipeline import errors, files
from pipeline.errors import Failure
from pipeline.kafka import security, topics
from pipeline.settings import RESERVED, Settings
from pipeline.tables import hdfs

MECHANISM, SCRAM = "SCRAM-SHA-512", admin.ScramMechanism.SCRAM_SHA_512
# What each account may do with the customer's topic.
PUBLISHER_MAY = (ACLOperation.WRITE, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PIPELINE_MAY = (ACLOperation.READ, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PRIVATE, READABLE_BY_GROUP, PASSABLE = 0o700, 0o750, 0o711


class Customer:
    """The names that belong to a customer, and the steps that give or take its rights."""

    def __init__(self, settings: Settings):
        self.pipeline = pipeline_account(settings)
        self.settings, self.feed = settings, settings.feed(settings.name)
        self.name, self.folder = self.feed.topic, self.feed.folder()
        self.publisher, self.readers = f"{self.name}_publisher", f"{self.name}_readers"
        customers = pathlib.Path(settings.run_dir, "customers")
        self.login_file = customers / self.name / "client.properties"
        self.hdfs = hdfs.client(settings.hdfs)
        self.server = f"--bootstrap-server {settings.kafka}"
        of_login = f"--entity-type users --entity-name {self.publisher}"
        self.alter = f"kafka-configs {self.server} {of_login} --alter"
        self.left: list[str] = []  # commands of the steps that this account has no right to

    def give_rights(self) -> None:
        self.create_topic()
        self.create_login()
        self.allow(self.publisher, PUBLISHER_MAY)
        self.allow(self.pipeline, PIPELINE_MAY)
        # Nobody but the pipeline lists the names of the feeds.
        self.chmod(self.settings.warehouse, PASSABLE, "to be passed through, not to be listed")
        self.create_folder()

    def take_rights(self) -> None:
        self.delete_login()
        self.forbid(self.publisher, PUBLISHER_MAY)
        self.forbid(self.pipeline, PIPELINE_MAY)
        self.chmod(self.folder, PRIVATE, f"only {self.pipeline} reads")

    @contextlib.contextmanager
    def step(self, about: str, command: str) -> Iterator[Callable[[str], None]]:
        """Runs the block, which passes on what it did; keeps the command where it has no right."""
        done: list[str] = []
        try:
            yield done.append
        except (KafkaError, RuntimeError, OSError) as error:
            kind = errors.kind_of(error) or errors.Failure
            if not issubclass(kind, (errors.NoRight, errors.WrongLogin)):
                raise
            done = ["no right to that"]
            self.left.append(command)
        print(f"  {about:<30} {done[0]}", flush=True)

    @functools.cached_property
    def kafka(self) -> KafkaAdminClient:
        return topics.admin(self.settings)

    def create_topic(self) -> None:
        partitions, copies = self.settings.partitions, self.settings.replication
        command = (
            f"kafka-topics {self.server} --create --topic {self.name} --partitions {partitions} "
            f"--replication-factor {copies} --config retention.ms=-1"
        )
        with self.step(f"topic {self.name}", command) as done:
            if topics.topic_id(self.feed):
                return done("it is there already")
            forever = {"retention.ms": "-1"}
            new = admin.NewTopic(self.name, partitions, copies, topic_configs=forever)
            self.kafka.create_topics([new])
            done(f"created: {partitions} partitions, {copies} copies, kept for ever")

    def acls(self, act: str, user: str, operations: tuple[ACLOperation, ...]) -> str:
        names = (each.name.title().replace("_", "") for each in operations)
        may = " ".join(f"--operation {name}" for name in names)
        principal = f"--{act} --allow-principal User:{user} --topic {self.name}"
        return f"kafka-acls {self.server} {principal} {may}"

    def allow(self, user: str, operations: tuple[ACLOperation, ...]) -> None:
        with self.step(f"topic {self.name}", self.acls("add", user, operations)) as done:
            topic = admin.ResourcePattern(admin.ResourceType.TOPIC, self.name)
            may = admin.ACLPermissionType.ALLOW
            acls = [admin.ACL(f"User:{user}", "*", each, may, topic) for each in operations]
            for error in self.kafka.create_acls(acls)["failed"]:
                raise error(self.name)
            done(f"{user} may {', '.join(each.name.lower() for each in operations)}")

    def forbid(self, user: str, operations: tuple[ACLOperation, ...]) -> None:
        with self.step(f"topic {self.name}", self.acls("remove", user, operations)) as done:
            literal, any_right = admin.ACLResourcePatternType.LITERAL, admin.ACLPermissionType.ANY
            topic = admin.ResourcePatternFilter(admin.ResourceType.TOPIC, self.name, literal)
            every = admin.ACLFilter(f"User:{user}", None, ACLOperation.ANY, any_right, topic)
            ((_, _, error),) = self.kafka.delete_acls([every])
            if error is not NoError:
                raise error(self.name)
            done(f"{user} may nothing")

    def has_login(self) -> bool:
        found = self.kafka.describe_user_scram_credentials([self.publisher])
        return bool(found[self.publisher]["credential_infos"])

    def alter_login(self, change: Any) -> None:
        error = self.kafka.alter_user_scram_credentials([change])[self.publisher]
        if error and "permission" in error:
            raise ClusterAuthorizationFailedError(self.publisher)
        if error:
            raise KafkaError(f"{self.publisher}: {error}")

    def create_login(self) -> None:
        """Makes a password, and the file for the publisher's CLIENT_CONF with it.

        The file gets its name last: without it, as after an interruption, all is done again.
        """
        command = f"{self.alter} --add-config {MECHANISM}=…"
        with self.step(f"login {self.publisher}", command) as done:
            # Asked first: an account that may not ask changes nothing.
            if self.has_login() and self.login_file.exists():
                return done(f"there already; its file: {self.login_file}")
            self.login_file.unlink(missing_ok=True)
            ours, password = security.properties(self.settings), secrets.token_urlsafe(24)
            shared = {name: ours[name] for name in ours if name.startswith(("security.", "ssl.t"))}
            with files.replacing(self.login_file, permission=0o600) as file:
                file.write(
                    f"{javaproperties.dumps(shared, timestamp=None)}sasl.mechanism={MECHANISM}\n"
                    "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule "
                    f'required username="{self.publisher}" password="{password}";\n'
                )
                file.flush()  # it is complete before Kafka knows the password
                login = admin.UserScramCredentialUpsertion(self.publisher, SCRAM, password)
                self.alter_login(login)
            done(f"new password, in {self.login_file}")

    def delete_login(self) -> None:
        command = f"{self.alter} --delete-config {MECHANISM}"
        with self.step(f"login {self.publisher}", command) as done:
            if self.has_login():
                self.alter_login(admin.UserScramCredentialDeletion(self.publisher, SCRAM))
            self.login_file.unlink(missing_ok=True)
            done("deleted, with its file")

    def chmod(self, path: str, mode: int, what: str) -> None:
        with self.step(f"folder {path}", f"hadoop fs -chmod {mode:o} {path}") as done:
            self.hdfs.set_permission(path, mode)
            done(what)

    def create_folder(self) -> None:
        folder, mode, owner = self.folder, READABLE_BY_GROUP, f"{self.pipeline}:{self.readers}"
        steps = f"-mkdir -p {folder}", f"-chown {owner} {folder}", f"-chmod {mode:o} {folder}"
        command = "; ".join(f"hadoop fs {each}" for each in steps)
        with self.step(f"folder {folder}", command) as done:
            if not hdfs.exists(self.settings.hdfs, folder):
                self.hdfs.mkdirs(folder, PRIVATE, create_parent=False)
            self.hdfs.set_owner(folder, owner=self.pipeline, group=self.readers)
            self.hdfs.set_permission(folder, mode)
            done(f"{self.pipeline} writes, the group {self.readers} reads")


def pipeline_account(settings: Settings) -> str:
    """The owner of the warehouse. Failure when there is none, or NAME or STACK is not fit."""
    by_command, warehouse = settings.origins["NAME"] == "make", settings.warehouse
    fits = re.fullmatch("[a-z][a-z0-9_]{0,79}", settings.name) and settings.name not in RESERVED
    if not by_command or not fits:
        raise Failure(
            f"NAME is {settings.name!r}" if by_command else "NAME is not set on the command line",
            "it names the customer's topic, database and folder: lower-case letters, digits and _, "
            f"and none of {', '.join(RESERVED)}, which Spark and Hive have for themselves",
            f"type: {settings.make('customer', NAME='pearson')}",
        )
    if settings.stack != "cluster":
        raise Failure(
            f"STACK is {settings.stack}, which has no accounts",
            "everybody who reaches these servers may do everything there",
            f"type: make customer STACK=cluster CLIENT_CONF=… NAME={settings.name} "
            "(docs/customers.md)",
        )
    try:
        return str(hdfs.client(settings.hdfs).get_file_info(warehouse).owner)
    except FileNotFoundError:
        raise Failure(
            f"there is no folder {warehouse} in {settings.hdfs}",
            "its owner is the pipeline's account, which lands all feeds",
            f"as HDFS's superuser: hadoop fs -mkdir {warehouse}; "
            f"hadoop fs -chown PIPELINE {warehouse}",
        ) from None
