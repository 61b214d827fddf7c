"""What every format offers: a file is opened, falls into pieces, and a piece is read as record batches."""

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
#: Those that are read and written from the first byte to the last, so that they may come through a pipe
#: and be compressed as a whole. The others are read from their ends, and compress inside.
STREAMED: Final[frozenset[Format]] = frozenset({"csv", "tsv", "jsonl", "arrow-stream"})
#: What messages call them.
TITLES: Final[dict[Format, str]] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "tsv": "TSV",
    "jsonl": "JSON lines",
    "arrow": "an Arrow IPC file",
    "arrow-stream": "an Arrow IPC stream",
    "orc": "ORC",
}
#: The name of the column that holds whole lines of JSON as they are; no column of a file has it beside them.
WHOLE_LINE: Final = "*"


#: A file up to this size is scored, and kept, as one piece.
SMALL_FILE = 16 << 20
#: Of a larger one, a piece ends at the first of these.
PIECE_ROWS, PIECE_BYTES = 262_144, 64 << 20


@dataclass(frozen=True)
class Layout:
    """How rows lie in a file.

    Attributes:
        format: The format.
        codec: What the file is compressed with, as a whole; None where it is not.
        delimiter: What is between two fields of CSV or TSV.
    """

    format: Format
    codec: Codec | None = None
    delimiter: str = ","


PARQUET: Final = Layout("parquet")


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive units of one file, such as row groups: what is worked on at a time, whatever drives it.

    Attributes:
        file: The file.
        first: The first unit.
        stop: The unit after the last one.
        layout: How the rows lie there.
        schema: The schema of the file's rows; None where each reading finds it in the file, as of Parquet.
        apart: Whether each unit is to be written as one of its own.
        size: About how many of the file's bytes it has.
        view: The rows that a table makes of the file's; None where they are the file's own.
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
        """The same units as pieces that may each be written as one."""
        if not self.apart:
            return [self]
        return [replace(self, first=unit, stop=unit + 1) for unit in range(self.first, self.stop)]


@dataclass(frozen=True)
class Source:
    """A file that was opened and looked at.

    Attributes:
        file: The file.
        schema: Its Arrow schema.
        rows: Rows of each unit: of a Parquet file's row groups; None if only known after reading to the end.
        layout: How the rows lie there.
        apart: Whether each unit has to be written as one of its own: a column of Parquet is a dictionary with
            narrow indices, and its values may be too many for those when row groups are put together.
        sizes: About how many bytes each unit unpacks to, as the file says; empty where it does not.
        view: The rows that a table makes of the file's; None where they are the file's own.
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
        """Rows of the whole file; None if only known after reading to the end."""
        return self.rows_of(self.whole())

    def rows_of(self, piece: Piece) -> int | None:
        """Rows of a piece; None if only known after reading to the end."""
        if self.view is not None:
            return self.view.rows(piece.first, piece.stop)
        return None if self.rows is None else sum(self.rows[piece.first : piece.stop])

    def whole(self) -> Piece:
        """The whole file as one piece."""
        units = 1 if self.rows is None else len(self.rows)
        schema = None if self.layout == PARQUET else self.schema
        return Piece(self.file, 0, units, self.layout, schema, self.apart, max(0, self.file.size), self.view)

    def pieces(self) -> list[Piece]:
        """The whole file: one piece if it is small, else several that are each worth keeping.

        Where it is cut depends on the file alone.
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
    """The sum; None where one is None.

    >>> total([1, 2]), total([1, None])
    (3, None)
    """
    found = 0
    for count in counts:
        if count is None:
            return None
        found += count
    return found


class RowWriter(Protocol):
    """Writes one file; a context manager that ends it."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add some rows.

        Raises:
            OutputWriteError: The format cannot hold them.
        """

    def end_group(self) -> None:
        """End the row group, where the format has such, if it has rows."""

    def __enter__(self) -> RowWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
