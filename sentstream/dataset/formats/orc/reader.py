"""Read ORC as record batches, one stripe at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import orc

from sentstream.dataset.formats.api import Layout, Piece, Source
from sentstream.dataset.formats.batches import regrouped
from sentstream.dataset.formats.errors import CORRUPT, translating_errors
from sentstream.dataset.formats.ipc.reader import validate
from sentstream.errors import InputFormatError, counted
from sentstream.storage.api import StoredFile


def open_orc(file: StoredFile, layout: Layout) -> Source:
    """Read the footer of an ORC file.

    Raises:
        InputFormatError: It is invalid.
        InputError: It cannot be read.
    """
    with file.open() as data, translating_errors(file.name, "ORC"):
        opened = orc.ORCFile(pa.PythonFile(data, "r"))
        return Source(file, opened.schema, (int(opened.nrows),), layout)


def read_orc(piece: Piece, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Read the rows of an ORC file, in order.

    Raises:
        InputFormatError: It is invalid, or its number of rows differs from the footer's.
        InputError: It cannot be read.
    """
    yield from regrouped(_stripes(piece, columns), batch_rows)
    piece.file.check()


def _stripes(piece: Piece, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    assert piece.schema is not None
    name = piece.file.name
    with piece.file.open() as data:
        with translating_errors(name, "ORC"):
            opened = orc.ORCFile(pa.PythonFile(data, "r"))
            stripes, total = int(opened.nstripes), int(opened.nrows)
        # By index, since a name with a dot would be read as a path.
        names = piece.schema.names
        wanted = [index for index, one in enumerate(names) if columns is None or one in columns]
        schema = pa.schema([piece.schema.field(index) for index in wanted], piece.schema.metadata)
        rows = 0
        for number in range(stripes):
            with translating_errors(f"{name}, stripe {number}", "ORC"):
                batch = opened.read_stripe(number, columns=None if columns is None else wanted)
                batch = pa.RecordBatch.from_arrays(batch.columns, schema=schema)
                validate(batch)
            rows += len(batch)
            yield batch
        if rows != total:
            raise InputFormatError(
                f"{name}: {counted(rows, 'row')}, but the footer says {total:,}",
                hint=CORRUPT,
            )
