"""A condition, and the condition for the rows of one file."""

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
    """A condition in SQL; it can be pickled, and goes with any file.

    Attributes:
        text: As it was written.
        node: What it says.
    """

    text: str
    node: Node

    @classmethod
    def parse(cls, text: str) -> Condition:
        """A condition of SQL's, as after WHERE.

        Comparisons, AND, OR, NOT, IN, BETWEEN, IS [NOT] NULL, LIKE and ILIKE, of columns, of fields
        (``data.lang``), and of their ``lower``, ``upper``, ``trim`` and ``length``. Strings stand in single
        or double quotes.

        Raises:
            UsageError: It is no condition, or one that has what is not supported, which is named.
        """
        from sentstream.dataset.where.syntax import parse

        return cls(text, parse(text))

    @property
    def names(self) -> list[str]:
        """The columns and fields that it speaks of."""
        return list(dict.fromkeys(names(self.node)))

    def allows(self, folders: Mapping[str, pa.Scalar]) -> bool:
        """Whether it may be true of a row of a file in these folders.

        Raises:
            ColumnTypeError: A folder's column is compared with what its type has not.
            UsageError: Two constants are compared.
        """
        partial = self._bound(pa.schema([]), folders, partial=True)
        return True in partial.possible()

    def bind(
        self, schema: pa.Schema, folders: Mapping[str, pa.Scalar], *, untyped: bool = False
    ) -> Predicate:
        """The condition of a schema's columns and of folders.

        Args:
            schema: The schema.
            folders: Columns of one value each.
            untyped: Whether columns of text may be numbers, as in CSV.

        Raises:
            ColumnNotFoundError: It speaks of a column that is not there; the message names the nearest.
            ColumnTypeError: A column is compared with what its type has not.
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
    """A condition for the rows of one file; picklable.

    Attributes:
        condition: What rows have to be.
        folders: Columns of the folders that the file lies in.
        untyped: Whether columns of text may be numbers, as in CSV.
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
        """The condition of a schema's columns.

        Raises:
            ColumnNotFoundError: It speaks of a column that is not there; the message names the nearest.
            ColumnTypeError: A column is compared with what its type has not.
        """
        return self.condition.bind(schema, self.folders, untyped=self.untyped)

    def matches_any(self, batches: Iterable[pa.RecordBatch]) -> bool:
        """Whether it is true of any of these rows, of which only the columns ``names`` are needed."""
        return any(mask.true_count for _, mask in self._masks(batches))

    def filtered(
        self,
        batches: Iterable[pa.RecordBatch],
        batch_rows: int,
        left_out: Callable[[int], None] = lambda rows: None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of which it is true, in order.

        Args:
            batches: All rows.
            batch_rows: Rows that are put together to one batch, where few are left of each.
            left_out: Is told of how many rows the condition is not true, as they go by.
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
