"""Read the texts of single rows of a file, by row number or by a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow.compute as pc

from sentstream.dataset.folders import folder_of
from sentstream.dataset.formats.api import Source
from sentstream.dataset.formats.open import open_source, read_piece
from sentstream.dataset.inputs import find_inputs
from sentstream.dataset.where import Selection
from sentstream.errors import UsageError, naming
from sentstream.scorer.added_columns import TEXT_COLUMN
from sentstream.text.columns import find_field, find_text
from sentstream.text.storage import as_text

_BATCH_ROWS = 32_768


def read_text(
    name: str, row: int, text_column: str = TEXT_COLUMN, options: Mapping[str, str] | None = None
) -> str | None:
    """Return the text of a row; None if it is null. If the format allows it, earlier rows are not read.

    Args:
        name: A file or its URI.
        row: Its number, from 0, as in ``sentstream report`` and ``evaluate``.
        text_column: The text column, or the path of a struct field.
        options: Settings of object stores.

    Raises:
        UsageError: The name matches several files, or there is no such row.
        InputError: The file cannot be read, or has no such text column.
    """
    source = _open(name, options)
    with naming(source.name):
        column = find_text(source.schema, text_column)
    piece, left = source.whole(), row
    for unit, rows in enumerate(source.rows or ()):
        if left < rows:
            piece = replace(piece, first=unit, stop=unit + 1)
            break
        left -= rows
    if source.total is None or row < source.total:
        for batch in read_piece(piece, [source.schema.names[column.path[0]]], _BATCH_ROWS):
            if left < len(batch):
                texts = find_text(batch.schema, text_column).texts(batch)
                text: str | None = as_text(texts.slice(left, 1))[0].as_py()
                return text
            left -= len(batch)
    total = f"{row - left:,}" if source.total is None else f"{source.total:,}"
    raise UsageError(f"{source.name} has no row {row:,}: it has {total}", hint="rows are counted from 0")


def find_texts(
    name: str,
    where: str,
    limit: int,
    text_column: str = TEXT_COLUMN,
    options: Mapping[str, str] | None = None,
) -> tuple[list[tuple[int, str | None]], bool]:
    """Return the first rows that match a condition; reading stops once it is known whether there are more.

    Args:
        name: A file or its URI. Folders such as ``lang=en/`` in its path are columns.
        where: SQL condition, as in ``score_files``.
        limit: Maximum number of rows.
        text_column: The text column, or the path of a struct field.
        options: Settings of object stores.

    Returns:
        The number of each row, from 0, with its text, None if null; and whether there are more rows.

    Raises:
        UsageError: The name matches several files, or the condition is invalid or matches no row.
        InputError: The file cannot be read, or lacks a column.
    """
    selection = Selection(where)
    source = _open(name, options)
    selection.keep([folder_of(source.name)])
    row_filter = selection.of(source.name, source.name)
    assert row_filter is not None
    folders = {key: value for key, value in row_filter.folders.items() if key not in source.schema.names}
    row_filter = replace(row_filter, folders=folders, untyped=source.layout.format in ("csv", "tsv"))
    with naming(source.name):
        row_filter.bind(source.schema)
        columns = [
            find_text(source.schema, text_column),
            *(find_field(source.schema, one) for one in row_filter.names),
        ]
    needed = list(dict.fromkeys(source.schema.names[column.path[0]] for column in columns))
    found: list[tuple[int, str | None]] = []
    first = 0
    for batch in read_piece(source.whole(), needed, _BATCH_ROWS):
        with naming(source.name):
            mask = row_filter.bind(batch.schema).evaluate(batch)
            texts = find_text(batch.schema, text_column).texts(batch)
        for index in pc.indices_nonzero(mask).to_pylist():
            if len(found) == limit:
                return found, True
            found.append((first + index, as_text(texts.slice(index, 1))[0].as_py()))
        first += len(batch)
    if not found:
        raise UsageError(f"no row in {source.name} matches --where {where}", hint="relax the condition")
    return found, False


def _open(name: str, options: Mapping[str, str] | None) -> Source:
    found = find_inputs([name], None, options, scored=True).files
    if len(found) > 1:
        raise UsageError(
            f"{name} is {len(found):,} files", hint="name one of them: rows are numbered within a file"
        )
    return open_source(found[0].file)
