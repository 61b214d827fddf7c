"""Batches of another size: small ones are put together, large ones are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

#: What a batch holds in memory, unless a single row is larger.
BATCH_BYTES: Final = 16 << 20


def regrouped(
    batches: Iterable[pa.RecordBatch], most_rows: int, *, apart: bool = False
) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of up to so many rows and 16 MiB; empty batches are left out.

    Args:
        batches: Batches of one schema.
        most_rows: Rows a batch, at most.
        apart: Whether batches are only cut: their dictionaries differ.
    """
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for whole in batches:
        for batch in _cut(whole, most_rows):
            if waiting and (apart or rows + len(batch) > most_rows or size + batch.nbytes > BATCH_BYTES):
                yield _together(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(batch)
            rows += len(batch)
            size += batch.nbytes
    if waiting:
        yield _together(waiting)


def _cut(batch: pa.RecordBatch, most_rows: int) -> Iterator[pa.RecordBatch]:
    if not len(batch):
        return
    parts = max(-(-len(batch) // most_rows), -(-batch.nbytes // BATCH_BYTES))
    step = max(1, -(-len(batch) // parts))
    for start in range(0, len(batch), step):
        yield batch.slice(start, step)


def _together(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
