"""Probabilities that a teacher wrote into columns of the data, gathered while the rows are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import ColumnNotFoundError, ColumnTypeError, DataError

#: ``float32[rows, labels]``; NaN in a row of which the teacher says nothing.
Shares: TypeAlias = npt.NDArray[np.float32]

_SLACK = 0.02  # by which probabilities of few bits may miss 1 in sum


@dataclass
class _File:
    """What was gathered of one file."""

    path: Path
    columns: Mapping[str, pa.DataType]
    row: list[npt.NDArray[np.int64]] = field(default_factory=list)
    values: dict[str, list[Shares]] = field(default_factory=dict)

    def rows(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *self.row])


class TeacherColumns:
    """Gathers, batch by batch, the columns of all files whose names begin with a prefix.

    Which of them hold probabilities is known at the end only, with the labels.

    Args:
        prefix: What the names of the columns begin with; the label follows.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._files: list[_File] = []

    def begin_file(self, path: Path, columns: Mapping[str, pa.DataType]) -> None:
        """Another file begins, which has these columns with the prefix."""
        self._files.append(_File(path, columns))

    def add(self, columns: Mapping[str, pa.Array], kept: npt.NDArray[np.int64], before: int) -> None:
        """Add a batch of the file.

        Args:
            columns: Those of its columns that hold numbers.
            kept: The batch's rows that are kept.
            before: Rows of the file in earlier batches.
        """
        file = self._files[-1]
        file.row.append(kept + before)
        for name, column in columns.items():
            values = column.to_numpy(zero_copy_only=False).astype(np.float32)
            file.values.setdefault(name, []).append(values[kept])

    def finish(self, labels: Sequence[str]) -> Shares:
        """The teacher's probabilities for every row that was kept.

        Returns:
            ``float32[rows, labels]``; NaN for a row whose columns are null, and for a file without them.

        Raises:
            ColumnNotFoundError: A file has some of the columns only, or no file has any.
            ColumnTypeError: A column does not hold numbers.
            DataError: A row's values are no probabilities.
        """
        names = [f"{self._prefix}{label}" for label in labels]
        if not any(name in file.columns for file in self._files for name in names):
            raise ColumnNotFoundError(
                f"no file has the teacher's columns {', '.join(names)}",
                hint="check --teacher-columns and --labels",
            )
        return np.concatenate([_shares_of(file, names) for file in self._files])


def _shares_of(file: _File, names: Sequence[str]) -> Shares:
    rows = file.rows()
    missing = [name for name in names if name not in file.columns]
    if len(missing) == len(names):
        return np.full((len(rows), len(names)), np.nan, np.float32)
    if missing:
        raise ColumnNotFoundError(
            f"{file.path} has no teacher's column {missing[0]}",
            hint=f"one column per label is needed: {', '.join(names)}",
        )
    for name in names:
        if not pa.types.is_floating(file.columns[name]):
            raise ColumnTypeError(f"{file.path}: the teacher's column {name} is {file.columns[name]}")
    empty = np.empty(0, np.float32)
    shares = np.stack([np.concatenate([empty, *file.values.get(name, [])]) for name in names], axis=1)
    sums = shares.sum(axis=1)
    wrong = (
        (np.abs(sums - 1) > _SLACK)
        | (shares < 0).any(axis=1)
        | (np.isnan(sums) & ~np.isnan(shares).all(axis=1))
    )
    if wrong.any():
        place = int(np.argmax(wrong))
        values = ", ".join(f"{value:g}" for value in shares[place])
        raise DataError(f"{file.path} row {rows[place]:,}: the teacher's {values} are not probabilities")
    shares /= sums[:, None]
    return shares
