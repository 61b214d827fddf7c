"""Convert text columns to the bytes of a text file."""

from __future__ import annotations

import pyarrow as pa


def text_bytes(column: pa.Array) -> pa.Buffer:
    """Return the joined values of a ``large_…`` text or binary column without nulls, without a copy."""
    if not len(column):
        return pa.py_buffer(b"")
    _, offsets, data = column.buffers()
    bounds = pa.Array.from_buffers(pa.int64(), len(column) + 1, [None, offsets], offset=column.offset)
    start, stop = bounds[0].as_py(), bounds[len(column)].as_py()
    return data.slice(start, stop - start)
