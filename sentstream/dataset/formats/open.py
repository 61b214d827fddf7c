"""Open files of any format, and read the rows of pieces."""

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
    """Detect a file's layout and schema.

    Args:
        file: The file.
        format: Its format; None detects it from the first bytes and the name.
        columns: Names of columns, or paths of fields, that will be read; None for all. Only used for JSON
            lines, which have no schema: fields that are not read may have mixed types.
        added: Names of fields that will be added to JSON lines, which are otherwise copied verbatim: then the
            schema has the column ``*`` with whole lines, and besides it only those of ``columns``.
        view: A table's view of a Parquet file; None to read the file as it is.

    Raises:
        InputFormatError: Its format is not supported or not ``format``, or the file is invalid.
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
    """Read the rows of a piece, in order.

    Args:
        piece: The piece to read.
        columns: Names of the top-level columns needed; None reads all. Others may be included.
        batch_rows: Maximum rows per batch; fewer if the rows are large.
        workers: Number of workers that share the batches.
        skip: Which row groups to skip; only used for Parquet.

    Raises:
        InputError: The file is invalid, or has changed since it was found.
    """
    format = piece.layout.format
    if piece.view is not None:  # a view counts rows, so none may be skipped
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
