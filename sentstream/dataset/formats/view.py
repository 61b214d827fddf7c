"""A table's view of one of its files: without deleted rows, and with the table's columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.dataset.formats.rows import take
from sentstream.errors import InputFormatError

_FIELD_ID: Final = b"PARQUET:field_id"


@dataclass(frozen=True)
class ViewColumn:
    """A column of a table.

    Attributes:
        name: Its name.
        source: Its name in the file; None if it is not in the file.
        value: The value of all rows if the file has no such column.
        number: Its field id, which identifies it in files with field ids, whatever its name; None if unknown.
        inner: The ids and names of the fields inside it.
    """

    name: str
    source: str | None
    value: pa.Scalar
    number: int | None = None
    inner: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True)
class View:
    """A table's view of a file; picklable.

    Attributes:
        columns: The table's columns, in order.
        deleted: The indices of deleted rows in the file, ascending, of shape (n,).
        units: The number of rows of each unit of the file, once it was opened.
        folders: Whether the file's folders, such as ``lang=en/``, are columns.
    """

    columns: tuple[ViewColumn, ...]
    deleted: npt.NDArray[np.int64]
    units: tuple[int, ...] = ()
    folders: bool = True

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of the view, given the file's; fields from the file are kept as they are."""
        return pa.schema([self._field(column, schema) for column in self.columns], schema.metadata)

    def is_plain(self, schema: pa.Schema) -> bool:
        """Return whether the view is the same as the file, in rows and schema."""
        return not len(self.deleted) and self.schema(schema).equals(schema)

    def of(self, schema: pa.Schema, units: Sequence[int]) -> View:
        """Return the view bound to an opened file.

        Args:
            schema: The schema of the file.
            units: The number of rows of each of its units.

        Raises:
            InputFormatError: Fields inside a column have other names in the file.
        """
        numbers = {number: field for field in schema if (number := _number(field)) is not None}
        if not numbers:
            return replace(self, units=tuple(units))
        columns = []
        for column in self.columns:
            field = column.number is not None and numbers.get(column.number)
            if field:
                _check_inside(column, field.type)
            columns.append(replace(column, source=field.name if field else None))
        return replace(self, columns=tuple(columns), units=tuple(units))

    def rows(self, first: int, stop: int) -> int:
        """Return the number of rows in the units from ``first`` to before ``stop``."""
        start, end = sum(self.units[:first]), sum(self.units[:stop])
        return end - start - int(np.diff(np.searchsorted(self.deleted, [start, end]))[0])

    def sources(self, names: Sequence[str] | None) -> list[str]:
        """Return the file's columns that the given columns are read from; None for all."""
        wanted = [column for column in self.columns if names is None or column.name in names]
        return [column.source for column in wanted if column.source is not None]

    def read(
        self, batches: Iterable[pa.RecordBatch], names: Sequence[str] | None, first: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the view's rows, in order.

        Args:
            batches: All rows of consecutive units, with the columns ``sources``.
            names: The columns to return; None for all.
            first: The first unit.
        """
        wanted = [column for column in self.columns if names is None or column.name in names]
        start = sum(self.units[:first])
        for batch in batches:
            columns = [self._values(column, batch) for column in wanted]
            fields = [self._field(column, batch.schema) for column in wanted]
            viewed = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))
            stop = start + len(batch)
            low, high = np.searchsorted(self.deleted, [start, stop])
            if low < high:
                kept = np.delete(np.arange(len(batch)), self.deleted[low:high] - start)
                viewed = take(viewed, kept)
            if len(viewed):
                yield viewed
            start = stop

    def _field(self, column: ViewColumn, schema: pa.Schema) -> pa.Field:
        if column.source in schema.names:
            return schema.field(column.source).with_name(column.name)
        return pa.field(column.name, column.value.type)

    def _values(self, column: ViewColumn, batch: pa.RecordBatch) -> pa.Array:
        if column.source in batch.schema.names:
            return batch.column(column.source)
        return pa.repeat(column.value, len(batch))


def _number(field: pa.Field) -> int | None:
    """Return the Parquet field id, which does not change when a column is renamed."""
    number = (field.metadata or {}).get(_FIELD_ID)
    return None if number is None else int(number)


def _check_inside(column: ViewColumn, kind: pa.DataType) -> None:
    for index in range(kind.num_fields):
        field = kind.field(index)
        if pa.types.is_struct(kind) and (_number(field), field.name) not in column.inner:
            raise InputFormatError(
                f"the field {field.name!r} in column {column.name!r} was renamed or dropped later, which"
                " is not supported",
                hint="leave the column out with --columns, or have the table's files rewritten",
            )
        _check_inside(column, field.type)
