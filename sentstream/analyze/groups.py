"""Sums by the value of a column, in bounded memory however many values there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.cells import Cells, Figures, Floats, Ints
from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.errors import ColumnTypeError
from sentstream.text import is_text
from sentstream.text.storage import as_text, plain_values

#: Groups that are kept; when there are twice as many, the smaller half goes to the rest.
_MOST_GROUPS = 100_000
#: Characters of a group's name; longer ones are cut, and those that begin alike are one.
_NAME_CHARACTERS = 120
_MORE, _NOTHING = (pa.scalar(text, pa.large_string()) for text in ("…", ""))


@dataclass(frozen=True)
class Group:
    """The rows that have one value in a column.

    Attributes:
        name: The value as text; None for the rows without.
        figures: What they come to.
    """

    name: str | None
    figures: Figures


@dataclass(frozen=True)
class Grouping:
    """Rows by the value of a column.

    Attributes:
        column: The column.
        count: How many values there are; where ``missed`` is not 0, at least so many.
        groups: The largest groups, the largest first.
        rest: What all other rows come to; None where there are none.
        rest_count: How many groups those are; at least, as before.
        missed: Rows that a group may lack, for there were too many groups to keep them all; 0 where all
            counts are exact.
    """

    column: str
    count: int
    groups: tuple[Group, ...]
    rest: Figures | None
    rest_count: int
    missed: int


class GroupSums:
    """The sums of rows by the values of one column.

    Small groups are given up where there are too many, as lossy counting does (Manku and Motwani 2002): a
    group that is there at the end lacks at most as many rows as the largest that was given up had.

    Args:
        column: The column, by name.
        cells: What is summed.
    """

    def __init__(self, column: str, cells: Cells) -> None:
        self.column, self._cells = column, cells
        self._sums = KeyedSums(pa.large_string(), cells.columns, dtype=np.float64, merge_at=_MOST_GROUPS)
        self._rest: Floats = np.zeros(cells.columns)
        self._missed = 0

    def add(self, values: pa.Array, label: Ints, value: Floats | None) -> None:
        """Count some rows.

        Args:
            values: The column's.
            label: As ``Cells.of_codes`` takes it.
            value: As ``Cells.of_codes`` takes it.

        Raises:
            ColumnTypeError: The values cannot be told apart by their text: lists, structs, fractions.
        """
        encoded = plain_values(values).dictionary_encode(null_encoding="encode")
        names = group_names(encoded.dictionary, self.column)
        sums = self._cells.of_codes(encoded.indices.to_numpy(), len(names), label, value)
        if self._sums.add(names, sums):
            self._shrink()

    def _shrink(self) -> None:
        names, sums = self._sums.merged()
        if len(names) <= 2 * _MOST_GROUPS:
            return
        rows = self._cells.rows(sums)
        order = np.argsort(-rows, kind="stable")
        kept, gone = np.sort(order[:_MOST_GROUPS]), order[_MOST_GROUPS:]
        self._rest += sums[gone].sum(axis=0)
        self._missed += int(rows[gone].max())
        self._sums.replace(names.take(pa.array(kept)), sums[kept])

    def grouping(self, most: int) -> Grouping:
        """The largest groups, and the rest as one.

        Args:
            most: How many groups are told apart.
        """
        names, sums = self._sums.merged()
        rows = self._cells.rows(sums)
        order = np.argsort(-rows, kind="stable")
        top, others = order[:most], order[most:]
        groups = tuple(
            Group(names[place].as_py(), self._cells.figures(sums[place])) for place in top.tolist()
        )
        rest = self._rest + sums[others].sum(axis=0)
        whole = self._cells.rows(rest) > 0
        return Grouping(
            self.column,
            len(names),
            groups,
            self._cells.figures(rest) if whole else None,
            len(others),
            self._missed,
        )


def group_names(values: pa.Array, column: str) -> pa.Array:
    """The values of a column as text; null stays.

    Raises:
        ColumnTypeError: They are lists, structs, fractions.
    """
    kind = values.type
    if is_text(kind):
        names = as_text(values)
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_nested(kind):
        shown = "struct" if pa.types.is_struct(kind) else kind
        raise ColumnTypeError(
            f"column {column!r} is of type {shown}, which cannot be grouped",
            hint=f"name one of its fields: {column}.FIELD"
            if pa.types.is_struct(kind)
            else "name a column of text, integers, dates or booleans",
        )
    else:
        try:
            names = values.cast(pa.large_string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ColumnTypeError(
                f"column {column!r} is of type {kind}, which cannot be grouped", hint="choose another --by"
            ) from error
    longest = pc.max(pc.utf8_length(names)).as_py() or 0
    if longest <= _NAME_CHARACTERS:
        return names
    cut = pc.utf8_slice_codeunits(names, 0, _NAME_CHARACTERS - 1)
    long = pc.greater(pc.utf8_length(names), _NAME_CHARACTERS)
    return pc.if_else(long, pc.binary_join_element_wise(cut, _MORE, _NOTHING), names)
