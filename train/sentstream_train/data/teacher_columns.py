"""Collect a teacher's probabilities from columns of the data while the rows are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import ColumnNotFoundError, ColumnTypeError, DataError

#: ``float32[rows, labels]``; NaN in rows without the teacher's probabilities.
Shares: TypeAlias = npt.NDArray[np.float32]

_SLACK = 0.02  # low-precision probabilities may sum to 1 with this error


@dataclass
class _File:
    """What was collected from one file."""

    path: Path
    columns: Mapping[str, pa.DataType]
    row: list[npt.NDArray[np.int64]] = field(default_factory=list)
    values: dict[str, list[Shares]] = field(default_factory=dict)

    def rows(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *self.row])


class TeacherColumns:
    """Collects, batch by batch, the columns with a prefix from all files.

    Which of them hold probabilities is known only at the end, when the labels are known.

    Args:
        prefix: The prefix of the column names; the label follows.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._files: list[_File] = []

    def begin_file(self, path: Path, columns: Mapping[str, pa.DataType]) -> None:
        """Start the next file, which has these columns with the prefix."""
        self._files.append(_File(path, columns))

    def add(self, columns: Mapping[str, pa.Array], kept: npt.NDArray[np.int64], before: int) -> None:
        """Add a batch of the current file.

        Args:
            columns: Its floating-point columns with the prefix.
            kept: The indices of the rows that are kept.
            before: The number of rows in earlier batches of the file.
        """
        file = self._files[-1]
        file.row.append(kept + before)
        for name, column in columns.items():
            values = column.to_numpy(zero_copy_only=False).astype(np.float32)
            file.values.setdefault(name, []).append(values[kept])

    def finish(self, labels: Sequence[str]) -> Shares:
        """The teacher's probabilities for all kept rows.

        Returns:
            ``float32[rows, labels]``; NaN for rows whose columns are null and for files without the columns.

        Raises:
            ColumnNotFoundError: A file has only some of the columns, or no file has any.
            ColumnTypeError: A column is not floating-point.
            DataError: A row's values are not probabilities.
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
        index = int(np.argmax(wrong))
        values = ", ".join(f"{value:g}" for value in shares[index])
        raise DataError(f"{file.path} row {rows[index]:,}: the teacher's {values} are not probabilities")
    shares /= sums[:, None]
    return shares
