"""``sentstream produce``: send the rows of files to a Kafka topic."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sentstream.cli.options.columns import parse_columns
from sentstream.cli.options.common import Inputs, Json
from sentstream.cli.options.kafka import BootstrapServers, ClientChoice, ClientConfig, load_settings
from sentstream.cli.terminal.messages import counted_rows, warn
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.signals import finishing_on_signals
from sentstream.cli.terminal.streams import print_data, print_json, print_message
from sentstream.errors import UsageError, counted

if TYPE_CHECKING:
    from sentstream.kafka.produce.run import Production, Report

_sent = partial(typer.Option, show_envvar=False, rich_help_panel="Records")
_pace = partial(typer.Option, show_envvar=False, rich_help_panel="Operation")

EXAMPLES = """[bold]Examples[/bold]

sentstream produce tweets.parquet --topic tweets --partitions 4

sentstream produce 'logs/*.parquet' --topic tweets --columns id,text

sentstream produce tweets.csv --topic tweets --rate 200/s --loop
"""


def produce(
    inputs: Inputs,
    topic: Annotated[str, _sent(metavar="NAME", help="Topic to send to.", show_default=False)],
    partitions: Annotated[
        int | None,
        _sent(
            metavar="N",
            min=1,
            help="Create the topic with N partitions if it is missing.",
            show_default="the topic must exist",
        ),
    ] = None,
    format: Annotated[
        Literal["json", "text"],
        _sent(help="Format of a record's value: the row as JSON, or its text (null for no value)."),
    ] = "json",
    columns: Annotated[
        str | None,
        _sent(metavar="NAMES", help="Columns to send as fields, e.g. id,text.", show_default="all"),
    ] = None,
    text_column: Annotated[
        str | None,
        _sent(metavar="NAME", help="Column that holds the tweets, for --format text.", show_default="text"),
    ] = None,
    key_column: Annotated[
        str | None,
        _sent(
            metavar="NAME",
            help="Column that holds the record keys: text, integers or bytes (null for no key).",
            show_default="no key",
        ),
    ] = None,
    timestamp_column: Annotated[
        str | None,
        _sent(
            metavar="NAME",
            help="Column that holds the record timestamps (null for the time of sending).",
            show_default="the time of sending",
        ),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    client_config: ClientConfig = None,
    client: ClientChoice = "kafka-python",
    rate: Annotated[
        str | None,
        _pace(
            metavar="RATE",
            help="Rows to send per second (20 or 20/s), minute (1200/m) or hour.",
            show_default="as fast as possible",
        ),
    ] = None,
    loop: Annotated[
        bool, _pace("--loop", help="Start over at the end of the input until interrupted.")
    ] = False,
    json: Json = False,
    dry_run: Annotated[
        bool, _pace("--dry-run", help="Check everything and print the first record, but send nothing.")
    ] = False,
) -> None:
    """Send the rows of files to a Kafka topic, for tests, load tests and backfills.

    JSON values hold exact numbers, decimals as text, dates and times in ISO 8601, bytes
    in base64, and null for NaN. The broker acknowledges each row once; a second run
    sends the rows again.

    Ctrl-C or SIGTERM stops it once all sent rows are acknowledged. With --loop, that is
    the normal end, and the exit code is 0.

    Every option is also an environment variable: SENTSTREAM_PRODUCE_TOPIC sets --topic.
    """
    from sentstream.kafka.produce.rows import Shape
    from sentstream.kafka.produce.run import prepare

    shape = Shape(format, parse_columns(columns), text_column, key_column, timestamp_column)
    speed = parse_rate(rate, "--rate")
    settings = load_settings(client_config, bootstrap_servers)
    with prepare(
        inputs, topic, shape, settings, client=client, partitions=partitions, dry=dry_run, warn=warn
    ) as production:
        if dry_run:
            _show_plan(production, as_json=json)
            return
        with finishing_on_signals(expected=loop) as signals:
            with row_bar("sending") as bar:
                report = production.run(
                    rate=speed,
                    loop=loop,
                    progress=bar,
                    on_file=bar.begin_file,
                    stopped=lambda: bool(signals),
                )
            if json:
                facts = {**report.to_dict(), "interrupted": bool(signals)}
                print_json(facts, flush=True)
            else:
                _show_report(report)


_PER = {"s": 1, "m": 60, "h": 3600}


def parse_rate(text: str | None, option: str) -> float | None:
    """``20``, ``20/s``, ``1200/m`` in rows a second.

    >>> parse_rate("1200/m", "--rate")
    20.0

    Raises:
        UsageError: Not a rate, or not more than 0.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?", text.strip())
    rate = float(match[1]) / _PER[match[2] or "s"] if match else 0.0
    if rate <= 0:
        raise UsageError(f"{option} takes rows per second, not {text!r}", hint="e.g. 20, 20/s, 1200/m")
    return rate


def _show_plan(production: Production, *, as_json: bool) -> None:
    """Print the plan on standard output."""
    first = production.first()
    if as_json:
        record = None
        if first is not None:
            record = {
                "key": first.key and first.key.decode(errors="replace"),
                "value": first.value and first.value.decode(errors="replace"),
                "timestamp": first.timestamp,
            }
        facts = {"dry_run": True, "rows": production.rows, **production.to_dict(), "first": record}
        print_json(facts)
        return
    for source in production.sources:
        print_data(f"{source.name} → {production.topic}: {counted_rows(source.total)}")
    if first is not None:
        for name, value in ("key", first.key), ("value", first.value):
            if value is not None:
                print_data(f"first {name}: {_printable(value)}")
        if first.timestamp is not None:
            print_data(f"first timestamp: {first.timestamp} ms since 1970")
    print_data("dry run: nothing was sent")


def _printable(value: bytes) -> str:
    from sentstream.markup import printable

    return printable(value.decode(errors="replace"))


def _show_report(report: Report) -> None:
    """Print the final summary on standard error."""
    production = report.production
    lines = {
        "rows": f"{report.rows:,}",
        "time": f"{report.seconds:.2f} s, {report.rows_per_second:,.0f} rows/s",
        "topic": f"{production.topic}, {counted(production.partitions, 'partition')}",
        "client": production.client.name,
    }
    if report.passes > 1:
        lines["passes"] = f"{report.passes:,}"
    for name, value in lines.items():
        print_message(f"{name:<10}{value}")
