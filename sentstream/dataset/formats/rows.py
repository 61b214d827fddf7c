"""Some rows of record batches, whatever their types."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def select(batch: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    """The rows of which a mask is true, and not false or null."""
    columns = [_select(column, mask) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def take(batch: pa.RecordBatch, places: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Some rows, in the order of their places."""
    columns = [_take(column, places) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _select(column: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    try:
        return column.filter(mask)
    except pa.ArrowNotImplementedError:  # of views and runs
        return _cut_out(column, np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)))


def _take(column: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
    try:
        return column.take(pa.array(places))
    except pa.ArrowNotImplementedError:
        return _cut_out(column, places)


def _cut_out(column: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
    """Any type can be cut and put together."""
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1) if len(places) else []
    parts = [column.slice(run[0], len(run)) for run in runs]
    return pa.concat_arrays(parts or [column.slice(0, 0)])
