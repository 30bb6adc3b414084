"""What a Kafka that asks for passwords or certificates wants to be told, from the one file Kafka's own tools read.

The file is $CLIENT_CONF/client.properties (STACK=cluster), as the Kafka's owner hands it out:
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512                       (or PLAIN, SCRAM-SHA-256, GSSAPI)
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="…" password="…";
    ssl.truststore.type=PEM                            (the one form that all clients here can read)
    ssl.truststore.location=/path/to/ca.pem
    ssl.keystore.type=PEM                              (only where the broker wants a certificate of the client)
    ssl.keystore.location=/path/to/certificate-and-key.pem

Kafka's tools and Spark take it as it is; kafka-python and kcat have words of their own for the same things.
Other scripts import this; as a script it prints kcat's configuration (scripts/env.sh puts it where only its owner reads):
    scripts/env.sh python scripts/kafka_client.py
"""
import os
import re
import sys


class Unusable(ValueError):
    """A setting that not all clients can follow."""


def properties():
    """{name: value} of client.properties; empty when there is none."""
    path = os.environ.get("KAFKA_CLIENT_PROPERTIES")
    if not path:
        return {}
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"\\\n\s*", "", file.read())  # a line that ends in \ goes on in the next
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "#!"]
    found = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    for store in ("truststore", "keystore"):
        if f"ssl.{store}.location" in found and found.get(f"ssl.{store}.type", "JKS").upper() != "PEM":
            raise Unusable(f"ssl.{store}.type in {path} is not PEM: kcat and Python cannot read Java's own stores; "
                           f"keytool and openssl turn one into the other (ssl.{store}.type=PEM, ssl.{store}.location=FILE.pem)")
    return found


def _login(found):
    """(user, password) of sasl.jaas.config, or (None, None)."""
    said = dict(re.findall(r'(username|password)="((?:[^"\\]|\\.)*)"', found.get("sasl.jaas.config", "")))
    return tuple(re.sub(r"\\(.)", r"\1", said[name]) if name in said else None for name in ("username", "password"))


def _translated(names, user, password):
    found = properties()
    settings = {theirs: found[ours] for ours, theirs in names.items() if ours in found}
    login = _login(found)
    if login[0] is not None:
        settings[user], settings[password] = login
    return settings


def for_python():
    """Arguments of kafka-python's clients."""
    settings = _translated({"security.protocol": "security_protocol", "sasl.mechanism": "sasl_mechanism", "ssl.truststore.location": "ssl_cafile",
                            "ssl.keystore.location": "ssl_certfile", "sasl.kerberos.service.name": "sasl_kerberos_service_name"},
                           "sasl_plain_username", "sasl_plain_password")
    if properties().get("ssl.endpoint.identification.algorithm") == "":
        settings["ssl_check_hostname"] = False
    return settings


def for_spark():
    """Options of Spark's Kafka source."""
    return {f"kafka.{name}": value for name, value in properties().items()}


def for_kcat():
    """librdkafka's configuration, a setting a line."""
    settings = _translated({"security.protocol": "security.protocol", "sasl.mechanism": "sasl.mechanisms", "ssl.truststore.location": "ssl.ca.location",
                            "sasl.kerberos.service.name": "sasl.kerberos.service.name"}, "sasl.username", "sasl.password")
    found = properties()
    if "ssl.keystore.location" in found:
        settings["ssl.certificate.location"] = settings["ssl.key.location"] = found["ssl.keystore.location"]
    if found.get("ssl.endpoint.identification.algorithm") == "":
        settings["ssl.endpoint.identification.algorithm"] = "none"
    return "\n".join(f"{name}={value}" for name, value in settings.items())


if __name__ == "__main__":
    try:
        print(for_kcat())
    except (OSError, Unusable) as error:
        print(f"error: CLIENT_CONF={os.environ['CLIENT_CONF']} cannot be used\n       {error}\n       correct the file, then again", file=sys.stderr)
        sys.exit(2)
