"""``sentstream consume``: label the tweets of a Kafka topic."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import sentstream
from sentstream.cli.options.common import (
    Abstention,
    Device,
    GpuMemory,
    Json,
    MaxChars,
    ModelChoice,
    ProviderChoice,
    parse_gpu_memory,
)
from sentstream.cli.options.kafka import (
    BootstrapServers,
    ClientChoice,
    ClientConfig,
    load_settings,
    parse_duration,
    parse_size,
    parse_start,
)
from sentstream.cli.terminal.messages import inform, warn
from sentstream.cli.terminal.signals import asking_on_signals
from sentstream.cli.terminal.streams import log_as_json, print_json
from sentstream.errors import UsageError, naming

if TYPE_CHECKING:
    from sentstream.kafka.clients.patience import Patience
    from sentstream.kafka.sinks.dataset import PartitionColumn

_read = partial(typer.Option, show_envvar=False, rich_help_panel="Input")
_model = partial(typer.Option, show_envvar=False, rich_help_panel="Model")
_written = partial(typer.Option, show_envvar=False, rich_help_panel="Output")
_pace = partial(typer.Option, show_envvar=False, rich_help_panel="Operation")

EXAMPLES = """[bold]Examples[/bold]

sentstream consume --topic tweets

sentstream consume --topic tweets --client-config client.properties

sentstream consume --topic tweets --metrics-port 9464 --log-format json

