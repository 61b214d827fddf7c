"""Any text column -> valid UTF-8 with a maximum length. A bad row does not affect other rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import ColumnTypeError
from sentstream.text.storage import encoded, value_type, widened


@dataclass(frozen=True)
class CleanText:
    """Valid text, cut at the character limit.

    Attributes:
        text: ``string`` array without nulls (null becomes an empty string).
        truncated: Number of rows that were longer than the limit.
    """

    text: pa.StringArray
    truncated: int


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text (or nothing at all: the null type)."""
    kind = value_type(kind)
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(is_of(kind) for is_of in known)


def clean(column: pa.Array, max_chars: int) -> CleanText:
    """Convert a text column to plain ``string``, valid UTF-8, at most ``max_chars`` characters per row.

    Arrow does not check UTF-8 when it reads a file, and its kernels fail on the whole column if one byte is
    bad. Here, bad sequences become U+FFFD, in their own rows only.

    A value stored once for many rows is processed once.

    Args:
        column: ``string``, ``large_string``, ``string_view`` or ``null``; or such values as a dictionary,
            run-end encoded or in an extension type.
        max_chars: The limit, in code points.

    Raises:
        ColumnTypeError: The column is of another type.
    """
    if not is_text(column.type):
        raise ColumnTypeError(f"a column of type {column.type} is not text")
    values, indices = encoded(column)
    if indices is None:
        text, cut = _clean(values, max_chars)
        return CleanText(text, len(cut))
    values = widened(values)
    if len(values) > len(indices):  # a slice, which has the dictionary of the whole column
        used = indices.unique().drop_null()
        values, indices = values.take(used), pc.index_in(indices, used)
    text, cut = _clean(values, max_chars)
    rows = text.take(indices).fill_null("")
    if not cut:
        return CleanText(rows, 0)
    return CleanText(rows, int(np.isin(indices.drop_null().to_numpy(), cut).sum()))


def _clean(column: pa.Array, max_chars: int) -> tuple[pa.StringArray, list[int]]:
    """``clean`` for values that are stored row by row; also returns the rows that were cut."""
    if pa.types.is_null(column.type):
        column = pa.nulls(len(column), pa.string())
    if pa.types.is_string_view(column.type):
        column = widened(column)
    sizes = _row_bytes(column)
    long = (sizes > max_chars).nonzero()[0]
    valid = _valid(column)
    if valid and not len(long):
        return _plain(column), []
    odd = long if valid else np.union1d(long, _invalid_rows(column))
    return _repair(column, sizes, odd, max_chars)


def _row_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """The size of each row in bytes; 0 for null."""
    offsets = buffers_of(column)[1]
    sizes = offsets[1:] - offsets[:-1]
    if column.null_count:
        sizes = np.where(column.is_null().to_numpy(zero_copy_only=False), 0, sizes)
    return sizes


def buffers_of(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a ``string`` or ``large_string`` array, and the offset of each row in them.

    The first row starts at offset 0, even if the array is a slice.
    """
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, offset_buffer, data_buffer = column.buffers()
    if offset_buffer is None or not len(column):
        return np.zeros(0, np.uint8), np.zeros(len(column) + 1, np.int64)
    kind = np.dtype(np.int64 if wide else np.int32)
    offsets = np.frombuffer(offset_buffer, kind, len(column) + 1, column.offset * kind.itemsize)
    offsets = offsets.astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    if data_buffer is None or last == first:
        return np.zeros(0, np.uint8), offsets - first
    return np.frombuffer(data_buffer, np.uint8, last - first, first), offsets - first


def _valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _invalid_rows(column: pa.Array) -> npt.NDArray[np.int64]:
    """Rows with invalid UTF-8, found by bisection: fast if there are few."""
    found: list[int] = []
    spans = [(0, len(column))]
    while spans:
        start, stop = spans.pop()
        if stop <= start or _valid(column.slice(start, stop - start)):
            continue
        if stop - start == 1:
            found.append(start)
        else:
            middle = (start + stop) // 2
            spans += [(start, middle), (middle, stop)]
    return np.array(sorted(found), np.int64)


def _plain(column: pa.Array) -> pa.StringArray:
    """A text column as ``string``, with an empty string for each null."""
    if column.null_count:
        column = column.fill_null("")
    if pa.types.is_large_string(column.type):
        # Every row is within the limit, so a batch of any reasonable size fits 32-bit offsets.
        column = column.cast(pa.string())
    return column


def _repair(
    column: pa.Array, sizes: npt.NDArray[np.int64], odd: npt.NDArray[np.int64], max_chars: int
) -> tuple[pa.StringArray, list[int]]:
    """Cut and repair the odd rows one by one: there are few, and the limit bounds the cost of each."""
    data, offsets = buffers_of(column)
    cut: list[int] = []
    mended: list[str] = []
    for row in odd:
        start, size = int(offsets[row]), int(sizes[row])
        # A character has at most four bytes; the extra bytes keep the cut out of the last character kept.
        text = data[start : start + min(size, 4 * max_chars + 4)].tobytes().decode("utf-8", "replace")
        if len(text) > max_chars:
            cut.append(int(row))
            text = text[:max_chars]
        mended.append(text)
    parts: list[pa.Array] = []
    done = 0
    for row, text in zip(odd.tolist(), mended, strict=True):
        if row > done:
            parts.append(_plain(column.slice(done, row - done)))
        parts.append(pa.array([text], pa.string()))
        done = row + 1
    if done < len(column):
        parts.append(_plain(column.slice(done)))
    return pa.concat_arrays(parts), cut
