"""A piece of a file -> scored batches, with no engine around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from sentstream.dataset.folders import add_columns
from sentstream.dataset.formats.api import Piece
from sentstream.dataset.formats.open import read_piece
from sentstream.dataset.formats.parquet.reader import Skip
from sentstream.dataset.where import RowFilter
from sentstream.model import BATCH_ROWS
from sentstream.profile import Profile
from sentstream.scorer import Scored, Scorer


def score_piece(
    scorer: Scorer,
    piece: Piece,
    *,
    threads: int = 1,
    batch_rows: int = BATCH_ROWS,
    profile: Profile | None = None,
    where: RowFilter | None = None,
    folders: Mapping[str, pa.Scalar] = MappingProxyType({}),
    left_out: Callable[[int], None] = lambda rows: None,
) -> Generator[Scored, None, None]:
    """Score some row groups of a file: a generator of scored batches, in order.

    It needs no more than the file and the scorer, so that any engine may drive it.

    Args:
        scorer: The scorer.
        piece: What is read.
        threads: Threads that score.
        batch_rows: Maximum rows per batch.
        profile: Records how long each stage takes.
        where: The row filter; None to score all rows.
        folders: Columns of one value each that the rows get.
        left_out: Is told of how many rows are not scored, as they go by.

    Raises:
        InputError: The file is not sound, or lacks a column.
    """
    batches = read_rows(
        scorer, piece, threads=threads, batch_rows=batch_rows, where=where, folders=folders, left_out=left_out
    )
    yield from scorer.score_stream(batches, threads, profile)


def read_rows(
    scorer: Scorer,
    piece: Piece,
    *,
    threads: int = 1,
    batch_rows: int = BATCH_ROWS,
    where: RowFilter | None = None,
    folders: Mapping[str, pa.Scalar] = MappingProxyType({}),
    left_out: Callable[[int], None] = lambda rows: None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a piece that are to be scored, and what the scorer needs of them.

    The arguments are those of ``score_piece``.

    Raises:
        InputError: The file is not sound, or lacks a column.
    """
    batches = _wanted_rows(scorer, piece, threads, batch_rows, where, folders, left_out)
    return add_columns(batches, folders) if folders else batches


def _wanted_rows(
    scorer: Scorer,
    piece: Piece,
    threads: int,
    batch_rows: int,
    where: RowFilter | None,
    folders: Collection[str],
    left_out: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    columns = None
    if scorer.columns is not None:
        kept = [name for name in scorer.columns if name not in folders]
        columns = [*kept, *scorer.text_columns]
    return wanted_rows(
        piece,
        columns,
        heavy=scorer.text_columns,
        threads=threads,
        batch_rows=batch_rows,
        where=where,
        left_out=left_out,
    )


def wanted_rows(
    piece: Piece,
    columns: Sequence[str] | None,
    *,
    heavy: Collection[str] = (),
    threads: int = 1,
    batch_rows: int = BATCH_ROWS,
    where: RowFilter | None = None,
    left_out: Callable[[int], None] = lambda rows: None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a piece that are asked for.

    Args:
        piece: What is read.
        columns: The columns that are needed; None for all. Those of the condition come along.
        heavy: Columns that are not read twice, to find out whether a row group has such a row at all.
        threads: How many share the batches.
        batch_rows: Maximum rows per batch.
        where: Which rows; None for all.
        left_out: Is told of how many rows are left out, as they go by.

    Raises:
        InputError: The file is not sound, or lacks a column.
    """
    if where is None:
        return read_piece(piece, columns, batch_rows, threads)
    if columns is not None:
        columns = [*columns, *where.names]

    def whether(rows: int, batches: Iterable[pa.RecordBatch]) -> bool:
        if where.matches_any(batches):
            return False
        left_out(rows)
        return True

    light = where.names and not {*where.names} & {*heavy}
    skip = Skip(where.names, whether) if light else None
    return where.filtered(read_piece(piece, columns, batch_rows, threads, skip), batch_rows, left_out)
