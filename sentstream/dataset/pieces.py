"""Score a piece of a file, independent of any engine."""

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
    """Score a piece of a file, and yield scored batches in order.

    It needs only the file and the scorer, so any engine can drive it.

    Args:
        scorer: The scorer.
        piece: The piece to read.
        threads: Number of scoring threads.
        batch_rows: Maximum rows per batch.
        profile: Records how long each stage takes.
        where: The row filter; None to score all rows.
        folders: Columns of one value each, added to the rows.
        left_out: Called with the number of newly excluded rows, as reading proceeds.

    Raises:
        InputError: The file is invalid, or lacks a column.
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
    """Read the rows of a piece to score, with the columns that the scorer needs.

    The arguments are those of ``score_piece``.

    Raises:
        InputError: The file is invalid, or lacks a column.
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
    """Read the rows of a piece that match a filter.

    Args:
        piece: The piece to read.
        columns: The columns to read; None for all. The filter's columns are included.
        heavy: Columns too large to read twice; if the filter uses one, row groups are not checked first for
            matching rows.
        threads: Number of threads that share the batches.
        batch_rows: Maximum rows per batch.
        where: The row filter; None for all rows.
        left_out: Called with the number of newly excluded rows, as reading proceeds.

    Raises:
        InputError: The file is invalid, or lacks a column.
    """
    if where is None:
        return read_piece(piece, columns, batch_rows, threads)
    if columns is not None:
        columns = [*columns, *where.names]

    def should_skip(rows: int, batches: Iterable[pa.RecordBatch]) -> bool:
        if where.matches_any(batches):
            return False
        left_out(rows)
        return True

    light = where.names and not {*where.names} & {*heavy}
    skip = Skip(where.names, should_skip) if light else None
    return where.filtered(read_piece(piece, columns, batch_rows, threads, skip), batch_rows, left_out)
