"""Give a customer a topic, a publisher and a folder of its own, on a cluster with accounts.

Run by: make customer NAME=pearson STACK=cluster CLIENT_CONF=… [REMOVE=1]
    scripts/lib/env.sh python scripts/customer.py

The account of CLIENT_CONF is the operator's, who may create topics, logins and ACLs in Kafka and
change owners in HDFS. Each step that it may not do is printed as a command for somebody who may.
Running it again changes only what is missing. docs/customers.md says who may do what.

REMOVE=1 takes the customer's rights away. Its topic and its tables stay.
"""

import contextlib
import functools
import os
import pathlib
import re
import secrets
from collections.abc import Callable

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    NewTopic,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import ClusterAuthorizationFailedError, KafkaError, NoError

import config
import errors
import kafka_client
import knobs
import lake
import topics

MECHANISM = "SCRAM-SHA-512"
# What each account may do with the customer's topic.
PUBLISHER_MAY = (ACLOperation.WRITE, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PIPELINE_MAY = (ACLOperation.READ, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PRIVATE, READABLE_BY_GROUP, PASSABLE = 0o700, 0o750, 0o711

# (what it is about, what does it and says in words what it did, the command for who may)
Step = tuple[str, Callable[[], str], str]


class Customer:
    """The names that belong to a customer, and the steps that give or take its rights."""

    def __init__(self, name: str):
        self.name = name
        self.publisher, self.readers = f"{name}_publisher", f"{name}_readers"
        self.folder = f"{config.WAREHOUSE}/{name}"
        self.login_file = pathlib.Path(config.RUN_DIR, "customers", name, "client.properties")
        self.pipeline = lake.hdfs().get_file_info(config.WAREHOUSE).owner

    # --- Kafka ------------------------------------------------------------------------------------

    def allow(self, user: str, operations: tuple[ACLOperation, ...]) -> str:
        pattern = ResourcePattern(ResourceType.TOPIC, self.name)
        acls = [
            ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)
            for operation in operations
        ]
        with contextlib.closing(topics.admin()) as admin:
            outcome = admin.create_acls(acls)
        for error in outcome["failed"]:
            raise error(self.name)
        return f"{user} may {', '.join(each.name.lower() for each in operations)}"

    def forbid(self, user: str) -> str:
        literal = ACLResourcePatternType.LITERAL
        pattern = ResourcePatternFilter(ResourceType.TOPIC, self.name, literal)
        every = ACLFilter(f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
        with contextlib.closing(topics.admin()) as admin:
            ((_, _, error),) = admin.delete_acls([every])
        if error is not NoError:
            raise error(self.name)
        return f"{user} may nothing"

    def create_topic(self) -> str:
        if topics.topic_id(self.name):
            return "it is there already"
        new = NewTopic(
            self.name,
            int(config.PARTITIONS),
            int(config.REPLICATION),
            topic_configs={"retention.ms": "-1"},
        )
        with contextlib.closing(topics.admin()) as admin:
            admin.create_topics([new])
        return (
            f"created: {config.PARTITIONS} partitions, {config.REPLICATION} copies, kept for ever"
        )

    def has_login(self) -> bool:
        with contextlib.closing(topics.admin()) as admin:
            found = admin.describe_user_scram_credentials([self.publisher])
        return bool(found[self.publisher]["credential_infos"])

    def create_login(self) -> str:
        """Makes a password, and the file for the publisher's CLIENT_CONF with it.

        The file is complete before Kafka knows the password, and has its name afterwards: what an
        interrupted run left is done again.
        """
        new = self.login_file.with_suffix(".new")
        has_login = self.has_login()  # asked first: who may not ask changes nothing
        if has_login and self.login_file.exists() and not new.exists():
            return f"there already; its file: {knobs.relative(self.login_file)}"
        password = secrets.token_urlsafe(24)
        ours = kafka_client.properties()
        lines = {
            name: value for name, value in ours.items() if name.startswith(("security.", "ssl.t"))
        } | {
            "sasl.mechanism": MECHANISM,
            "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{self.publisher}" password="{password}";',
        }
        new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in lines.items())
        login = UserScramCredentialUpsertion(self.publisher, ScramMechanism.SCRAM_SHA_512, password)
        with contextlib.closing(topics.admin()) as admin:
            check(admin.alter_user_scram_credentials([login]))
        new.replace(self.login_file)
        return f"new password, in {knobs.relative(self.login_file)}"

    def delete_login(self) -> str:
        if self.has_login():
            with contextlib.closing(topics.admin()) as admin:
                login = UserScramCredentialDeletion(self.publisher, ScramMechanism.SCRAM_SHA_512)
                check(admin.alter_user_scram_credentials([login]))
        self.login_file.unlink(missing_ok=True)
        return "deleted, with its file"

    # --- HDFS -------------------------------------------------------------------------------------

    def hide_names(self) -> str:
        """Nobody but the pipeline lists the names of the feeds."""
        lake.hdfs().set_permission(config.WAREHOUSE, PASSABLE)
        return "to be passed through, not to be listed"

    def create_folder(self) -> str:
        hdfs = lake.hdfs()
        if not lake.exists(self.folder):
            hdfs.mkdirs(self.folder, PRIVATE, create_parent=False)
        hdfs.set_owner(self.folder, owner=self.pipeline, group=self.readers)
        hdfs.set_permission(self.folder, READABLE_BY_GROUP)
        return f"{self.pipeline} writes, the group {self.readers} reads"

    def close_folder(self) -> str:
        lake.hdfs().set_permission(self.folder, PRIVATE)
        return f"only {self.pipeline} reads"

    # --- what is to be done -----------------------------------------------------------------------

    def login_step(self, act: Callable[[], str], change: str) -> Step:
        command = (
            f"kafka-configs --bootstrap-server {config.KAFKA} --entity-type users "
            f"--entity-name {self.publisher} --alter --{change}"
        )
        return f"login {self.publisher}", act, command

    def acl_steps(self, removes: bool) -> list[Step]:
        steps: list[Step] = []
        for user, operations in ((self.publisher, PUBLISHER_MAY), (self.pipeline, PIPELINE_MAY)):
            names = (each.name.title().replace("_", "") for each in operations)
            command = (
                f"kafka-acls --bootstrap-server {config.KAFKA} --{'remove' if removes else 'add'} "
                f"--allow-principal User:{user} --topic {self.name} "
                + " ".join(f"--operation {name}" for name in names)
            )
            act = (
                functools.partial(self.forbid, user)
                if removes
                else functools.partial(self.allow, user, operations)
            )
            steps.append((f"topic {self.name}", act, command))
        return steps

    def steps(self) -> list[Step]:
        """What gives the customer its rights."""
        return [
            (
                f"topic {self.name}",
                self.create_topic,
                f"kafka-topics --bootstrap-server {config.KAFKA} --create --topic {self.name} "
                f"--partitions {config.PARTITIONS} --replication-factor {config.REPLICATION} "
                "--config retention.ms=-1",
            ),
            self.login_step(self.create_login, f"add-config {MECHANISM}=…"),
            *self.acl_steps(removes=False),
            (
                f"folder {config.WAREHOUSE}",
                self.hide_names,
                f"hadoop fs -chmod {PASSABLE:o} {config.WAREHOUSE}",
            ),
            (
                f"folder {self.folder}",
                self.create_folder,
                f"hadoop fs -mkdir -p {self.folder}; "
                f"hadoop fs -chown {self.pipeline}:{self.readers} {self.folder}; "
                f"hadoop fs -chmod {READABLE_BY_GROUP:o} {self.folder}",
            ),
        ]

    def steps_of_removal(self) -> list[Step]:
        return [
            self.login_step(self.delete_login, f"delete-config {MECHANISM}"),
            *self.acl_steps(removes=True),
            (
                f"folder {self.folder}",
                self.close_folder,
                f"hadoop fs -chmod {PRIVATE:o} {self.folder}",
            ),
        ]


def check(outcome: dict[str, str | None]) -> None:
    """Raises what Kafka refused in an answer of {user: error, or None}."""
    for user, error in outcome.items():
        if error and "permission" in error:
            raise ClusterAuthorizationFailedError(user)
        if error:
            raise KafkaError(f"{user}: {error}")


def customer() -> Customer:
    """The customer of the knob NAME. Failure when it, or the warehouse, is not fit."""
    by_command = "NAME=command_line" in config.KNOB_ORIGINS.split()
    if not by_command or not re.fullmatch("[a-z][a-z0-9_]{0,79}", config.NAME):
        raise errors.Failure(
            f"NAME is {config.NAME!r}" if by_command else "NAME is not set on the command line",
            "it names the customer's topic, database and folder: lower-case letters, digits and _",
            f"type: make customer{knobs.of_stack()} NAME=pearson",
        )
    if config.STACK != "cluster":
        raise errors.Failure(
            f"STACK is {config.STACK}, which has no accounts",
            "who can reach these servers may do everything there",
            f"type: make customer STACK=cluster CLIENT_CONF=… NAME={config.NAME} "
            "(docs/customers.md)",
        )
    if not lake.exists(config.WAREHOUSE):
        raise errors.Failure(
            f"there is no folder {config.WAREHOUSE} in {config.HDFS}",
            "its owner is the pipeline's account, which lands all feeds",
            f"as HDFS's superuser: hadoop fs -mkdir {config.WAREHOUSE}; "
            f"hadoop fs -chown PIPELINE {config.WAREHOUSE}",
        )
    return Customer(config.NAME)


def main() -> None:
    of = customer()
    left = []
    for what, act, command in of.steps_of_removal() if config.REMOVE else of.steps():
        try:
            said = act()
        except (KafkaError, RuntimeError, OSError) as error:
            if not errors.is_no_right(error):
                raise
            said = "no right to that"
            left.append(command)
        print(f"  {what:<30} {said}", flush=True)
    if left:
        raise errors.Failure(
            f"{len(left)} of the steps are left: this account has no right to them",
            "they are marked above",
            "somebody who has it types, in make shell STACK=cluster CLIENT_CONF=…:\n         "
            + "\n         ".join(left),
        )
    if config.REMOVE:
        print(f"\nTopic {of.name} and the tables in {of.folder} are still there.")
        return
    print(f"""
Still to do, in your directory of accounts:
  the publisher   gets {knobs.relative(of.login_file)}, by a safe way,
                  as client.properties of its CLIENT_CONF; the CA's path in it is this machine's
  data scientists are put into the group {of.readers}
Then the pipeline's account lands: make land STACK=cluster CLIENT_CONF=… TOPIC={of.name}""")


if __name__ == "__main__":
    errors.run(main)
