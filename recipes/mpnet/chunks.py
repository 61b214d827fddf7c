"""Labels of the rows of a data set, in files that are small enough to be kept one by one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mpnet.transfer import Tweets
from mpnet.tweets import LABELS, Rows, Shares

CHUNK = 32_768


@dataclass(frozen=True)
class Chunk:
    """Some rows of a data set, and where their labels go.

    Attributes:
        path: The file that holds them, or is to hold them.
        rows: ``int64``, ascending, of the data set.
        tweets: All rows of this source.
    """

    path: Path
    rows: Rows
    tweets: Tweets


def chunks_of(tweets: Tweets, kept: Path, size: int) -> list[Chunk]:
    """The chunks of a source, in files of a folder."""
    rows = tweets.rows
    return [
        Chunk(kept / f"{tweets.name}.{start // size:02}.teacher.parquet", rows[start : start + size], tweets)
        for start in range(0, len(rows), size)
    ]


def write(chunk: Chunk, shares: Shares, adapter_sha256: str) -> None:
    """Write what the teacher made of a chunk's rows, whole or not at all."""
    columns = {"row": pa.array(chunk.rows, pa.int32())}
    columns |= {
        f"teacher_{name}": pa.array(shares[:, at].astype(np.float16)) for at, name in enumerate(LABELS)
    }
    about = {"data_sha256": chunk.tweets.data_sha256, "adapter_sha256": adapter_sha256}
    _write(pa.table(columns).replace_schema_metadata(about), chunk.path)


def _write(table: pa.Table, path: Path) -> None:
    beside = path.with_suffix(".new")
    pq.write_table(table, beside, compression="zstd", compression_level=19)
    os.replace(beside, path)


def gather(chunks: list[Chunk], whole: Path) -> None:
    """Make one file of a data set's chunks, unless some are missing."""
    if not all(chunk.path.exists() for chunk in chunks):
        return
    tables = []
    for chunk in chunks:
        with pq.ParquetFile(chunk.path) as file:
            tables.append(file.read())
    # The metadata says which adapter spoke: one for all of them, or they are not joined.
    if any(table.schema.metadata != tables[0].schema.metadata for table in tables):
        sys.exit(f"the chunks of {whole.name} are of several adapters; remove the older ones and label again")
    _write(pa.concat_tables(tables), whole)
    for chunk in chunks:
        chunk.path.unlink()


def missing(sources: Iterable[Tweets], kept: Path, size: int = CHUNK) -> Iterator[Chunk]:
    """The chunks that no file holds yet; those of a source become one file when all are there.

    Args:
        sources: What is to be labeled.
        kept: The folder of the chunks.
        size: Rows of a chunk.
    """
    for tweets in sources:
        whole = kept / f"{tweets.name}.teacher.parquet"
        if whole.exists():
            continue
        chunks = chunks_of(tweets, kept, size)
        yield from (chunk for chunk in chunks if not chunk.path.exists())
        gather(chunks, whole)
