r"""Security settings (passwords, certificates) for all Kafka clients, from Kafka's own file.

The file is $CLIENT_CONF/client.properties (STACK=cluster), as the owner of the Kafka cluster hands
it out:
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512             (or PLAIN, SCRAM-SHA-256, GSSAPI)
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
        username="…" password="…";
    ssl.truststore.type=PEM                  (the only format that all clients here can read)
    ssl.truststore.location=/path/to/ca.pem
    ssl.keystore.type=PEM                    (only where the broker asks for a client certificate)
    ssl.keystore.location=/path/to/certificate-and-key.pem

Kafka's tools and Spark read it as it is. kafka-python and kcat have other names for the settings.
Other scripts import this. As a script it prints kcat's configuration, which scripts/lib/env.sh
writes to a file that only its owner can read:
    scripts/lib/env.sh python scripts/lib/kafka_client.py
"""

import os
import re
import ssl
import sys
from typing import Any


class Unusable(ValueError):
    """A setting that not all clients support."""


def properties() -> dict[str, str]:
    """{name: value} of client.properties; empty when there is none.

    Raises Unusable for a key store that is not PEM.
    """
    path = os.environ.get("KAFKA_CLIENT_PROPERTIES")
    if not path:
        return {}
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"\\\n\s*", "", file.read())  # joins continued lines
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#!"]
    pairs = (line.partition("=") for line in lines)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    for store in ("ssl.truststore", "ssl.keystore"):
        if f"{store}.location" in found and found.get(f"{store}.type", "JKS").upper() != "PEM":
            raise Unusable(
                f"{store}.type in {path} is not PEM: kcat and Python cannot read Java's own "
                "stores; keytool and openssl turn one into the other "
                f"({store}.type=PEM, {store}.location=FILE.pem)"
            )
    return found


def _login(found: dict[str, str]) -> tuple[str | None, ...]:
    """(user, password) of sasl.jaas.config, or None for what it does not have."""
    options = r'(username|password)="((?:[^"\\]|\\.)*)"'
    said = dict(re.findall(options, found.get("sasl.jaas.config", "")))
    return tuple(
        re.sub(r"\\(.)", r"\1", said[name]) if name in said else None
        for name in ("username", "password")
    )


def _translated(names: dict[str, str], user: str, password: str) -> dict[str, str]:
    """The settings under a client's names: {Kafka's name: the client's}, and those of the login."""
    found = properties()
    settings = {theirs: found[ours] for ours, theirs in names.items() if ours in found}
    login = _login(found)
    if login[0] is not None:
        settings[user], settings[password] = login
    return settings


class AnswerBeforeEnd(ssl.SSLSocket):
    """Tells of the connection's end only in the read after the one that got the last bytes.

    A broker that refuses a password says so and hangs up. kafka-python 3.0 drops what it read
    together with the end: of 38 refusals on a busy machine it reported one.
    """

    _read = False

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        data = super().recv(buflen, flags)
        if not data and self._read:
            self._read = False
            raise ssl.SSLWantReadError
        self._read = bool(data)
        return data


def for_python() -> dict[str, Any]:
    """Arguments for kafka-python's clients. Raises Unusable for a file without certificates."""
    settings: dict[str, Any] = _translated(
        {
            "security.protocol": "security_protocol",
            "sasl.mechanism": "sasl_mechanism",
            "sasl.kerberos.service.name": "sasl_kerberos_service_name",
        },
        "sasl_plain_username",
        "sasl_plain_password",
    )
    if settings.get("security_protocol", "").endswith("SSL"):
        settings["ssl_context"] = _tls(properties())
    return settings


def _tls(found: dict[str, str]) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.sslsocket_class = AnswerBeforeEnd
    tls.check_hostname = found.get("ssl.endpoint.identification.algorithm") != ""
    if "ssl.truststore.location" not in found:
        tls.load_default_certs()
    for store, load in (
        ("ssl.truststore.location", tls.load_verify_locations),
        ("ssl.keystore.location", tls.load_cert_chain),
    ):
        try:
            if store in found:
                load(found[store])
        except OSError as error:
            raise Unusable(f"{store}={found[store]}: {error}") from error
    return tls


def for_spark() -> dict[str, str]:
    """Options for Spark's Kafka source."""
    return {f"kafka.{name}": value for name, value in properties().items()}


def for_kcat() -> str:
    """librdkafka's configuration, one setting per line."""
    settings = _translated(
        {
            "security.protocol": "security.protocol",
            "sasl.mechanism": "sasl.mechanisms",
            "ssl.truststore.location": "ssl.ca.location",
            "sasl.kerberos.service.name": "sasl.kerberos.service.name",
        },
        "sasl.username",
        "sasl.password",
    )
    found = properties()
    if "ssl.keystore.location" in found:
        location = found["ssl.keystore.location"]
        settings["ssl.certificate.location"] = settings["ssl.key.location"] = location
    if found.get("ssl.endpoint.identification.algorithm") == "":
        settings["ssl.endpoint.identification.algorithm"] = "none"
    return "\n".join(f"{name}={value}" for name, value in settings.items())


if __name__ == "__main__":
    try:
        for_python()  # tries the certificates
        print(for_kcat())
    except (OSError, Unusable) as error:
        print(
            f"error: CLIENT_CONF={os.environ['CLIENT_CONF']} cannot be used\n       {error}\n"
            "       correct the file, then again",
            file=sys.stderr,
        )
        sys.exit(2)
