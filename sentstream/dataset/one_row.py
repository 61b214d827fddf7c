"""The texts of single rows of a file: by their places, or by what else the rows hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow.compute as pc

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
    """The text of a row; None where it is null. Where the format allows it, what comes before is not read.

    Args:
        name: A file, or its URI.
        row: Its place, from 0: what ``sentstream report`` and ``evaluate`` say.
        text_column: The column of the texts, or a field in structs.
        options: Settings of object stores.

    Raises:
        UsageError: Several files, or no such row.
        InputError: The file cannot be read, or has no such column of texts.
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
    most: int,
    text_column: str = TEXT_COLUMN,
    options: Mapping[str, str] | None = None,
) -> tuple[list[tuple[int, str | None]], bool]:
    """The first rows of which a condition is true; no more is read than tells whether there are others.

    Args:
        name: A file, or its URI. Folders such as ``lang=en/`` that it lies in are columns.
        where: The condition, in SQL, as ``score_files`` takes it.
        most: How many rows, at most.
        text_column: The column of the texts, or a field in structs.
        options: Settings of object stores.

    Returns:
        The place of each row, from 0, with its text, None where that is null; and whether there are more.

    Raises:
        UsageError: Several files, no condition, or one that is true of no row.
        InputError: The file cannot be read, or has no such columns.
    """
    selection = Selection(where)
    source = _open(name, options)
    selection.keep([source.name])
    wanted = selection.of(source.name, source.name)
    assert wanted is not None
    folders = {key: value for key, value in wanted.folders.items() if key not in source.schema.names}
    wanted = replace(wanted, folders=folders, untyped=source.layout.format in ("csv", "tsv"))
    with naming(source.name):
        wanted.bind(source.schema)
        columns = [
            find_text(source.schema, text_column),
            *(find_field(source.schema, one) for one in wanted.names),
        ]
    needed = list(dict.fromkeys(source.schema.names[column.path[0]] for column in columns))
    found: list[tuple[int, str | None]] = []
    first = 0
    for batch in read_piece(source.whole(), needed, _BATCH_ROWS):
        with naming(source.name):
            mask = wanted.bind(batch.schema).evaluate(batch)
            texts = find_text(batch.schema, text_column).texts(batch)
        for place in pc.indices_nonzero(mask).to_pylist():
            if len(found) == most:
                return found, True
            found.append((first + place, as_text(texts.slice(place, 1))[0].as_py()))
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
