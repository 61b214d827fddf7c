"""Convert constants to exact numbers in the steps of a column's type: integers, days, clock ticks."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

import pyarrow as pa

from sentstream.dataset.where.tree import Value

#: Ticks per second of each timestamp unit.
TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,80}(\.[0-9]{1,80})?")
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)? ?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def number_of(value: Value) -> Fraction | None:
    """Return a constant as an exact number, also from numeric text; None if it is not a number.

    >>> number_of(Value("007", "'007'")), number_of(Value("x", "'x'"))
    (Fraction(7, 1), None)
    """
    literal = value.value
    if isinstance(literal, str) and not value.is_moment and _NUMBER.fullmatch(literal.strip()):
        literal = Decimal(literal.strip())
    return Fraction(literal) if isinstance(literal, Decimal) else None


def seconds_of(value: Value) -> tuple[Fraction, bool] | None:
    """Return an ISO 8601 date or timestamp as seconds since 1970, and whether it has a UTC offset.

    >>> seconds_of(Value("1970-01-02 01:00:00.5+01:00", ""))
    (Fraction(172801, 2), True)
    """
    found = _MOMENT.fullmatch(value.value.strip()) if isinstance(value.value, str) else None
    if found is None:
        return None
    day, hours, minutes, seconds, fraction, offset = found.groups()
    try:
        days = (date.fromisoformat(day) - _EPOCH).days
    except ValueError:
        return None
    h, m, s = (int(part or 0) for part in (hours, minutes, seconds))
    if h > 23 or m > 59 or s > 59:
        return None
    total = Fraction(days * _DAY + h * 3600 + m * 60 + s)
    if fraction:
        total += Fraction(int(fraction), 10 ** len(fraction))
    return total - _offset(offset), bool(offset)


def limits(kind: pa.DataType) -> tuple[int, int]:
    """Return a type's minimum and maximum in steps: integers, days (date32), ticks, or decimal units.

    >>> limits(pa.int8()), limits(pa.decimal128(3, 1))
    ((-128, 127), (-999, 999))
    """
    if pa.types.is_decimal(kind):
        maximum = 10**kind.precision - 1
        return -maximum, maximum
    bits = kind.bit_width
    if pa.types.is_unsigned_integer(kind):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def scalar_of(step: int, kind: pa.DataType) -> pa.Scalar:
    """Return a number of steps as a value of an integer or decimal type."""
    if pa.types.is_decimal(kind):
        # From its digits, as a decimal context could round it.
        digits = tuple(int(digit) for digit in str(abs(step)))
        return pa.scalar(Decimal((int(step < 0), digits, -kind.scale)), kind)
    return pa.scalar(step, kind)


def _offset(text: str | None) -> int:
    """Return a UTC offset in seconds, positive to the east."""
    if text is None or text == "Z":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if text[0] == "-" else seconds
