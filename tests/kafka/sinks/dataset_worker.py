"""Write a data set until killed; also has the rows for the tests of ``sentstream.kafka.sinks.dataset``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from sentstream.kafka.clients.api import Partition
from sentstream.kafka.sinks.dataset import Dataset, PartitionColumn, Rolling, Superseded

STAMP = {"sentstream.model": "tiny", "sentstream.model_version": "1", "sentstream.model_digest": "abc"}
SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string()),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("timestamp", pa.timestamp("ms", "UTC")),
        pa.field("text", pa.string()),
        pa.field("sentiment_score", pa.float32()),
    ],
    STAMP,
)
P0, P1 = Partition("tweets", 0), Partition("tweets", 1)
NEVER = Rolling(rows=1 << 40, size=1 << 60, seconds=1e9)
NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
HOUR, DAY = 3_600_000, 86_400_000


def rows(
    offsets: Sequence[int], times: Sequence[int | None] | None = None, partition: Partition = P0
) -> pa.RecordBatch:
    """A row for each offset; what is in it depends on the offset alone."""
    times = [NOON + offset for offset in offsets] if times is None else times
    columns: list[list[Any]] = [
        [partition.topic] * len(offsets),
        [partition.partition] * len(offsets),
        list(offsets),
        list(times),
        [f"text {offset}" for offset in offsets],
        [offset / 7 for offset in offsets],
    ]
    arrays = [pa.array(column, one.type) for column, one in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def span(start: int, stop: int, partition: Partition = P0) -> pa.RecordBatch:
    return rows(range(start, stop), partition=partition)


def make(folder: Path, *by: PartitionColumn, rolling: Rolling = NEVER, memory: int = 1 << 20) -> Dataset:
    return Dataset(folder, SCHEMA, rolling=rolling, partition_by=by, memory=memory)


def continue_writing(begun: Connection, folder: Path, *by: PartitionColumn) -> None:
    """Write forever, from where the files are complete, interleaving the records of three hours."""
    dataset = make(folder, *by, rolling=Rolling(rows=100 if by else 300), memory=2_000)
    dataset.check()
    begun.send("ready")
    positions = {one: dataset.next_offset(one) or 0 for one in (P0, P1)}
    while True:
        for one in (P0, P1):
            start = positions[one]
            times = [NOON + (offset // 500 + offset % 3) * HOUR for offset in range(start, start + 40)]
            try:
                dataset.append(one, rows(range(start, start + 40), times, one), start + 40)
                positions[one] = start + 40
                if one in dataset.due():
                    dataset.close(one, time.monotonic() if start % 3 else None)
            except Superseded as error:
                positions[one] = error.next_offset
