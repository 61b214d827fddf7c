"""The interface of all formats: open a file, split it into pieces, read a piece as record batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Literal, Protocol, TypeAlias, get_args

import pyarrow as pa

from sentstream.dataset.formats.view import View
from sentstream.packed import pickled_by_fields
from sentstream.storage.api import StoredFile

#: ``arrow`` is the IPC file, also called Feather V2; ``arrow-stream`` is the IPC stream.
Format: TypeAlias = Literal["parquet", "csv", "tsv", "jsonl", "arrow", "arrow-stream", "orc"]
Codec: TypeAlias = Literal["gzip", "zstd", "bz2"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
#: Formats that are read and written sequentially, so they work in pipes and can be compressed as a whole.
#: The others are read from the end of the file, and have internal compression.
STREAMED: Final[frozenset[Format]] = frozenset({"csv", "tsv", "jsonl", "arrow-stream"})
#: Their names in messages.
TITLES: Final[dict[Format, str]] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "tsv": "TSV",
    "jsonl": "JSON lines",
    "arrow": "an Arrow IPC file",
    "arrow-stream": "an Arrow IPC stream",
    "orc": "ORC",
}
#: The name of the column that holds whole JSON lines verbatim; then no column of the file has that name.
WHOLE_LINE: Final = "*"


#: A file up to this size is a single piece.
SMALL_FILE = 16 << 20
#: In a larger file, a piece ends when it reaches either of these.
PIECE_ROWS, PIECE_BYTES = 262_144, 64 << 20


@dataclass(frozen=True)
class Layout:
    """The format of a file, with its compression and delimiter.

    Attributes:
        format: The format.
        codec: The compression of the whole file; None if there is none.
        delimiter: The delimiter of CSV or TSV.
    """

    format: Format
    codec: Codec | None = None
    delimiter: str = ","


PARQUET: Final = Layout("parquet")


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive units of one file, such as row groups, that are scored together.

    Attributes:
        file: The file.
        first: The first unit.
        stop: The unit after the last one.
        layout: The layout of the file.
        schema: The schema of the file's rows; None if each read gets it from the file, as for Parquet.
        apart: Whether each unit has to be written as a unit of its own.
        size: Its approximate size in bytes.
        view: The table's view of the file's rows; None if it is not part of a table.
    """

    file: StoredFile
    first: int
    stop: int
    layout: Layout = PARQUET
    schema: pa.Schema | None = None
    apart: bool = False
    size: int = 0
    view: View | None = None

    def runs(self) -> list[Piece]:
        """Return the same units as pieces that can each be written as one unit."""
        if not self.apart:
            return [self]
        return [replace(self, first=unit, stop=unit + 1) for unit in range(self.first, self.stop)]


@dataclass(frozen=True)
class Source:
    """A file that was opened and inspected.

    Attributes:
        file: The file.
        schema: Its Arrow schema.
        rows: Number of rows of each unit, such as a row group; None if only known after reading to the end.
        layout: The layout of the file.
        apart: Whether each unit has to be written as a unit of its own: a Parquet column is a dictionary with
            narrow indices, which may overflow if row groups are merged.
        sizes: Approximate uncompressed size in bytes of each unit, if the file has it; otherwise empty.
        view: The table's view of the file's rows; None if it is not part of a table.
    """

    file: StoredFile
    schema: pa.Schema
    rows: tuple[int, ...] | None
    layout: Layout = PARQUET
    apart: bool = False
    sizes: tuple[int, ...] = ()
    view: View | None = None

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return self.file.name

    @property
    def total(self) -> int | None:
        """Number of rows of the whole file; None if only known after reading to the end."""
        return self.rows_of(self.whole())

    def rows_of(self, piece: Piece) -> int | None:
        """Return the number of rows of a piece; None if only known after reading to the end."""
        if self.view is not None:
            return self.view.rows(piece.first, piece.stop)
        return None if self.rows is None else sum(self.rows[piece.first : piece.stop])

    def whole(self) -> Piece:
        """Return the whole file as one piece."""
        units = 1 if self.rows is None else len(self.rows)
        schema = None if self.layout == PARQUET else self.schema
        return Piece(self.file, 0, units, self.layout, schema, self.apart, max(0, self.file.size), self.view)

    def pieces(self) -> list[Piece]:
        """Split the file into pieces: one if it is small, else several that are each worth resuming from.

        The split depends only on the file.
        """
        whole = self.whole()
        if self.rows is None or not self.sizes or self.file.size <= SMALL_FILE:
            return [whole]
        pieces: list[Piece] = []
        bytes_ = sum(self.sizes) or 1
        first = rows = size = 0
        for unit in range(whole.stop):
            rows += self.rows[unit]
            size += self.sizes[unit]
            if rows >= PIECE_ROWS or size >= PIECE_BYTES or unit == whole.stop - 1:
                share = self.file.size * size // bytes_
                pieces.append(replace(whole, first=first, stop=unit + 1, size=share))
                first, rows, size = unit + 1, 0, 0
        return pieces


def total(counts: Iterable[int | None]) -> int | None:
    """Return the sum; None if any count is None.

    >>> total([1, 2]), total([1, None])
    (3, None)
    """
    rows = 0
    for count in counts:
        if count is None:
            return None
        rows += count
    return rows


class RowWriter(Protocol):
    """A writer of one file; leaving the context completes the file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows.

        Raises:
            OutputWriteError: The format cannot hold them.
        """

    def end_group(self) -> None:
        """End the current row group if it has rows; no effect in formats without row groups."""

    def __enter__(self) -> RowWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
