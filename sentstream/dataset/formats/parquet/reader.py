"""Read Parquet as record batches: in order, in bounded memory, without losing or shifting rows.

Parquet has no checksums except optional ones of pages, so the structure is cross-checked: row counts of file,
row groups and batches, types of schema and columns, indices and dictionaries. Statistics and sizes in a
footer are advice that writers get wrong, so they neither cause rejections nor determine allocations. Damage
that passes all of this cannot be told from another valid file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentstream.dataset.formats.api import Piece, Source
from sentstream.dataset.formats.errors import CORRUPT
from sentstream.dataset.formats.parquet.dictionaries import has_dictionary
from sentstream.dataset.formats.parquet.opening import arrow_schema, open_parquet, translating_errors
from sentstream.dataset.formats.parquet.row_sizes import is_flat
from sentstream.dataset.formats.parquet.steps import Span, group_spans, steps
from sentstream.errors import InputFormatError, counted
from sentstream.storage.api import StoredFile

#: Maximum size of a batch in memory, unless a single row is larger.
_BATCH_BYTES = 8 << 20
_NARROW = 32  # bits of a dictionary index
#: In row groups up to this size, prepending the first row is faster than reading it again.
_FEW_ROWS = 1024


@dataclass(frozen=True)
class Skip:
    """Decides which row groups need not be read.

    Attributes:
        names: The columns that decide.
        whether: Returns whether to skip a row group, given its number of rows and batches of these columns.
    """

    names: list[str]
    should_skip: Callable[[int, Iterable[pa.RecordBatch]], bool]


def open_source(file: StoredFile) -> Source:
    """Read and check a Parquet file's footer.

    Raises:
        InputFormatError: It is not Parquet, or its footer contradicts itself.
        InputError: It cannot be read, or has changed since it was found.
    """
    with open_parquet(file) as opened, translating_errors(file.name):
        metadata = opened.metadata
        rows = tuple(int(metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups))
        if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
            raise InputFormatError(
                f"{file.name}: {counted(sum(rows), 'row')} in row groups, {metadata.num_rows:,} in the file",
                hint=CORRUPT,
            )
        sizes = tuple(max(0, metadata.row_group(group).total_byte_size) for group in range(len(rows)))
        schema = arrow_schema(opened)
        narrow = any(_has_narrow_dictionary(field.type) for field in schema)
        return Source(file, schema, rows, sizes=sizes, apart=narrow)


def read_piece(
    piece: Piece,
    columns: Sequence[str] | None,
    batch_rows: int,
    workers: int = 1,
    skip: Skip | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read the rows of a piece, in order.

    Small row groups are merged, unless they contain dictionaries. Large ones are split evenly, so that no
    worker has a whole batch left at the end while the others wait.

    Args:
        piece: The piece to read.
        columns: Names of the top-level columns needed; None reads all. Others may be included.
        batch_rows: Maximum rows per batch; fewer if the rows are large.
        workers: Number of workers that share the batches.
        skip: Which row groups to skip.

    Raises:
        InputError: As ``open_source``; or a page is corrupt or its checksum fails, or a row group's columns
            have the wrong number of rows.
    """
    with open_parquet(piece.file) as file:
        wanted = None if columns is None else list(dict.fromkeys(columns))
        schema = file.schema_arrow
        flat = is_flat(schema)
        apart = not flat and any(has_dictionary(kind) for kind in schema.types)
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for number in range(piece.first, piece.stop):
            group = _Group(piece.file, file, number, flat)
            limit = group.batch_size(batch_rows, workers)
            if skip is not None and skip.should_skip(group.rows, group.read(skip.names, limit)):
                continue
            for batch in group.read(wanted, limit):
                full = rows + len(batch) > limit or size + batch.nbytes > _BATCH_BYTES
                if waiting and (apart or full):
                    yield from _together(waiting)
                    waiting, rows, size = [], 0, 0
                waiting.append(batch)
                rows += len(batch)
                size += batch.nbytes
        yield from _together(waiting)
    piece.file.check()


