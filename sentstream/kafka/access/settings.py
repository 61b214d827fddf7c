"""Kafka settings, under the names of the Java client.

They come from three sources, in order of precedence: command line options, the environment
(``SENTSTREAM_KAFKA_BOOTSTRAP_SERVERS`` is ``bootstrap.servers``), and a ``client.properties`` file. In
values, ``${env:NAME}``, ``${file:/path:key}`` and ``${directory:/path:file}`` are replaced by what they
refer to (KIP-297, KIP-421, KIP-887).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeAlias, overload

from sentstream.errors import ClientConfigError
from sentstream.kafka.access.properties import read_properties

Role: TypeAlias = Literal["client", "consumer", "producer"]

ENVIRONMENT = "SENTSTREAM_KAFKA_"


class Text(NamedTuple):
    """A text setting; with ``choices``, one of them, case-insensitive. ``role``: which client uses it."""

    role: Role
    choices: tuple[str, ...] = ()


class Integer(NamedTuple):
    """An integer setting within two limits, inclusive."""

    role: Role
    low: int = 0
    high: int = 2**31 - 1


class Flag(NamedTuple):
    """A Boolean setting."""

    role: Role


#: Every setting that is used, and by which client; "client" means all.
USED: Mapping[str, Text | Integer | Flag] = {
    "bootstrap.servers": Text("client"),
    "client.id": Text("client"),
    "client.rack": Text("consumer"),
    "client.dns.lookup": Text("client", ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only")),
    "connections.max.idle.ms": Integer("client", -1),
    "default.api.timeout.ms": Integer("client"),
    "metadata.max.age.ms": Integer("client"),
    "receive.buffer.bytes": Integer("client", -1),
    "reconnect.backoff.max.ms": Integer("client"),
    "reconnect.backoff.ms": Integer("client"),
    "request.timeout.ms": Integer("client"),
    "retry.backoff.ms": Integer("client"),
    "send.buffer.bytes": Integer("client", -1),
    "socket.connection.setup.timeout.ms": Integer("client", 1),
    # Security
    "security.protocol": Text("client", ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")),
    "sasl.jaas.config": Text("client"),
    "sasl.login.connect.timeout.ms": Integer("client", 1),
    "sasl.mechanism": Text("client"),
    "sasl.oauthbearer.client.credentials.client.id": Text("client"),
    "sasl.oauthbearer.client.credentials.client.secret": Text("client"),
    "sasl.oauthbearer.header.urlencode": Flag("client"),
    "sasl.oauthbearer.scope": Text("client"),
    "sasl.oauthbearer.token.endpoint.url": Text("client"),
    "ssl.cipher.suites": Text("client"),
    "ssl.enabled.protocols": Text("client"),
    "ssl.endpoint.identification.algorithm": Text("client", ("https", "")),
    "ssl.key.password": Text("client"),
    "ssl.keystore.certificate.chain": Text("client"),
    "ssl.keystore.key": Text("client"),
    "ssl.keystore.location": Text("client"),
    "ssl.keystore.type": Text("client"),
    "ssl.truststore.certificates": Text("client"),
    "ssl.truststore.location": Text("client"),
    "ssl.truststore.type": Text("client"),
    # Consumer
    "auto.offset.reset": Text("consumer", ("earliest", "latest", "none")),
    "check.crcs": Flag("consumer"),
    "enable.auto.commit": Flag("consumer"),
    "fetch.max.bytes": Integer("consumer"),
    "fetch.max.wait.ms": Integer("consumer"),
    "fetch.min.bytes": Integer("consumer"),
    "group.id": Text("consumer"),
    "group.instance.id": Text("consumer"),
    "heartbeat.interval.ms": Integer("consumer", 1),
    "isolation.level": Text("consumer", ("read_committed", "read_uncommitted")),
    "max.partition.fetch.bytes": Integer("consumer"),
    "max.poll.interval.ms": Integer("consumer", 1),
    "max.poll.records": Integer("consumer", 1),
    "session.timeout.ms": Integer("consumer", 1),
    # Producer
    "acks": Text("producer", ("all", "-1", "0", "1")),
    "batch.size": Integer("producer"),
    "buffer.memory": Integer("producer", 1, 2**63 - 1),
    "compression.type": Text("producer", ("none", "gzip", "snappy", "lz4", "zstd")),
    "delivery.timeout.ms": Integer("producer"),
    "enable.idempotence": Flag("producer"),
    "linger.ms": Integer("producer"),
    "max.block.ms": Integer("producer", 0, 2**63 - 1),
    "max.in.flight.requests.per.connection": Integer("producer", 1, 5),
    "max.request.size": Integer("producer", 1),
    "retries": Integer("producer", 1),
    "transaction.timeout.ms": Integer("producer", 1),
    "transactional.id": Text("producer"),
}

#: Values that would break exactly-once, and why.
_CONTRADICTIONS = {
    ("enable.auto.commit", "true"): "offsets are committed together with the results, never on their own",
    ("isolation.level", "read_uncommitted"): "records of aborted transactions would be scored",
    ("enable.idempotence", "false"): "a retried send would write a result twice",
    ("acks", "0"): "a result that no broker has acknowledged may be lost",
    ("acks", "1"): "a result that only one broker has may be lost with it",
}

#: Names that are in every Java file and have no meaning here; no warning.
_QUIET = re.compile(r"(key|value)\.(de)?serializer|config\.providers(\..*)?|ssl\.protocol")
#: Settings that are not used, with values that match what is done anyway; no warning.
_AGREED = re.compile(
    r"partition\.assignment\.strategy=(cooperative-sticky|[\w.]*\.CooperativeStickyAssignor)"
    r"|group\.protocol=classic"
    r"|allow\.auto\.create\.topics=false"
    r"|sasl\.login\.callback\.handler\.class=[\w.]*\.OAuthBearerLoginCallbackHandler",
    re.IGNORECASE,
)

#: Settings of Kafka's clients that are not used, and the reason, or "".
_UNUSED = {
    "allow.auto.create.topics": "reading never creates topics",
    "auto.commit.interval.ms": "offsets are committed together with the results",
    "auto.include.jmx.reporter": "",
    "enable.metrics.push": "",
    "exclude.internal.topics": "",
    "group.protocol": "groups are joined with the classic protocol",
    "group.remote.assignor": "the assignment is cooperative-sticky",
    "interceptor.classes": "Java classes cannot be loaded",
    "metadata.recovery.rebootstrap.trigger.ms": "",
    "metadata.recovery.strategy": "",
    "metric.reporters": "--metrics-port serves the metrics",
    "metrics.num.samples": "",
    "metrics.recording.level": "",
    "metrics.sample.window.ms": "",
    "partition.assignment.strategy": "the assignment is cooperative-sticky",
    "partitioner.class": "the record's key decides, as in the default partitioner",
    "partitioner.adaptive.partitioning.enable": "",
    "partitioner.availability.timeout.ms": "",
    "partitioner.ignore.keys": "",
    "retry.backoff.max.ms": "",
    "sasl.client.callback.handler.class": "Java classes cannot be loaded",
    "sasl.kerberos.service.name": "Kerberos is not supported",
    "sasl.login.callback.handler.class": "Java classes cannot be loaded",
    "sasl.login.class": "Java classes cannot be loaded",
    "sasl.login.read.timeout.ms": "sasl.login.connect.timeout.ms covers the whole login",
    "sasl.login.refresh.buffer.seconds": "",
    "sasl.login.refresh.min.period.seconds": "",
    "sasl.login.refresh.window.factor": "tokens are renewed after 80 % of their lifetime",
    "sasl.oauthbearer.jwt.retriever.class": "Java classes cannot be loaded",
    "security.providers": "Java classes cannot be loaded",
    "socket.connection.setup.timeout.max.ms": "",
    "ssl.engine.factory.class": "Java classes cannot be loaded",
    "ssl.keymanager.algorithm": "",
    "ssl.keystore.password": "PEM stores have no password; use ssl.key.password for the key",
    "ssl.provider": "",
    "ssl.secure.random.implementation": "",
    "ssl.trustmanager.algorithm": "",
    "ssl.truststore.password": "PEM stores have no password",
    # librdkafka's names for settings that the Java client names differently
    "metadata.broker.list": "that is librdkafka's name for bootstrap.servers",
    "sasl.mechanisms": "that is librdkafka's name for sasl.mechanism",
    "sasl.password": "that is librdkafka's name; use sasl.jaas.config",
    "sasl.username": "that is librdkafka's name; use sasl.jaas.config",
    "ssl.ca.location": "that is librdkafka's name for ssl.truststore.location",
    "ssl.certificate.location": "that is librdkafka's name; use ssl.keystore.location",
    "ssl.key.location": "that is librdkafka's name; use ssl.keystore.location",
}

_SECRET = re.compile(r"password|secret|jaas|key|token|credential", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([^}:]*):(?:([^}]*):)?([^}]*)\}")
_PROVIDERS = {
    "EnvVarConfigProvider": "env",
    "FileConfigProvider": "file",
    "DirectoryConfigProvider": "directory",
}
_SERVER = re.compile(r"(?:[\w.%-]*://)?(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})")


class _Value(NamedTuple):
    """The value of a setting, and where it was set."""

    text: str
    where: str


class Settings:
    """Kafka settings by their Java names; every value in use has been checked.

    ``text``, ``integer`` and ``flag`` accept the names in ``USED``; others raise KeyError.
    """

    def __init__(self, values: Mapping[str, _Value], environ: Mapping[str, str]) -> None:
        """Use ``load``."""
        self._set = values
        providers = _providers(values)
        self._values = {
            name: _Value(_resolve(name, value, providers, environ).strip(), value.where)
            for name, value in values.items()
            if name in USED
        }
        # Empty is the same as not set, except for the one setting where empty is a value.
        for name in [name for name, value in self._values.items() if not value.text]:
            if name != "ssl.endpoint.identification.algorithm":
                del self._values[name]
        for name, value in self._values.items():
            self._values[name] = _Value(_checked(name, value), value.where)

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        *,
        overrides: Mapping[str, str] = {},
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Read the settings and check them.

        Args:
            file: A client.properties file.
            overrides: Settings that override all others, by their Java names.
            environ: The environment; by default that of the process.

        Raises:
            ClientConfigError: The file is malformed or cannot be read, or a value cannot be used.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, _Value] = {}
        if file is not None:
            for name, value, line in read_properties(file):
                values[name] = _Value(value, f"{file.name} line {line}")
        variables = {variable(name): name for name in (*USED, *_UNUSED)}
        for key, value in environ.items():
            if key.startswith(ENVIRONMENT):
                name = variables.get(key, key.removeprefix(ENVIRONMENT).lower().replace("_", "."))
                values[name] = _Value(value, key)
        for name, value in overrides.items():
            values[name] = _Value(value, "command line")
        return cls(values, environ)

    @overload
    def text(self, name: str, default: str) -> str: ...
    @overload
    def text(self, name: str, default: None = None) -> str | None: ...
    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a setting as text; a setting with choices is spelled as in ``USED``.

        ``bootstrap.servers`` is one or several ``host:port``, separated by commas without spaces. If it is
        not set, it is localhost:9092, whatever the default.
        """
        assert USED[name] is not None
        if name in self._values:
            return self._values[name].text
        return "localhost:9092" if name == "bootstrap.servers" else default

    def integer(self, name: str, default: int) -> int:
        """Return a setting as an integer."""
        assert isinstance(USED[name], Integer)
        return int(self._values[name].text) if name in self._values else default

    def flag(self, name: str, default: bool) -> bool:
        """Return a setting as a Boolean."""
        assert isinstance(USED[name], Flag)
        return self._values[name].text == "true" if name in self._values else default

    def servers(self) -> list[tuple[str, int]]:
        """Return ``bootstrap.servers`` as hosts (IPv6 without brackets) and ports."""
        return [_server(each) for each in (self.text("bootstrap.servers") or "").split(",")]

    def where(self, name: str) -> str:
        """Return where a setting was set, to begin an error with: ``client.properties line 7: acks``."""
        return f"{self._values[name].where}: {name}" if name in self._values else name

    def unused(self) -> list[str]:
        """Return a warning for each setting that is not used, in order."""
        return [
            f"{value.where}: '{name}' is not used{_why_unused(name)}"
            for name, value in self._set.items()
            if name not in USED and not _QUIET.fullmatch(name) and not _agreed(name, value)
        ]

    def __repr__(self) -> str:
        shown = (
            f"{name}={'…' if _SECRET.search(name) else repr(value.text)}"
            for name, value in self._values.items()
        )
        return f"Settings({', '.join(shown)})"


