"""Read CSV as record batches: every column is text, so that values are written back unchanged.

``007``, ``1.0`` and ``NA`` stay as they are. An empty field is null; two quotes are an empty text. The first
line has the column names; a row with more or fewer fields is an error.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.csv as pacsv

from sentstream.dataset.formats.api import Layout, Piece, Source
from sentstream.dataset.formats.batches import regrouped
from sentstream.dataset.formats.compression import unpacked
from sentstream.dataset.formats.csv.blocks import LONGEST_ROW, Block, blocks
from sentstream.errors import (
    InputFormatError,
    OutOfMemoryError,
    SentstreamError,
    counted,
    first_line,
    is_out_of_memory,
)
from sentstream.storage.api import StoredFile

_ROW: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def open_csv(file: StoredFile, layout: Layout) -> Source:
    """Read the header line of a CSV file.

    Raises:
        InputFormatError: It has no header line, or one of its first rows is invalid.
        InputError: It cannot be read.
    """
    with unpacked(file, layout.codec) as data:
        first = next(blocks(data, layout.delimiter, file.name), None)
    names = [] if first is None else _parsed(first, layout, None, file.name).schema.names
    if names in ([], [""]):
        raise InputFormatError(f"{file.name}: no header line with column names", hint="add one, e.g. id,text")
    return Source(file, pa.schema([pa.field(name, pa.string()) for name in names]), None, layout)


def read_csv(piece: Piece, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Read the rows of a CSV file, in order.

    Raises:
        InputFormatError: A row has more or fewer fields than the header, an unclosed quote, or bytes that are
            not UTF-8.
        InputError: The file cannot be read.
    """
    yield from regrouped(_batches(piece, columns), batch_rows)
    piece.file.check()


def _batches(piece: Piece, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    assert piece.schema is not None
    names = piece.schema.names
    wanted = [index for index, name in enumerate(names) if columns is None or name in columns]
    with unpacked(piece.file, piece.layout.codec) as data:
        is_first = True
        for block in blocks(data, piece.layout.delimiter, piece.file.name):
            table = _parsed(block, piece.layout, names, piece.file.name, is_first)
            is_first = False
            yield from table.select(wanted).combine_chunks().to_batches()


def _parsed(
    block: Block, layout: Layout, names: list[str] | None, name: str, is_first: bool = True
) -> pa.Table:
    """Parse the rows of a block; without ``names``, only the column names in its first row matter."""
    try:
        return pacsv.read_csv(
            pa.BufferReader(block.data),
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=len(block.data) + 1,
                column_names=None if is_first else names,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=layout.delimiter,
                newlines_in_values=True,
                # In a file with one column, an empty line is a row.
                ignore_empty_lines=names is None or len(names) > 1,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=None if names is None else dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"{name} cannot be read: not enough memory: {error}") from error
        raise _unsound(block, layout, name, first_line(error)) from error


def _unsound(block: Block, layout: Layout, name: str, text: str) -> SentstreamError:
    """Translate pyarrow's error about an invalid block into one that says where and what to do."""
    if "Empty CSV" in text:
        return InputFormatError(f"{name}: no header line with column names", hint="add one, e.g. id,text")
    try:
        whole = block.data.decode()
    except UnicodeDecodeError as error:
        line = block.line + block.data.count(b"\n", 0, error.start)
        return InputFormatError(
            f"{name}, line {line:,} is not UTF-8: byte 0x{block.data[error.start]:02x}"
            f" at byte {block.byte + error.start:,}",
            hint="convert it from its encoding, e.g. iconv -f WINDOWS-1252 -t UTF-8",
        )
    row = _ROW.search(text)
    if row is None:
        return InputFormatError(f"{name}, from line {block.line:,}: {text}", hint="check the file")
    expected, line = int(row[2]), block.line
    csv.field_size_limit(LONGEST_ROW)
    rows = csv.reader(io.StringIO(whole, newline=""), delimiter=layout.delimiter)
    for fields in rows:
        if len(fields) not in (0, expected):
            break
        line = block.line + rows.line_num
    return InputFormatError(
        f"{name}, line {line:,}: {counted(int(row[3]), 'field')}, but the header has {expected:,}",
        hint="quote values that contain a delimiter or a line end",
    )
