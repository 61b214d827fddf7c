"""A file of any format -> its schema and pieces, and a piece -> its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from sentstream.dataset.formats.api import Format, Piece, Source
from sentstream.dataset.formats.csv.reader import open_csv, read_csv
from sentstream.dataset.formats.ipc.reader import open_ipc, read_ipc
from sentstream.dataset.formats.json.reader import open_json, read_json
from sentstream.dataset.formats.orc.reader import open_orc, read_orc
from sentstream.dataset.formats.parquet.reader import Skip
from sentstream.dataset.formats.parquet.reader import open_source as open_parquet
from sentstream.dataset.formats.parquet.reader import read_piece as read_parquet
from sentstream.dataset.formats.sniff import layout_of
from sentstream.dataset.formats.view import View
from sentstream.errors import naming
from sentstream.storage.api import StoredFile


def open_source(
    file: StoredFile,
    format: Format | None = None,
    *,
    columns: Sequence[str] | None = None,
    added: Sequence[str] | None = None,
    view: View | None = None,
) -> Source:
    """Find out how rows lie in a file, and what columns they have.

    Args:
        file: The file.
        format: Its format; None finds out by what it begins with and by its name.
        columns: Names of columns, or paths of fields in them, that will be read; None for all. Only JSON
            lines, whose types nobody wrote down, heed it: what is not read need not be of one type.
        added: Names of the fields that will be added to lines of JSON which stay as they are: then the
            schema has the column ``*``, each line whole, and beside it those of ``columns`` only.
        view: The rows that a table makes of a Parquet file's; None for all, as they are.

    Raises:
        InputFormatError: It is of no format that is read or not of ``format``, or it is not sound.
        InputError: It cannot be read, or has changed since it was found.
    """
    layout = layout_of(file, format)
    if layout.format == "parquet":
        source = open_parquet(file)
        if view is None:
            return source
        with naming(file.name):
            view = view.of(source.schema, source.rows or ())
        if view.is_plain(source.schema):
            return source
        return replace(source, schema=view.schema(source.schema), view=view)
    if layout.format == "jsonl":
        return open_json(file, layout, columns, added)
    if layout.format == "orc":
        return open_orc(file, layout)
    if layout.format in ("csv", "tsv"):
        return open_csv(file, layout)
    return open_ipc(file, layout)


def read_piece(
    piece: Piece,
    columns: Sequence[str] | None,
    batch_rows: int,
    workers: int = 1,
    skip: Skip | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a piece, in order.

    Args:
        piece: What to read.
        columns: Names of top-level columns that are needed; None reads all. Others may come along.
        batch_rows: Rows a batch, at most; fewer where the rows are large.
        workers: How many share the batches.
        skip: Which row groups are left out; only Parquet heeds it.

    Raises:
        InputError: The file is not sound, or no longer what was found.
    """
    format = piece.layout.format
    if piece.view is not None:  # whose rows are counted: none may be left out
        rows = read_parquet(piece, piece.view.sources(columns), batch_rows, workers)
        return piece.view.read(rows, columns, piece.first)
    if format == "parquet":
        return read_parquet(piece, columns, batch_rows, workers, skip)
    if format == "jsonl":
        return read_json(piece, columns, batch_rows)
    if format == "orc":
        return read_orc(piece, columns, batch_rows)
    if format in ("csv", "tsv"):
        return read_csv(piece, columns, batch_rows)
    return read_ipc(piece, columns, batch_rows)
