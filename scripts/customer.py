"""Give a customer a topic, a publisher and a folder of its own, on a cluster with accounts.

Run by: make customer NAME=pearson STACK=cluster CLIENT_CONF=… [REMOVE=1]
    scripts/env.sh python scripts/customer.py

The account of CLIENT_CONF is the operator's: it may create topics, logins and ACLs in Kafka, and
change owners in HDFS. A step that the account may not do is printed as a command for one that may.
Running it again changes only what is missing. docs/customers.md lists the rights of each account.

REMOVE=1 takes the customer's rights away. Its topic and its tables stay.
"""

from pipeline import customer, script
from pipeline.errors import Failure
from pipeline.settings import Settings


def main(settings: Settings) -> None:
    of = customer.Customer(settings)
    change_rights = of.take_rights if settings.remove else of.give_rights
    change_rights()
    if of.left:
        raise Failure(
            f"{len(of.left)} of the steps are left: this account has no right to them",
            "they are marked above",
            "somebody who has it types, in make shell STACK=cluster CLIENT_CONF=…:\n         "
            + "\n         ".join(of.left),
        )
    if settings.remove:
        print(f"\nTopic {of.name} and the tables in {of.folder} are still there.")
        return
    print(f"""
Still to do, in your directory of accounts:
  the publisher   gets {of.login_file}, by a safe way,
                  as client.properties of its CLIENT_CONF; the CA's path in it is this machine's
  data scientists are put into the group {of.readers}
Then the pipeline's account lands: make land STACK=cluster CLIENT_CONF=… TOPIC={of.name}""")


if __name__ == "__main__":
    script.run(main)
