"""Detect types that contain dictionaries."""

from __future__ import annotations

import pyarrow as pa


def has_dictionary(kind: pa.DataType, most_bits: int = 64) -> bool:
    """Return whether a type contains a dictionary with indices of at most ``most_bits`` bits."""
    if pa.types.is_dictionary(kind):
        return bool(kind.index_type.bit_width <= most_bits)
    if isinstance(kind, pa.BaseExtensionType):
        return has_dictionary(kind.storage_type, most_bits)
    return any(has_dictionary(kind.field(index).type, most_bits) for index in range(kind.num_fields))
