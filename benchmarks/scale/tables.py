"""Inputs, plan and simulations as the tables of docs/scale.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.scale.inputs import Inputs
from benchmarks.scale.plan import DAY, Assumed, Batch, Prices, Stream
from benchmarks.scale.scenarios import ARCHIVE_CORES, ARCHIVE_ROWS, DAY_CORES, DAY_ROWS, NODE_FAILS

_BLOCK = "<!-- scale: {name} -->\n{text}\n<!-- end -->"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value: float) -> str:
    """Format a number with three significant digits: 0.0123, 1.23, 123, 12,300."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for unit, size in ("TB", 1e12), ("GB", 1e9), ("MB", 1e6):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{_short(value)} B"


def _money(value: float) -> str:
    return f"${value:,.2f}" if value < 100 else f"${_short(value)}"


def inputs(measured: Inputs, _: Mapping[str, Any]) -> str:
    """The table of measurements."""
    micro, milli = 1e6, 1e3
    rows = [
        ("CPU time per row, Parquet to Parquet", f"{_short(measured.row_seconds * micro)} µs"),
        ("rows per second and core", _short(1 / measured.row_seconds)),
        ("bytes per row: in, out (Parquet, zstd)", f"{_bytes(measured.row_in)}, {_bytes(measured.row_out)}"),
        ("fixed CPU time per file (open, commit, record)", f"{_short(measured.piece_seconds * milli)} ms"),
        ("requests per file: reads, writes", f"{_short(measured.gets)}, {_short(measured.puts)}"),
        (
            "other requests per run: reads, writes",
            f"{_short(measured.run_gets)}, {_short(measured.run_puts)}",
        ),
        ("CPU time per finished file, on resume", f"{_short(measured.done_seconds * milli)} ms"),
        ("memory per finished file, on resume", _bytes(measured.done_bytes)),
        ("CPU time per message, client (confluent)", f"{_short(measured.client_seconds * micro)} µs"),
        ("CPU time per message, scoring process", f"{_short(measured.scorer_seconds * micro)} µs"),
        ("CPU time per message, broker", f"{_short(measured.broker_seconds * micro)} µs"),
        ("bytes per message, per result", f"{_bytes(measured.message_in)}, {_bytes(measured.message_out)}"),
    ]
    busy = measured.load > int(measured.machine.split()[0])
    note = (
        f", with other work on the machine (load {measured.load:g}); an idle machine is faster"
        if busy
        else ""
    )
    where = f"Measured on {measured.machine}, {measured.date}, commit `{measured.commit}`{note}"
    return f"{where}.\n\n{_table(['', 'measured'], rows)}"


def assumed(_: Inputs, __: Mapping[str, Any]) -> str:
    """The table of assumptions."""
    prices, rest = Prices(), Assumed()
    rows = [
        ("prices", prices.source),
        ("one core for an hour", f"${prices.core_hour:.4f} (c7a.xlarge: four physical cores)"),
        ("1,000 requests: reads, writes", f"${1000 * prices.get:.4f}, ${1000 * prices.put:.4f}"),
        ("one GB for a month: object store, disk", f"${prices.gb_month}, ${prices.disk_gb_month}"),
        ("rows per file", f"{rest.piece_rows:,}"),
        ("latency of a request", f"{1000 * rest.latency:.0f} ms"),
        (
            "requests per second and prefix (S3 documentation): reads, writes",
            f"{rest.get_rate:,.0f}, {rest.put_rate:,.0f}",
        ),
        ("network per core", f"{_bytes(rest.core_network)}/s (c7a.8xlarge)"),
        ("tweets per second at the peak", f"{rest.peak:,.0f} (August 3, 2013, announced by Twitter)"),
        ("planned core utilization, in a stream", f"{rest.headroom:.0%}"),
        ("replicas of messages, retention", f"{rest.replicas}, {rest.retention / DAY:.0f} day"),
        ("driver time per task", f"{1000 * rest.dispatch:g} ms"),
        ("node failures", f"one per {_short(1 / NODE_FAILS)} node-hours (Llama 3 report, 2024)"),
    ]
    return _table(["", "assumed"], rows)


