"""Record batches -> Parquet: row groups of a sensible size, page checksums, zstd."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.errors import OutputWriteError, first_line

#: A row group ends at the first of these.
GROUP_ROWS = 131_072
GROUP_BYTES = 64 << 20
_LONGEST_TYPE = 80  # characters of a type that a message shows
_LEVEL = 1  # zstd's; higher ones cost more time than the model


class Writer:
    """Writes one Parquet file; a context manager that ends it with its footer.

    Args:
        file: Where to; nothing is sought in it.
        schema: The schema of the batches.
        plain: Top-level columns that hold too many different values for a dictionary.

    Raises:
        OutputWriteError: The schema holds types that pyarrow cannot write, or, later, rows do.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, plain: Collection[str] = ()) -> None:
        self._schema, self._sink = schema, _Sink(file)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        paths = leaf_paths(schema)
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=[path for path in paths if path not in plain],
            write_page_checksum=True,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add some rows; they reach the file with their row group."""
        self._waiting.append(batch)
        self._rows += len(batch)
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self.end_group()

    def end_group(self) -> None:
        """End the row group, if it has rows."""
        if self._rows:
            table = pa.Table.from_batches(self._waiting, self._schema)
            try:
                self._writer.write_table(table, row_group_size=self._rows)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                raise OutputWriteError(
                    f"pyarrow cannot write these rows: {first_line(error)}",
                    hint="leave the column out with --columns, which names those that stay",
                ) from error
        self._waiting = []
        self._rows = self._bytes = 0

    @property
    def waiting(self) -> int:
        """Bytes of rows that have not reached the file."""
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
            self._sink.shut = True
            self._writer.close()


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
    try:
        return _leaf_paths(schema)
    except pa.ArrowException as error:
        refused = [field for field in schema if not _is_writable(field)]
        if not refused:
            raise OutputWriteError(f"these columns cannot be written: {first_line(error)}") from error
    some = ", ".join(f"{field.name!r} ({_short(field.type)})" for field in refused)
    raise OutputWriteError(
        f"Parquet, as pyarrow writes it, cannot hold {'column' if len(refused) == 1 else 'columns'} {some}",
        hint=f"leave {'it' if len(refused) == 1 else 'them'} out with --columns, which names those that stay",
    )


def _leaf_paths(schema: pa.Schema) -> list[str]:
    buffer = pa.BufferOutputStream()
    # Without rows: of some types that can be written, such as lists of UUIDs, pyarrow makes no empty array.
    with pq.ParquetWriter(buffer, schema):
        pass
    return [column.path for column in pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema]


def _is_writable(field: pa.Field) -> bool:
    try:
        _leaf_paths(pa.schema([field]))
    except pa.ArrowException:
        return False
    return True


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST_TYPE else f"{text[: _LONGEST_TYPE - 1]}…"
