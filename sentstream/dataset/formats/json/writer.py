"""Write record batches as JSON lines: whole lines with added fields, or objects made of columns."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.formats.api import WHOLE_LINE, Layout
from sentstream.dataset.formats.compression import Packed
from sentstream.dataset.formats.json.parse import object_of
from sentstream.dataset.formats.json.rows import json_fields
from sentstream.dataset.formats.text import text_bytes
from sentstream.errors import ColumnClashError

_BYTES: Final = pa.large_binary()
_COMMA, _END, _OPEN, _NOTHING = (pa.scalar(text, _BYTES) for text in (b",", b"}\n", b"{", b""))
_BLANKS: Final = b" \t\r\n"
#: Escapes of letters, which are valid but unnecessary.
_ASCII_LETTER: Final = re.compile(rb"\\u00[2-7]")
_ANY_LETTER: Final = re.compile(rb"\\u")


class JsonWriter:
    """Writes one file of JSON lines.

    Args:
        file: The file to write to; it need not be seekable.
        schema: The schema of the batches. With the column ``*``, its lines are written verbatim, with the
            columns of ``added`` inserted before the last brace.
        layout: The layout, for its compression.
        added: Names of the added columns.

    Raises:
        ColumnClashError: Two columns have the same name, or, later, a line has a field of ``added``.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, layout: Layout, added: Sequence[str]) -> None:
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise ColumnClashError(f"two columns have the name {name!r}", hint="rename one of them")
        self._file = Packed(file, layout.codec)
        self._added = added
        self._quoted = [json.dumps(name, ensure_ascii=False).encode() for name in added]
        self._escaped = _ANY_LETTER if not "".join(added).isascii() else _ASCII_LETTER
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows.

        Raises:
            ColumnClashError: A line has a field of ``added``.
        """
        if WHOLE_LINE in batch.schema.names:
            lines = batch.column(WHOLE_LINE)
            self._check(lines)
            written = _with_fields(lines, json_fields(batch.select(self._added)).cast(_BYTES))
        else:
            written = pc.binary_join_element_wise(_OPEN, json_fields(batch).cast(_BYTES), _END, _NOTHING)
        self._file.write(text_bytes(written))
        self._rows += len(batch)

    def end_group(self) -> None:
        """Do nothing: JSON lines have no row groups."""

    def _check(self, lines: pa.Array) -> None:
        """Check that no line has a top-level field with the name of an added one."""
        data = text_bytes(lines).to_pybytes()
        if not self._may_hold(data):
            return
        for row, line in enumerate(lines.to_pylist(), self._rows + 1):
            if self._may_hold(line):
                for name in object_of(line):
                    if name in self._added:
                        raise ColumnClashError(
                            f"the object in row {row:,} already has a field {name!r}",
                            hint="choose another --prefix",
                        )

    def _may_hold(self, data: bytes) -> bool:
        """Return whether lines may have a field of ``added``, with or without escaped letters."""
        return any(name in data for name in self._quoted) or self._escaped.search(data) is not None

    def __enter__(self) -> JsonWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.end(kind is None)


def _with_fields(lines: pa.Array, fields: pa.Array) -> pa.Array:
    """Insert fields before the last brace of lines ``{…}``, each with a line feed."""
    _, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, np.int64)[lines.offset + 1 : lines.offset + len(lines) + 1]
    before = np.frombuffer(data, np.uint8)[ends - 3]  # the brace and the line feed are the last two
    heads = pc.binary_slice(lines, 0, -2)
    odd = np.flatnonzero((before == ord("{")) | (before <= ord(" ")))
    if not len(odd):
        return pc.binary_join_element_wise(heads, _COMMA, fields, _END, _NOTHING)
    stripped = heads.to_pylist()
    for row in odd.tolist():
        stripped[row] = stripped[row].rstrip(_BLANKS)
    empty = pa.array([head.endswith(b"{") for head in stripped])
    commas = pc.if_else(empty, _NOTHING, _COMMA)
    return pc.binary_join_element_wise(pa.array(stripped, _BYTES), commas, fields, _END, _NOTHING)
