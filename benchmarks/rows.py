"""The rows that are benchmarked: real tweets where the data is at hand, else the examples again and again.

Run as a program it writes them, in a process of its own: Linux counts the memory of a process at its
largest as that of the processes that it starts later.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.machine import ROOT

#: Rows that are held in memory while a long file is written; the length of its row groups.
_PART = 1_000_000
#: A stride through a file whose rows are ordered by label; it is prime to the number of rows.
_STRIDE = 7919


def data_folder() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared" / "data"))


def has_data() -> bool:
    """Whether real tweets are at hand."""
    return (data_folder() / "sentiment140" / "train.parquet").exists()


def tweets(rows: int) -> pa.ChunkedArray:
    """So many tweets, the data set over and over where it is shorter."""
    source = data_folder() / "sentiment140" / "train.parquet"
    if not has_data():
        source = ROOT / "examples" / "tweets.parquet"
    column = pq.read_table(source, columns=["text"])["text"].combine_chunks()
    if not has_data():  # one of them is as long as 200 others
        column = column.filter(pc.less(pc.utf8_length(pc.fill_null(column, "")), 1000))
    order = np.arange(min(rows, len(column)), dtype=np.int64) * _STRIDE % len(column)
    column = pa.chunked_array([column.take(pa.array(order))])
    times = -(-rows // len(column))
    return pa.chunked_array(column.chunks * times, column.type).slice(0, rows)


def write_tweets(path: Path, rows: int, group: int | None = None) -> None:
    """A file of so many tweets, in row groups of ``group`` rows, written a part at a time."""
    part = pa.table({"text": tweets(min(rows, _PART))})
    with pq.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for start in range(0, rows, len(part)):
            writer.write_table(part.slice(0, min(len(part), rows - start)), row_group_size=group)


def write_long_tweets(path: Path, rows: int, length: int) -> None:
    """A file of so many rows of ``length`` words each: real words, one tweet's after the other's."""
    words = pc.list_flatten(pc.utf8_split_whitespace(tweets(50_000).combine_chunks().drop_null()))
    words = words.filter(pc.utf8_is_alpha(words))  # each of them is one token, whatever the rules
    at = np.arange(rows * length, dtype=np.int64) % len(words)
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(length)
    texts = pc.binary_join(
        pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(at))), pa.scalar(" ", words.type)
    )
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")


def write_apart(path: Path, rows: int, *, group: int | None = None, length: int | None = None) -> None:
    """``write_tweets``, or with ``length`` ``write_long_tweets``, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rows", str(path), str(rows)]
    command += [] if group is None else ["--group", str(group)]
    command += [] if length is None else ["--length", str(length)]
    subprocess.run(command, check=True, cwd=ROOT)


def read_texts(path: Path, rows: int) -> pa.ChunkedArray:
    """The first rows of a file that ``write_tweets`` wrote."""
    with pq.ParquetFile(path) as file:
        parts: list[pa.Array] = []
        for batch in file.iter_batches(batch_size=min(rows, 131_072), columns=["text"]):
            parts.append(batch.column(0))
            if sum(map(len, parts)) >= rows:
                break
    return pa.chunked_array(parts).slice(0, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--length", type=int)
    options = parser.parse_args()
    if options.length:
        write_long_tweets(options.path, options.rows, options.length)
    else:
        write_tweets(options.path, options.rows, options.group)


if __name__ == "__main__":
    main()
