"""Read Arrow IPC as record batches: the file's own batches, resized.

pyarrow does not check offsets and indices on reading, so batches are validated before they are used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from sentstream.dataset.formats.api import TITLES, Layout, Piece, Source
from sentstream.dataset.formats.batches import regrouped
from sentstream.dataset.formats.compression import unpacked
from sentstream.dataset.formats.errors import translating_errors
from sentstream.dataset.formats.parquet.dictionaries import has_dictionary
from sentstream.storage.api import StoredFile


def open_ipc(file: StoredFile, layout: Layout) -> Source:
    """Read the schema of an Arrow IPC file or stream.

    Raises:
        InputFormatError: It is invalid.
        InputError: It cannot be read.
    """
    with _opened(file, layout) as reader:
        return Source(file, reader.schema, None, layout)


def read_ipc(piece: Piece, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Read the rows of an Arrow IPC file or stream, in order.

    Raises:
        InputFormatError: It is invalid.
        InputError: It cannot be read.
    """
    assert piece.schema is not None
    wanted = (
        None if columns is None else [name for name in dict.fromkeys(columns) if name in piece.schema.names]
    )
    apart = any(has_dictionary(field.type) for field in piece.schema)
    yield from regrouped(_batches(piece, wanted), batch_rows, apart=apart)
    piece.file.check()


def _batches(piece: Piece, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    with _opened(piece.file, piece.layout) as reader:
        number = 0
        while True:
            with translating_errors(f"{piece.file.name}, record batch {number}", TITLES[piece.layout.format]):
                batch = _batch(reader, number)
                if batch is None:
                    return
                if not batch.schema.equals(piece.schema):
                    raise pa.ArrowInvalid("its schema differs from the first one")
                if columns is not None:
                    batch = batch.select(columns)
                validate(batch)
            yield batch
            number += 1


def _batch(
    reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader, number: int
) -> pa.RecordBatch | None:
    if isinstance(reader, pa.RecordBatchFileReader):
        return reader.get_batch(number) if number < reader.num_record_batches else None
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def validate(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid for offsets, lengths and indices out of bounds; invalid UTF-8 is allowed."""
    batch.validate()
    for column in batch.columns:
        _as_bytes(column).validate(full=True)


def _as_bytes(column: pa.Array) -> pa.Array:
    """Return text as bytes, for which full validation checks only the offsets."""
    if pa.types.is_string(column.type):
        return column.view(pa.binary())
    if pa.types.is_large_string(column.type):
        return column.view(pa.large_binary())
    if pa.types.is_string_view(column.type):
        return column.view(pa.binary_view())
    return column


@contextlib.contextmanager
def _opened(
    file: StoredFile, layout: Layout
) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
    with unpacked(file, layout.codec) as data:
        with translating_errors(file.name, TITLES[layout.format]):
            source = pa.PythonFile(data, "r")
            reader = pa.ipc.open_file(source) if layout.format == "arrow" else pa.ipc.open_stream(source)
        yield reader