def variable(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable("bootstrap.servers")
    'SENTSTREAM_KAFKA_BOOTSTRAP_SERVERS'
    """
    return ENVIRONMENT + name.replace(".", "_").upper()


def _agreed(name: str, value: _Value) -> bool:
    return _AGREED.fullmatch(f"{name}={value.text.strip()}") is not None


def _why_unused(name: str) -> str:
    if name in _UNUSED:
        return f" ({_UNUSED[name]})" if _UNUSED[name] else ""
    near = difflib.get_close_matches(name, USED, n=1, cutoff=0.7)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _checked(name: str, value: _Value) -> str:
    """Return a value as ``Settings.text`` returns it; raise ClientConfigError if it cannot be used."""
    kind, text, where = USED[name], value.text, f"{value.where}: {name}"
    if isinstance(kind, Integer):
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
            raise ClientConfigError(f"{where} takes an integer, not {text!r}")
        if not kind.low <= int(text) <= kind.high:
            raise ClientConfigError(f"{where} is {text}, not between {kind.low:,} and {kind.high:,}")
        return text
    if isinstance(kind, Flag):
        text = text.lower()
        if text not in ("true", "false"):
            raise ClientConfigError(f"{where} must be true or false, not {value.text!r}")
    elif kind.choices:
        spelled = {choice.lower(): choice for choice in kind.choices}
        if text.lower() not in spelled:
            usual = [choice or "empty" for choice in kind.choices if (name, choice) not in _CONTRADICTIONS]
            raise ClientConfigError(f"{where} cannot be {text!r}", hint=f"use one of: {', '.join(usual)}")
        text = spelled[text.lower()]
    if (name, text) in _CONTRADICTIONS:
        raise ClientConfigError(
            f"{where}={text} contradicts exactly-once: {_CONTRADICTIONS[name, text]}",
            hint="remove it, or use a separate file for sentstream",
        )
    if name == "bootstrap.servers":
        return _servers(text, where)
    return text


def _servers(text: str, where: str) -> str:
    servers = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        match = _SERVER.fullmatch(each)
        if match is None or not 0 < int(match[3]) < 65536:
            raise ClientConfigError(
                f"{where}: {each!r} is not host:port", hint="e.g. kafka1:9092,kafka2:9092"
            )
        host = f"[{match[1]}]" if match[1] else match[2]
        servers.append(f"{host}:{int(match[3])}")
    if not servers:
        raise ClientConfigError(f"{where} has no server", hint="e.g. kafka1:9092,kafka2:9092")
    return ",".join(servers)


def _server(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _providers(values: Mapping[str, _Value]) -> dict[str, str]:
    """Return the kinds of the config providers by name; Kafka's usual names need no declaration."""
    names = {"env": "env", "file": "file", "directory": "directory"}
    for setting, value in values.items():
        declared = re.fullmatch(r"config\.providers\.(.+)\.class", setting)
        simple = value.text.strip().rpartition(".")[2]
        if declared and simple in _PROVIDERS:
            names[declared[1]] = _PROVIDERS[simple]
    return names


def _resolve(name: str, value: _Value, providers: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the value with each ``${provider:path:key}`` replaced; replacements are not resolved again."""
    where = f"{value.where}: {name}"

    def fail(reference: str, reason: str) -> NoReturn:
        raise ClientConfigError(f"{where}: {reference} cannot be resolved: {reason}")

    def found(match: re.Match[str]) -> str:
        reference, path, key = match[0], match[2] or "", match[3]
        provider = providers.get(match[1])
        if provider is None:
            if _SECRET.search(name):
                return reference  # as Java does: it may be part of a password
            fail(reference, f"unknown config provider {match[1]!r}; env, file and directory are supported")
        if provider == "env":
            if key not in environ:
                fail(reference, f"the environment variable {key} is not set")
            return environ[key]
        if not path:
            fail(reference, f"it has no path or no key; write ${{{match[1]}:/path:key}}")
        if provider == "directory":
            try:
                return (Path(path) / key).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                fail(reference, getattr(error, "strerror", None) or "it is not UTF-8")
        keys = {each.name: each.value for each in read_properties(Path(path))}
        if key not in keys:
            fail(reference, "the file has no such key")
        return keys[key]

    return _REFERENCE.sub(found, value.text)
