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

_read = partial(typer.Option, show_envvar=False, rich_help_panel="What is read")
_model = partial(typer.Option, show_envvar=False, rich_help_panel="What scores it")
_written = partial(typer.Option, show_envvar=False, rich_help_panel="What is written")
_pace = partial(typer.Option, show_envvar=False, rich_help_panel="How it runs")

EXAMPLES = """[bold]Examples[/bold]

sentstream consume --topic tweets

sentstream consume --topic tweets --client-config client.properties --metrics-port 9464

sentstream consume --topic tweets --to-parquet scored/ --partition-by date --until-end
"""


def consume(
    topic: Annotated[
        list[str], _read(metavar="NAME", help="Topic to read; may be given again.", show_default=False)
    ],
    group: Annotated[str, _read(metavar="NAME", help="Consumer group.")] = "sentstream",
    format: Annotated[
        Literal["json", "text"], _read(help="What messages are: JSON objects, or plain text.")
    ] = "json",
    text_field: Annotated[
        str | None,
        _read(
            metavar="A.B.C",
            help="Path of the text in the JSON.",
            show_default="full_text, text, data.text: what is there",
        ),
    ] = None,
    from_: Annotated[
        str,
        _read(
            "--from",
            envvar="SENTSTREAM_CONSUME_FROM",
            metavar="WHERE",
            help="Where to start without a committed offset: earliest, latest, or a time (ISO 8601).",
        ),
    ] = "earliest",
    until_end: Annotated[
        bool, _read("--until-end", help="Stop at what is now the end of the topic.")
    ] = False,
    max_messages: Annotated[
        int | None, _read(metavar="N", min=1, help="Stop after N messages.", show_default=False)
    ] = None,
    for_: Annotated[
        str | None,
        _read(
            "--for",
            envvar="SENTSTREAM_CONSUME_FOR",
            metavar="DURATION",
            help="Stop after this time: 90s, 10m, 1.5h.",
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
            help="Threads that score: speed, not results.",
            show_default="one for two CPUs",
        ),
    ] = None,
    max_chars: Annotated[
        int | None,
        _model(
            metavar="N", min=1, help="Characters of a tweet that are read.", show_default="the model's: 1000"
        ),
    ] = None,
    abstain: Abstention = None,
    to_topic: Annotated[
        str | None, _written(metavar="NAME", help="Topic for the results.", show_default="TOPIC.scored")
    ] = None,
    to_parquet: Annotated[
        Path | None,
        _written(metavar="DIR", help="Write Parquet files instead of a topic.", show_default=False),
    ] = None,
    partition_by: Annotated[
        str | None,
        _written(
            metavar="NAMES",
            help="Hive directories, out of topic, partition, date, hour.",
            show_default=False,
        ),
    ] = None,
    roll_rows: Annotated[
        int, _written(metavar="N", min=1, help="Rows after which a file is closed.")
    ] = 1_000_000,
    roll_bytes: Annotated[
        str, _written(metavar="SIZE", help="Bytes after which a file is closed.")
    ] = "256MiB",
    roll_after: Annotated[
        str, _written(metavar="DURATION", help="Time after which a file is closed.")
    ] = "5m",
    dead_letter_topic: Annotated[
        str | None,
        _written(metavar="NAME", help="Topic for messages that cannot be scored.", show_default="TOPIC.dlq"),
    ] = None,
    create_topics: Annotated[
        bool,
        _written(
            "--create-topics/--no-create-topics", help="Create missing topics for results and dead letters."
        ),
    ] = True,
    prefix: Annotated[
        str, _written(metavar="NAME", help="Prefix of the names of the added fields.")
    ] = "sentiment",
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"],
        _pace(help="Whether results and offsets are committed in one transaction."),
    ] = "exactly-once",
    max_batch: Annotated[
        int,
        _pace(metavar="N", min=1, max=100_000, help="Maximum messages in a batch, and so in a transaction."),
    ] = 5000,
    linger: Annotated[
        int, _pace(metavar="MS", min=0, max=60_000, help="Milliseconds to wait for a batch to fill.")
    ] = 50,
    retry_for: Annotated[
        str, _pace(metavar="DURATION", help="How long to keep trying without a broker: 90s, 10m, 1.5h.")
    ] = "2m",
    instance_id: Annotated[
        str | None,
        _pace(
            metavar="NAME",
            help="A name that survives restarts of this instance, such as that of a StatefulSet's pod.",
            show_default="one that this machine remembers",
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
    stuck_after: Annotated[
        str,
        _pace(
            metavar="DURATION",
            help="/healthz answers 503 when a partition has made no progress for this time.",
        ),
    ] = "5m",
    metrics_host: Annotated[
        str | None,
        _pace(
            metavar="ADDRESS",
            help="Address to serve them on, e.g. 127.0.0.1 or ::1.",
            show_default="all, IPv4 and IPv6",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        _pace(
            metavar="FILE",
            help="What `sentstream reference` wrote: /metrics tells how far the texts are from it.",
            show_default="what the model was trained on, if it says",
        ),
    ] = None,
    drift_window: Annotated[
        str, _pace(metavar="DURATION", help="How far back what /metrics tells of drift goes.")
    ] = "1h",
    log_format: Annotated[
        Literal["text", "json"],
        _pace(help="What standard error gets: lines for people, or a JSON object a line."),
    ] = "text",
    json: Annotated[bool, _pace("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Label the tweets of a Kafka topic as they come: each exactly once, whatever is killed in between.

    The message stays as it is, sentiment and its probabilities are added; key,
    timestamp and headers stay, the model's name and digest come in headers. What
    cannot be scored goes to a dead letter topic. Messages without a value pass.

    SIGTERM and Ctrl-C finish the batch, commit and exit with 0.

    Each option is also an environment variable: SENTSTREAM_CONSUME_TOPIC is
    --topic. A client setting is one too: SENTSTREAM_KAFKA_SASL_JAAS_CONFIG.
    """
    from sentstream.cli.live.view import view
    from sentstream.cli.live.watch import About
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
        about = consumption.to_dict()
        used = about["model"]
        scores = consumption.scoring.about
        if scores.fallback:
            warn(f"CUDA is not used: {scores.fallback}")
        elif scores.placement:
            inform(f"on the GPU: {scores.placement}")
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
                "provider": about["provider"],
                "client": about["client"],
                "group": about["group"],
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
                inform(f"drift is told from the model's training: {scores.reference}")
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
        shown = About(
            source=", ".join(about["topics"]),
            target=about["target"],
            group=about["group"],
            model=f"{used['name']} {used['version']}",
            provider=about["provider"],
            client=about["client"],
            delivery=about["delivery"],
            drift_from=drift_from,
        )
        # A batch is tens of thousands of objects that all live as long as it does: at Python's own threshold
        # of 700, looking for cycles among them takes a fifth of the time.
        gc.set_threshold(50_000, 10, 10)
        stack.enter_context(_stopping_on_signals(consumption.patience))
        observers.append(stack.enter_context(view(shown, drift=distances, as_json=log_format == "json")))
        consumption.run(Observers(*observers), warn=warn)
    if json:
        print_json({**totals.to_dict(), **about})


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
        inform("stopping: the batch under way is finished and committed; once more to stop at once")

    with asking_on_signals(ask):
        yield
