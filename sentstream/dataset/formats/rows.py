"""Select rows of record batches, for any column type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def select(batch: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    """Return the rows for which a mask is true, not false or null."""
    columns = [_select(column, mask) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def take(batch: pa.RecordBatch, indices: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Return the rows at some indices, in the order of the indices."""
    columns = [_take(column, indices) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _select(column: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    try:
        return column.filter(mask)
    except pa.ArrowNotImplementedError:  # for views and run-end encoding
        return _cut_out(column, np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)))


def _take(column: pa.Array, indices: npt.NDArray[np.int64]) -> pa.Array:
    try:
        return column.take(pa.array(indices))
    except pa.ArrowNotImplementedError:
        return _cut_out(column, indices)


def _cut_out(column: pa.Array, indices: npt.NDArray[np.int64]) -> pa.Array:
    """Select rows with slices and concatenation, which work for any type."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1) if len(indices) else []
    parts = [column.slice(run[0], len(run)) for run in runs]
    return pa.concat_arrays(parts or [column.slice(0, 0)])
