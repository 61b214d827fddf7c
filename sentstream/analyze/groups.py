"""Sums by the value of a column, in bounded memory for any number of values."""

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

#: Number of groups kept; above twice as many, all but the largest are moved to the rest.
_MOST_GROUPS = 100_000
#: Maximum characters of a group's name; longer names are cut, and names that are then equal are one group.
_NAME_CHARACTERS = 120
_MORE, _NOTHING = (pa.scalar(text, pa.large_string()) for text in ("…", ""))


@dataclass(frozen=True)
class Group:
    """The rows with one value in a column.

    Attributes:
        name: The value as text; None for null.
        figures: The figures of the rows.
    """

    name: str | None
    figures: Figures


@dataclass(frozen=True)
class Grouping:
    """Rows by the value of a column.

    Attributes:
        column: The column.
        count: Number of values; a lower bound if ``missed`` is not 0.
        groups: The largest groups, largest first.
        rest: The figures of all other rows; None if there are none.
        rest_count: Number of those groups; also a lower bound if ``missed`` is not 0.
        missed: Maximum number of rows that a group may lack because there were too many groups to keep; 0 if
            all counts are exact.
    """

    column: str
    count: int
    groups: tuple[Group, ...]
    rest: Figures | None
    rest_count: int
    missed: int


class GroupSums:
    """Sums rows by the values of one column.

    If there are too many groups, small ones are dropped, as in lossy counting (Manku and Motwani 2002). For
    each time that happens, a remaining group lacks at most as many rows as the largest dropped group had.

    Args:
        column: Name of the column.
        cells: Computes the sums.
    """

    def __init__(self, column: str, cells: Cells) -> None:
        self.column, self._cells = column, cells
        self._sums = KeyedSums(pa.large_string(), cells.columns, dtype=np.float64, merge_at=_MOST_GROUPS)
        self._rest: Floats = np.zeros(cells.columns)
        self._missed = 0

    def add(self, values: pa.Array, label: Ints, value: Floats | None) -> None:
        """Count some rows.

        Args:
            values: The column's values.
            label: As for ``Cells.from_codes``.
            value: As for ``Cells.from_codes``.

        Raises:
            ColumnTypeError: The values cannot be grouped: lists, structs, floats, decimals.
        """
        encoded = plain_values(values).dictionary_encode(null_encoding="encode")
        names = group_names(encoded.dictionary, self.column)
        sums = self._cells.from_codes(encoded.indices.to_numpy(), len(names), label, value)
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

    def grouping(self, limit: int) -> Grouping:
        """Return the largest groups, with the rest combined.

        Args:
            limit: Maximum number of groups that are not combined.
        """
        names, sums = self._sums.merged()
        rows = self._cells.rows(sums)
        order = np.argsort(-rows, kind="stable")
        top, others = order[:limit], order[limit:]
        groups = tuple(
            Group(names[index].as_py(), self._cells.figures(sums[index])) for index in top.tolist()
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
        ColumnTypeError: The values cannot be grouped: lists, structs, floats, decimals.
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
