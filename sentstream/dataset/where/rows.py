"""Merge small record batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from sentstream.dataset.formats.batches import gathered


def together(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Merge small batches up to ``rows`` rows, in order.

    Batches with different dictionaries are not merged, as a merged dictionary may be too large for its
    indices.
    """
    return map(_joined, gathered(batches, rows, _are_alike))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    columns = [
        pa.concat_arrays([batch.column(index) for batch in batches])
        for index in range(batches[0].num_columns)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batches[0].schema)


def _are_alike(left: pa.RecordBatch, right: pa.RecordBatch) -> bool:
    if not left.schema.equals(right.schema):
        return False
    for one, other in zip(left.columns, right.columns, strict=True):
        if pa.types.is_dictionary(one.type):
            if not one.dictionary.equals(other.dictionary):
                return False
        elif _holds_dictionary(one.type):
            return False
    return True


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_dictionary(kind.storage_type)
    return any(_holds_dictionary(kind.field(index).type) for index in range(kind.num_fields))
