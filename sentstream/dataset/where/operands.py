"""Operands of comparisons: a column, a field, a folder's value, or a function of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.where.values import TICKS
from sentstream.text.clean import is_text
from sentstream.text.columns import Column, is_bytes, text_of_bytes
from sentstream.text.storage import as_text, plain_values, value_type, widened

_DAY: Final = 86_400


class Kind(StrEnum):
    """The kinds of values in comparisons; the names are used in messages."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "floating-point number"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    OTHER = "other"


#: Kinds whose values are integer multiples of a step.
STEPS: Final = (Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.TIMESTAMP)
NUMBERS: Final = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)


def kind_of(stored: pa.DataType) -> Kind:
    """Return the kind of a column of this type, independent of its encoding.

    >>> kind_of(pa.dictionary(pa.int8(), pa.string())), kind_of(pa.list_(pa.int8()))
    (<Kind.TEXT: 'text'>, <Kind.OTHER: 'other'>)
    """
    kind, types = value_type(stored), pa.types
    if types.is_null(kind):
        return Kind.NULL
    for test, found in (
        (types.is_boolean, Kind.BOOLEAN),
        (types.is_integer, Kind.INTEGER),
        (types.is_decimal, Kind.DECIMAL),
        (types.is_floating, Kind.FLOAT),
        (types.is_date, Kind.DATE),
        (types.is_timestamp, Kind.TIMESTAMP),
        (is_text, Kind.TEXT),
        (is_bytes, Kind.TEXT),
    ):
        if test(kind):
            return found
    return Kind.OTHER


@dataclass(frozen=True)
class Operand:
    """One side of a comparison.

    Attributes:
        name: Its name in the condition.
        kind: The kind of its values.
        stored: Its value type, without dictionary, run-end encoding and extension types.
        source: The column, or the value of a folder's column.
        functions: The functions to apply, in order: ``lower`` …
    """

    name: str
    kind: Kind
    stored: pa.DataType
    source: Column | pa.Scalar
    functions: tuple[str, ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether it has one value for all rows."""
        return isinstance(self.source, pa.Scalar)

    @property
    def has_zone(self) -> bool:
        """Whether it is a timestamp with a time zone, which counts from 1970 in UTC."""
        return self.kind is Kind.TIMESTAMP and self.stored.tz is not None

    @property
    def steps(self) -> Fraction:
        """Number of steps per unit: per 1 for numbers, per second for dates and timestamps."""
        if self.kind is Kind.DECIMAL:
            return Fraction(10**self.stored.scale)
        if self.kind is Kind.TIMESTAMP:
            return Fraction(TICKS[self.stored.unit])
        if self.kind is Kind.DATE:
            return Fraction(1, _DAY) if pa.types.is_date32(self.stored) else Fraction(TICKS["ms"])
        return Fraction(1)

    @property
    def compared(self) -> pa.DataType:
        """The type of ``values``; for dates and timestamps, the type of their steps."""
        if self.kind is Kind.DATE:
            return pa.int32() if pa.types.is_date32(self.stored) else pa.int64()
        if self.kind is Kind.TIMESTAMP:
            return pa.int64()
        if self.kind is Kind.TEXT:
            return pa.large_string()
        if pa.types.is_float16(self.stored):
            return pa.float32()
        if self.kind is Kind.DECIMAL and self.stored.bit_width < 128:  # few kernels support them
            return pa.decimal128(self.stored.precision, self.stored.scale)
        return self.stored

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the n values of n rows, of type ``compared``; values of kind ``OTHER`` are not converted."""
        if isinstance(self.source, Column):
            column = self.source.values(batch)
        else:
            column = pa.repeat(self.source, len(batch))
        if is_bytes(column.type):
            column = text_of_bytes(column)
        column = plain_values(column)
        if self.kind in (Kind.DATE, Kind.TIMESTAMP):
            return column.view(self.compared)
        if "lower" in self.functions or "upper" in self.functions or "length" in self.functions:
            column = as_text(column)
        elif self.kind is Kind.TEXT or self.functions:
            column = widened(column)
        for function in self.functions:
            column = _FUNCTIONS[function](column)
        if self.functions or self.kind in (Kind.OTHER, Kind.NULL, Kind.TEXT):
            return column
        return column if column.type.equals(self.compared) else column.cast(self.compared)


#: As in SQL, TRIM takes spaces only, and LENGTH counts characters (code points).
_FUNCTIONS: Final = {
    "lower": pc.utf8_lower,
    "upper": pc.utf8_upper,
    "trim": lambda values: pc.utf8_trim(values, " "),
    "length": lambda values: pc.utf8_length(values).cast(pa.int64()),
}
