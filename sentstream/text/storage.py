"""However Arrow stores a column -> its plain values: dictionaries, runs, extension types and views undone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

#: Types that few of Arrow's kernels know, or whose 32-bit offsets overflow where a value is repeated.
_WIDE = {
    pa.string(): pa.large_string(),
    pa.string_view(): pa.large_string(),
    pa.binary(): pa.large_binary(),
    pa.binary_view(): pa.large_binary(),
}


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, below dictionaries, runs and extension types.

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
    """The values of a column, each as often as it is stored, and each row's index among them.

    Args:
        column: Of any type.

    Returns:
        The values, of the type ``value_type``; and integers, null where the row is, or None where the values
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
    """The values of a column, row by row; those of text or bytes that are stored apart become ``large_…``.

    Broken UTF-8 stays as it is.

    >>> plain_values(pa.array(["b", "a", "b"]).dictionary_encode()).to_pylist()
    ['b', 'a', 'b']
    """
    values, indices = encoded(column)
    return values if indices is None else take(values, indices)


def take(values: pa.Array, indices: pa.Array) -> pa.Array:
    """Some values in the order of their indices; null where those are."""
    return widened(values).take(indices)


def widened(values: pa.Array) -> pa.Array:
    """Text as ``large_string`` and bytes as ``large_binary``, without validation; others as they are."""
    wide = _WIDE.get(values.type)
    if wide is None:
        return values
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.binary_view(), safe=False)
    return values.cast(pa.large_binary(), safe=False).view(wide)


def as_text(column: pa.Array) -> pa.Array:
    """A text column of any of Arrow's text types as ``large_string`` of valid UTF-8; nulls stay.

    A byte that is not UTF-8 becomes U+FFFD.
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
    """The values of the runs that a slice touches, and the index of each row's run among them."""
    first, count = column.find_physical_offset(), column.find_physical_length()
    ends = column.run_ends.slice(first, count).to_numpy()
    rows = np.arange(column.offset, column.offset + len(column))
    return column.values.slice(first, count), pa.array(np.searchsorted(ends, rows, side="right"))
