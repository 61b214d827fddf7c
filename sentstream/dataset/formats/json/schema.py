"""Infer an Arrow schema that fits all JSON lines.

integers        int64; float64 if other values in the field have a decimal point or exceed 64 bits
numbers         float64
text            string: dates and times stay text
true, false     bool
arrays          a list of its values' type
objects         a struct of all fields that occur
only null       null
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pyarrow as pa

from sentstream.dataset.formats.json.blocks import Block
from sentstream.dataset.formats.json.parse import kind_of, objects, read_fast
from sentstream.errors import InputFormatError


def find_schema(
    blocks: Iterable[Block], name: str, needed: Collection[str] | None, *, first: bool = False
) -> pa.Schema:
    """Infer the schema of some lines.

    Args:
        blocks: The lines.
        name: The file's name in messages.
        needed: Top-level fields that will be read; others are dropped if their types are mixed. None for all.
        first: Whether the first type of a field counts, regardless of later ones.

    Raises:
        InputFormatError: A line is not an object, or a field has values of incompatible types.
    """
    fields: dict[str, pa.DataType] = {}
    mixed: set[str] = set()
    for block in blocks:
        table = read_fast(block.data, None)
        try:
            if table is None:
                raise _MixedError("")
            found = {
                one: _plain(kind) for one, kind in zip(table.schema.names, table.schema.types, strict=True)
            }
            merged = {
                one: _merged(fields.get(one, pa.null()), kind, one, first)
                for one, kind in found.items()
                if one not in mixed
            }
        except _MixedError:  # go line by line to locate the error
            _add_lines(block, fields, name, needed, mixed, first)
        else:
            fields |= merged
    return pa.schema([pa.field(one, kind) for one, kind in fields.items() if one not in mixed])


def without_nulls(kind: pa.DataType) -> pa.DataType:
    """Return a type in which fields that were always null so far are text."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(without_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, without_nulls(one.type)) for one in kind])
    return kind


class _MixedError(Exception):
    """A field has values of several types; the message is its path."""


def _add_lines(
    block: Block,
    fields: dict[str, pa.DataType],
    name: str,
    needed: Collection[str] | None,
    mixed: set[str],
    first: bool,
) -> None:
    for number, _, parsed in objects(block, name):
        for one, value in parsed.items():
            if one in mixed:
                continue
            try:
                fields[one] = _merged(fields.get(one, pa.null()), _type_of(value, one, first), one, first)
            except _MixedError as error:
                if needed is not None and one not in needed:
                    mixed.add(one)
                    continue
                held = f" holds {kind_of(value)}" if str(error) == one else " has values of several types"
                raise InputFormatError(
                    f"{name}, line {number:,}: field {str(error)!r}{held}"
                    f"{', and another type on earlier lines' if str(error) == one else ''}",
                    hint="leave it out with --columns, or write JSON lines, which are copied as they are",
                ) from None


def _type_of(value: Any, path: str, first: bool) -> pa.DataType:
    if value is None:
        return pa.null()
    if type(value) is bool:
        return pa.bool_()
    if type(value) is int:
        return pa.int64() if -(1 << 63) <= value < 1 << 63 else pa.float64()
    if type(value) is float:
        return pa.float64()
    if type(value) is str:
        return pa.string()
    if type(value) is list:
        kind = pa.null()
        for one in value:
            kind = _merged(kind, _type_of(one, path, first), path, first)
        return pa.list_(kind)
    return pa.struct([pa.field(one, _type_of(inner, f"{path}.{one}", first)) for one, inner in value.items()])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type that pyarrow inferred, without dates and times, which stay text."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, _plain(one.type)) for one in kind])
    known = (pa.null(), pa.bool_(), pa.int64(), pa.float64())
    return kind if kind in known else pa.string()


def _merged(one: pa.DataType, other: pa.DataType, path: str, first: bool) -> pa.DataType:
    """Return the type that fits values of both; if there is none, the first one if ``first``, else raise."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_merged(one.value_type, other.value_type, path, first))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        kinds = {field.name: field.type for field in one}
        for field in other:
            known = kinds.get(field.name, pa.null())
            kinds[field.name] = _merged(known, field.type, f"{path}.{field.name}", first)
        return pa.struct([pa.field(name, kind) for name, kind in kinds.items()])
    if first:
        return one
    raise _MixedError(path)
