"""Estimate the size of each row, which depends only on the row, not on the batch it came in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Sizes: TypeAlias = npt.NDArray[np.int64]
_OFFSET = 4  # bytes for the offset of a variable-width value
_OTHER = 16  # bytes for a value of any other type
#: Types whose size is that of their buffers.
_FLAT = frozenset(
    kind.id
    for kind in (
        *(pa.null(), pa.bool_(), pa.string(), pa.binary(), pa.large_string(), pa.large_binary()),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64(), pa.timestamp("us")),
    )
)


def row_sizes(batch: pa.RecordBatch) -> Sizes:
    """Return the approximate size of each row in memory in bytes, of shape (rows,).

    For dictionaries, only the index counts, not the values.

    >>> row_sizes(pa.record_batch({"id": [1, 2], "text": ["a", "four"]})).tolist()
    [13, 16]
    """
    return _sum(batch.columns, len(batch))


def most_bytes(batch: pa.RecordBatch) -> int | None:
    """Return a cheap upper bound of the sum of ``row_sizes``; None if it would need a look at the rows.

    >>> most_bytes(pa.record_batch({"id": [1, 2], "text": ["a", "four"]}))
    33
    """
    if not is_flat(batch.schema):
        return None
    # nbytes counts a boolean as a bit, and a null as nothing.
    return int(batch.nbytes + len(batch) * batch.num_columns)


def is_flat(schema: pa.Schema) -> bool:
    """Return whether all columns are numbers, times, text or bytes: nothing nested, no dictionaries."""
    return all(kind.id in _FLAT for kind in schema.types)


def _sum(columns: Iterable[pa.Array], rows: int) -> Sizes:
    total = np.zeros(rows, np.int64)
    for column in columns:
        total += _of(column)
    return total


def _of(array: pa.Array) -> Sizes | int:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of(array.storage)
    if pa.types.is_dictionary(kind):
        return int(kind.index_type.bit_width // 8)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _of_views(array)
    if _is_bytes(kind):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        bytes_: Sizes = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
        return bytes_ + _OFFSET
    if pa.types.is_struct(kind):
        return _sum((pc.struct_field(array, [index]) for index in range(kind.num_fields)), len(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _of_lists(array)
    if pa.types.is_fixed_size_list(kind):
        values = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        sizes: Sizes = _sum([values], len(values)).reshape(len(array), -1).sum(axis=1)
        return sizes
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return 1
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        return -(-int(kind.bit_width) // 8)
    return _OTHER


def _of_lists(array: pa.Array) -> Sizes:
    """Return the size of each list with all of its values."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    values: Iterable[pa.Array]
    if pa.types.is_map(array.type):
        values = [array.keys.slice(first, last - first), array.items.slice(first, last - first)]
    else:
        values = [array.values.slice(first, last - first)]
    before = np.concatenate([[0], np.cumsum(_sum(values, last - first))])
    sizes: Sizes = before[offsets[1:] - first] - before[offsets[:-1] - first] + _OFFSET
    return sizes


def _of_views(array: pa.Array) -> Sizes:
    """Return the size of each value of a view: its length is at the start of its 16-byte view."""
    views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)
    lengths = views[array.offset : array.offset + len(array), 0].astype(np.int64)
    sizes: Sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, 0) + _OFFSET
    return sizes


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_large_string(kind)
    )
