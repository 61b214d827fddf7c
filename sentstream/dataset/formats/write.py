"""Open the writer for a schema and a layout, and check that it can write."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa

from sentstream.dataset.formats.api import STREAMED, TITLES, Format, Layout, RowWriter
from sentstream.dataset.formats.csv.writer import CsvWriter
from sentstream.dataset.formats.ipc.writer import IpcWriter
from sentstream.dataset.formats.json.writer import JsonWriter
from sentstream.dataset.formats.orc.writer import OrcWriter
from sentstream.dataset.formats.parquet.settings import DEFAULTS, ParquetSettings
from sentstream.dataset.formats.parquet.writer import Writer, leaf_paths
from sentstream.errors import UsageError


def open_writer(
    file: BinaryIO | pa.NativeFile,
    schema: pa.Schema,
    layout: Layout,
    added: Sequence[str],
    parquet: ParquetSettings = DEFAULTS,
) -> RowWriter:
    """Open a writer of rows to a file.

    Args:
        file: The file to write to; it need not be seekable. For Parquet also a pyarrow stream.
        schema: The schema of the batches.
        layout: The layout of the file.
        added: Names of the columns that scoring adds: labels, with few distinct values, and probabilities.
        parquet: How Parquet is written.

    Raises:
        OutputWriteError: The format cannot hold a column.
        ColumnClashError: Two columns have the same name in JSON.
        UsageError: A format with internal compression is to be compressed as a whole.
    """
    if layout.codec is not None and layout.format not in STREAMED:
        raise UsageError(
            f"{TITLES[layout.format]} is compressed internally and cannot be compressed as a whole",
            hint="drop the compression suffix from the name",
        )
    if layout.format == "parquet":
        plain = {name for name in added if pa.types.is_floating(schema.field(name).type)}
        return Writer(file, schema, plain, parquet)
    if layout.format in ("csv", "tsv"):
        return CsvWriter(file, schema, layout)
    if layout.format == "jsonl":
        return JsonWriter(file, schema, layout, added)
    if layout.format == "orc":
        return OrcWriter(file, schema)
    return IpcWriter(file, schema, layout)


def check_writable_as(schema: pa.Schema, layout: Layout, added: Sequence[str]) -> None:
    """Check, before any work, whether ``open_writer`` can write.

    Raises:
        OutputWriteError: The format cannot hold a column.
        ColumnTypeError: A column's type cannot be written in a text format.
        ColumnClashError: Two columns have the same name in JSON.
        UsageError: A format with internal compression is to be compressed as a whole.
    """
    if layout.format == "parquet" and layout.codec is None:
        leaf_paths(schema)
        return
    empty = None
    with contextlib.suppress(pa.ArrowException):  # pyarrow makes no empty array of some types
        empty = pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)
    with open_writer(io.BytesIO(), schema, layout, added) as writer:
        if empty is not None:
            writer.write(empty)


def output_layout(source: Layout, named: Layout | None, format: Format | None) -> Layout:
    """Choose the layout of an output.

    Args:
        source: The layout of the input.
        named: The layout that the output's name indicates; None without a name or a known suffix.
        format: The requested format; None for that of the name, or else the input's.
    """
    chosen = format or (named.format if named is not None else source.format)
    codec = None if named is None else named.codec
    if chosen == "tsv":
        return Layout("tsv", codec, "\t")
    if chosen == "csv":
        return Layout("csv", codec, source.delimiter if source.format == "csv" else ",")
    return Layout(chosen, codec)
