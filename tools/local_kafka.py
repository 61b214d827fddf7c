"""A real Apache Kafka broker on this machine, without Docker: for the demo, the tests and the benchmarks.

As a script it starts one, prints its address and runs until Ctrl-C:

    python tools/local_kafka.py [--directory DIRECTORY] [--port PORT]
    python tools/local_kafka.py --fetch    # fetches it and archives its classes, as before the tests

As a module:

    with LocalKafka() as kafka:
        KafkaProducer(bootstrap_servers=kafka.bootstrap)

It needs Java 17 or newer and, the first time, Maven, which fetches the broker (45 MB) into ``build/``.
Linux and macOS; it listens only on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import NoReturn, Self

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from tools.fetched import BUILD, Unavailable, locked_once, tried  # noqa: E402

POM = HERE / "kafka.pom.xml"
JAVA_LIBS = Path(os.environ.get("SENTSTREAM_BROKER_LIBS") or BUILD / "kafka-4.3.1-jars")
BROKER_JAR = "kafka_2.13-4.3.1.jar"
STARTED = b"Kafka Server started"
START_TIMEOUT = 240.0
STOP_TIMEOUT = 30.0

# Below the ephemeral ports that systems use for outgoing connections. A client that keeps trying to connect
# to a dead broker would sooner or later get the broker's own port, connect to itself and keep it.
PORTS = range(15000, 32000)

# Kills the broker (and removes its temporary directory) when this process ends in any way: the pipe is then
# closed before a line arrives.
WATCHDOG = (
    'read -r pid || exit 0; read -r _ && exit 0; kill -9 "$pid"; [ -z "$1" ] || { sleep 1; rm -rf "$1"; }'
)

#: For a broker that starts often and lives briefly: only the first compiler tier, and the smallest collector.
QUICK = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]

LOGGING = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "2",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A killed broker can return only after the controller has given up the old one (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",  # records keep the timestamps of their source, which may be years old
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
}

CERTIFICATE_SETTINGS = """\
[req]
distinguished_name = name
prompt = no
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class StartError(RuntimeError):
    """The broker did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Security:
    """The user of the secured listeners: see ``LocalKafka.sasl_ssl``, ``.sasl_plaintext`` and ``.mtls``."""

    user: str = "alice"
    password: str = "alice-secret"


def java() -> str:
    """Return the Java command, version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if command is None:
        raise Unavailable("no Java found: install Java 17 or newer (a JRE will do)")
    output = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', output)
    if version is None or int(version[1]) < 17:
        found = version[1] if version else "one that does not tell its version"
        raise Unavailable(f"Java is too old ({found}): install Java 17 or newer")
    return command


def libraries() -> Path:
    """Return the folder with the broker's jars, fetched with Maven the first time."""
    return fetch(POM, JAVA_LIBS, BROKER_JAR, "the Kafka broker")


def fetch(pom: Path, folder: Path, jar: str, description: str) -> Path:
    """Return a folder with jars, fetched with Maven the first time by one process for all.

    Args:
        pom: Lists the jars.
        folder: Where the jars are, or will be.
        jar: The name of one of them, which proves that they are there.
        description: What they are, for errors.

    Raises:
        Unavailable: There is no Maven, or it could not fetch them.
    """
    if (folder / jar).is_file():
        return folder
    if folder.exists():
        raise Unavailable(f"{folder} has no {jar}: remove it, or set SENTSTREAM_BROKER_LIBS elsewhere")
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no Maven found to fetch {description} with: install Maven")
    with locked_once(folder):
        if (folder / jar).is_file():
            return folder
        fetched = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        try:
            command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
            done = tried([*command, f"-DoutputDirectory={fetched}"])
            if done.returncode != 0 or not (fetched / jar).is_file():
                errors = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["no error shown"]
                raise Unavailable(f"Maven could not fetch {description}: {errors[0]}")
            fetched.chmod(0o755)
            fetched.rename(folder)
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
    return folder


