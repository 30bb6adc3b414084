r"""Security settings (passwords, certificates) for all Kafka clients, from Kafka's own file.

The file is $CLIENT_CONF/client.properties (STACK=cluster), as the owner of the Kafka cluster hands
it out, in Java's format:
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512             (or PLAIN, SCRAM-SHA-256)
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
        username="…" password="…";
    ssl.truststore.type=PEM                  (the only format that all clients here can read)
    ssl.truststore.location=/path/to/ca.pem
    ssl.keystore.type=PEM                    (only where the broker asks for a client certificate)
    ssl.keystore.location=/path/to/certificate-and-key.pem
    ssl.key.password=…                       (only where that key is encrypted)

Kafka's tools read it as it is. Spark, kafka-python and kcat are given its security settings, under
the names that they have there. A setting that one of them would ignore is refused. Others than
those of security are left to Kafka's tools.
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
    "username": "sasl_plain_username",
    "password": "sasl_plain_password",
}
KCAT = {
    "security.protocol": "security.protocol",
    "sasl.mechanism": "sasl.mechanisms",
    "username": "sasl.username",
    "password": "sasl.password",
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.key.password": "ssl.key.password",
}
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")  # kafka-python has no library for GSSAPI
LOGIN = ("username", "password")
STORES = ("ssl.truststore", "ssl.keystore")
CHECK_OF_NAMES = "ssl.endpoint.identification.algorithm"
# What every client here can do.
KNOWN = {
    *("security.protocol", "sasl.mechanism", "sasl.jaas.config", "ssl.key.password"),
    *(f"{store}.{each}" for store in STORES for each in ("type", "location")),
    CHECK_OF_NAMES,
}
# An option in sasl.jaas.config: its value is a word, or in quotes of either kind.
JAAS_OPTION = r"""([\w.$-]+)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w.$-]+)"""


def properties(settings: Settings) -> Properties:
    """The security settings of client.properties; nothing when there is no file.

    UsageError when it is unreadable, or asks for something that a client here cannot do.
    """
    path = settings.client_properties
    if path is None:
        return {}
    try:
        content = path.read_bytes()
        found, in_utf_8 = (
            {
                name: value
                for name, value in javaproperties.loads(content.decode(code, "replace")).items()
                if name.startswith(("security.", "sasl.", "ssl."))
            }
            for code in ("latin-1", "utf-8")  # the first one is Java's
        )
    except (OSError, ValueError) as error:
        raise _unusable(settings, f"{path}: {error}", "correct it, then again") from error
    for name in found:
        if found[name] != in_utf_8.get(name):
            raise _unusable(
                settings,
                f"{name} has a letter that is not ASCII, which Java reads as Latin-1 ({path})",
                r"write that letter as Java does: \u00e4 for an a with two dots",
            )
    if "security.protocol" in found:
        found["security.protocol"] = found["security.protocol"].upper()  # Java knows both cases
    for refused in (_unknown_setting(found), _other_store(found), _other_login(found)):
        if refused:
            why, then = refused
            raise _unusable(settings, f"{why} ({path})", then)
    return found


def _unknown_setting(found: Properties) -> tuple[str, str] | None:
    """Why a client here cannot do what one of the settings says, and what to type; or None."""
    for name in found:
        if name not in KNOWN:
            return (
                f"Python's client and kcat cannot do what {name} says",
                "if the brokers do without it, delete that line; docs/deployment.md lists what can "
                "be set",
            )
    secured = found.get("security.protocol", "PLAINTEXT")
    for name, value, possible in (
        ("security.protocol", secured, PROTOCOLS),
        # Kafka's own default is Kerberos.
        ("sasl.mechanism", found.get("sasl.mechanism", "GSSAPI"), MECHANISMS),
        (CHECK_OF_NAMES, found.get(CHECK_OF_NAMES, "https").lower(), ("https", "")),
    ):
        if value not in possible and (name != "sasl.mechanism" or secured.startswith("SASL")):
            return (
                f"{name} is {value!r}, which not all clients here can do",
                f"put what the brokers allow of these: {', '.join(filter(None, possible))}; "
                "if none, ask their owner for one",
            )
    return None


def _other_store(found: Properties) -> tuple[str, str] | None:
    """As above, for certificates that are not in PEM files."""
    for store in STORES:
        kind = found.get(f"{store}.type", "JKS")
        if f"{store}.location" in found and kind != "PEM":
            return (
                f"{store}.type is {kind!r}, not PEM: kcat and Python cannot read Java's own stores",
                "turn the store into a PEM file with keytool and openssl, then: "
                f"{store}.type=PEM and {store}.location=FILE.pem",
            )
    return None


def _other_login(found: Properties) -> tuple[str, str] | None:
    """As above, for a login other than by username and password."""
    login, jaas = _login(found), found.get("sasl.jaas.config", "")
    if found.get("security.protocol", "").startswith("SASL") and set(login) != {*LOGIN}:
        return (
            f"sasl.jaas.config has the options {', '.join(sorted(login)) or '(none)'}",
            'all clients here can log in by these two only: username="…" password="…";',
        )
    escaped = [
        sign for _, text in re.findall(JAAS_OPTION, jaas) for sign in re.findall(r"\\(.)", text)
    ]
    if {*escaped} - {*"\\\"'"}:
        return (
            r"sasl.jaas.config has a \ before another character than a quote and a \: for Java "
            "that is a control character",
            r"in this file, a \ of a password is written as four: \\\\",
        )
    # kcat reads one setting per line, without blanks at its ends.
    for name in LOGIN:
        if name in login and not (login[name].isprintable() and login[name] == login[name].strip()):
            return (
                f"the {name} in sasl.jaas.config has a control character, or a blank at an end: "
                "kcat cannot read that from its file",
                f"have a {name} without it given to you",
            )
    return None


def _login(found: Properties) -> Properties:
    """The options in sasl.jaas.config: all clients can use username and password."""
    options = dict(re.findall(JAAS_OPTION, found.get("sasl.jaas.config", "")))
    unquoted = {name: text[1:-1] if text[0] in "\"'" else text for name, text in options.items()}
    return {name: re.sub(r"\\(.)", r"\1", text) for name, text in unquoted.items()}


def _unusable(settings: Settings, why: str, then: str) -> UsageError:
    return UsageError(f"CLIENT_CONF={settings.client_conf} cannot be used", why, then)


def _translated(found: Properties, names: dict[str, str]) -> Properties:
    """The settings that a client knows, under its own names: PYTHON or KCAT."""
    found = found | _login(found)
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
    tls.check_hostname = found.get(CHECK_OF_NAMES) != ""
    if "ssl.truststore.location" not in found:
        tls.load_default_certs()
    password = found.get("ssl.key.password", "")  # without one OpenSSL would ask at the terminal
    for store, load in (
        ("ssl.truststore.location", tls.load_verify_locations),
        ("ssl.keystore.location", lambda path: tls.load_cert_chain(path, password=password)),
    ):
        try:
            if store in found:
                load(found[store])
        except OSError as error:
            raise _unusable(
                settings,
                f"{store}={found[store]}: {error}",
                "name a PEM file that you may read, with the key too in a keystore "
                "(ssl.key.password where the key is encrypted)",
            ) from error
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
    if found.get(CHECK_OF_NAMES) == "":
        arguments[CHECK_OF_NAMES] = "none"
    return "\n".join(f"{name}={value}" for name, value in arguments.items())


def main(settings: Settings) -> None:
    for_python(settings)  # tries the certificates
    print(for_kcat(settings))


if __name__ == "__main__":
    script.run(main)
