"""Probabilities that a teacher wrote into columns of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.errors import ColumnNotFoundError, ColumnTypeError, DataError
from sentstream_train.data.files import find_files
from sentstream_train.data.labeled import LabeledData

_SLACK = 0.02  # by which probabilities of few bits may miss 1 in sum


def read_shares(paths: Sequence[str | Path], prefix: str, rows: LabeledData) -> npt.NDArray[np.float32]:
    """Read a teacher's probabilities.

    Args:
        paths: The files of the data.
        prefix: What the names of the columns begin with; the label follows.
        rows: What was read of them.

    Returns:
        ``float32[rows, labels]``; NaN for a row whose columns are null, and for a file without the columns.

    Raises:
        ColumnNotFoundError: A file has some of the columns only, or no file has any.
        ColumnTypeError: A column does not hold numbers.
        DataError: A row's values are no probabilities.
    """
    names = [f"{prefix}{label}" for label in rows.labels]
    parts: list[npt.NDArray[np.float32]] = []
    found = False
    for path, source in zip(find_files(paths), rows.sources, strict=True):
        with path.open("rb") as head:
            is_parquet = head.read(4) == b"PAR1"
        columns = set(pq.read_schema(path).names) if is_parquet else set()
        missing = [name for name in names if name not in columns]
        if len(missing) == len(names):
            parts.append(np.full((source.rows, len(names)), np.nan, np.float32))
        elif missing:
            raise ColumnNotFoundError(
                f"{path} lacks the teacher's column {missing[0]}",
                hint=f"it takes one a label: {', '.join(names)}",
            )
        else:
            found = True
            parts.append(_read(path, names))
    if not found:
        raise ColumnNotFoundError(
            f"no file has the teacher's columns {', '.join(names)}",
            hint="check --teacher-columns and --labels",
        )
    return np.concatenate(parts)[rows.row]


def _read(path: Path, names: list[str]) -> npt.NDArray[np.float32]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        for name in names:
            if not pa.types.is_floating(schema.field(name).type):
                raise ColumnTypeError(f"{path}: the teacher's column {name} is {schema.field(name).type}")
        batches = [
            np.stack(
                [batch.column(name).to_numpy(zero_copy_only=False).astype(np.float32) for name in names],
                axis=1,
            )
            for batch in file.iter_batches(1 << 16, columns=names)
        ]
    shares = np.concatenate([np.zeros((0, len(names)), np.float32), *batches])
    sums = shares.sum(axis=1)
    wrong = (
        (np.abs(sums - 1) > _SLACK)
        | (shares < 0).any(axis=1)
        | (np.isnan(sums) & ~np.isnan(shares).all(axis=1))
    )
    if wrong.any():
        row = int(np.argmax(wrong))
        values = ", ".join(f"{value:g}" for value in shares[row])
        raise DataError(f"{path} row {row:,}: the teacher's {values} are not probabilities")
    shares /= sums[:, None]
    return shares
