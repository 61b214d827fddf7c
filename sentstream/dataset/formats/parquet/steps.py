"""Compute how many rows of a row group can be read at a time, however large they are in memory.

A few bytes of a file may become any number of bytes in memory: a dictionary's values are repeated, a
delta-encoded value shares the prefix of the previous one, and lists differ in length. Neither the footer nor
earlier rows reveal this: small rows may be followed by huge ones. So the bound is computed from page headers;
only if a page hides the size of its values, ``VALUE_BYTES`` is assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentstream.dataset.formats.parquet.pages import (
    DELTA_LENGTH,
    DICTIONARY_ENCODINGS,
    PLAIN,
    Page,
    read_pages,
)
from sentstream.storage.api import StoredFile

#: Assumed maximum size of a row's value, if it cannot be known before it is read.
VALUE_BYTES: Final = 1 << 20
#: Maximum size of a step's rows in the columns with large values; the other columns may take as much again.
STEP_BYTES: Final = 16 << 20
#: Pages up to this size do not count: they are in memory anyway while they are read.
_LIGHT: Final = 2 << 20
#: A number takes at most ``_WIDTH``; dictionaries larger than ``_MOST_DICTIONARY`` are not read for their
#: longest value.
_WIDTH: Final = 16
_MOST_DICTIONARY: Final = 16 << 20


@dataclass(frozen=True)
class Span:
    """Consecutive rows of one leaf column, with upper bounds of their size in memory.

    Attributes:
        rows: Number of rows.
        row_bytes: Upper bound for one row, in bytes.
        all_bytes: Upper bound for all rows, in bytes.
    """

    rows: int
    row_bytes: int
    all_bytes: int

    def __add__(self, other: Span) -> Span:
        return Span(
            self.rows + other.rows,
            max(self.row_bytes, other.row_bytes),
            self.all_bytes + other.all_bytes,
        )


def unknown(rows: int) -> Span:
    """Return a span of rows of unknown size."""
    return Span(rows, VALUE_BYTES, rows * VALUE_BYTES)


def fixed(rows: int, width: int) -> Span:
    """Return a span of rows of the same size."""
    return Span(rows, width, rows * width)


def byte_spans(
    pages: Iterable[Page], longest: Callable[[], int] | None, *, indices: bool = False
) -> Iterator[Span]:
    """Yield the span of each data page of a byte string column; in a flat column, values are rows.

    Args:
        pages: The pages of the column chunk.
        longest: Returns the size of the dictionary's longest value in bytes; only called if it matters. If
            None, the size of the whole dictionary is used.
        indices: Whether dictionary-encoded values are read as indices.
    """
    most, known = VALUE_BYTES, True
    for page in pages:
        if page.is_dictionary:
            most, known = page.size, False
        elif page.encoding in DICTIONARY_ENCODINGS:
            if indices:
                yield fixed(page.values, 8)
                continue
            if not known and longest is not None and page.values * most > _LIGHT:
                most, known = longest() if most <= _MOST_DICTIONARY else VALUE_BYTES, True
            yield fixed(page.values, most)
        elif page.encoding in (PLAIN, DELTA_LENGTH):
            yield Span(page.values, min(page.size, VALUE_BYTES), page.size)
        else:  # each value may repeat all but a byte of the previous one
            yield fixed(page.values, min(page.size, VALUE_BYTES))


def nested_span(rows: int, spans: Iterable[Span]) -> Span:
    """Return the span of a column in lists, where the number of values per row is unknown."""
    total = sum(span.all_bytes + 8 * span.rows for span in spans)
    return Span(rows, min(total, VALUE_BYTES), total)


def steps(columns: Sequence[Sequence[Span]], rows: int) -> Iterator[tuple[int, int]]:
    """Cut a row group where the possible size of its rows changes.

    Args:
        columns: The spans of each leaf column, in order.
        rows: Number of rows of the row group.

    Yields:
        The row before which a cut is, up to ``rows``; and how many rows can be read at a time between the
        previous cut and this one.
    """
    share = STEP_BYTES // max(1, len(columns))
    merged = [_merged(spans, share, rows) for spans in columns]
    stops = [list(itertools.accumulate(span.rows for span in spans)) for spans in merged]
    indices = [0] * len(merged)
    for stop in sorted({rows, *(stop for column in stops for stop in column if stop < rows)}):
        current = [spans[index] for spans, index in zip(merged, indices, strict=True)]
        heavy = [span for span in current if span.all_bytes > max(share, _LIGHT)]
        if sum(span.all_bytes for span in heavy) <= STEP_BYTES:
            yield stop, max(1, rows)
        else:
            yield stop, max(1, STEP_BYTES // sum(span.row_bytes for span in heavy))
        indices = [index + (ends[index] <= stop < rows) for index, ends in zip(indices, stops, strict=True)]


def _merged(spans: Sequence[Span], share: int, rows: int) -> list[Span]:
    """Merge neighboring spans while they stay small; rows without a span are unknown."""
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].all_bytes + span.all_bytes <= share:
            merged[-1] += span
        elif span.rows:
            merged.append(span)
    missing = rows - sum(span.rows for span in merged)
    if missing > 0 or not merged:
        merged.append(unknown(max(1, missing)))
    return merged


def group_spans(
    data: BinaryIO, stored: StoredFile, file: pq.ParquetFile, group: int, leaves: Iterable[int]
) -> list[list[Span]]:
    """Return the spans of a row group's rows in some leaf columns.

    Args:
        data: A handle to the file's bytes.
        stored: The file.
        file: The same file, open.
        group: The row group.
        leaves: The indices of the leaf columns.
    """
    metadata = file.metadata
    about, schema = metadata.row_group(group), metadata.schema
    found = [_Leaf(data, file, about, schema, leaf) for leaf in leaves]
    rough = [leaf.spans() for leaf in found]
    if sum(span.all_bytes for spans in rough for span in spans) <= STEP_BYTES:
        return [[sum(spans[1:], spans[0])] if spans else spans for spans in rough]
    return [leaf.spans(_longest_of(stored, file, group, leaf.path)) for leaf in found]


class _Leaf:
    """The pages of one leaf column in a row group."""

    def __init__(
        self,
        data: BinaryIO,
        file: pq.ParquetFile,
        group: pq.RowGroupMetaData,
        schema: pq.ParquetSchema,
        leaf: int,
    ) -> None:
        column = schema.column(leaf)
        self.path: str = column.path
        self._rows: int = group.num_rows
        self._nested = column.max_repetition_level > 0
        kind = column.physical_type
        self._width = {"FIXED_LEN_BYTE_ARRAY": column.length, "BYTE_ARRAY": 0}.get(kind, _WIDTH)
        self._pages: list[Page] | None = []
        if self._width and not self._nested:
            return
        if not self._width:
            name, *below = self.path.split(".")
            self._indices = not below and _is_dictionary(file.schema_arrow, name)
        chunk = group.column(leaf)
        start = chunk.data_page_offset
        if chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        try:
            self._pages = list(read_pages(data, start, chunk.total_compressed_size))
        except ValueError:  # the reader will report it
            self._pages = None

    def spans(self, longest: Callable[[], int] | None = None) -> list[Span]:
        """Return the spans of its rows.

        Args:
            longest: Returns the size of the dictionary's longest value in bytes; by default the size of the
                whole dictionary is used.
        """
        if self._pages is None:
            return [unknown(self._rows)]
        if self._width and not self._nested:
            return [fixed(self._rows, self._width)]
        if self._width:
            spans = [fixed(page.values, self._width) for page in self._pages if not page.is_dictionary]
        else:
            spans = list(byte_spans(self._pages, longest, indices=self._indices))
        return [nested_span(self._rows, spans)] if self._nested else spans


def _is_dictionary(schema: pa.Schema, name: str) -> bool:
    return all(
        pa.types.is_dictionary(schema.field(index).type) for index in schema.get_all_field_indices(name)
    )


def _longest_of(stored: StoredFile, file: pq.ParquetFile, group: int, leaf: str) -> Callable[[], int]:
    return lambda: _longest_value(stored, file, group, leaf)


def _longest_value(stored: StoredFile, file: pq.ParquetFile, group: int, leaf: str) -> int:
    """Return the size of a dictionary's longest value; ``VALUE_BYTES`` if it cannot be read on its own."""
    with (
        stored.open() as data,
        pq.ParquetFile(data, metadata=file.metadata, read_dictionary=[leaf], pre_buffer=False) as opened,
    ):
        batch = next(opened.iter_batches(1, row_groups=[group], columns=[leaf], use_threads=False), None)
    column = None if batch is None or not batch.num_columns else batch.column(0)
    while column is not None and not pa.types.is_dictionary(column.type):
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        elif pa.types.is_struct(column.type):
            column = column.field(0)
        elif pa.types.is_map(column.type):
            column = column.keys if leaf.endswith(".key") else column.items
        elif hasattr(column, "values"):
            column = column.values
        else:
            column = None
    if column is None:
        return VALUE_BYTES
    return pc.max(pc.binary_length(column.dictionary)).as_py() or 0