sentstream consume --topic tweets --to-parquet scored/ --until-end
"""


def consume(
    topic: Annotated[list[str], _read(metavar="NAME", help="Topic to read. Repeatable.", show_default=False)],
    group: Annotated[str, _read(metavar="NAME", help="Consumer group to join.")] = "sentstream",
    format: Annotated[
        Literal["json", "text"], _read(help="Format of the messages: JSON objects, or plain text.")
    ] = "json",
    text_field: Annotated[
        str | None,
        _read(
            metavar="A.B.C",
            help="Path of the text in a JSON message.",
            show_default="full_text, text or data.text, whichever is there",
        ),
    ] = None,
    from_: Annotated[
        str,
        _read(
            "--from",
            envvar="SENTSTREAM_CONSUME_FROM",
            metavar="WHERE",
            help="Where to start without a committed offset: earliest, latest or an ISO 8601 time.",
        ),
    ] = "earliest",
    until_end: Annotated[bool, _read("--until-end", help="Stop at the current end of the topic.")] = False,
    max_messages: Annotated[
        int | None, _read(metavar="N", min=1, help="Stop after N messages.", show_default=False)
    ] = None,
    for_: Annotated[
        str | None,
        _read(
            "--for",
            envvar="SENTSTREAM_CONSUME_FOR",
            metavar="DURATION",
            help="Stop after this time, e.g. 90s, 10m or 1.5h.",
            show_default=False,
        ),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    client_config: ClientConfig = None,
    client: ClientChoice = "kafka-python",
    model: ModelChoice = "tweets",
    provider: ProviderChoice = "auto",
    device: Device = None,
    gpu_memory: GpuMemory = None,
    threads: Annotated[
        int | None,
        _model(
            metavar="N",
            min=1,
            help="Scoring threads; affects speed, not results.",
            show_default="one per two CPUs",
        ),
    ] = None,
    max_chars: MaxChars = None,
    abstain: Abstention = None,
    to_topic: Annotated[
        str | None,
        _written(metavar="NAME", help="Topic for the results.", show_default="TOPIC.scored"),
    ] = None,
    to_parquet: Annotated[
        Path | None,
        _written(metavar="DIR", help="Write Parquet files instead of a topic.", show_default=False),
    ] = None,
    partition_by: Annotated[
        str | None,
        _written(
            metavar="NAMES",
            help="Write Hive directories by some of topic, partition, date and hour.",
            show_default=False,
        ),
    ] = None,
    roll_rows: Annotated[int, _written(metavar="N", min=1, help="Close a file after N rows.")] = 1_000_000,
    roll_bytes: Annotated[str, _written(metavar="SIZE", help="Close a file at this size.")] = "256MiB",
    roll_after: Annotated[str, _written(metavar="DURATION", help="Close a file after this time.")] = "5m",
    dead_letter_topic: Annotated[
        str | None,
        _written(metavar="NAME", help="Topic for messages that cannot be scored.", show_default="TOPIC.dlq"),
    ] = None,
    create_topics: Annotated[
        bool,
        _written(
            "--create-topics/--no-create-topics",
            help="Create missing topics for results and dead letters.",
        ),
    ] = True,
    prefix: Annotated[str, _written(metavar="NAME", help="Prefix of the added fields.")] = "sentiment",
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"],
        _pace(
            metavar="MODE",
            help="Delivery guarantee: exactly-once (results and offsets in one transaction)"
            " or at-least-once.",
        ),
    ] = "exactly-once",
    max_batch: Annotated[
        int,
        _pace(metavar="N", min=1, max=100_000, help="Maximum messages per batch and transaction."),
    ] = 5000,
    linger: Annotated[
        int, _pace(metavar="MS", min=0, max=60_000, help="Wait up to MS milliseconds for a batch to fill.")
    ] = 50,
    retry_for: Annotated[
        str,
        _pace(
            metavar="DURATION", help="Keep retrying without a broker for this time, e.g. 90s, 10m or 1.5h."
        ),
    ] = "2m",
    instance_id: Annotated[
        str | None,
        _pace(
            metavar="NAME",
            help="Name that identifies this instance across restarts, e.g. its StatefulSet pod.",
            show_default="kept on this machine",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        _pace(
            metavar="PORT",
            min=0,
            max=65_535,
            help="Serve /metrics, /healthz and /readyz on this port.",
            show_default=False,
        ),
    ] = None,
    metrics_host: Annotated[
        str | None,
        _pace(
            metavar="ADDRESS",
            help="Address to serve metrics on, e.g. 127.0.0.1 or ::1.",
            show_default="all IPv4 and IPv6 addresses",
        ),
    ] = None,
    stuck_after: Annotated[
        str,
        _pace(
            metavar="DURATION",
            help="Answer 503 on /healthz if a partition has made no progress for this time.",
        ),
    ] = "5m",
    reference: Annotated[
        Path | None,
        _pace(
            metavar="FILE",
            help="File from `sentstream reference` to measure drift against, in /metrics.",
            show_default="the model's training data, if in the bundle",
        ),
    ] = None,
    drift_window: Annotated[
        str, _pace(metavar="DURATION", help="Time window over which /metrics measures drift.")
    ] = "1h",
    log_format: Annotated[
        Literal["text", "json"],
        _pace(help="Log format on standard error: text, or one JSON object per line."),
    ] = "text",
    json: Json = False,
) -> None:
    """Label the tweets in a Kafka topic as they arrive, each exactly once, even across crashes.

    Adds a sentiment field and probabilities to each message and keeps its other fields,
    key, timestamp and headers; new headers name the model and its digest. Messages that
    cannot be scored go to a dead letter topic. Tombstones pass through.

    SIGTERM or Ctrl-C finishes and commits the current batch and exits with 0.

    Every option is also an environment variable: SENTSTREAM_CONSUME_TOPIC sets --topic.
    So is every client setting: SENTSTREAM_KAFKA_SASL_JAAS_CONFIG sets sasl.jaas.config.
    """
    from sentstream.cli.live.view import view
    from sentstream.cli.live.watch import RunInfo
    from sentstream.kafka.consume.run import Options, prepare
    from sentstream.kafka.sinks.dataset import Rolling
    from sentstream.kafka.watch.events import Observer, Observers
    from sentstream.kafka.watch.totals import Totals
    from sentstream.model import ModelOptions
    from sentstream.reference import Reference

    log_as_json(log_format == "json")
    if metrics_host is not None and metrics_port is None:
        raise UsageError("--metrics-host needs --metrics-port", hint="give --metrics-port PORT as well")
    if reference is not None and metrics_port is None:
        raise UsageError("--reference needs --metrics-port", hint="give --metrics-port PORT as well")
    compared = None if reference is None else Reference.load(reference)
    window = parse_duration(drift_window, "--drift-window") or 0
    options = Options(
        topics=list(dict.fromkeys(topic)),
        group=group,
        to_topic=to_topic,
        to_parquet=to_parquet,
        guarantee=delivery,
        dead_letter_topic=dead_letter_topic,
        format=format,
        text_field=text_field,
        prefix=prefix,
        abstain=abstain,
        start=parse_start(from_, "--from"),
        until_end=until_end,
        max_messages=max_messages,
        seconds=parse_duration(for_, "--for"),
        max_batch=max_batch,
        linger=linger / 1000,
        retry_for=parse_duration(retry_for, "--retry-for") or 0,
        instance=instance_id,
        create_topics=create_topics,
        rolling=Rolling(
            rows=roll_rows,
            size=parse_size(roll_bytes, "--roll-bytes"),
            seconds=parse_duration(roll_after, "--roll-after") or 0,
        ),
        partition_by=_columns(partition_by),
    )
    limit = parse_duration(stuck_after, "--stuck-after") or 0
    settings = load_settings(client_config, bootstrap_servers)
    with (
        prepare(
            options,
            settings,
            client=client,
            model=ModelOptions(
                model=model,
                provider=provider,
                threads=threads,
                max_chars=max_chars,
                device=device,
                gpu_memory=parse_gpu_memory(gpu_memory),
            ),
            own_process=True,
            warn=warn,
        ) as consumption,
        ExitStack() as stack,
    ):
        summary = consumption.to_dict()
        used = summary["model"]
        scores = consumption.scoring.model_info
        if scores.fallback:
            warn(f"not using CUDA: {scores.fallback}")
        elif scores.placement:
            inform(f"running on the GPU: {scores.placement}")
        totals = Totals()
        distances: Callable[[], Mapping[str, float]] = dict  # without /metrics, none
        drift_from = "nothing"
        observers: list[Observer] = [totals]
        if metrics_port is not None:
            from sentstream.kafka.watch.drift import Baseline, Drift
            from sentstream.kafka.watch.health import Health
            from sentstream.kafka.watch.http import Server
            from sentstream.kafka.watch.metrics import Metrics

            build = {
                "version": sentstream.__version__,
                "model": used["name"],
                "model_version": used["version"],
                "digest": used["digest"],
                "provider": summary["provider"],
                "client": summary["client"],
                "group": summary["group"],
            }
            hold = 0.0 if to_parquet is None else options.rolling.seconds
            metrics, health = Metrics(build, scoring=scores.pid), Health(limit, hold=hold)
            baseline = None
            if compared is not None:
                with naming(reference):
                    compared.check(used["name"], used["digest"], abstain)
                baseline = Baseline(compared.texts)
            elif scores.reference is not None:
                baseline = Baseline(scores.reference.texts, "training", labels=abstain is None)
                inform(f"measuring drift from the model's training data: {scores.reference}")
            if baseline is not None:
                drift_from = baseline.name
            drift = Drift(metrics.registry, window, baseline)
            server = Server(
                metrics, metrics_port, host=metrics_host, healthy=health.reason, ready=health.waiting
            )
            stack.enter_context(server)
            inform(f"metrics on port {server.port}")
            observers += [metrics, health, drift]
            distances = drift.distances
        shown = RunInfo(
            source=", ".join(summary["topics"]),
            target=summary["target"],
            group=summary["group"],
            model=f"{used['name']} {used['version']}",
            provider=summary["provider"],
            client=summary["client"],
            delivery=summary["delivery"],
            drift_from=drift_from,
        )
        # A batch is tens of thousands of objects that all live as long as it does: at Python's own threshold
        # of 700, looking for cycles among them takes a fifth of the time.
        gc.set_threshold(50_000, 10, 10)
        stack.enter_context(_stopping_on_signals(consumption.patience))
        observers.append(stack.enter_context(view(shown, drift=distances, as_json=log_format == "json")))
        consumption.run(Observers(*observers), warn=warn)
    if json:
        print_json({**totals.to_dict(), **summary})


def _columns(text: str | None) -> list[PartitionColumn]:
    """``topic,date`` as names."""
    from sentstream.kafka.sinks.dataset import PARTITION_COLUMNS

    names = [] if text is None else [name.strip() for name in text.split(",")]
    columns: list[PartitionColumn] = [name for name in PARTITION_COLUMNS if name in names]
    if len(columns) < len(names):
        raise UsageError(
            f"--partition-by does not take {text!r}",
            hint=f"use one or more of {', '.join(PARTITION_COLUMNS)}, separated by commas",
        )
    return sorted(columns, key=names.index)


@contextmanager
def _stopping_on_signals(patience: Patience) -> Iterator[None]:
    """SIGTERM or Ctrl-C asks the loop to finish; a second one ends it at once."""

    def ask(_: int) -> None:
        patience.stop()
        inform("stopping after the current batch is committed; repeat to stop at once")

    with asking_on_signals(ask):
        yield
