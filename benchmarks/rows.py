"""The benchmarked rows: real tweets if the data is available, else random words with the same lengths.

As a program it writes them in a separate process: Linux counts the peak memory of a process as that of the
processes that it starts later.
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
from sentstream.bundle import DEFAULT_MODEL, load_bundle
from sentstream.doctor.tweets import synthetic_tweets

#: Rows held in memory while a long file is written; also its row-group size.
_PART = 1_000_000
#: The stride through a file whose rows are ordered by label; coprime to the number of rows.
_STRIDE = 7919


def data_folder() -> Path:
    """Return the folder of the data sets."""
    return Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared" / "data"))


def has_data() -> bool:
    """Return whether real tweets are available."""
    return (data_folder() / "sentiment140" / "train.parquet").exists()


def tweets(rows: int) -> pa.ChunkedArray:
    """Return ``rows`` tweets; a shorter data set is repeated."""
    if has_data():
        column = _column(data_folder() / "sentiment140" / "train.parquet")
    else:
        column = _drawn(min(rows, _PART))
    order = np.arange(min(rows, len(column)), dtype=np.int64) * _STRIDE % len(column)
    column = pa.chunked_array([column.take(pa.array(order))])
    times = -(-rows // len(column))
    return pa.chunked_array(column.chunks * times, column.type).slice(0, rows)


def _column(path: Path) -> pa.Array:
    return pq.read_table(path, columns=["text"])["text"].combine_chunks()


def _drawn(rows: int) -> pa.Array:
    """Return tweets of random words with the examples' lengths; the examples themselves would repeat."""
    texts = _column(ROOT / "examples" / "tweets.parquet").drop_null()
    words = pc.list_value_length(pc.utf8_split_whitespace(texts)).to_numpy()
    words = words[(words > 0) & (words < 100)]  # one of them is as long as 200 others together
    lengths = np.random.default_rng(0).choice(words, rows).tolist()
    return synthetic_tweets(load_bundle(DEFAULT_MODEL).text.vocabulary, lengths)


def write_repeats(path: Path, rows: int, percent: int) -> None:
    """Write a file where ``percent`` of the rows repeat one of 3,000 texts, by Zipf's law, like retweets."""
    random = np.random.default_rng(0)
    positions = np.arange(rows)
    again = random.random(rows) < percent / 100
    positions[again] = random.integers(0, rows, 3_000)[
        (random.zipf(1.3, np.count_nonzero(again)) - 1) % 3_000
    ]
    texts = tweets(rows).combine_chunks().take(pa.array(positions))
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")


def write_tweets(path: Path, rows: int, group: int | None = None) -> None:
    """Write a file of ``rows`` tweets, in row groups of ``group`` rows, one part at a time."""
    part = pa.table({"text": tweets(min(rows, _PART))})
    with pq.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for start in range(0, rows, len(part)):
            writer.write_table(part.slice(0, min(len(part), rows - start)), row_group_size=group)


def write_long_tweets(path: Path, rows: int, length: int) -> None:
    """Write a file of ``rows`` rows of ``length`` words each: real words, taken from consecutive tweets."""
    words = pc.list_flatten(pc.utf8_split_whitespace(tweets(50_000).combine_chunks().drop_null()))
    words = words.filter(pc.utf8_is_alpha(words))  # each is one token under any rules
    positions = np.arange(rows * length, dtype=np.int64) % len(words)
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(length)
    texts = pc.binary_join(
        pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(positions))),
        pa.scalar(" ", words.type),
    )
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")


def write_apart(path: Path, rows: int, **parts: int | None) -> None:
    """Run ``write_tweets`` in a separate process, or the writer for ``length`` or ``repeats``.

    Args:
        path: The file.
        rows: Its number of rows.
        parts: ``group``, ``length`` or ``repeats``.
    """
    command = [sys.executable, "-m", "benchmarks.rows", str(path), str(rows)]
    for part, value in parts.items():
        command += [] if value is None else [f"--{part}", str(value)]
    subprocess.run(command, check=True, cwd=ROOT)


def read_texts(path: Path, rows: int) -> pa.ChunkedArray:
    """Return the first rows of a file that ``write_tweets`` wrote."""
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
    parser.add_argument("--repeats", type=int)
    options = parser.parse_args()
    if options.length:
        write_long_tweets(options.path, options.rows, options.length)
    elif options.repeats is not None:
        write_repeats(options.path, options.rows, options.repeats)
    else:
        write_tweets(options.path, options.rows, options.group)


if __name__ == "__main__":
    main()
