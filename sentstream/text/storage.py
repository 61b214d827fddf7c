"""A column -> its plain values, decoded from dictionaries, run-end encoding, extension types and views."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

#: Types that few Arrow kernels support, or whose 32-bit offsets may overflow when values are repeated.
_WIDE = {
    pa.string(): pa.large_string(),
    pa.string_view(): pa.large_string(),
    pa.binary(): pa.large_binary(),
    pa.binary_view(): pa.large_binary(),
}


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, inside dictionaries, run-end encoding and extension types.

    >>> value_type(pa.dictionary(pa.int8(), pa.run_end_encoded(pa.int32(), pa.string())))
    DataType(string)
    """
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def encoded(column: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """The values that a column stores, and each row's index into them.

    Args:
        column: A column of any type.

    Returns:
        The values, of the type ``value_type``; and integer indices, null for null rows, or None if the values
        are the rows.

    >>> encoded(pa.array(["b", "a", "b"]).dictionary_encode())[1].to_pylist()
    [0, 1, 0]
    """
    indices = None
    while True:
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
            continue
        if pa.types.is_dictionary(column.type):
            column, codes = column.dictionary, column.indices
        elif pa.types.is_run_end_encoded(column.type):
            column, codes = _runs(column)
        else:
            return column, indices
        indices = codes if indices is None else codes.take(indices)


def plain_values(column: pa.Array) -> pa.Array:
    """The values of a column, row by row; encoded text or binary becomes ``large_…``.

    Invalid UTF-8 is unchanged.

    >>> plain_values(pa.array(["b", "a", "b"]).dictionary_encode()).to_pylist()
    ['b', 'a', 'b']
    """
    values, indices = encoded(column)
    return values if indices is None else take(values, indices)


def take(values: pa.Array, indices: pa.Array) -> pa.Array:
    """The values at these indices; null where an index is null."""
    return widened(values).take(indices)


def widened(values: pa.Array) -> pa.Array:
    """Text as ``large_string`` and binary as ``large_binary``, not validated; other types unchanged."""
    wide = _WIDE.get(values.type)
    if wide is None:
        return values
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.binary_view(), safe=False)
    return values.cast(pa.large_binary(), safe=False).view(wide)


def as_text(column: pa.Array) -> pa.Array:
    """A text column of any Arrow text type as ``large_string`` with valid UTF-8; nulls stay.

    Invalid bytes become U+FFFD.
    """
    text = widened(plain_values(column))
    if pa.types.is_null(text.type):
        return text.cast(pa.large_string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        values = text.view(pa.large_binary()).to_pylist()
        return pa.array(
            [value if value is None else value.decode("utf-8", "replace") for value in values],
            pa.large_string(),
        )
    return text


def _runs(column: pa.RunEndEncodedArray) -> tuple[pa.Array, pa.Array]:
    """The values of the runs that overlap a slice, and each row's index into them."""
    first, count = column.find_physical_offset(), column.find_physical_length()
    ends = column.run_ends.slice(first, count).to_numpy()
    rows = np.arange(column.offset, column.offset + len(column))
    return column.values.slice(first, count), pa.array(np.searchsorted(ends, rows, side="right"))
