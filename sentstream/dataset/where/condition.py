"""A condition, and a filter for the rows of one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from sentstream.dataset.formats.rows import select
from sentstream.dataset.where.binding import Binder
from sentstream.dataset.where.predicates import Predicate
from sentstream.dataset.where.rows import together
from sentstream.dataset.where.tree import Node, names
from sentstream.errors import UsageError, naming


@dataclass(frozen=True)
class Condition:
    """A condition in SQL, independent of any file; picklable.

    Attributes:
        text: The source text.
        node: The syntax tree.
    """

    text: str
    node: Node

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse an SQL condition, as after WHERE.

        Supports comparisons, AND, OR, NOT, IN, BETWEEN, IS [NOT] NULL, LIKE and ILIKE on columns, fields
        (``data.lang``), and their ``lower``, ``upper``, ``trim`` and ``length``. Strings have single or
        double quotes.

        Raises:
            UsageError: It is invalid, or uses an unsupported feature, which is named.
        """
        from sentstream.dataset.where.syntax import parse

        return cls(text, parse(text))

    @property
    def names(self) -> list[str]:
        """The columns and fields that it uses."""
        return list(dict.fromkeys(names(self.node)))

    def allows(self, folders: Mapping[str, pa.Scalar]) -> bool:
        """Return whether it may be true for a row of a file in these folders.

        Raises:
            ColumnTypeError: A folder's column is compared with a value of another type.
            UsageError: Two constants are compared.
        """
        partial = self._bound(pa.schema([]), folders, partial=True)
        return True in partial.possible()

    def bind(
        self, schema: pa.Schema, folders: Mapping[str, pa.Scalar], *, untyped: bool = False
    ) -> Predicate:
        """Bind the condition to the columns of a schema and of folders.

        Args:
            schema: The schema.
            folders: Columns of one value each.
            untyped: Whether text columns may hold numbers, as in CSV.

        Raises:
            ColumnNotFoundError: It uses a column that does not exist; the message suggests the closest name.
            ColumnTypeError: A column is compared with a value of another type.
        """
        return self._bound(schema, folders, untyped=untyped)

    def _bound(
        self,
        schema: pa.Schema,
        folders: Mapping[str, pa.Scalar],
        *,
        partial: bool = False,
        untyped: bool = False,
    ) -> Predicate:
        try:
            return Binder(schema, folders, partial=partial, untyped=untyped).bind(self.node)
        except RecursionError as error:
            raise UsageError("--where is nested too deep", hint="use fewer parentheses, or IN (…)") from error


@dataclass(frozen=True)
class RowFilter:
    """A filter for the rows of one file; picklable.

    Attributes:
        condition: The condition.
        folders: Columns from the file's folder names.
        untyped: Whether text columns may hold numbers, as in CSV.
        file: The file's name in messages.
    """

    condition: Condition
    folders: Mapping[str, pa.Scalar] = field(default_factory=dict)
    untyped: bool = False
    file: str = "the file"

    @property
    def names(self) -> list[str]:
        """The columns and fields of the file that it needs."""
        return [name for name in self.condition.names if name not in self.folders]

    def bind(self, schema: pa.Schema) -> Predicate:
        """Bind the condition to the columns of a schema.

        Raises:
            ColumnNotFoundError: It uses a column that does not exist; the message suggests the closest name.
            ColumnTypeError: A column is compared with a value of another type.
        """
        return self.condition.bind(schema, self.folders, untyped=self.untyped)

    def matches_any(self, batches: Iterable[pa.RecordBatch]) -> bool:
        """Return whether any of these rows match; only the columns ``names`` are needed."""
        return any(mask.true_count for _, mask in self._masks(batches))

    def filtered(
        self,
        batches: Iterable[pa.RecordBatch],
        batch_rows: int,
        left_out: Callable[[int], None] = lambda rows: None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows that match, in order.

        Args:
            batches: All rows.
            batch_rows: Maximum rows per batch when small results are merged.
            left_out: Called with the number of newly excluded rows, as reading proceeds.
        """
        return together(self._kept(batches, left_out), batch_rows)

    def _kept(
        self, batches: Iterable[pa.RecordBatch], left_out: Callable[[int], None]
    ) -> Iterator[pa.RecordBatch]:
        for batch, mask in self._masks(batches):
            kept = mask.true_count
            if kept < len(batch):
                left_out(len(batch) - kept)
            if kept:
                yield batch if kept == len(batch) else select(batch, mask)

    def _masks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, pa.BooleanArray]]:
        schema, predicate = None, None
        for batch in batches:
            if predicate is None or not batch.schema.equals(schema):
                schema, predicate = batch.schema, self.bind(batch.schema)
            with naming(self.file):
                mask = predicate.evaluate(batch)
            yield batch, mask
