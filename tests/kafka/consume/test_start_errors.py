"""Every error at the start is one line, with its own exit code and without secrets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka_runs import exactly_once, fill_tweets
from kafka_tools import committed, drain, make_topic, new_name
from processes import PATIENCE, child

from sentstream.cli import main
from tools.local_kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "alice-secret"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


def jaas(password: str) -> str:
    return f'{SCRAM} required username="alice" password="{password}";'


@pytest.fixture(name="source", scope="module")
def _source(secure_kafka: LocalKafka) -> str:
    return make_topic(secure_kafka.bootstrap)


def environment(directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_")}
    return {**kept, "XDG_STATE_HOME": str(directory), **more}


@pytest.fixture(name="sentstream")
def _sentstream(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(
        command: str,
        *arguments: object,
        config: Mapping[str, object] | None = None,
        input: str | None = None,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "sentstream", command, *map(str, arguments)]
        if config is not None:
            path = tmp_path / "client.properties"
            path.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
            line += ["--client-config", str(path)]
        return subprocess.run(
            line,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment(tmp_path, more),
            input=input,
            timeout=120,
            check=False,
        )

    return run


def refused(done: subprocess.CompletedProcess[str], code: int, *messages: str) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("sentstream: error: ")
    assert done.stdout == ""
    assert "secret" not in done.stderr
    for part in messages:
        assert part in lines[0]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def trust(broker: LocalKafka, *, ca: Path | None = None) -> dict[str, object]:
    return {"ssl.truststore.type": "PEM", "ssl.truststore.location": ca or broker.ca}


def scram(broker: LocalKafka, password: str = PASSWORD, **more: object) -> dict[str, object]:
    return {
        "bootstrap.servers": broker.sasl_ssl,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": jaas(password),
        **trust(broker),
        **more,
    }


# The exit codes


def test_no_broker(sentstream: Any, bundle: Path, client: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    arguments = ["--topic", "t", "--model", bundle, "--client", client, "--bootstrap-servers", address]
    refused(sentstream("consume", *arguments), 71, address)


def test_tls_to_a_plaintext_port(
    sentstream: Any, bundle: Path, secure_kafka: LocalKafka, client: str
) -> None:
    config = {"security.protocol": "SSL", "bootstrap.servers": secure_kafka.bootstrap}
    arguments = ["--topic", "t", "--model", bundle, "--client", client]
    refused(sentstream("consume", *arguments, config=config), 72, secure_kafka.bootstrap)


def test_untrusted_authority(sentstream: Any, bundle: Path, secure_kafka: LocalKafka) -> None:
    config = scram(secure_kafka) | trust(secure_kafka, ca=secure_kafka.other_ca)
    done = sentstream("consume", "--topic", "t", "--model", bundle, config=config)
    refused(done, 72, secure_kafka.sasl_ssl)


def test_wrong_password(sentstream: Any, bundle: Path, secure_kafka: LocalKafka, client: str) -> None:
    config = scram(secure_kafka, password="not-the-secret")
    done = sentstream("consume", "--topic", "t", "--model", bundle, "--client", client, config=config)
    refused(done, 73, secure_kafka.sasl_ssl)


def test_missing_topic(sentstream: Any, bundle: Path, secure_kafka: LocalKafka, client: str) -> None:
    arguments = ["--topic", "nowhere", "--model", bundle, "--client", client]
    done = sentstream("consume", *arguments, "--bootstrap-servers", secure_kafka.bootstrap)
    refused(done, 75, "no topic 'nowhere'")


def test_missing_model(sentstream: Any, secure_kafka: LocalKafka, source: str) -> None:
    arguments = ["--topic", source, "--model", "nowhere", "--bootstrap-servers", secure_kafka.bootstrap]
    refused(sentstream("consume", *arguments), 30, "nowhere")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"session.timeout.ms": "soon"}, "session.timeout.ms takes an integer"),
        ({"enable.auto.commit": "true"}, "enable.auto.commit=true contradicts exactly-once"),
        ({"sasl.jaas.config": "${env:NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE"),
    ],
)
def test_invalid_settings(sentstream: Any, bundle: Path, config: dict[str, object], message: str) -> None:
    done = sentstream("consume", "--topic", "t", "--model", bundle, config=config)
    refused(done, 78, "client.properties", message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topic", "t", "--to-topic", "t"], "topic t is the input and cannot get the results"),
        (["--topic", "t", "--from", "yesterday"], "--from takes earliest, latest or a timestamp"),
        (["--topic", "t", "--for", "0s"], "--for takes a duration"),
        (["--topic", "t", "--roll-bytes", "many"], "--roll-bytes takes a size"),
        (
            ["--topic", "t", "--to-parquet", "d", "--partition-by", "day"],
            "--partition-by does not take 'day'",
        ),
        (["--topic", "t", "--max-messages", "0"], "--max-messages"),
        (["--topic", "t", "--metrics-host", "::1"], "--metrics-host needs --metrics-port"),
        ([], "--topic"),
    ],
)
def test_invalid_options(arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["consume", *arguments])
    out, err = capsys.readouterr()
    refused(subprocess.CompletedProcess(arguments, code, out, err), 2, message)


def test_metrics_port_in_use(sentstream: Any, bundle: Path, secure_kafka: LocalKafka) -> None:
    name = make_topic(secure_kafka.bootstrap)
    for end in "scored", "dlq":
        make_topic(secure_kafka.bootstrap, name=f"{name}.{end}")
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        done = sentstream(
            "consume",
            *["--topic", name, "--model", bundle, "--bootstrap-servers", secure_kafka.bootstrap],
            *["--metrics-port", port],
        )
    refused(done, 2, f"--metrics-port {port}")


# And when all is right: with security, from end to end


LOGINS = ["SCRAM", "OAUTHBEARER", "mTLS"]


def login(kind: str, broker: LocalKafka) -> tuple[dict[str, object], dict[str, str]]:
    """A file, and an environment with the secrets."""
    if kind == "SCRAM":
        config = {name: value for name, value in scram(broker).items() if name != "sasl.jaas.config"}
        return config, {"SENTSTREAM_KAFKA_SASL_JAAS_CONFIG": jaas(PASSWORD)}
    if kind == "OAUTHBEARER":
        options = 'unsecuredLoginStringClaim_sub="alice" unsecuredLoginLifetimeSeconds="600"'
        return scram(broker) | {"sasl.mechanism": "OAUTHBEARER"}, {
            "SENTSTREAM_KAFKA_SASL_JAAS_CONFIG": f"{OAUTH} required {options};"
        }
    keystore = broker.directory / "client-keystore.pem"
    keystore.write_text(broker.client_key.read_text() + broker.client_certificate.read_text())
    return {
        "bootstrap.servers": broker.mtls,
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": keystore,
        **trust(broker),
    }, {}


@pytest.mark.parametrize("kind", LOGINS)
def test_scoring_over_tls_with_a_login(
    sentstream: Any, bundle: Path, secure_kafka: LocalKafka, client: str, kind: str
) -> None:
    name = make_topic(secure_kafka.bootstrap)
    fill_tweets(secure_kafka.bootstrap, name, range(20))
    config, secrets = login(kind, secure_kafka)
    arguments = ["--topic", name, "--group", f"{name}-group", "--model", bundle, "--client", client]
    done = sentstream("consume", *arguments, "--until-end", "--json", config=config, **secrets)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 20
    assert PASSWORD not in done.stderr + done.stdout
    results = [json.loads(one.value)["id"] for one in drain(secure_kafka.bootstrap, f"{name}.scored")]
    assert results == list(exactly_once(20))
    assert committed(secure_kafka.bootstrap, f"{name}-group", name) == {0: 20}


def test_password_is_not_in_the_process_arguments(
    bundle: Path, secure_kafka: LocalKafka, tmp_path: Path
) -> None:
    name = make_topic(secure_kafka.bootstrap)
    config, secrets = login("SCRAM", secure_kafka)
    path = tmp_path / "client.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
    with child(
        [
            *[sys.executable, "-m", "sentstream", "consume", "--topic", name, "--group", new_name()],
            *["--model", str(bundle), "--client-config", str(path)],
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(tmp_path, secrets),
    ) as process:
        lines: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "assigned" in line:
                break
        shown = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(process.pid)], capture_output=True, text=True, check=True
        )
        assert name in shown.stdout
        assert PASSWORD not in shown.stdout
        process.terminate()
        lines += process.stderr
        assert process.wait(PATIENCE) == 0, lines
    assert PASSWORD not in "".join(lines)
