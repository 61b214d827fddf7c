"""The rows of Parquet files: a record, its text, and the scorer's columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from sentstream.kafka.scoring.work import Work
from sentstream.kafka.watch.events import Committed

_RECORD = [
    pa.field("topic", pa.string()),
    pa.field("partition", pa.int32()),
    pa.field("offset", pa.int64()),
    pa.field("timestamp", pa.timestamp("ms", "UTC")),
    pa.field("key", pa.binary()),
    pa.field(
        "headers",  # a list, since a name may occur twice
        pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ),
    pa.field("value", pa.binary()),
    pa.field("text", pa.string()),
]


def rows_schema(scored: pa.Schema) -> pa.Schema:
    """Return the schema of Parquet rows: the record, its text, and the scorer's columns.

    Args:
        scored: The scorer's schema: only the added columns, and the model's stamp as metadata.
    """
    return pa.schema([*_RECORD, *scored], scored.metadata)


def rows_of(work: Work, indices: list[int]) -> pa.RecordBatch:
    """Return the rows of those records of a batch whose indexes are in ``indices``."""
    records = [work.records[index] for index in indices]
    scored = work.scored.take(pa.array(indices, pa.int64()))
    columns: list[Any] = [
        [record.topic for record in records],
        [record.partition for record in records],
        [record.offset for record in records],
        [record.timestamp if record.timestamp >= 0 else None for record in records],
        [record.key for record in records],
        [list(record.headers) for record in records],
        [record.value for record in records],
        [work.texts[index] for index in indices],
    ]
    arrays = [pa.array(column, one.type) for column, one in zip(columns, _RECORD, strict=True)]
    return pa.RecordBatch.from_arrays([*arrays, *scored.columns], schema=rows_schema(scored.schema))


def counted(rows: pa.Table, labels: Iterable[str]) -> Committed:
    """Count the labels, unlabeled records and tombstones of some rows."""
    counts = dict.fromkeys(labels, 0)
    for count in rows.column(len(_RECORD)).value_counts().to_pylist():
        if count["values"] is not None:
            counts[count["values"]] = count["counts"]
    tombstones = rows.column("value").null_count
    return Committed(counts, len(rows) - sum(counts.values()) - tombstones, tombstones)
