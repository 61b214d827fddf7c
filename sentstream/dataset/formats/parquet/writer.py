"""Write record batches as Parquet: row groups of a sensible size, page checksums, zstd.

The same rows give the same bytes however they are batched, except with dictionary columns.
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

_LONGEST_TYPE = 80  # characters of a type shown in messages


class Writer:
    """Writes one Parquet file; a context manager that writes the footer at the end.

    Args:
        file: The file to write to; it need not be seekable. A pyarrow stream gets a footer even after an
            error, so it should be one that is then discarded, such as a buffer in memory.
        schema: The schema of the batches.
        plain: Top-level columns with too many distinct values for a dictionary.
        settings: Row groups and compression.

    Raises:
        OutputWriteError: The schema has types that pyarrow cannot write, or, later, rows do.
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
        #: Waiting batches that are not counted in ``_bytes`` yet; and an upper bound of all waiting bytes.
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
        """Add rows; they are written with their row group."""
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
            # Dictionaries are not counted per row, and can have any size.
            if full_up or self._held >= 2 * GROUP_BYTES:
                self.end_group()
            start = stop
        self._most = self._bytes

    def _fits(self, batch: pa.RecordBatch) -> bool:
        """Add a batch if a cheap bound shows that it ends no row group; return whether it was added."""
        upper, held, rows = most_bytes(batch), self._held + batch.nbytes, self._rows + len(batch)
        if upper is None or rows >= self._settings.group_rows:
            return False
        if self._most + upper >= GROUP_BYTES or held >= 2 * GROUP_BYTES:
            return False
        self._waiting.append(batch)
        self._uncounted.append(batch)
        self._most, self._held, self._rows = self._most + upper, held, rows
        return True

    def _count(self) -> None:
        """Count the batches that ``_fits`` added."""
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
        """Number of bytes of rows that are not written yet."""
        self._count()
        return self._bytes

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Add schema metadata that is known only at the end."""
        added = {key.encode(): value.encode() for key, value in metadata.items()}
        schema = self._schema.with_metadata({**(self._schema.metadata or {}), **added})
        # pyarrow reads schema metadata only from the serialized schema, other readers from the keys.
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
    """Return batches as a table with one chunk per column, as pages may end where chunks end.

    The list is emptied, so that only one column at a time is in memory twice.
    """
    if len(batches) == 1:
        return pa.Table.from_batches([batches.pop()], schema)
    parts = [[batch.column(index) for batch in batches] for index in range(len(schema))]
    batches.clear()
    columns = []
    for index, kind in enumerate(schema.types):
        column = pa.chunked_array(parts[index], kind)
        parts[index] = []
        with contextlib.suppress(pa.ArrowNotImplementedError):
            if not has_dictionary(kind):  # a merged dictionary may be too large for narrow indices
                column = pa.chunked_array([column.combine_chunks()], kind)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


class _Sink:
    """A file that can discard writes: pyarrow writes a footer even after an error."""

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
        """Do nothing: the opener closes the file."""


def leaf_paths(schema: pa.Schema) -> list[str]:
    """Return the paths of the leaf columns that an Arrow schema has in Parquet.

    Raises:
        OutputWriteError: It has types that pyarrow cannot write; every such column is named.
    """
    try:
        return [*_leaf_paths(schema)]
    except pa.ArrowException as error:
        refused = [field for field in schema if not _is_writable(field)]
        if not refused:
            raise OutputWriteError(f"these columns cannot be written: {first_line(error)}") from error
    some = ", ".join(f"{field.name!r} ({_short(field.type)})" for field in refused)
    raise OutputWriteError(
        f"pyarrow cannot write {'column' if len(refused) == 1 else 'columns'} {some} as Parquet",
        hint=f"leave {'it' if len(refused) == 1 else 'them'} out: list the columns to keep with --columns",
    )


@lru_cache(maxsize=64)  # many small files share a schema
def _leaf_paths(schema: pa.Schema) -> tuple[str, ...]:
    buffer = pa.BufferOutputStream()
    # Without rows: pyarrow can write some types, such as lists of UUIDs, but makes no empty arrays of them.
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
