"""Record batches -> Parquet: row groups of a sensible size, page checksums, zstd.

The same rows make the same bytes, however they are cut into batches, but for columns with dictionaries.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.dataset.formats.parquet.dictionaries import has_dictionary
from sentstream.dataset.formats.parquet.row_sizes import most_bytes, row_sizes
from sentstream.dataset.formats.parquet.settings import DEFAULTS, GROUP_BYTES, ParquetSettings
from sentstream.errors import OutputWriteError, first_line

_LONGEST_TYPE = 80  # characters of a type that a message shows
#: The last schema and its leaves' paths: many small files share one, whose hash takes longer than a look.
_last: list[tuple[pa.Schema, tuple[str, ...]]] = []


class Writer:
    """Writes one Parquet file; a context manager that ends it with its footer.

    Args:
        file: Where to; nothing is sought in it. A stream of pyarrow gets a footer even after an error, as one
            in memory may, which nobody reads then.
        schema: The schema of the batches.
        plain: Top-level columns that hold too many different values for a dictionary.
        settings: Row groups and compression.

    Raises:
        OutputWriteError: The schema holds types that pyarrow cannot write, or, later, rows do.
    """

    def __init__(
        self,
        file: BinaryIO | pa.NativeFile,
        schema: pa.Schema,
        plain: Collection[str] = (),
        settings: ParquetSettings = DEFAULTS,
    ) -> None:
        self._settings = settings
        self._schema = schema
        self._sink = None if isinstance(file, pa.NativeFile) else _Sink(file)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = self._held = 0
        #: Batches that wait and are not counted in ``_bytes`` yet, and no less than all that waits.
        self._uncounted: list[pa.RecordBatch] = []
        self._most = 0
        paths = leaf_paths(schema)
        self._writer = pq.ParquetWriter(
            self._sink or file,
            schema,
            **settings.options(),
            use_dictionary=[path for path in paths if path not in plain],
            write_page_checksum=True,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add some rows; they reach the file with their row group."""
        if not len(batch) or self._fits(batch):
            return
        self._count()
        ends = np.cumsum(row_sizes(batch))
        start = 0
        while start < len(batch):
            before = int(ends[start - 1]) if start else 0
            full = int(np.searchsorted(ends, before + GROUP_BYTES - self._bytes)) + 1
            stop = min(len(batch), full, start + self._settings.group_rows - self._rows)
            part = batch.slice(start, stop - start)
            self._waiting.append(part)
            self._held += part.nbytes
            self._rows += stop - start
            self._bytes += int(ends[stop - 1]) - before
            full_up = self._rows >= self._settings.group_rows or self._bytes >= GROUP_BYTES
            # Dictionaries, which are not counted for each row, may be as large as they like.
            if full_up or self._held >= 2 * GROUP_BYTES:
                self.end_group()
            start = stop
        self._most = self._bytes

    def _fits(self, batch: pa.RecordBatch) -> bool:
        """Add a batch that, at a glance, ends no row group; whether that is so."""
        most, held, rows = most_bytes(batch), self._held + batch.nbytes, self._rows + len(batch)
        if most is None or rows >= self._settings.group_rows:
            return False
        if self._most + most >= GROUP_BYTES or held >= 2 * GROUP_BYTES:
            return False
        self._waiting.append(batch)
        self._uncounted.append(batch)
        self._most, self._held, self._rows = self._most + most, held, rows
        return True

    def _count(self) -> None:
        """Count what was added at a glance."""
        self._bytes += sum(int(row_sizes(batch).sum()) for batch in self._uncounted)
        self._uncounted.clear()

    def end_group(self) -> None:
        """End the row group, if it has rows."""
        if self._rows:
            table = _contiguous(self._waiting, self._schema)
            try:
                self._writer.write_table(table, row_group_size=self._rows)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                raise OutputWriteError(
                    f"pyarrow cannot write these rows: {first_line(error)}",
                    hint="leave the column out: list the columns to keep with --columns",
                ) from error
        self._waiting = []
        self._uncounted.clear()
        self._rows = self._bytes = self._held = self._most = 0

    @property
    def waiting(self) -> int:
        """Bytes of rows that have not reached the file."""
        self._count()
        return self._bytes

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Add to the schema's metadata what is known only at the end."""
        added = {key.encode(): value.encode() for key, value in metadata.items()}
        schema = self._schema.with_metadata({**(self._schema.metadata or {}), **added})
        # pyarrow takes a schema's metadata from the serialized schema only, others from the keys.
        whole = base64.b64encode(schema.serialize().to_pybytes())
        self._writer.add_key_value_metadata({**added, b"ARROW:schema": whole})

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.end_group()
                self._writer.close()
        finally:
            if self._sink is not None:
                self._sink.shut = True
            self._writer.close()


def _contiguous(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Batches as a table with each column in one chunk: where chunks end, pages may end, too.

    The list is emptied, so that no more than a column is in memory twice.
    """
    if len(batches) == 1:
        return pa.Table.from_batches([batches.pop()], schema)
    parts = [[batch.column(place) for batch in batches] for place in range(len(schema))]
    batches.clear()
    columns = []
    for place, kind in enumerate(schema.types):
        column = pa.chunked_array(parts[place], kind)
        parts[place] = []
        with contextlib.suppress(pa.ArrowNotImplementedError):
            if not has_dictionary(kind):  # which may be too many for narrow indices, put together
                column = pa.chunked_array([column.combine_chunks()], kind)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


class _Sink:
    """A file that can be shut: pyarrow writes a footer even to what failed."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.shut = False

    def write(self, data: bytes) -> int:
        return len(data) if self.shut else self._file.write(data)

    def flush(self) -> None:
        if not self.shut:
            self._file.flush()

    def close(self) -> None:
        """The file is closed by whom it was opened."""


def leaf_paths(schema: pa.Schema) -> list[str]:
    """The paths of the leaf columns that an Arrow schema has in Parquet.

    Raises:
        OutputWriteError: It holds types that pyarrow cannot write; every such column is named.
    """
    for last, paths in _last:
        if last is schema:
            return [*paths]
    try:
        paths = _leaf_paths(schema)
        _last[:] = [(schema, paths)]
        return [*paths]
    except pa.ArrowException as error:
        refused = [field for field in schema if not _is_writable(field)]
        if not refused:
            raise OutputWriteError(f"these columns cannot be written: {first_line(error)}") from error
    some = ", ".join(f"{field.name!r} ({_short(field.type)})" for field in refused)
    raise OutputWriteError(
        f"pyarrow cannot write {'column' if len(refused) == 1 else 'columns'} {some} as Parquet",
        hint=f"leave {'it' if len(refused) == 1 else 'them'} out: list the columns to keep with --columns",
    )


@lru_cache(maxsize=64)  # many small files have one schema
def _leaf_paths(schema: pa.Schema) -> tuple[str, ...]:
    buffer = pa.BufferOutputStream()
    # Without rows: of some types that can be written, such as lists of UUIDs, pyarrow makes no empty array.
    with pq.ParquetWriter(buffer, schema):
        pass
    return tuple(column.path for column in pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema)


def _is_writable(field: pa.Field) -> bool:
    try:
        _leaf_paths(pa.schema([field]))
    except pa.ArrowException:
        return False
    return True


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST_TYPE else f"{text[: _LONGEST_TYPE - 1]}…"
