"""The measured cost of a tweet on this machine: CPU time, bytes, requests.

CPU time, not wall-clock time: it changes little when others use the machine, and it is what is paid for.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.datasets import score, write
from benchmarks.machine import ROOT, commit, machine_line
from benchmarks.rows import tweets
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.clients.api import Outgoing, Partition
from sentstream.kafka.clients.open import open_client
from tools.local_kafka import LocalKafka
from tools.local_stores import LocalS3

_PIECES = 16  # files in the large run
_PIECE_ROWS = 65_536
_SMALL, _SMALL_ROWS = 400, 50
_DONE = 40_000
_MESSAGES = 200_000
_ROUNDS = 3
#: S3 operations that are not billed as writes; deleting is free.
_KINDS = {"GetObject": "gets", "HeadObject": "gets", "DeleteObject": "deletes", "DeleteObjects": "deletes"}
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Inputs:
    """The measurements. Seconds are CPU seconds, sizes are in bytes.

    Attributes:
        machine: The machine, in words.
        commit: The measured commit.
        date: The date, as 2026-11-29.
        load: The load average at the start; above the number of cores, the machine was also
            doing other work.
        row_seconds: Per row, from Parquet to Parquet, in a large file.
        row_in: Per input row: an id and a text, Parquet with zstd.
        row_out: The same with its label and probabilities.
        piece_seconds: Per additional file, besides its rows: open, commit, record.
        gets, puts: Requests to an object store per file: GET and HEAD; PUT, POST and other writes.
            Requests that renew the lease on an output depend on time and are not included.
        run_gets, run_puts: Requests per run besides those for its files.
        done_seconds: Per finished file, on resume.
        done_bytes: Memory per finished file, on resume.
        client_seconds: Per message, in the ``consume`` process that talks to Kafka (confluent).
        scorer_seconds: Per message, in the scoring process.
        broker_seconds: Per message, in the broker: in, out, and its result in.
        message_in, message_out: Size of a message's value, and of its result's.
    """

    machine: str
    commit: str
    date: str
    load: float
    row_seconds: float
    row_in: float
    row_out: float
    piece_seconds: float
    gets: float
    puts: float
    run_gets: float
    run_puts: float
    done_seconds: float
    done_bytes: float
    client_seconds: float
    scorer_seconds: float
    broker_seconds: float
    message_in: float
    message_out: float

    def to_dict(self) -> dict[str, Any]:
        """Return the inputs ready for JSON."""
        return asdict(self)


def measure(parts: Collection[str] = (), before: Mapping[str, Any] | None = None) -> Inputs:
    """Measure everything, or some parts; takes minutes.

    Args:
        parts: Names in ``PARTS``; none for all.
        before: Earlier measurements, which are kept for the other parts.

    Raises:
        SystemExit: There are none, or they are from another machine.
    """
    kept = dict(before or {})
    if parts and kept.get("machine") != machine_line():
        raise SystemExit(
            "--only needs an earlier full measurement on this machine; run --measure alone first"
        )
    load = round(os.getloadavg()[0], 1)
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sentstream-scale-", dir=ROOT / "build") as folder:
        for name in parts or PARTS:
            kept |= PARTS[name](Path(folder))
    kept |= {"date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit(), "machine": machine_line()}
    return Inputs(**{**kept, "load": max(load, kept.get("load", 0.0) if parts else 0.0)})


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _files(folder: Path) -> dict[str, float]:
    """Cost per row and per file: medians over rounds of a large run, one of many files, and a small one."""
    large = write(folder / "large", _PIECES, _PIECE_ROWS)
    small = write(folder / "small", _SMALL, _SMALL_ROWS)
    one = write(folder / "one", 1, _SMALL * _SMALL_ROWS)
    rows, pieces = [], []
    for number in range(_ROUNDS):
        base = score(one, folder / f"one-{number}")["cpu"]
        whole = score(large, folder / f"large-{number}")["cpu"]
        many = score(small, folder / f"small-{number}")["cpu"]
        rows.append((whole - base) / (_PIECES * _PIECE_ROWS - _SMALL * _SMALL_ROWS))
        pieces.append((many - base) / (_SMALL - 1))
    count = _PIECES * _PIECE_ROWS
    return {
        "row_seconds": statistics.median(rows),
        "row_in": _size(large) / count,
        "row_out": _size(folder / "large-0") / count,
        "piece_seconds": statistics.median(pieces),
    }


def _done(folder: Path) -> dict[str, float]:
    """Cost per finished file on resume, from runs with many and a tenth as many."""
    found = []
    for files in (_DONE // 10, _DONE):
        source = write(folder / f"done-{files}", files, 2)
        score(source, folder / f"done-{files}-out")
        found.append(score(source, folder / f"done-{files}-out", "--resume"))
    less, more = found
    files = _DONE - _DONE // 10
    return {
        "done_seconds": (more["cpu"] - less["cpu"]) / files,
        "done_bytes": max(0.0, more["peak_mb"] - less["peak_mb"]) * 1e6 / files,
    }


def _requests(folder: Path) -> dict[str, float]:
    """Requests to an object store, from its access log: runs over few and over more files."""
    counts: dict[int, Counter[str]] = {}
    few, more = 12, 36
    for files in (few, more):
        log = folder / f"requests-{files}.log"
        with LocalS3(bucket="tweets", log=log) as store:
            write(store.folder / "tweets" / "in", files, _PIECE_ROWS)
            command = [
                sys.executable,
                "-m",
                "sentstream",
                "score",
                "s3://tweets/in/",
                "-o",
                "s3://tweets/out/",
            ]
            environment = {**os.environ, **store.environment}
            subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
        counts[files] = _counted(log)
    found = {}
    for kind in ("gets", "puts"):
        each = (counts[more][kind] - counts[few][kind]) / (more - few)
        found[kind], found[f"run_{kind}"] = each, counts[few][kind] - few * each
    return found


def _counted(log: Path) -> Counter[str]:
    """Count the requests in a log, without those that renew a lease, which depend on time."""
    found = re.findall(r" s3_(\w+) (\S+) ", log.read_text("utf-8"))
    return Counter(_KINDS.get(verb, "puts") for verb, key in found if "/lock-" not in key)


@contextmanager
def _consuming(bootstrap: str, topic: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "sentstream", "consume", "--topic", topic, "--group", topic]
    command += ["--client", "confluent", "--bootstrap-servers", bootstrap, "--threads", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _processor(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _stream(folder: Path) -> dict[str, float]:
    """Cost per message through a broker and ``consume``: CPU time between an early and the last commit."""
    values = [
        json.dumps({"id": number, "text": text}, ensure_ascii=False).encode()
        for number, text in enumerate(tweets(_MESSAGES).to_pylist())
    ]
    with LocalKafka(folder / "kafka", memory="1g", lasting=True) as kafka:
        client = open_client("confluent", Settings.load(overrides={"bootstrap.servers": kafka.bootstrap}))
        admin = client.admin()
        partition = Partition("tweets", 0)
        for topic in ("tweets", "tweets.scored"):
            admin.create(topic, 1)
        started = _processor(kafka.pid)
        producer = client.producer(None)
        for start in range(0, len(values), 10_000):
            producer.send([Outgoing("tweets", None, value) for value in values[start : start + 10_000]])
        producer.close()
        written = _processor(kafka.pid) - started
        with _consuming(kafka.bootstrap, "tweets") as process:
            spent = {}
            for part in (0.2, 1.0):
                while (offset := admin.committed("tweets", [partition]).get(partition, 0)) < part * len(
                    values
                ):
                    time.sleep(0.1)
                (child,) = _scorers(process.pid)
                spent[offset] = (_processor(process.pid), _processor(child), _processor(kafka.pid))
        (first, before), (last, after) = spent.items()
        messages = last - first
        results = admin.read(Partition("tweets.scored", 0), 0, 10_000)
        admin.close()
    client_seconds, scorer_seconds, broker_seconds = (
        (late - early) / messages for early, late in zip(before, after, strict=True)
    )
    return {
        "client_seconds": client_seconds,
        "scorer_seconds": scorer_seconds,
        "broker_seconds": broker_seconds + written / len(values),
        "message_in": statistics.mean(map(len, values)),
        "message_out": statistics.mean(len(each.value or b"") for each in results),
    }


def _scorers(pid: int) -> list[int]:
    """Return the children of ``consume`` that score, without Python's resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    return [
        int(one) for one in children if b"resource_tracker" not in Path(f"/proc/{one}/cmdline").read_bytes()
    ]


PARTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "files": _files,
    "done": _done,
    "requests": _requests,
    "stream": _stream,
}
