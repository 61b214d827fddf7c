"""Open Parquet files from any writer, and explain why some cannot be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.dataset.formats import errors
from sentstream.dataset.formats.foreign import recognize
from sentstream.errors import (
    InputFormatError,
)
from sentstream.storage.api import StoredFile
from sentstream.storage.held import HeldFile

#: Buffer size per column; pages stream through it, so a row group can have any size.
_BUFFER = 1 << 16
_LEAVE_OUT = "leave the column out with --columns, or write the file again"
_MAGIC = b"PAR1", b"PARE"
_TAIL = 8  # bytes at the end: the length of the footer, and the magic
_ARROW_SCHEMA, _IGNORED = b"ARROW:schema", b"arrow:unread"


@contextlib.contextmanager
def open_parquet(file: StoredFile) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file with any name, from any writer.

    Besides the Parquet schema, writers store an Arrow schema, as advice for types that Parquet does not have.
    If pyarrow does not support it, it is ignored, and Parquet's own types count.

    Raises:
        InputFormatError: It is not Parquet, it is encrypted, or its footer contradicts itself.
        InputError: It cannot be read, or has changed since it was found.
    """
    with contextlib.ExitStack() as stack:
        with translating_errors(file.name):
            if not file.size:
                raise InputFormatError(
                    f"{file.name} is empty: not even a Parquet footer", hint="write it again"
                )
            if not isinstance(file, HeldFile):  # a held file was checked when it was read
                file.check()
            # pyarrow opens only UTF-8 paths; a Python file object needs the GIL for each read.
            source: Path | BinaryIO | pa.BufferReader
            if isinstance(file, HeldFile):
                source = pa.BufferReader(file.data)
            elif file.path is not None and is_utf8(file.path):
                source = file.path
            else:
                source = stack.enter_context(file.open())
            try:
                opened = _open(source)
            except pa.ArrowNotImplementedError:
                opened = _open(source, _without_arrow_schema(file))
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                _refuse_foreign(file)
                raise
            stack.enter_context(opened)
        yield opened


def arrow_schema(file: pq.ParquetFile) -> pa.Schema:
    """Return the schema of the rows as read, with the file's metadata."""
    schema = file.schema_arrow
    metadata = dict(schema.metadata or {})
    if metadata.pop(_IGNORED, None) is None:
        return schema
    return schema.with_metadata(metadata)


def translating_errors(location: str) -> AbstractContextManager[None]:
    """Translate whatever pyarrow raises on an invalid Parquet file into an error that says where."""
    return errors.translating_errors(location, "Parquet", _unreadable)


def _open(
    source: Path | BinaryIO | pa.BufferReader, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    # Not memory-mapped: if a mapped file shrinks, the process crashes.
    return pq.ParquetFile(
        source,
        metadata=metadata,
        memory_map=False,
        pre_buffer=False,
        buffer_size=_BUFFER,
        page_checksum_verification=True,
    )


def is_utf8(path: Path) -> bool:
    """Return whether pyarrow can open a path, which must be UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_arrow_schema(file: StoredFile) -> pq.FileMetaData:
    """Return the footer, with the Arrow schema renamed to a key that is not read."""
    with file.open() as data:
        data.seek(-_TAIL, os.SEEK_END)
        tail = data.read(_TAIL)
        length = int.from_bytes(tail[:4], "little")
        data.seek(-_TAIL - length, os.SEEK_END)
        footer = data.read(length)
    return _open(pa.BufferReader(_MAGIC[0] + footer.replace(_ARROW_SCHEMA, _IGNORED, 1) + tail)).metadata


def _refuse_foreign(file: StoredFile) -> None:
    """Raise an error that says what a file is if it lacks Parquet's magic bytes at either end."""
    with file.open() as data:
        first = data.read(4)
        data.seek(max(-4, -file.size), os.SEEK_END)
        last = data.read()
    if first not in _MAGIC:
        foreign = recognize(file)
        if foreign is not None:
            raise InputFormatError(f"{file.name} is {foreign.what}, not Parquet", hint=foreign.hint)
        raise InputFormatError(f"{file.name} is not a Parquet file", hint="check the path")
    if last not in _MAGIC:
        raise InputFormatError(
            f"{file.name} is truncated: it starts as Parquet but has no footer",
            hint="wait until it is fully written, or fetch or write it again",
        )


def _unreadable(location: str, error: Exception) -> InputFormatError:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if "encrypted metadata" in text:
        message = f"{location} is encrypted, which sentstream does not support"
        return InputFormatError(message, hint="decrypt it with the program that wrote it")
    if "decrypt" in text:
        return InputFormatError(
            f"{location} has encrypted columns, which sentstream does not support",
            hint="leave them out with --columns, or decrypt the file with the program that wrote it",
        )
    if "Map keys" in text:
        return InputFormatError(
            f"{location} has a map whose keys may be null, as Presto writes them, which pyarrow cannot read",
            hint="write it again, e.g. with DuckDB: COPY (FROM 'in.parquet') TO 'out.parquet'",
        )
    if isinstance(error, pa.ArrowNotImplementedError):
        return InputFormatError(f"{location}: pyarrow cannot read it: {text}", hint=_LEAVE_OUT)
    return InputFormatError(f"{location} cannot be read as Parquet: {text}", hint=errors.CORRUPT)
