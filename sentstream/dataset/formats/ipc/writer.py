"""Write record batches as Arrow IPC, as a stream or a file, with zstd compression."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, cast

import pyarrow as pa

from sentstream.dataset.formats.api import Layout
from sentstream.dataset.formats.compression import Packed
from sentstream.dataset.formats.parquet.dictionaries import has_dictionary
from sentstream.errors import OutputWriteError, first_line


class IpcWriter:
    """Writes one Arrow IPC file (Feather V2) or stream.

    A file has one dictionary per column, which can only grow, so new values are appended to it. A stream can
    replace dictionaries.

    Args:
        file: The file to write to; it need not be seekable.
        schema: The schema of the batches.
        layout: Whether it is a file or a stream, and the compression as a whole; without one, buffers are
            compressed with zstd.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, layout: Layout) -> None:
        self._packed = Packed(file, layout.codec)
        is_file = layout.format == "arrow"
        options = pa.ipc.IpcWriteOptions(
            compression=None if layout.codec else "zstd", emit_dictionary_deltas=is_file
        )
        new = pa.ipc.new_file if is_file else pa.ipc.new_stream
        try:
            self._writer = new(pa.PythonFile(cast(BinaryIO, self._packed), "w"), schema, options=options)
        except pa.ArrowException as error:
            raise _refused(error) from error
        self._growing = is_file and any(has_dictionary(field.type) for field in schema)
        self._dictionaries: dict[int, pa.Array] = {}

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows as a record batch.

        Raises:
            OutputWriteError: A dictionary has too many values for its index type.
        """
        try:
            self._writer.write_batch(self._grown(batch) if self._growing else batch)
        except pa.ArrowException as error:
            raise _refused(error) from error

    def end_group(self) -> None:
        """Do nothing: Arrow IPC has no row groups."""

    def _grown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with dictionaries that extend those of earlier batches."""
        columns = batch.columns
        for index, column in enumerate(columns):
            if not pa.types.is_dictionary(column.type):
                continue
            known = self._dictionaries.get(index)
            if known is not None and not known.equals(column.dictionary):
                before = pa.DictionaryArray.from_arrays(
                    pa.array([], column.type.index_type), known, ordered=column.type.ordered
                )
                columns[index] = pa.chunked_array([before, column]).unify_dictionaries().chunk(1)
            self._dictionaries[index] = columns[index].dictionary
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def __enter__(self) -> IpcWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._writer.close()
        finally:
            self._packed.end(kind is None)


def _refused(error: pa.ArrowException) -> OutputWriteError:
    return OutputWriteError(
        f"Arrow IPC cannot hold these rows: {first_line(error)}",
        hint="leave the column out with --columns, or choose another --output-format",
    )
