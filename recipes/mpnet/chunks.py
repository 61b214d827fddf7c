"""Labels of the rows of a data set, in files small enough to be committed one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mpnet.transfer import Tweets
from mpnet.tweets import LABELS, Rows, Shares, write_table

CHUNK = 32_768


@dataclass(frozen=True)
class Chunk:
    """Rows of a data set, and where their labels go.

    Attributes:
        path: The file for their labels; it may not exist yet.
        rows: ``int64``, ascending, row numbers in the data set.
        tweets: All rows of this source.
    """

    path: Path
    rows: Rows
    tweets: Tweets


def chunks_of(tweets: Tweets, kept: Path, size: int) -> list[Chunk]:
    """Return the chunks of a source, as files in the folder ``kept``."""
    rows = tweets.rows
    return [
        Chunk(kept / f"{tweets.name}.{start // size:02}.teacher.parquet", rows[start : start + size], tweets)
        for start in range(0, len(rows), size)
    ]


def write(chunk: Chunk, shares: Shares, adapter_sha256: str) -> None:
    """Write the teacher's labels of a chunk's rows, atomically."""
    columns = {"row": pa.array(chunk.rows, pa.int32())}
    columns |= {
        f"teacher_{name}": pa.array(shares[:, index].astype(np.float16)) for index, name in enumerate(LABELS)
    }
    metadata = {"data_sha256": chunk.tweets.data_sha256, "adapter_sha256": adapter_sha256}
    write_table(pa.table(columns).replace_schema_metadata(metadata), chunk.path)


def compact(labels: pa.Table) -> pa.Table:
    """Return labels in a byte per share: its square root in 255ths, because small shares need finer steps."""
    for index in range(1, labels.num_columns):
        name, shares = labels.schema.names[index], labels.column(index).to_numpy().astype(np.float32)
        roots = np.rint(np.sqrt(shares) * 255).astype(np.uint8)
        labels = labels.set_column(index, name, pa.array(roots))
    return labels


def gather(chunks: list[Chunk], whole: Path) -> None:
    """Merge a data set's chunks into one smaller file, unless some are missing."""
    if not all(chunk.path.exists() for chunk in chunks):
        return
    tables = []
    for chunk in chunks:
        with pq.ParquetFile(chunk.path) as file:
            tables.append(file.read())
    # The metadata names the adapter: chunks of different adapters are not merged.
    if any(table.schema.metadata != tables[0].schema.metadata for table in tables):
        sys.exit(
            f"the chunks of {whole.name} come from different adapters; remove the older ones and label again"
        )
    write_table(compact(pa.concat_tables(tables)), whole)
    for chunk in chunks:
        chunk.path.unlink()


def missing(sources: Iterable[Tweets], kept: Path, size: int = CHUNK) -> Iterator[Chunk]:
    """Yield the chunks that no file holds yet; a source's chunks are merged when all are there.

    Args:
        sources: What is to be labeled.
        kept: The folder of the chunks.
        size: Rows per chunk.
    """
    for tweets in sources:
        whole = kept / f"{tweets.name}.teacher.parquet"
        if whole.exists():
            continue
        chunks = chunks_of(tweets, kept, size)
        yield from (chunk for chunk in chunks if not chunk.path.exists())
        gather(chunks, whole)
