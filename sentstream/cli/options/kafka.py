"""Options that all Kafka commands share, and the parsing of durations, sizes and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sentstream.errors import UsageError

if TYPE_CHECKING:
    from sentstream.kafka.access.settings import Settings

_cluster = partial(typer.Option, show_envvar=False, rich_help_panel="Kafka cluster")

BootstrapServers = Annotated[
    str | None,
    _cluster(metavar="HOST:PORT", help="Brokers to bootstrap from.", show_default="localhost:9092"),
]
ClientConfig = Annotated[
    Path | None,
    _cluster(
        metavar="FILE",
        help="Client properties file with the Java client's setting names, e.g. for TLS and SASL.",
        show_default=False,
    ),
]
ClientChoice = Annotated[
    Literal["kafka-python", "confluent"],
    _cluster(
        metavar="NAME",
        help="Kafka client: kafka-python, or confluent, which is faster (extra: fast-kafka).",
    ),
]


def load_settings(file: Path | None, bootstrap_servers: str | None) -> Settings:
    """Load the client's settings; settings that are not used are named on standard error.

    Raises:
        ClientConfigError: The file cannot be read, or a setting not used.
    """
    from sentstream.cli.terminal.messages import warn
    from sentstream.kafka.access.settings import Settings

    overrides = {} if bootstrap_servers is None else {"bootstrap.servers": bootstrap_servers}
    settings = Settings.load(file, overrides=overrides)
    for line in settings.unused():
        warn(line)
    return settings


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str | None, option: str) -> float | None:
    """Parse ``90``, ``90s``, ``1.5h`` or ``500ms`` into seconds.

    >>> parse_duration("1.5h", "--for")
    5400.0

    Raises:
        UsageError: Not a duration, or not more than 0.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text.strip())
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{option} takes a duration, not {text!r}", hint="e.g. 90s, 10m, 1.5h")
    return seconds


_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str, option: str) -> int:
    """Parse ``256MiB``, ``256m``, ``1g`` or a number of bytes into bytes.

    >>> parse_size("256MiB", "--roll-bytes")
    268435456

    Raises:
        UsageError: Not a size, or not more than 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    size = int(float(match[1]) * _SIZES[match[2]]) if match else 0
    if size <= 0:
        raise UsageError(f"{option} takes a size, not {text!r}", hint="e.g. 256MiB")
    return size


def parse_start(text: str, option: str) -> Literal["earliest", "latest"] | int:
    """Parse ``earliest``, ``latest``, or a time (ISO 8601, by default UTC, or ms) into ms since 1970.

    >>> parse_start("2026-11-25T10:00:00Z", "--from")
    1795600800000

    Raises:
        UsageError: The text is none of the accepted forms.
    """
    word = text.strip()
    if word in ("earliest", "latest"):
        return "earliest" if word == "earliest" else "latest"
    if word.isascii() and word.isdigit():
        return int(word)
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise UsageError(
            f"{option} takes earliest, latest or a timestamp, not {text!r}", hint="e.g. 2026-11-25T10:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = round(moment.timestamp() * 1000)
    if milliseconds < 0:
        raise UsageError(f"{option} is before 1970")
    return milliseconds
