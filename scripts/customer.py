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
from kafka.errors import ClusterAuthorizationFailedError, KafkaError

import config
import errors
import kafka_client
import knobs
import lake
import topics

MECHANISM = "SCRAM-SHA-512"
# What each account may do with the customer's topic. Landing reads; publishing compares its file
# with nothing: who may only write cannot see what is there.
PUBLISHER_MAY = (ACLOperation.WRITE, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PIPELINE_MAY = (ACLOperation.READ, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
PRIVATE, READABLE_BY_GROUP, PASSABLE = 0o700, 0o750, 0o711


class Customer:
    """The names that belong to a customer, and the steps that give or take its rights."""

    def __init__(self, name: str):
        self.name = name
        self.publisher, self.readers = f"{name}_publisher", f"{name}_readers"
        self.folder = f"{config.WAREHOUSE}/{name}"
        self.login_file = pathlib.Path(config.RUN_DIR, "customers", name, "client.properties")
        self.pipeline = lake.hdfs().get_file_info(config.WAREHOUSE).owner

    # --- Kafka ------------------------------------------------------------------------------------

    def acl(self, user: str, operation: ACLOperation) -> ACL:
        pattern = ResourcePattern(ResourceType.TOPIC, self.name)
        return ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)

    def allow(self, user: str, operations: tuple[ACLOperation, ...]) -> str:
        with contextlib.closing(topics.admin()) as admin:
            outcome = admin.create_acls([self.acl(user, each) for each in operations])
        for error in outcome["failed"]:
            raise error(self.name)
        return f"{user} may {', '.join(each.name.lower() for each in operations)}"

    def forbid(self, user: str) -> str:
        literal = ACLResourcePatternType.LITERAL
        pattern = ResourcePatternFilter(ResourceType.TOPIC, self.name, literal)
        every = ACLFilter(f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
        with contextlib.closing(topics.admin()) as admin:
            admin.delete_acls([every])
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
        return not isinstance(found[self.publisher], (str, Exception)) and bool(
            found[self.publisher]
        )

    def create_login(self) -> str:
        """Makes a password, and the file for the publisher's CLIENT_CONF with it."""
        if self.login_file.exists() and self.has_login():
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
        self.login_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # First the file: a password that nobody knows is of no use.
        with open(os.open(self.login_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.writelines(f"{name}={value}\n" for name, value in lines.items())
        login = UserScramCredentialUpsertion(self.publisher, ScramMechanism.SCRAM_SHA_512, password)
        try:
            with contextlib.closing(topics.admin()) as admin:
                check(admin.alter_user_scram_credentials([login]))
        except KafkaError:
            self.login_file.unlink()
            raise
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

    def acl_command(self, change: str, user: str, operations: tuple[ACLOperation, ...]) -> str:
        names = " ".join(f"--operation {each.name.title().replace('_', '')}" for each in operations)
        return (
            f"kafka-acls --bootstrap-server {config.KAFKA} --{change} "
            f"--allow-principal User:{user} {names} --topic {self.name}"
        )

    def steps(self):
        """[(what, a function that does it, the command for somebody who may)], to give rights."""
        scram = f"kafka-configs --bootstrap-server {config.KAFKA} --entity-type users"
        return [
            (f"topic {self.name}", self.create_topic, f"make topic TOPIC={self.name}"),
            (
                f"login {self.publisher}",
                self.create_login,
                f"{scram} --entity-name {self.publisher} --alter --add-config {MECHANISM}=…",
            ),
            *(
                (
                    f"topic {self.name}",
                    functools.partial(self.allow, user, operations),
                    self.acl_command("add", user, operations),
                )
                for user, operations in (
                    (self.publisher, PUBLISHER_MAY),
                    (self.pipeline, PIPELINE_MAY),
                )
            ),
            (
                f"folder {config.WAREHOUSE}",
                self.hide_names,
                f"hadoop fs -chmod {PASSABLE:o} {config.WAREHOUSE}",
            ),
            (
                f"folder {self.folder}",
                self.create_folder,
                f"hadoop fs -mkdir {self.folder}; hadoop fs -chown {self.pipeline}:{self.readers} "
                f"{self.folder}; hadoop fs -chmod {READABLE_BY_GROUP:o} {self.folder}",
            ),
        ]

    def steps_of_removal(self):
        scram = f"kafka-configs --bootstrap-server {config.KAFKA} --entity-type users"
        return [
            (
                f"login {self.publisher}",
                self.delete_login,
                f"{scram} --entity-name {self.publisher} --alter --delete-config {MECHANISM}",
            ),
            *(
                (
                    f"topic {self.name}",
                    functools.partial(self.forbid, user),
                    self.acl_command("remove", user, operations),
                )
                for user, operations in (
                    (self.publisher, PUBLISHER_MAY),
                    (self.pipeline, PIPELINE_MAY),
                )
            ),
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
            if not re.search(errors.NO_RIGHT, errors.cause(error)):
                raise
            said = "no right to that"
            left.append(command)
        print(f"  {what:<30} {said}", flush=True)
    if left:
        raise errors.Failure(
            f"{len(left)} of the steps are left: this account has no right to them",
            "they are marked above",
            "somebody who has it types:\n         " + "\n         ".join(left),
        )
    if config.REMOVE:
        print(f"\nTopic {of.name} and the tables in {of.folder} are still there.")
        return
    print(f"""
Still to do, in your directory of accounts:
  the publisher   gets {knobs.relative(of.login_file)}, by a safe way,
                  as client.properties of its CLIENT_CONF
  data scientists are put into the group {of.readers}
Then, with the pipeline's CLIENT_CONF: make land TOPIC={of.name}""")


if __name__ == "__main__":
    errors.run(main)
