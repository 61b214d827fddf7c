"""Write record batches as CSV, column by column, with quotes only where necessary.

A null is an empty field; an empty text is two quotes. Other types are written as in JSON, without the quotes
around dates, times, decimals and binary data.
"""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.formats.api import Layout
from sentstream.dataset.formats.compression import Packed
from sentstream.dataset.formats.json.rows import json_values
from sentstream.dataset.formats.text import text_bytes
from sentstream.text import is_text
from sentstream.text.storage import as_text, plain_values, value_type

_TEXT: Final = pa.large_string()
_QUOTE: Final = pa.scalar('"', _TEXT)
_NOTHING: Final = pa.scalar("", _TEXT)
_END: Final = pa.scalar("\n", _TEXT)


class CsvWriter:
    """Writes one CSV or TSV file, with a header line of column names.

    Args:
        file: The file to write to; it need not be seekable.
        schema: The schema of the batches.
        layout: The layout, for its delimiter and compression.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, layout: Layout) -> None:
        self._file = Packed(file, layout.codec)
        self._delimiter = pa.scalar(layout.delimiter, _TEXT)
        self._special = f'["\r\n{layout.delimiter}]'
        header = pa.RecordBatch.from_arrays(
            [pa.array([name], pa.string()) for name in schema.names], names=schema.names
        )
        self.write(header)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows."""
        parts: list[pa.Array | pa.Scalar] = []
        for column in batch.columns:
            parts += [self._fields(column), self._delimiter]
        parts[-1] = _END
        self._file.write(text_bytes(pc.binary_join_element_wise(*parts, _NOTHING)))

    def end_group(self) -> None:
        """Do nothing: CSV has no row groups."""

    def _fields(self, column: pa.Array) -> pa.Array:
        """Return a column as written to the file: ``large_string``, without nulls."""
        kind = value_type(column.type)
        if is_text(kind):
            texts = as_text(column).cast(_TEXT)
        elif pa.types.is_floating(kind):  # unlike in JSON, NaN and infinity can be written
            return plain_values(column).cast(_TEXT).fill_null("")
        else:
            texts = json_values(column)
            if pa.types.is_temporal(kind) or pa.types.is_decimal(kind) or pa.types.is_binary(kind):
                texts = pc.utf8_trim(texts, '"')
            texts = pc.if_else(column.is_valid(), texts, pa.scalar(None, _TEXT))
            if not pa.types.is_nested(kind):
                return texts.fill_null("")  # it never needs quotes
        special = pc.match_substring_regex(texts, self._special)
        marked = pc.or_(special, pc.equal(texts, _NOTHING))
        if pc.any(marked).as_py():
            doubled = pc.replace_substring(texts, '"', '""') if pc.any(special).as_py() else texts
            quoted = pc.binary_join_element_wise(_QUOTE, doubled, _QUOTE, _NOTHING)
            texts = pc.if_else(marked, quoted, texts)
        return texts.fill_null("")

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.end(kind is None)
