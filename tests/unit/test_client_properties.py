"""Files of CLIENT_CONF. Of client.properties all clients of Kafka get the same, in whichever of the
ways that Java's format allows; what one of them cannot do is refused by name."""

import pytest

from pipeline import environment, settings
from pipeline.errors import UsageError
from pipeline.kafka import security

JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required"
FILE = f"""
# of the cluster's owner
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config={JAAS} username="alice" password="s3cret";
"""


def read(folder, text):
    """Returns the settings of a cluster whose client.properties has this text."""
    (folder / "client.properties").write_bytes(text.encode())
    return settings.read({"STACK": "cluster", "CLIENT_CONF": str(folder)})


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        FILE.replace("=", ": ", 2),
        FILE.replace("=", " \t ", 2),
        FILE.replace("=", " = ", 2),
        FILE.replace("\n", "\r\n"),
        FILE.replace("SASL_PLAINTEXT", "SASL_PLAIN\\\n    TEXT"),
        FILE.replace("SASL_PLAINTEXT", "sasl_plaintext"),
        FILE.replace("alice", "\\u0061lice"),
        FILE.replace('"s3cret"', "'s3cret'"),
        FILE.replace('"s3cret"', "s3cret"),
        FILE.replace("# of", "! für"),
        f"{FILE}group.id=readers\nbootstrap.servers=another:9092\nretries 3\n",
        "security.protocol=SSL\n" + FILE,  # the last one counts
    ],
)
def test_every_way_of_writing_it_gives_all_clients_the_same(tmp_path, text):
    found = read(tmp_path, text)
    assert security.for_python(found) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "alice",
        "sasl_plain_password": "s3cret",
    }
    assert sorted(security.for_kcat(found).splitlines()) == [
        "sasl.mechanisms=SCRAM-SHA-512",
        "sasl.password=s3cret",
        "sasl.username=alice",
        "security.protocol=SASL_PLAINTEXT",
    ]
    assert {*security.for_spark(found)} == {
        "kafka.sasl.jaas.config",
        "kafka.sasl.mechanism",
        "kafka.security.protocol",
    }


def test_blanks_and_backslashes_of_a_value(tmp_path):
    ca = tmp_path / "my ca.pem"
    ca.write_text("no certificate")
    text = f"""{FILE}ssl.truststore.type=PEM
ssl.truststore.location = {tmp_path}/my\\ ca.pem
""".replace("s3cret", 'a\\\\"b\\\\\\\\c = d')
    found = read(tmp_path, text)
    assert security.for_python(found)["sasl_plain_password"] == 'a"b\\c = d'
    kcat = security.for_kcat(found).splitlines()
    assert f"ssl.ca.location={ca}" in kcat and 'sasl.password=a"b\\c = d' in kcat
    assert security.for_spark(found)["kafka.ssl.truststore.location"] == str(ca)
    with pytest.raises(UsageError) as caught:  # it was found, and read
        security.for_python(read(tmp_path, text.replace("SASL_PLAINTEXT", "SASL_SSL")))
    assert f"ssl.truststore.location={ca}: [" in caught.value.why


@pytest.mark.parametrize(
    "text, why",
    [
        (FILE.replace("SCRAM-SHA-512", "GSSAPI"), "sasl.mechanism is 'GSSAPI', which not all"),
        (FILE.replace("SCRAM-SHA-512", "OAUTHBEARER"), "sasl.mechanism is 'OAUTHBEARER'"),
        (FILE.replace("SCRAM-SHA-512", "PLAIN\\u0020"), "sasl.mechanism is 'PLAIN '"),
        (FILE.replace("sasl.mechanism", "# "), "sasl.mechanism is 'GSSAPI'"),
        (FILE.replace("SASL_PLAINTEXT", "SASL_TLS"), "security.protocol is 'SASL_TLS'"),
        (FILE.replace("sasl.jaas.config", "# "), "has the options (none)"),
        (FILE.replace("password", "tokenauth"), "has the options tokenauth, username"),
        (FILE.replace("s3cret", "s3cr\\\\et"), r"has a \ before another character"),
        (FILE.replace("s3cret", "s3cret "), "the password in sasl.jaas.config has"),
        (FILE.replace("s3cret", "a\\nsasl.username=bob"), "the password in sasl.jaas.config has"),
        (FILE.replace("s3cret", "sécret"), "sasl.jaas.config has a letter that is not ASCII"),
        (FILE.replace("s3cret", "\\u12"), "Invalid \\u escape sequence"),
        (f"{FILE}ssl.truststore.certificates=x", "cannot do what ssl.truststore.certificates"),
        (f"{FILE}ssl.enabled.protocols=TLSv1.3", "cannot do what ssl.enabled.protocols says"),
        (f"{FILE}sasl.kerberos.service.name=kafka", "cannot do what sasl.kerberos.service.name"),
        (f"{FILE}ssl.keystore.location=/x.p12", "ssl.keystore.type is 'JKS', not PEM"),
        (f"{FILE}ssl.endpoint.identification.algorithm=none", "algorithm is 'none'"),
    ],
)
def test_what_a_client_cannot_do_is_refused_by_name(tmp_path, text, why):
    for use in security.for_python, security.for_kcat, security.for_spark:
        with pytest.raises(UsageError) as caught:
            use(read(tmp_path, text))
        failure = caught.value
        assert why in failure.why and str(tmp_path) in failure.what + failure.why
        assert "s3cr" not in f"{failure.what}{failure.why}{failure.then}"


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("core-site.xml", b"<configuration><property>", "not XML in UTF-8: no element found"),
        ("core-site.xml", b"\xff\xfe", "not XML in UTF-8"),
        ("spark-defaults.conf", b"spark.yarn.queue  f\xfcr-alle", "not text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name) as caught:
        environment.text_given(tmp_path / name)
    assert why in caught.value.why
