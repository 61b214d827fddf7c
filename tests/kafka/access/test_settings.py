"""The user's client.properties: parsed like Java does, checked, and never printed with its secrets."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentstream.errors import ClientConfigError
from sentstream.kafka.access.properties import Property, parse_properties, read_properties
from sentstream.kafka.access.settings import USED, Flag, Integer, Settings, variable


def load(text: str = "", environ: dict[str, str] | None = None, /, **given: str) -> Settings:
    """Settings given as ``client_id="a"``, from the environment, and from the text of a file."""
    names = {name.replace("_", "."): value for name, value in given.items()}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "client.properties"
        path.write_text(text, encoding="utf-8")
        return Settings.load(path, overrides=names, environ=environ or {})


def pairs(text: str) -> list[tuple[str, str]]:
    return [(each.name, each.value) for each in parse_properties(text)]


# The format


def store(properties: dict[str, str], *, ascii_only: bool) -> str:
    """What java.util.Properties.store writes."""

    def convert(text: str, *, key: bool) -> str:
        written = []
        for index, character in enumerate(text):
            if character == " ":
                written.append("\\ " if key or index == 0 else " ")
            elif character in "\t\n\r\f":
                written.append("\\" + {"\t": "t", "\n": "n", "\r": "r", "\f": "f"}[character])
            elif character in "\\=:#!":
                written.append("\\" + character)
            elif ascii_only and not " " <= character <= "~":
                units = character.encode("utf-16-be")
                written += [f"\\u{units[at : at + 2].hex().upper()}" for at in range(0, len(units), 2)]
            else:
                written.append(character)
        return "".join(written)

    lines = [f"{convert(name, key=True)}={convert(value, key=False)}\n" for name, value in properties.items()]
    return "".join(["#Wed Nov 25 01:23:14 UTC 2026\n", *lines])


texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n\r\f\\=:#!u\u2028\U0001f600")
)


@given(st.dictionaries(texts, texts), st.booleans())
def test_java_properties_round_trip(properties: dict[str, str], ascii_only: bool) -> None:
    assert dict(pairs(store(properties, ascii_only=ascii_only))) == properties


@given(st.text(st.sampled_from("ab=: \t\n\r\\u0041#!é")))
def test_any_text_is_parsed_or_clearly_rejected(text: str) -> None:
    try:
        found = parse_properties(text, "f")
    except ClientConfigError as error:
        assert str(error).startswith("f line ")  # noqa: PT017 (most texts are not refused)
    else:
        assert all(1 <= each.line <= text.count("\n") + text.count("\r") + 1 for each in found)


# What Java itself makes of each was looked up with java.util.Properties of JDK 17.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", [("a", "b")]),
        ("a:b", [("a", "b")]),
        ("a b", [("a", "b")]),
        ("a \t=\f b ", [("a", "b ")]),
        ("a = = b", [("a", "= b")]),
        ("a::b", [("a", ":b")]),
        ("  a=b", [("a", "b")]),
        ("a", [("a", "")]),
        ("=b", [("", "b")]),
        ("#a=b\n ! c=d\n\n \t\ne=f", [("e", "f")]),
        ("#a\\\nb=c", [("b", "c")]),
        ("a=b\\\n   c", [("a", "bc")]),
        ("a=b\\\r\n\tc\rd=e", [("a", "bc"), ("d", "e")]),
        ("a=b\\\n# c", [("a", "b# c")]),
        ("a=b\\\n\nc=d", [("a", "b"), ("c", "d")]),
        ("\\\n#a=b\nc=d", [("c", "d")]),
        ("a=b\\\\\nc=d", [("a", "b\\"), ("c", "d")]),
        ("a=b\\", [("a", "b")]),
        ("a\\ b\\=c\\:d=e", [("a b=c:d", "e")]),
        (r"a=\t\n\r\f\x\\", [("a", "\t\n\r\fx\\")]),
        (r"a=\u00e9\uD83D\uDE00", [("a", "é\U0001f600")]),
        ("a=1\na=2", [("a", "1"), ("a", "2")]),
        ("", []),
    ],
)
def test_lines_match_java(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(text) == expected


def test_property_knows_its_line() -> None:
    found = parse_properties("# one\na=1\\\n  2\\\n  3\n\nb=4")
    assert found == [Property("a", "123", 2), Property("b", "4", 6)]


@pytest.mark.parametrize(
    "content", [b"client.id=caf\xc3\xa9", b"\xef\xbb\xbfclient.id=caf\xc3\xa9", b"client.id=caf\xe9"]
)
def test_utf8_with_or_without_bom_and_latin1(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "client.properties"
    file.write_bytes(content)
    assert read_properties(file) == [Property("client.id", "café", 1)]


@pytest.mark.parametrize(
    ("text", "reason"), [("a=b\nc=\\u12g4", "four hexadecimal"), ("\nc=\\ud83d", "surrogate")]
)
def test_invalid_escape_is_rejected_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(ClientConfigError, match=f"client.properties line 2: .*{reason}"):
        load(text)


def test_missing_file_or_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ClientConfigError, match=r"none\.properties cannot be read: No such file"):
        Settings.load(tmp_path / "none.properties", environ={})
    with pytest.raises(ClientConfigError, match="cannot be read: Is a directory"):
        Settings.load(tmp_path, environ={})


# Which one wins


def test_precedence_of_sources() -> None:
    text = "client.id=a\nclient.id=file\ngroup.id=file\nacks=all\nlinger.ms=1"
    environ = {variable("client.id"): "environ", variable("group.id"): "environ", "HOME": "x"}
    settings = load(text, environ, client_id="given")
    assert settings.text("client.id") == "given"
    assert settings.text("group.id") == "environ"
    assert settings.text("acks") == "all"
    assert settings.integer("linger.ms", 5) == 1
    assert settings.integer("batch.size", 5) == 5
    assert settings.unused() == []


def test_process_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTSTREAM_KAFKA_FETCH_MAX_WAIT_MS", "7")
    assert Settings.load().integer("fetch.max.wait.ms", 500) == 7


def test_every_setting_has_its_own_variable() -> None:
    assert len({variable(name) for name in USED}) == len(USED)


def test_empty_values_are_ignored_unless_meaningful() -> None:
    settings = load("group.id=\nclient.id=  \nssl.endpoint.identification.algorithm=\nlinger.ms=")
    assert settings.text("group.id") is None
    assert settings.text("client.id", "mine") == "mine"
    assert settings.integer("linger.ms", 5) == 5
    assert settings.text("ssl.endpoint.identification.algorithm", "https") == ""


def test_unknown_setting_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        load().text("no.such.name")


# Values


def test_servers_are_localhost_unless_set() -> None:
    assert load().text("bootstrap.servers") == "localhost:9092"
    assert load().text("bootstrap.servers", "") == "localhost:9092"
    assert load().servers() == [("localhost", 9092)]


def test_servers_are_parsed() -> None:
    settings = load("bootstrap.servers= k1:9092 , SASL_SSL://k2.example.org:93,[::1]:94,")
    assert settings.text("bootstrap.servers") == "k1:9092,k2.example.org:93,[::1]:94"
    assert settings.servers() == [("k1", 9092), ("k2.example.org", 93), ("::1", 94)]


@pytest.mark.parametrize(
    "servers", ["k1", "k1:", "k1:0", "k1:65536", "k1:9092 k2:9092", ":9092", "::1:9092", ","]
)
def test_invalid_servers_are_rejected(servers: str) -> None:
    with pytest.raises(
        ClientConfigError, match=r"client\.properties line 1: bootstrap\.servers.*e\.g\. kafka1:9092"
    ):
        load(f"bootstrap.servers={servers}")


def test_integers_flags_and_choices_match_java() -> None:
    settings = load("linger.ms= +7 \nsend.buffer.bytes=-1\ncheck.crcs=FALSE\nsecurity.protocol=sasl_ssl")
    assert settings.integer("linger.ms", 0) == 7
    assert settings.integer("send.buffer.bytes", 0) == -1
    assert settings.flag("check.crcs", True) is False
    assert settings.flag("enable.idempotence", True) is True
    assert settings.text("security.protocol") == "SASL_SSL"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("linger.ms=soon", "linger.ms takes an integer, not 'soon'"),
        ("linger.ms=1_000", "takes an integer"),
        ("linger.ms=1.5", "takes an integer"),
        ("linger.ms=٣", "takes an integer"),
        ("linger.ms=-1", "linger.ms is -1, not between 0 and 2,147,483,647"),
        ("linger.ms=99999999999", "not between"),
        ("max.in.flight.requests.per.connection=6", "not between 1 and 5"),
        ("retries=0", "not between 1"),
        ("check.crcs=yes", "check.crcs must be true or false, not 'yes'"),
        (
            "compression.type=zip",
            r"compression.type cannot be 'zip' \(use one of: none, gzip, snappy, lz4, zstd\)",
        ),
        ("security.protocol=TLS", "one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("ssl.endpoint.identification.algorithm=ldaps", "one of: https, empty"),
        ("auto.offset.reset=by_duration:PT1H", "one of: earliest, latest, none"),
        ("acks=2", r"one of: all, -1\)"),
    ],
)
def test_invalid_value_is_rejected_with_file_line_and_reason(line: str, reason: str) -> None:
    with pytest.raises(ClientConfigError, match=f"^client.properties line 2: .*{reason}"):
        load(f"# first\n{line}")


@pytest.mark.parametrize(
    "line",
    [
        "enable.auto.commit=true",
        "isolation.level=read_uncommitted",
        "enable.idempotence=false",
        "acks=1",
        "acks=0",
    ],
)
def test_settings_that_contradict_exactly_once_are_rejected(line: str) -> None:
    with pytest.raises(ClientConfigError, match=f"line 1: {line} contradicts exactly-once: .*remove it"):
        load(line)


def test_settings_compatible_with_exactly_once_are_accepted() -> None:
    lines = "enable.auto.commit=false\nisolation.level=read_committed\nenable.idempotence=true\nacks=-1"
    assert load(lines).unused() == []


def test_error_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ClientConfigError, match=r"^SENTSTREAM_KAFKA_LINGER_MS: linger.ms takes an integer"):
        load("", {"SENTSTREAM_KAFKA_LINGER_MS": "x"})


def test_every_setting_type_rejects_nonsense() -> None:
    for name, kind in USED.items():
        if isinstance(kind, Integer | Flag) or kind.choices:
            with pytest.raises(ClientConfigError, match=name):
                load(f"{name}=nonsense")


# What is not used


def test_unused_names_are_listed_with_a_reason() -> None:
    settings = load(
        "foo=1\nfetch.min.byte=1\ninterceptor.classes=x\nmetrics.num.samples=1\nsasl.username=alice\n"
        "partition.assignment.strategy=range",
        {"SENTSTREAM_KAFKA_LINGERMS": "1"},
        max_poll_record="1",
    )
    assert settings.unused() == [
        "client.properties line 1: 'foo' is not used",
        "client.properties line 2: 'fetch.min.byte' is not used (did you mean 'fetch.min.bytes'?)",
        "client.properties line 3: 'interceptor.classes' is not used (Java classes cannot be loaded)",
        "client.properties line 4: 'metrics.num.samples' is not used",
        "client.properties line 5: 'sasl.username' is not used "
        "(that is librdkafka's name; use sasl.jaas.config)",
        "client.properties line 6: 'partition.assignment.strategy' is not used "
        "(the assignment is cooperative-sticky)",
        "SENTSTREAM_KAFKA_LINGERMS: 'lingerms' is not used (did you mean 'linger.ms'?)",
        "command line: 'max.poll.record' is not used (did you mean 'max.poll.records'?)",
    ]


def test_common_java_settings_are_accepted_silently() -> None:
    text = """
        key.deserializer=org.apache.kafka.common.serialization.StringDeserializer
        value.serializer=org.apache.kafka.common.serialization.ByteArraySerializer
        partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor
        group.protocol=classic
        config.providers=env
        config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
        sasl.login.callback.handler.class=\
            org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler
    """
    assert load(text).unused() == []


# Config providers


def test_references_to_environment_files_and_directories_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "secrets.properties").write_text("pass\\ word=pä$$\nuser=alice", encoding="utf-8")
    (tmp_path / "id").write_text("from-directory\n")
    text = (
        f'sasl.jaas.config=Module required username="${{file:{tmp_path}/secrets.properties:user}}" '
        f'password="${{file:{tmp_path}/secrets.properties:pass word}}";\n'
        "group.id=${env:GROUP}-${env:GROUP}\n"
        f"client.id=${{directory:{tmp_path}:id}}\n"
        "transactional.id=$not {a} reference$"
    )
    settings = load(text, {"GROUP": "${env:HOME}"})
    assert settings.text("sasl.jaas.config") == 'Module required username="alice" password="pä$$";'
    assert settings.text("group.id") == "${env:HOME}-${env:HOME}"  # not looked into again
    assert settings.text("client.id") == "from-directory"
    assert settings.text("transactional.id") == "$not {a} reference$"


def test_config_provider_may_have_any_name() -> None:
    text = (
        "config.providers=secrets\n"
        "config.providers.secrets.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n"
        "group.id=${secrets:GROUP}"
    )
    assert load(text, {"GROUP": "g"}).text("group.id") == "g"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("${env:NONE}", "the environment variable NONE is not set"),
        (
            "${vault:secret/kafka:password}",
            "unknown config provider 'vault'; env, file and directory are supported",
        ),
        ("${file:key}", "it has no path or no key"),
        ("${directory:/none:key}", "No such file"),
    ],
)
def test_dangling_reference_is_rejected(reference: str, reason: str) -> None:
    with pytest.raises(ClientConfigError, match=f"line 1: group.id: .* cannot be resolved: .*{reason}"):
        load(f"group.id={reference}")


def test_missing_key_or_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ClientConfigError, match="the file has no such key"):
        load(f"group.id=${{file:{tmp_path}/empty:none}}")
    with pytest.raises(ClientConfigError, match="none cannot be read: No such file"):
        load(f"group.id=${{file:{tmp_path}/none:key}}")


def test_password_that_looks_like_a_reference_stays() -> None:
    assert load("ssl.key.password=a${b:c}").text("ssl.key.password") == "a${b:c}"


def test_references_in_unused_settings_are_ignored() -> None:
    assert len(load("foo=${vault:a:b}").unused()) == 1


# Secrets


def test_secrets_are_not_shown() -> None:
    secret = "hunter2"
    text = "".join(
        f"{name}={secret}\n"
        for name in USED
        if name.endswith(("password", "secret", "jaas.config", "keystore.key"))
    )
    settings = load(f"{text}foo.password={secret}\nclient.id=mine")
    assert text.count(secret) == 4
    assert secret not in repr(settings)
    assert secret not in "".join(settings.unused())
    assert "client.id='mine'" in repr(settings)
    assert "sasl.jaas.config=…" in repr(settings)
