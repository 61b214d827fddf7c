"""Resize record batches: merge small ones, split large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pyarrow as pa

#: Maximum size of a batch in memory, unless a single row is larger.
BATCH_BYTES: Final = 16 << 20


def regrouped(
    batches: Iterable[pa.RecordBatch], most_rows: int, *, apart: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of up to ``most_rows`` rows and 16 MiB; empty batches are dropped.

    Args:
        batches: Batches of one schema.
        most_rows: Maximum rows per batch.
        apart: Whether batches are only split, never merged, because their dictionaries differ.
    """
    parts = (part for whole in batches for part in _cut(whole, most_rows))
    for group in gathered(parts, most_rows, lambda first, batch: not apart):
        yield group[0] if len(group) == 1 else pa.concat_batches(group)


def gathered(
    batches: Iterable[pa.RecordBatch], most_rows: int, fits: Callable[[pa.RecordBatch, pa.RecordBatch], bool]
) -> Iterator[list[pa.RecordBatch]]:
    """Yield the same batches in groups of up to ``most_rows`` rows and 16 MiB, unless a single one is larger.

    Args:
        batches: The batches.
        most_rows: Maximum rows per group.
        fits: Returns whether a batch may join a group, given the group's first batch.
    """
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if waiting and (
            rows + len(batch) > most_rows or size + batch.nbytes > BATCH_BYTES or not fits(waiting[0], batch)
        ):
            yield waiting
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows += len(batch)
        size += batch.nbytes
    if waiting:
        yield waiting


def _cut(batch: pa.RecordBatch, most_rows: int) -> Iterator[pa.RecordBatch]:
    if not len(batch):
        return
    parts = max(-(-len(batch) // most_rows), -(-batch.nbytes // BATCH_BYTES))
    step = max(1, -(-len(batch) // parts))
    for start in range(0, len(batch), step):
        yield batch.slice(start, step)