def consumer_groups(bootstrap: str, *arguments: str) -> str:
    """Return what Kafka's own ``kafka-consumer-groups`` prints; works with any broker.

    Args:
        bootstrap: The broker's address.
        arguments: As ``--describe``, ``--group``, ``tweets``.

    Raises:
        StartError: The tool refuses; the message is its own.
    """
    command = [java(), *QUICK, *LOGGING, "-cp", f"{libraries()}/*"]
    main = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    done = subprocess.run(
        [*command, main, "--bootstrap-server", bootstrap, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise StartError(f"kafka-consumer-groups failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def warm_up() -> None:
    """Fetch the broker, and archive the classes of one run: brokers started later take half the CPU time.

    If no broker can run here, print why; the tests that need one report it again.
    """
    try:
        if class_archive(libraries()).is_file():
            return
        with LocalKafka() as broker:
            broker.stop()
    except (Unavailable, StartError) as error:
        print(f"no Kafka broker: {error}", file=sys.stderr)


def class_archive(libs: Path) -> Path:
    """Return the file of the classes that a broker with these jars had loaded when it stopped (JEP 350)."""
    return libs.with_name(f"{libs.name}.jsa")


def free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port of 127.0.0.1 that nobody listens on and that is not in ``taken``."""
    for _ in range(1000):
        port = SystemRandom().choice(PORTS)
        if port not in taken and free(port):
            return port
    raise StartError(f"no free port among {PORTS.start} to {PORTS.stop - 1}")


class LocalKafka:
    """One Kafka broker (and controller), started by ``with`` or ``start()``.

    Without a ``directory``, data goes to a temporary one that ``close()`` removes. Data in a given directory
    is kept, and a later broker there has the same topics, addresses and certificates. ``settings`` add to, or
    replace, those of server.properties. The broker dies with this process, even a killed one.

    It is configured to start fast: only the first compiler tier is used, and the classes that the first
    broker of a checkout had loaded when it stopped are mapped from ``build/`` by all later ones (JEP 350).
    ``lasting`` is for measurements: the optimizing compiler stays on.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        security: Security | None = None,
        settings: Mapping[str, str] | None = None,
        memory: str = "512m",
        lasting: bool = False,
    ) -> None:
        self._given = None if directory is None else directory.resolve()
        self._port = port
        self._settings = dict(settings or {})
        self._memory = memory
        self._lasting = lasting
        self._classes: Path | None = None  # where this broker archives its classes when it stops
        self._directory: Path | None = None
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.security = security

    # Life

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the broker and wait until it is ready."""
        if self.alive:
            raise StartError("the broker is running already")
        command, libs = java(), libraries()
        if self.security is not None and shutil.which("openssl") is None:
            raise Unavailable("no openssl command found to make certificates with: install OpenSSL")
        self._reap()
        if self._port is not None and not free(self._port):
            raise StartError(f"port {self._port} of 127.0.0.1 is taken")
        if self._directory is None:
            self._directory = self._given or Path(tempfile.mkdtemp(prefix="sentstream-kafka-"))
            self._directory.mkdir(parents=True, exist_ok=True)
        new = not (self.directory / "data" / "meta.properties").exists()
        if self.security is not None and not self._keystore.exists():
            self._make_certificates()
        for attempt in range(5):
            if new:
                self._choose_ports()
                self._write_settings()
                self._format(command, libs)
            else:
                self._read_ports()
                self._write_settings()
            if self._run(command, libs):
                return
            if new:
                shutil.rmtree(self.directory / "data")
            else:
                time.sleep(0.5 * (attempt + 1))
        self._fail("another process has the broker's ports")

    def stop(self) -> None:
        """Ask the broker to stop, and kill it if it does not."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
            else:
                self._keep_classes()
        self._reap()

    def kill(self) -> None:
        """Kill the broker at once, like a crash."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def restart(self) -> None:
        """Stop the broker if it runs, and start it again with the same addresses and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Suspend the broker: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # its threads stop one after the other

    def resume(self) -> None:
        """Continue a paused broker."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop the broker, and remove its data if their directory is temporary."""
        if self._given is not None:
            self.stop()
            return
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory, self._ports = None, {}

    # State and addresses

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs, even if paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The broker's process id."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """The folder of its data, settings, log and certificates."""
        if self._directory is None:
            raise RuntimeError("the broker has not been started")
        return self._directory

    @property
    def log(self) -> Path:
        """Its log file, with warnings and errors."""
        return self.directory / "kafka.log"

    @property
    def bootstrap(self) -> str:
        """The address for clients without security."""
        return self._address("PLAINTEXT")

    @property
    def sasl_ssl(self) -> str:
        """The address for SASL over TLS: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN and OAUTHBEARER.

        OAUTHBEARER accepts any unsigned, unexpired JSON web token with a subject.
        """
        return self._address("SASL_SSL")

    @property
    def sasl_plaintext(self) -> str:
        """The address for SASL PLAIN without TLS."""
        return self._address("SASL_PLAINTEXT")

    @property
    def mtls(self) -> str:
        """The address for TLS with a client certificate."""
        return self._address("SSL")

    @property
    def ca(self) -> Path:
        """The certificate authority that signed the broker's certificate and the client's."""
        return self.directory / "ca.pem"

    @property
    def other_ca(self) -> Path:
        """A certificate authority that signed neither."""
        return self.directory / "other-ca.pem"

    @property
    def client_certificate(self) -> Path:
        """A client's certificate, for ``mtls``."""
        return self.directory / "client.pem"

    @property
    def client_key(self) -> Path:
        """The key of ``client_certificate``."""
        return self.directory / "client.key"

    # Implementation

    def _address(self, listener: str) -> str:
        if listener not in self._ports:
            raise RuntimeError(f"the broker has no {listener} listener, or has not been started")
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def _keystore(self) -> Path:
        return self.directory / "keystore.pem"

    def _choose_ports(self) -> None:
        secured = () if self.security is None else ("SASL_SSL", "SASL_PLAINTEXT", "SSL")
        ports: dict[str, int] = {}
        for listener in ("PLAINTEXT", "CONTROLLER", *secured):
            wanted = self._port if listener == "PLAINTEXT" else None
            ports[listener] = wanted or free_port([*ports.values(), self._port or 0])
        self._ports = ports

    def _read_ports(self) -> None:
        """Reuse the ports of an earlier run on this directory; choose new ones for other listeners."""
        text = (self.directory / "server.properties").read_text()
        listeners = re.search(r"^listeners=(.*)$", text, re.MULTILINE)
        earlier = dict(re.findall(r"([A-Z_]+)://127\.0\.0\.1:(\d+)", listeners[1] if listeners else ""))
        if not self._ports:
            self._choose_ports()
            for listener in self._ports:
                if listener in earlier and not (listener == "PLAINTEXT" and self._port):
                    self._ports[listener] = int(earlier[listener])

    def _write_settings(self) -> None:
        protocols = {listener: listener for listener in self._ports} | {"CONTROLLER": "PLAINTEXT"}
        settings = SETTINGS | {
            "log.dirs": str(self.directory / "data"),
            "controller.quorum.bootstrap.servers": self._address("CONTROLLER"),
            "listeners": ",".join(f"{name}://{self._address(name)}" for name in self._ports),
            "listener.security.protocol.map": ",".join(f"{name}:{what}" for name, what in protocols.items()),
        }
        if self.security is not None:
            settings |= self._security_settings(self.security)
        lines = [f"{key}={value}\n" for key, value in (settings | self._settings).items()]
        (self.directory / "server.properties").write_text("".join(lines))

    def _security_settings(self, security: Security) -> dict[str, str]:
        common = "org.apache.kafka.common.security"
        scram = f"{common}.scram.ScramLoginModule required;"
        plain = f'{common}.plain.PlainLoginModule required user_{security.user}="{security.password}";'
        token = (
            f'{common}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        )
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
            "listener.name.sasl_ssl.plain.sasl.jaas.config": plain,
            "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": token,
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": plain,
        }

    def _make_certificates(self) -> None:
        (self.directory / "openssl.cnf").write_text(CERTIFICATE_SETTINGS)

        def openssl(*arguments: str) -> None:
            subprocess.run(
                ["openssl", *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
            )

        request = ["req", "-config", "openssl.cnf", "-newkey", "rsa:2048", "-nodes"]
        for name in ("ca", "other-ca"):
            authority = ["-x509", "-extensions", "ca", "-days", "365", "-subj", f"/CN=sentstream {name}"]
            openssl(*request, *authority, "-keyout", f"{name}.key", "-out", f"{name}.pem")
        for name in ("server", "client"):
            openssl(*request, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            signing = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "365"]
            extensions = ["-extfile", "openssl.cnf", "-extensions", name]
            openssl(*signing, *extensions, "-in", f"{name}.csr", "-out", f"{name}.pem")
        self._keystore.touch(mode=0o600)
        parts = [(self.directory / f"server.{end}").read_text() for end in ("key", "pem")]
        self._keystore.write_text("".join(parts))

    def _format(self, command: str, libs: Path) -> None:
        """Make the data directory, with the SCRAM users."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if cluster.startswith("-"):
            cluster = "A" + cluster[1:]
        users: list[str] = []
        if self.security is not None:
            login = f"name={self.security.user},password={self.security.password}"
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
                users += ["--add-scram", f"{mechanism}=[{login}]"]
        tool = [
            command,
            *QUICK,
            *self._mapped(libs),
            *LOGGING,
            "-cp",
            f"{libs}/*",
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
        ]
        done = subprocess.run(
            [*tool, "-t", cluster, "-c", str(self.directory / "server.properties"), *users],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise StartError(f"the broker's data directory could not be made:\n{done.stdout[-2000:]}")

    def _run(self, command: str, libs: Path) -> bool:
        """Start the process and wait until it is ready; return False if one of its ports was taken."""
        machine = ["-Xms256M", f"-Xmx{self._memory}", *self._start_options(libs)]
        broker = [command, *machine, *LOGGING, "-cp", f"{libs}/*", "kafka.Kafka", "server.properties"]
        temporary = "" if self._given is not None else str(self.directory)
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "watchdog", temporary],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with open(self.log, "ab") as log:
            start = log.tell()
            self._process = subprocess.Popen(
                broker,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(b"%d\n" % self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            running = self.alive
            with open(self.log, "rb") as written:
                written.seek(start)
                output = written.read()
            if STARTED in output:
                return True
            if not running:
                self._reap()
                if b"Address already in use" in output:
                    return False
                self._fail("the broker ended while starting")
            time.sleep(0.05)
        self.kill()
        self._fail(f"the broker did not start in {START_TIMEOUT:.0f} s")

    def _start_options(self, libs: Path) -> list[str]:
        """Return the options that map an earlier broker's classes, or that archive those of this one."""
        if self._lasting:
            return []
        if mapped := self._mapped(libs):
            return [*QUICK, *mapped]
        self._classes = libs.with_name(f"{libs.name}.{os.getpid()}")
        return [*QUICK, f"-XX:ArchiveClassesAtExit={self._classes}"]

    @staticmethod
    def _mapped(libs: Path) -> list[str]:
        """Return the option that maps the classes of an earlier broker, if there was one."""
        classes = class_archive(libs)  # ignored by other Java versions
        return [f"-XX:SharedArchiveFile={classes}"] if classes.is_file() else []

    def _keep_classes(self) -> None:
        """Give the class archive its final name: a broker that stopped cleanly has written it."""
        if self._classes is not None and self._classes.is_file():
            self._classes.rename(self._classes.with_suffix(".jsa"))
        self._classes = None

    def _reap(self) -> None:
        """Forget a broker that has ended or is ending, and end its watchdog."""
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._watchdog is not None:
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.write(b"done\n")
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _fail(self, why: str) -> NoReturn:
        lines = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        raise StartError("\n".join([why, *lines]))


def end(_number: int, _frame: object) -> NoReturn:
    """End the script cleanly on a signal."""
    raise SystemExit(0)


def main() -> None:
    """Start a broker, print its address, and run until told to stop."""
    parser = argparse.ArgumentParser(description="Run an Apache Kafka broker on 127.0.0.1 until Ctrl-C.")
    parser.add_argument(
        "--directory", type=Path, help="where to keep its data (a temporary one if not given)"
    )
    parser.add_argument("--port", type=int, help="the port to listen on (a free one if not given)")
    parser.add_argument("--fetch", action="store_true", help="only fetch the broker and archive its classes")
    arguments = parser.parse_args()
    if arguments.fetch:
        warm_up()
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    try:
        with LocalKafka(arguments.directory, port=arguments.port) as kafka:
            print(kafka.bootstrap, flush=True)
            while kafka.alive:
                time.sleep(0.2)
            sys.exit(
                f"the broker ended; its log is {kafka.log}" if arguments.directory else "the broker ended"
            )
    except (Unavailable, StartError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
