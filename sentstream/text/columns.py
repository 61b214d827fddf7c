"""Find a text column by name, at the top level or inside structs, and get its texts (text or binary)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import ColumnNotFoundError, ColumnTypeError
from sentstream.text.clean import is_text
from sentstream.text.storage import plain_values

_MOST = 8  # names listed in an error
#: Types of text that is not marked as text, as Impala, Hive and old versions of Spark write it.
_TEXT_OF_BYTES = {
    pa.binary(): pa.string(),
    pa.large_binary(): pa.large_string(),
    pa.binary_view(): pa.string_view(),
}


@dataclass(frozen=True)
class Column:
    """A column of a schema, or a field inside a struct column.

    Attributes:
        name: The name as requested: ``text``, ``data.text``.
        path: Index of the top-level column, then of the field in each nested struct.
        type: The type of the values.
    """

    name: str
    path: tuple[int, ...]
    type: pa.DataType

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """The n values of n rows, as stored; null where an enclosing struct is null."""
        column = batch.column(self.path[0])
        return pc.struct_field(column, self.path[1:]) if len(self.path) > 1 else column

    def texts(self, batch: pa.RecordBatch) -> pa.Array:
        """``values``, with binary viewed as text; nothing is copied, and invalid UTF-8 stays."""
        return text_of_bytes(self.values(batch))


def find_column(schema: pa.Schema, name: str) -> int:
    """The index of the only top-level column with this name.

    Raises:
        ColumnNotFoundError: No such column, or several; the message suggests a similar name.
    """
    indices = schema.get_all_field_indices(name)
    if len(indices) == 1:
        return int(indices[0])
    raise _duplicate(name, len(indices)) if indices else _missing(name, schema.names, _listed(schema.names))


def find_field(schema: pa.Schema, name: str, *, hint: str | None = None) -> Column:
    """The column with this name, or the field at this path: ``data.text`` is ``text`` in the struct ``data``.

    A top-level column whose own name contains the dots takes precedence.

    Args:
        schema: The schema to search.
        name: A name, or names joined by dots.
        hint: The error's hint if there is no such column; by default the available columns.

    Raises:
        ColumnNotFoundError: No such column, or several; the message suggests a similar name.
    """
    fields = list(schema)
    parts = [name] if name in schema.names else name.split(".")
    path: list[int] = []
    for depth, part in enumerate(parts, 1):
        indices = [index for index, field in enumerate(fields) if field.name == part]
        if not indices:
            names = field_names(schema)
            raise _missing(name, names, hint or _listed(names))
        if len(indices) > 1:
            raise _duplicate(".".join(parts[:depth]), len(indices))
        path += indices
        kind = fields[path[-1]].type
        fields = _fields_of(kind)
    return Column(name, tuple(path), kind)


def find_text(schema: pa.Schema, name: str) -> Column:
    """The column with this name or at this path (see ``find_field``), which must hold text.

    Binary counts as text: many Parquet writers do not mark text as such.

    Raises:
        ColumnNotFoundError: No such column, or several; the message suggests a similar name.
        ColumnTypeError: It is neither text nor binary.
    """
    # A column of nulls is accepted as text, but not suggested.
    texts = [one for one, kind in _leaves(schema) if is_text(kind) and not pa.types.is_null(kind)]
    hint = f"text columns: {_some(texts)}" if texts else "it has no text column"
    column = find_field(schema, name, hint=hint)
    if is_text(column.type) or is_bytes(column.type):
        return column
    shown = "struct" if pa.types.is_struct(column.type) else column.type
    inside = [text for text in texts if text.startswith(f"{name}.")]
    raise ColumnTypeError(
        f"column {name!r} is of type {shown}, not text",
        hint=f"name one of its fields: {_some(inside)}" if inside else "choose another --text-column",
    )


def field_names(schema: pa.Schema) -> list[str]:
    """The names that ``find_field`` accepts, without structs that contain other fields.

    >>> field_names(pa.schema({"id": pa.int64(), "data": pa.struct({"text": pa.string()})}))
    ['id', 'data.text']
    """
    return [name for name, _ in _leaves(schema)]


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds variable-length binary, which may be unmarked text."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return is_bytes(kind.value_type)
    return any(map(kind.equals, _TEXT_OF_BYTES))  # custom extension types are not hashable


def text_of_bytes(column: pa.Array) -> pa.Array:
    """View a binary column as text; invalid UTF-8 stays. Other columns are returned unchanged.

    Nothing is copied, unless the column is run-end encoded.
    """
    if not is_bytes(column.type):
        return column
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, text_of_bytes(column.dictionary))
    if pa.types.is_run_end_encoded(column.type):
        return text_of_bytes(plain_values(column))
    return column.view(_TEXT_OF_BYTES[column.type])


def _fields_of(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(index) for index in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _leaves(fields: Iterable[pa.Field], before: str = "") -> Iterator[tuple[str, pa.DataType]]:
    for field in fields:
        inside = _fields_of(field.type)
        if inside:
            yield from _leaves(inside, f"{before}{field.name}.")
        else:
            yield before + field.name, field.type


def _duplicate(name: str, count: int) -> ColumnNotFoundError:
    return ColumnNotFoundError(f"{count} columns are named {name!r}", hint="rename one of them")


def _missing(name: str, names: list[str], hint: str) -> ColumnNotFoundError:
    folded = {one.lower(): one for one in reversed(names)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    nearest = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return ColumnNotFoundError(f"no column {name!r}{nearest}", hint=hint)


def _listed(names: list[str]) -> str:
    return f"columns: {_some(names) or 'none'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST]) + (", …" if len(names) > _MOST else "")
