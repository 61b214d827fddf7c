"""Join the teacher's output (``minilm.py label``) with the texts that it read.

join.py tweets.teacher.parquet tweets.parquet --output tweets.taught.parquet
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq


def fingerprint(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def teacher_input(shares: Path) -> str:
    """Return the fingerprint of the file that the teacher read."""
    return str((pq.read_schema(shares).metadata or {}).get(b"data_sha256", b""), "utf-8")


def shares_of(labels: pa.Table) -> npt.NDArray[np.float32]:
    """Return the teacher's probabilities, of shape (rows, labels).

    Args:
        labels: Row numbers, then a column per label: probabilities, or their square roots in 255ths.
    """
    columns = labels.columns[1:]
    shares = np.stack([column.to_numpy() for column in columns], axis=1).astype(np.float32)
    if pa.types.is_integer(columns[0].type):
        shares = np.square(shares / 255)
        shares /= shares.sum(axis=1, keepdims=True)
    return shares


def join(shares: Path, data: Path, output: Path, data_sha256: str | None = None) -> int:
    """Write the rows that the teacher read: text, label and the teacher's probabilities.

    The label column is written only if the file has all of the teacher's labels. In a file without neutral
    tweets, whose labels come from emoticons, "positive" means something else.

    Args:
        shares: The teacher's output.
        data: The texts.
        output: The new file.
        data_sha256: The fingerprint of the texts; by default that of their file.

    Returns:
        The number of rows.
    """
    if (data_sha256 or fingerprint(data)) != teacher_input(shares):
        sys.exit(f"{shares} was not written for {data}")
    with pq.ParquetFile(shares) as file:
        labels = file.read()
    with pq.ParquetFile(data) as file:
        names = [name for name in ("text", "label") if name in file.schema_arrow.names]
        rows = file.read(columns=names).take(labels["row"])
    known = {name.removeprefix("teacher_") for name in labels.schema.names[1:]}
    if "label" in names and set(rows["label"].unique().to_pylist()) != known:
        rows = rows.drop(["label"])
    for name, column in zip(labels.schema.names[1:], shares_of(labels).T, strict=True):
        rows = rows.append_column(name, pa.array(column))
    write_rows(rows, output)
    return len(rows)


def write_rows(rows: pa.Table, output: Path, group_rows: int | None = None) -> None:
    """Write a Parquet file, atomically, and its folder.

    Args:
        rows: The rows.
        output: The new file.
        group_rows: Rows per row group; by default those of pyarrow.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(".new")
    pq.write_table(rows, temporary, compression="zstd", row_group_size=group_rows)
    os.replace(temporary, output)


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shares", type=Path, help="the output of minilm.py label")
    parser.add_argument("data", type=Path, help="the Parquet file that was labeled")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    print(f"{join(options.shares, options.data, options.output):,} rows")


if __name__ == "__main__":
    main()