def batch(measured: Inputs, _: Mapping[str, Any]) -> str:
    """The table of data sets in an object store."""
    jobs = [Batch(DAY_ROWS, DAY_CORES, measured), Batch(ARCHIVE_ROWS, ARCHIVE_CORES, measured)]
    shown: list[tuple[str, Callable[[Batch], str]]] = [
        ("files", lambda job: f"{job.pieces:,}"),
        (
            "time per file: CPU, waiting for the store",
            lambda job: f"{job.busy:.2f} s, {job.piece - job.busy:.2f} s",
        ),
        ("core-hours", lambda job: _short(job.core_hours)),
        ("cores used, wall-clock hours", lambda job: f"{job.cores:,}, {_short(job.hours)}"),
        ("read, written", lambda job: f"{_bytes(job.read)}, {_bytes(job.written)}"),
        ("share of the cores' network", lambda job: f"{job.network:.0%}"),
        ("cost of cores", lambda job: _money(job.compute_price)),
        ("cost of requests", lambda job: _money(job.request_price)),
        ("cost of storing input and output for a month", lambda job: _money(job.month_price)),
    ]
    rows = [(name, *map(show, jobs)) for name, show in shown]
    return _table(["", "a day: 500 M tweets", "an archive: 100 G tweets"], rows)


def bounds(measured: Inputs, _: Mapping[str, Any]) -> str:
    """The table of limits: what saturates first."""
    job = Batch(ARCHIVE_ROWS, ARCHIVE_CORES, measured)
    rows = [(name, _short(cores)) for name, cores in job.bounds().items()]
    return _table(["limit, with files of 100,000 rows", "reached at cores"], rows)


def stream(measured: Inputs, _: Mapping[str, Any]) -> str:
    """The table of streams."""
    mean, peak = Stream(DAY_ROWS / DAY, measured), Stream(Assumed().peak, measured)
    shown: list[tuple[str, Callable[[Stream], str]]] = [
        ("tweets per second", lambda one: _short(one.rate)),
        ("rate per partition, and so per instance", lambda one: f"{_short(one.per_partition)}/s"),
        ("partitions", lambda one: str(one.partitions)),
        ("cores for instances", lambda one: _short(one.cores)),
        ("cores for brokers", lambda one: _short(one.broker_cores)),
        ("disk for brokers", lambda one: _bytes(one.disk)),
        ("cost per day, cores and disk", lambda one: _money(one.day_price)),
    ]
    rows = [(name, *map(show, (mean, peak))) for name, show in shown]
    return _table(["", "average of a day", "peak, all day"], rows)


def simulated(_: Inputs, results: Mapping[str, Any]) -> str:
    """The table of driver simulations."""
    rows = [
        (
            name,
            f"{one['seconds'] / 60:.1f} min",
            f"{one['longer']:+.1%}",
            f"{one['failures']:,}",
            f"{one['redone']:.2%}",
            f"{one['tail']:.0f} s",
        )
        for name, one in results.items()
    ]
    head = ["", "time", "over the ideal", "workers failed", "wasted work", "tail"]
    return _table(head, rows)


TABLES: dict[str, Callable[[Inputs, Mapping[str, Any]], str]] = {
    "inputs": inputs,
    "assumed": assumed,
    "batch": batch,
    "bounds": bounds,
    "stream": stream,
    "simulated": simulated,
}


def filled(page: str, measured: Inputs, results: Mapping[str, Any]) -> str:
    """Return the page with its tables replaced.

    Raises:
        ValueError: A table has no place on the page, or a place has no table.
    """
    names = re.findall(r"<!-- scale: (\w+) -->", page)
    if sorted(names) != sorted(TABLES):
        raise ValueError(f"places for {sorted(names)}, tables {sorted(TABLES)}")
    for name, make in TABLES.items():
        text = _BLOCK.format(name=name, text=make(measured, results))
        pattern = rf"<!-- scale: {name} -->\n.*?<!-- end -->"
        page = re.sub(pattern, lambda _, text=text: text, page, flags=re.DOTALL)  # type: ignore[misc]
    return page