class _Group:
    """One row group of an open file.

    Args:
        stored: The file.
        file: The same file, open.
        number: The number of the row group.
        flat: Whether no column is nested or a dictionary.
    """

    def __init__(self, stored: StoredFile, file: pq.ParquetFile, number: int, flat: bool) -> None:
        self._stored, self._file, self._number, self._flat = stored, file, number, flat
        self._place = f"{stored.name}, row group {number}"
        with translating_errors(self._place):
            self._about = file.metadata.row_group(number)

    @property
    def rows(self) -> int:
        """The number of rows according to the footer."""
        return int(self._about.num_rows)

    def batch_size(self, batch_rows: int, workers: int) -> int:
        """Return ``batch_rows``, or fewer if that distributes the rows evenly."""
        rows = self.rows
        if rows <= batch_rows:
            return batch_rows
        needed = -(-rows // batch_rows)
        even = -(-needed // workers) * workers
        return -(-rows // min(even, 2 * needed))  # but not too small with many workers

    def read(self, columns: list[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of up to ``batch_rows`` rows, fewer if they are large; check all before the last."""
        total: int = self._about.num_rows
        rows = 0
        parts: list[pa.RecordBatch] = []
        size = 0
        for part in self._parts(columns, batch_rows):
            if parts and (not rows % batch_rows or size + part.nbytes > _BATCH_BYTES):
                yield from self._joined(parts)
                parts, size = [], 0
            parts.append(part)
            rows += len(part)
            size += part.nbytes
        if rows != total:
            raise self._corrupt(f"{counted(rows, 'row')}, but the footer says {total:,}")
        self._compare_types(columns)
        yield from self._joined(parts)

    def _parts(self, columns: list[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in steps that fit in memory; none crosses a multiple of ``batch_rows``."""
        rows = 0
        total: int = self._about.num_rows
        with translating_errors(self._place):
            # Read one row first: C++ reports invalid column metadata, e.g. of an encrypted column, where
            # accessing it from Python would crash the process.
            batches = self._batches(columns, 1)
            first = next(batches, None)
            cuts = steps(self._spans(columns), total)
            stop, limit = next(cuts)
            continues = first is not None and total <= _FEW_ROWS and self._flat
            if first is not None and continues:
                self._validate(first)
                rows = len(first)
            else:
                batches = self._batches(columns, max(1, min(limit, stop, batch_rows)))
        if first is not None and continues:
            yield first
        while True:
            with translating_errors(self._place):
                while rows >= stop < total:
                    stop, limit = next(cuts)
                # Takes effect from the second batch on; the first one uses the argument.
                self._file.reader.set_batch_size(
                    max(1, min(limit, stop - rows, batch_rows - rows % batch_rows))
                )
                batch = next(batches, None)
                if batch is None:
                    return
                self._validate(batch)
            # A step with large values may be larger than a batch.
            even = -(-len(batch) // max(1, -(-batch.nbytes // _BATCH_BYTES)))
            for start in range(0, len(batch), max(1, even)):
                yield batch.slice(start, even)
            rows += len(batch)

    def _batches(self, columns: list[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
        """Read batches of ``rows`` rows, or of the size that is set later."""
        # One thread: the cores are for the model, and decoding is a few percent of the time.
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            rows, row_groups=[self._number], columns=columns, use_threads=False
        )
        return batches

    def _spans(self, columns: list[str] | None) -> list[list[Span]]:
        """Return the spans of each leaf column."""
        leaves: Sequence[int] = range(self._file.metadata.num_columns)
        if columns is not None:
            wanted = {*columns}
            leaves = [
                index
                for index, leaf in enumerate(self._file.schema)
                if any(leaf.path == name or leaf.path.startswith(f"{name}.") for name in wanted)
            ]
        with self._stored.open() as data:
            return group_spans(data, self._stored, self._file, self._number, leaves)

    def _compare_types(self, columns: list[str] | None) -> None:
        """Compare the types, which the footer has twice."""
        for index, leaf in enumerate(self._file.schema):
            # Only columns that were read: with some footers pyarrow crashes where C++ raises an error.
            if columns is not None and leaf.path.split(".")[0] not in columns:
                continue
            kind = self._about.column(index).physical_type
            if kind != leaf.physical_type:
                raise self._corrupt(
                    f"column {leaf.path!r} is of type {kind}, but {leaf.physical_type} in the schema"
                )

    def _validate(self, batch: pa.RecordBatch) -> None:
        """Raise ArrowInvalid for data that is unsafe to use."""
        batch.validate()
        if not self._flat:
            _validate_dictionaries(batch)

    def _joined(self, parts: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Merge parts of the row group into one batch, if their dictionaries are the same."""
        if self._flat or len(parts) < 2 or _have_same_dictionaries(parts):
            return _together(parts)
        return parts

    def _corrupt(self, problem: str) -> InputFormatError:
        return InputFormatError(f"{self._place}: {problem}", hint=CORRUPT)


def _validate_dictionaries(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid for indices outside of their dictionary, which pyarrow does not check."""
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            # Not a full validation, which would also reject invalid UTF-8.
            bounds = pc.min_max(column.indices)
            low, high = bounds["min"].as_py(), bounds["max"].as_py()
            if low is not None and not 0 <= low <= high < len(column.dictionary):
                raise pa.ArrowInvalid(
                    f"index {high} in a dictionary of {counted(len(column.dictionary), 'value')}"
                )
        elif has_dictionary(column.type):
            column.validate(full=True)


def _have_same_dictionaries(parts: list[pa.RecordBatch]) -> bool:
    """Return whether batches can be merged without merging dictionaries."""
    for index, kind in enumerate(parts[0].schema.types):
        if pa.types.is_dictionary(kind):
            first = parts[0].column(index).dictionary
            if not all(part.column(index).dictionary.equals(first) for part in parts[1:]):
                return False
        elif has_dictionary(kind):
            return False
    return True


def _together(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Merge several small batches into one."""
    return batches if len(batches) < 2 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def _has_narrow_dictionary(kind: pa.DataType) -> bool:
    return has_dictionary(kind, _NARROW - 1)
