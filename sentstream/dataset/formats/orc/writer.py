"""Write record batches as ORC; types that ORC lacks become the closest one that it has."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Final, cast

import pyarrow as pa
from pyarrow import orc

from sentstream.dataset.formats.compression import Packed
from sentstream.errors import OutputWriteError, first_line
from sentstream.text.storage import plain_values, value_type

_STRIPE_BYTES: Final = 64 << 20
#: Replacements for types that ORC, as written by pyarrow, does not have.
_INSTEAD: Final = {
    pa.null(): pa.string(),
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.string(),
    pa.time32("ms"): pa.string(),
    pa.time64("us"): pa.string(),
    pa.time64("ns"): pa.string(),
    **{pa.duration(unit): pa.int64() for unit in ("s", "ms", "us", "ns")},
}


class OrcWriter:
    """Writes one ORC file.

    Args:
        file: The file to write to; it need not be seekable.
        schema: The schema of the batches.

    Raises:
        OutputWriteError: ORC cannot hold a column.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        refused = [field for field in schema if not _is_writable(orc_type(field.type))]
        if refused:
            some = ", ".join(f"{field.name!r} ({field.type})" for field in refused)
            columns = "column" if len(refused) == 1 else "columns"
            raise OutputWriteError(
                f"pyarrow cannot write {columns} {some} as ORC",
                hint="leave them out: list the columns to keep with --columns",
            )
        self._schema = pa.schema([pa.field(field.name, orc_type(field.type)) for field in schema])
        self._packed = Packed(file, None)
        self._writer = orc.ORCWriter(
            pa.PythonFile(cast(BinaryIO, self._packed), "w"), compression="zstd", stripe_size=_STRIPE_BYTES
        )
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows.

        Raises:
            OutputWriteError: ORC cannot hold a value.
        """
        try:
            columns = [
                plain_values(column).cast(field.type)
                for column, field in zip(batch.columns, self._schema, strict=True)
            ]
            self._writer.write(pa.Table.from_arrays(columns, schema=self._schema))
        except pa.ArrowException as error:
            raise OutputWriteError(
                f"ORC cannot hold these rows: {first_line(error)}",
                hint="leave the column out: list the columns to keep with --columns",
            ) from error
        self._rows += len(batch)

    def end_group(self) -> None:
        """Do nothing: stripes end by size."""

    def __enter__(self) -> OrcWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._rows:  # without a table, the file would have no columns
                self._writer.write(self._schema.empty_table())
        finally:
            self._packed.end(kind is None)
            self._writer.close()


def orc_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that ORC uses for a type."""
    kind = value_type(kind)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, orc_type(one.type)) for one in kind])
    if pa.types.is_map(kind):
        return pa.map_(orc_type(kind.key_type), orc_type(kind.item_type))
    if any(is_of(kind) for is_of in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        return pa.list_(orc_type(kind.value_type))
    return next((other for one, other in _INSTEAD.items() if kind.equals(one)), kind)


def _is_writable(kind: pa.DataType) -> bool:
    try:
        with orc.ORCWriter(pa.BufferOutputStream()) as writer:
            writer.write(pa.table({"column": pa.array([], kind)}))
    except pa.ArrowException:
        return False
    return True
