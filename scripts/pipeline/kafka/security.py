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
As a module this prints kcat's configuration, which scripts/env.sh writes to a file that only its
owner can read:
    scripts/env.sh python -m pipeline.kafka.security
"""

import re
import ssl
from typing import Any

import javaproperties

from pipeline import script
from pipeline.errors import UsageError
from pipeline.settings import Settings

Properties = dict[str, str]
# {Kafka's name of a setting: the client's}. Kafka has username and password in sasl.jaas.config.
PYTHON = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
    "username": "sasl_plain_username",
    "password": "sasl_plain_password",
}
KCAT = {
    "security.protocol": "security.protocol",
    "sasl.mechanism": "sasl.mechanisms",
    "sasl.kerberos.service.name": "sasl.kerberos.service.name",
    "username": "sasl.username",
    "password": "sasl.password",
    "ssl.truststore.location": "ssl.ca.location",
}


def properties(settings: Settings) -> Properties:
    """client.properties, or nothing. UsageError when it is unreadable, or a store is not PEM."""
    path = settings.client_properties
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = {name: value.strip() for name, value in javaproperties.load(file).items()}
    except (OSError, ValueError) as error:
        raise _unusable(settings, str(error)) from error
    for store in ("ssl.truststore", "ssl.keystore"):
        if f"{store}.location" in found and found.get(f"{store}.type", "JKS").upper() != "PEM":
            raise _unusable(
                settings,
                f"{store}.type in {path} is not PEM: kcat and Python cannot read Java's own "
                "stores; keytool and openssl turn one into the other "
                f"({store}.type=PEM, {store}.location=FILE.pem)",
            )
    return found


def _unusable(settings: Settings, why: str) -> UsageError:
    what = f"CLIENT_CONF={settings.client_conf} cannot be used"
    return UsageError(what, why, "correct the file, then again")


def _translated(found: Properties, names: dict[str, str]) -> Properties:
    """The settings that a client knows, under its own names: PYTHON or KCAT."""
    option = r'(username|password)="((?:[^"\\]|\\.)*)"'
    login = dict(re.findall(option, found.get("sasl.jaas.config", "")))
    found = found | {name: re.sub(r"\\(.)", r"\1", value) for name, value in login.items()}
    return {theirs: found[ours] for ours, theirs in names.items() if ours in found}


class AnswerBeforeEnd(ssl.SSLSocket):
    """Reports the connection's end only in the read after the one that got the last bytes.

    A broker that refuses a password says so and closes the connection. kafka-python 3.0 drops what
    it read together with the end: of 38 refusals on a busy machine it reported one.
    """

    _read = False

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        data = super().recv(buflen, flags)
        if not data and self._read:
            self._read = False
            raise ssl.SSLWantReadError
        self._read = bool(data)
        return data


def for_python(settings: Settings) -> dict[str, Any]:
    """Arguments for kafka-python's clients. UsageError for a file without certificates."""
    found = properties(settings)
    arguments: dict[str, Any] = dict(_translated(found, PYTHON))
    if not arguments.get("security_protocol", "").endswith("SSL"):
        return arguments
    arguments["ssl_context"] = tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
            raise _unusable(settings, f"{store}={found[store]}: {error}") from error
    return arguments


def for_spark(settings: Settings) -> Properties:
    """Options for Spark's Kafka source."""
    return {f"kafka.{name}": value for name, value in properties(settings).items()}


def for_kcat(settings: Settings) -> str:
    """librdkafka's configuration, one setting per line."""
    found = properties(settings)
    arguments = _translated(found, KCAT)
    if "ssl.keystore.location" in found:
        location = found["ssl.keystore.location"]
        arguments["ssl.certificate.location"] = arguments["ssl.key.location"] = location
    if found.get("ssl.endpoint.identification.algorithm") == "":
        arguments["ssl.endpoint.identification.algorithm"] = "none"
    return "\n".join(f"{name}={value}" for name, value in arguments.items())


def main(settings: Settings) -> None:
    for_python(settings)  # tries the certificates
    print(for_kcat(settings))


if __name__ == "__main__":
    script.run(main)
