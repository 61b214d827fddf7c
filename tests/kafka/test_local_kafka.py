"""The local broker: it starts, comes back with its data, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_tools import Record, UnsecuredTokens, committed, drain, fill, make_topic
from processes import PATIENCE, child

from tools import local_kafka as module
from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[2]


def numbered(count: int) -> list[Record]:
    """Distinguishable records."""
    return [(b"k%d" % n, b"v%d" % n, [("h", b"%d" % n)], 1_000_000 + n) for n in range(count)]


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False


def until(done: Callable[[], bool], timeout: float = 20.0) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def filled(secure_kafka: LocalKafka) -> str:
    """A topic with three records on the broker with security."""
    make_topic(secure_kafka.bootstrap, name="secured")
    fill(secure_kafka.bootstrap, "secured", numbered(3))
    return "secured"


def test_folder_named_kafka_does_not_hide_kafka_python() -> None:
    assert kafka_python.__file__ is not None
    assert ROOT / "tests" not in Path(kafka_python.__file__).parents


class TestRecordsAndGroups:
    def test_records_round_trip(self, kafka: Any, topic: Any) -> None:
        name = topic(3)
        placed = fill(kafka.bootstrap, name, numbered(500))
        read = drain(kafka.bootstrap, name)
        assert [(r.partition, r.offset) for r in read] == sorted(placed)
        found = {(r.partition, r.offset): (r.key, r.value, list(r.headers), r.timestamp) for r in read}
        assert [found[index] for index in placed] == [tuple(record) for record in numbered(500)]

    def test_explicit_partition_and_empty_topic(self, kafka: Any, topic: Any) -> None:
        name = topic(2, retention_ms=-1)
        assert drain(kafka.bootstrap, name) == []
        fill(kafka.bootstrap, name, [(None, b"x", [], None), (b"k", None, [], None)], partition=1)
        assert [(r.partition, r.key, r.value) for r in drain(kafka.bootstrap, name)] == [
            (1, None, b"x"),
            (1, b"k", None),
        ]

    def test_transactions_with_offsets(self, kafka: Any, topic: Any) -> None:
        source, target, group = topic(), topic(), "group-of-transactions"
        fill(kafka.bootstrap, source, numbered(4))
        with KafkaProducer(
            bootstrap_servers=kafka.bootstrap, transactional_id="t-of-transactions"
        ) as producer:
            producer.init_transactions()
            for number in range(4):
                producer.begin_transaction()
                producer.send(target, b"%d" % number).get(timeout=PATIENCE)
                offsets = {TopicPartition(source, 0): OffsetAndMetadata(number + 1, "", -1)}
                producer.send_offsets_to_transaction(offsets, group)
                if number % 2:
                    producer.abort_transaction()
                else:
                    producer.commit_transaction()
        assert [r.value for r in drain(kafka.bootstrap, target)] == [b"0", b"2"]
        assert len(drain(kafka.bootstrap, target, isolation="read_uncommitted")) == 4
        assert committed(kafka.bootstrap, group, source) == {0: 3}
        assert committed(kafka.bootstrap, "no-such-group", source) == {}

    def test_open_transaction_limits_reading(self, kafka: Any, topic: Any) -> None:
        name = topic()
        fill(kafka.bootstrap, name, numbered(2))
        with KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id="t-left-open") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send(name, b"open").get(timeout=PATIENCE)
            fill(kafka.bootstrap, name, numbered(1))
            assert len(drain(kafka.bootstrap, name)) == 2
            assert len(drain(kafka.bootstrap, name, isolation="read_uncommitted")) == 4
            producer.abort_transaction()
        assert len(drain(kafka.bootstrap, name)) == 3

    def test_short_session_timeout(self, kafka: Any, topic: Any) -> None:
        name = topic()
        fill(kafka.bootstrap, name, numbered(3))
        consumer = KafkaConsumer(
            name,
            bootstrap_servers=kafka.bootstrap,
            group_id="group-of-a-short-session",
            session_timeout_ms=1000,
            heartbeat_interval_ms=300,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            assert until(lambda: bool(consumer.poll(timeout_ms=10_000)))
            consumer.commit()
        finally:
            consumer.close()
        assert committed(kafka.bootstrap, "group-of-a-short-session", name) == {0: 3}

    def test_missing_topic_is_not_created(self, kafka: Any) -> None:
        with pytest.raises(AssertionError, match="there is no topic never-made"):
            drain(kafka.bootstrap, "never-made")


class TestLifecycle:
    @pytest.mark.slow
    def test_data_and_address_survive_stop_and_kill(self, local_kafka: LocalKafka, topic: Any) -> None:
        name, address = topic(), local_kafka.bootstrap
        fill(local_kafka.bootstrap, name, numbered(10))
        local_kafka.restart()
        fill(local_kafka.bootstrap, name, numbered(10))
        local_kafka.kill()
        assert not local_kafka.alive
        local_kafka.start()
        assert local_kafka.bootstrap == address
        assert len(drain(local_kafka.bootstrap, name)) == 20

    def test_paused_broker_answers_after_resume(self, local_kafka: LocalKafka, topic: Any) -> None:
        name = topic()
        with KafkaProducer(bootstrap_servers=local_kafka.bootstrap) as producer:
            producer.send(name, b"before").get(timeout=PATIENCE)
            local_kafka.pause()
            sent = producer.send(name, b"while paused")
            time.sleep(1.0)
            assert not sent.is_done
            local_kafka.resume()
            sent.get(timeout=PATIENCE)
        assert [r.value for r in drain(local_kafka.bootstrap, name)] == [b"before", b"while paused"]

    def test_paused_broker_can_be_stopped(self, local_kafka: LocalKafka) -> None:
        local_kafka.pause()
        pid = local_kafka.pid
        local_kafka.stop()
        assert gone(pid)

    def test_failed_start_shows_the_log(self) -> None:
        broker = LocalKafka(settings={"num.partitions": "none"})
        with pytest.raises(module.StartError, match=r"num\.partitions"), broker:
            pass
        assert not broker.alive

    @pytest.mark.slow
    def test_port_in_use_is_replaced(self, local_kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = int(local_kafka.bootstrap.rpartition(":")[2])
        choose = module.free_port
        first = iter([taken])
        monkeypatch.setattr(module, "free_port", lambda ports=(): next(first, None) or choose(ports))
        with LocalKafka() as broker:
            assert broker.bootstrap != local_kafka.bootstrap
            assert "Address already in use" in broker.log.read_text()
            assert KafkaAdminClient(bootstrap_servers=broker.bootstrap).close() is None

    def test_requested_port_in_use_fails(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(module.StartError, match=f"port {port} of 127.0.0.1 is taken"):
                LocalKafka(port=port).start()

    @pytest.mark.slow
    def test_given_directory_keeps_topics_and_addresses(
        self, kafka: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with LocalKafka(Path("kept")) as broker:
            address = broker.bootstrap
            make_topic(address, name="kept")
            fill(address, "kept", numbered(3))
        monkeypatch.chdir("/")
        with LocalKafka(tmp_path / "kept") as broker:
            assert broker.bootstrap == address
            assert len(drain(address, "kept")) == 3


@pytest.mark.slow
class TestProcesses:
    """No broker outlives the process that started it."""

    SCRIPT = (sys.executable, "-u", str(ROOT / "tools" / "local_kafka.py"))
    OWNER = (
        "from tools.local_kafka import *; import time; kafka = LocalKafka(); kafka.start();"
        "print(kafka.pid, kafka.directory, flush=True); {}"
    )

    @pytest.fixture(autouse=True)
    def _possible(self, local_kafka: LocalKafka) -> None:
        """Skips where no broker can run."""

    @pytest.mark.parametrize(
        ("last", "number"),
        [
            ("time.sleep(600)", signal.SIGKILL),
            ("kafka.pause(); time.sleep(600)", signal.SIGKILL),
            ("time.sleep(600)", signal.SIGTERM),
            ("raise SystemExit", None),
        ],
    )
    def test_killed_owner_ends_the_broker(self, last: str, number: signal.Signals | None) -> None:
        command = [sys.executable, "-c", self.OWNER.format(last)]
        with child(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as owner:
            assert owner.stdout is not None
            pid, directory = owner.stdout.readline().split()
            if number:
                assert not gone(int(pid))
                owner.send_signal(number)
            owner.wait(PATIENCE)
        assert until(lambda: gone(int(pid)))
        assert until(lambda: not Path(directory).exists())

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_script(self, number: signal.Signals, tmp_path: Path) -> None:
        port = module.free_port()
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [*self.SCRIPT, "--port", str(port)]
        with child(command, stdout=subprocess.PIPE, env=environment, text=True) as script:
            assert script.stdout is not None
            address = script.stdout.readline().strip()
            assert address == f"127.0.0.1:{port}"
            KafkaAdminClient(bootstrap_servers=address).close()
            script.send_signal(number)
            rest, _ = script.communicate(timeout=PATIENCE)
        assert (script.returncode, rest) == (0, "")
        assert module.free(port)
        assert list(tmp_path.iterdir()) == []

    def test_script_ends_with_its_broker(self, tmp_path: Path) -> None:
        command = [*self.SCRIPT, "--directory", str(tmp_path / "kept")]
        with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as script:
            assert script.stdout is not None
            script.stdout.readline()
            processes = subprocess.run(
                ["ps", "-e", "-o", "ppid=,pid=,comm="], capture_output=True, text=True, check=True
            ).stdout
            rows = [line.split(maxsplit=2) for line in processes.splitlines()]
            [broker] = [
                int(pid) for parent, pid, name in rows if int(parent) == script.pid and "java" in name
            ]
            os.kill(broker, signal.SIGKILL)
            _, errors = script.communicate(timeout=PATIENCE)
        assert script.returncode == 1
        assert errors == f"the broker ended; its log is {tmp_path / 'kept' / 'kafka.log'}\n"


class TestSecurity:
    @pytest.fixture
    def login(self, secure_kafka: LocalKafka) -> dict[str, Any]:
        security = secure_kafka.security
        assert security is not None
        return {
            "sasl_plain_username": security.user,
            "sasl_plain_password": security.password,
            "sasl_oauth_token_provider": UnsecuredTokens(),
            "ssl_cafile": str(secure_kafka.ca),
        }

    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"])
    def test_sasl_over_tls(
        self, secure_kafka: LocalKafka, login: dict[str, Any], filled: str, mechanism: str
    ) -> None:
        client = login | {"security_protocol": "SASL_SSL", "sasl_mechanism": mechanism}
        assert len(drain(secure_kafka.sasl_ssl, filled, **client)) == 3

    def test_sasl_without_tls(self, secure_kafka: LocalKafka, login: dict[str, Any], filled: str) -> None:
        client = login | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        assert len(drain(secure_kafka.sasl_plaintext, filled, **client)) == 3

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_client_certificate(self, secure_kafka: LocalKafka, filled: str, host: str) -> None:
        client = {
            "security_protocol": "SSL",
            "ssl_cafile": str(secure_kafka.ca),
            "ssl_certfile": str(secure_kafka.client_certificate),
            "ssl_keyfile": str(secure_kafka.client_key),
        }
        assert len(drain(secure_kafka.mtls.replace("127.0.0.1", host), filled, **client)) == 3

    # In a process of its own: a kafka-python client that cannot connect leaves sockets and a thread behind.
    REFUSED = """if True:
        import json, sys
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaTimeoutError
        from kafka_tools import UnsecuredTokens

        client = json.loads(sys.argv[1])
        tokens = UnsecuredTokens(lifetime=client.pop("lifetime"))
        try:
            KafkaAdminClient(bootstrap_timeout_ms=1500, sasl_oauth_token_provider=tokens, **client).close()
        except KafkaTimeoutError:
            print("refused")
        else:
            print("let in")
        """

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("listener", "changes", "message"),
        [
            ("sasl_ssl", {"sasl_mechanism": "SCRAM-SHA-512"}, "let in"),
            ("sasl_ssl", {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_password": "wrong"}, "refused"),
            ("sasl_ssl", {"sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "wrong"}, "refused"),
            ("sasl_ssl", {"sasl_mechanism": "PLAIN", "sasl_plain_password": "wrong"}, "refused"),
            ("sasl_ssl", {"sasl_mechanism": "PLAIN", "ssl_cafile": "other"}, "refused"),
            ("sasl_ssl", {"sasl_mechanism": "OAUTHBEARER"}, "let in"),
            ("sasl_ssl", {"sasl_mechanism": "OAUTHBEARER", "lifetime": -9.0}, "refused"),
            ("sasl_plaintext", {"sasl_mechanism": "PLAIN", "sasl_plain_password": "wrong"}, "refused"),
            ("mtls", {}, "refused"),
        ],
    )
    def test_wrong_credentials_are_rejected(
        self,
        secure_kafka: LocalKafka,
        login: dict[str, Any],
        listener: str,
        changes: dict[str, Any],
        message: str,
    ) -> None:
        del login["sasl_oauth_token_provider"]
        client = login | {
            "bootstrap_servers": getattr(secure_kafka, listener),
            "security_protocol": {"mtls": "SSL"}.get(listener, listener.upper()),
            "lifetime": 60.0,
        }
        client |= changes
        if client["ssl_cafile"] == "other":
            client["ssl_cafile"] = str(secure_kafka.other_ca)
        result = subprocess.run(
            [sys.executable, "-c", self.REFUSED, json.dumps(client)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout == f"{message}\n"

    def test_keys_are_private(self, secure_kafka: LocalKafka) -> None:
        for path in secure_kafka.directory.iterdir():
            if path.is_file() and "PRIVATE KEY" in path.read_text():
                assert path.stat().st_mode & 0o077 == 0, path

    def test_plaintext_broker_has_no_secure_address(self, local_kafka: LocalKafka) -> None:
        with pytest.raises(RuntimeError, match="no SASL_SSL listener"):
            _ = local_kafka.sasl_ssl


class TestRequirements:
    """These run without Java and Maven."""

    @pytest.fixture
    def tools(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
        """Puts only our own commands on the path."""
        folder = tmp_path / "tools"
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setattr(module, "JAVA_LIBS", tmp_path / "libs")

        def add(name: str, script: str) -> None:
            (folder / name).write_text("#!/bin/sh\nPATH=/usr/bin:/bin\n" + script)
            (folder / name).chmod(0o755)

        return add

    def test_no_java(self, tools: Any) -> None:
        with pytest.raises(Unavailable, match=r"^no Java found: install Java 17 or newer"), LocalKafka():
            pass

    def test_java_home_without_java(
        self, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tools("java", """echo 'openjdk version "17.0.1"' >&2""")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(Unavailable, match="no Java found"):
            module.java()

    @pytest.mark.parametrize(
        ("version", "good"),
        [("1.8.0_412", False), ("11.0.23", False), ("17.0.15", True), ("21", True), ("25-ea", True)],
    )
    def test_old_java(self, tools: Any, version: str, good: bool) -> None:
        tools("java", f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")
        if good:
            module.java()
        else:
            with pytest.raises(Unavailable, match="Java is too old"):
                module.java()

    def test_unrecognized_java_version(self, tools: Any) -> None:
        tools("java", "echo 'No Java runtime present' >&2; exit 1")
        with pytest.raises(Unavailable, match="install Java 17"):
            module.java()

    def test_no_maven(self, tools: Any) -> None:
        with pytest.raises(Unavailable, match=r"no Maven found .*: install Maven$"):
            module.libraries()

    def test_fetch_that_fails_leaves_nothing(self, tools: Any, tmp_path: Path) -> None:
        tools("mvn", "echo '[ERROR] Could not resolve dependencies'; echo '[ERROR] more'; exit 1")
        with pytest.raises(Unavailable, match=r"Could not resolve dependencies$"):
            module.libraries()
        assert {path.name for path in tmp_path.iterdir()} == {"tools", "libs.lock"}

    def test_folder_with_other_content(self, tools: Any, tmp_path: Path) -> None:
        (tmp_path / "libs").mkdir()
        with pytest.raises(Unavailable, match="SENTSTREAM_BROKER_LIBS"):
            module.libraries()

    def test_concurrent_fetches(self, tools: Any, tmp_path: Path) -> None:
        tools(
            "mvn",
            f"""echo called >>'{tmp_path}/calls'
            for each in "$@"; do case "$each" in -DoutputDirectory=*) to=${{each#*=}};; esac; done
            touch "$to/first.jar"; sleep 1; touch "$to/{module.BROKER_JAR}"
            """,
        )
        code = "from tools.local_kafka import libraries; print(sorted(p.name for p in libraries().iterdir()))"
        environment = {**os.environ, "SENTSTREAM_BROKER_LIBS": str(tmp_path / "libs")}
        command = [sys.executable, "-c", code]
        options: dict[str, Any] = {"env": environment, "cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
        with child(command, **options) as one, child(command, **options) as other:
            for process in one, other:
                printed, _ = process.communicate(timeout=PATIENCE)
                assert printed == f"['first.jar', '{module.BROKER_JAR}']\n"
        assert (tmp_path / "calls").read_text() == "called\n"


class TestFixtures:
    def run(self, **environment: str) -> str:
        """Return pytest's output for one test that needs a broker."""
        chosen = f"{Path(__file__)}::TestRecordsAndGroups::test_missing_topic_is_not_created"
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "CI"))}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", chosen],
            env={**mine, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    def test_without_java_tests_are_skipped_but_fail_in_ci(self, tmp_path: Path) -> None:
        without = {"JAVA_HOME": str(tmp_path), "SENTSTREAM_TEST_BOOTSTRAP": ""}
        assert "1 skipped" in self.run(**without)
        failed = self.run(**without, CI="true")
        assert "1 error" in failed
        assert "no Kafka broker: no Java found" in failed

    def test_external_broker(self, kafka: Any, tmp_path: Path) -> None:
        elsewhere = {"JAVA_HOME": str(tmp_path), "SENTSTREAM_TEST_BOOTSTRAP": kafka.bootstrap}
        assert "1 passed" in self.run(**elsewhere, CI="true")
