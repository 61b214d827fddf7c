"""Read JSON lines as record batches: whole lines copied verbatim, or typed columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa

from sentstream.dataset.formats.api import WHOLE_LINE, Layout, Piece, Source
from sentstream.dataset.formats.batches import regrouped
from sentstream.dataset.formats.compression import unpacked
from sentstream.dataset.formats.json.blocks import blocks
from sentstream.dataset.formats.json.parse import parse
from sentstream.dataset.formats.json.schema import find_schema, without_nulls
from sentstream.errors import InputFormatError
from sentstream.storage.api import StoredFile
from sentstream.storage.stream import Stream


def open_json(
    file: StoredFile, layout: Layout, columns: Sequence[str] | None, added: Sequence[str] | None
) -> Source:
    """Infer the schema of JSON lines.

    If lines are copied verbatim, the first 4 MiB are enough, as only the types of ``columns`` matter; the
    same goes for a stream, which cannot be read twice. Otherwise the whole file is read.

    Args:
        file: The file.
        layout: The layout of the file.
        columns: Names of fields, or paths of nested ones, that will be read; None for all.
        added: Names of fields that will be added to each line, which is otherwise copied verbatim: then the
            schema has the column ``*`` with the lines, and besides it only those of ``columns``. None for
            columns only.

    Raises:
        InputFormatError: A line is not an object, or a field has values of incompatible types.
        InputError: It cannot be read.
    """
    sampled = added is not None or isinstance(file, Stream)
    needed = (
        None if columns is None else {*columns, *(name.split(".")[0] for name in columns), *(added or ())}
    )
    with unpacked(file, layout.codec) as data:
        some = blocks(data, file.name)
        read = itertools.islice(some, 1) if sampled else some
        schema = find_schema(read, file.name, needed, first=added is not None)
    if sampled:
        schema = pa.schema([pa.field(one.name, without_nulls(one.type)) for one in schema])
    if WHOLE_LINE in schema.names:
        raise InputFormatError(
            f"{file.name} has a field {WHOLE_LINE!r}, which is a reserved name", hint="rename it"
        )
    if added is not None:
        schema = _read_with_lines(schema, columns or [], added)
    return Source(file, schema, None, layout)


def read_json(piece: Piece, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Read the objects in a file's lines, in order; blank lines are skipped.

    Raises:
        InputFormatError: A line is not an object, or a field does not have the type in the schema.
        InputError: The file cannot be read.
    """
    assert piece.schema is not None
    schema = piece.schema
    if columns is not None:
        schema = pa.schema([field for field in schema if field.name in columns])
    name = piece.file.name
    with unpacked(piece.file, piece.layout.codec) as data:
        yield from regrouped((parse(block, schema, name) for block in blocks(data, name)), batch_rows)
    piece.file.check()


def _read_with_lines(schema: pa.Schema, columns: Sequence[str], added: Sequence[str]) -> pa.Schema:
    """Return the fields of ``columns`` and the lines; if one is missing, all fields, for the message."""
    paths = [[name] if name in schema.names else name.split(".") for name in columns]
    fields = []
    for field in schema:
        below = [path[1:] for path in paths if path[0] == field.name]
        if below:
            fields.append(pa.field(field.name, _pruned(field.type, below)))
        elif field.name in added:  # the scorer will reject it
            fields.append(field)
    names = {field.name for field in fields}
    if not all(path[0] in names for path in paths):
        return schema
    return pa.schema([*fields, pa.field(WHOLE_LINE, pa.large_binary(), nullable=False)])


def _pruned(kind: pa.DataType, paths: list[list[str]]) -> pa.DataType:
    """Return a type with only the fields on the given paths."""
    if not all(paths) or not pa.types.is_struct(kind):
        return kind
    return pa.struct(
        [
            pa.field(one.name, _pruned(one.type, [path[1:] for path in paths if path[0] == one.name]))
            for one in kind
            if any(path[0] == one.name for path in paths)
        ]
    )
