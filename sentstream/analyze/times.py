"""A column of times of any type -> integer seconds, and the conversion to local time."""

from __future__ import annotations

import difflib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import ColumnTypeError, UsageError, one_line
from sentstream.text import is_text
from sentstream.text.storage import as_text, plain_values

Seconds: TypeAlias = npt.NDArray[np.int64]

#: Formats of integer times: seconds or milliseconds since 1970.
UNIX, UNIX_MS = "unix", "unix-ms"
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY = 86_400
#: The supported range: years 1 to 9999, without one day at either end because of time zones.
_FIRST, _LAST = -62_135_510_400, 253_402_214_400
_ZONED = r"(?:[Zz]|UTC|[+-]\d\d(?::?\d\d)?)\s*$"
_ISO = "an ISO 8601 time such as 2026-09-01 or 2026-09-01T07:30:00Z"


class Times:
    """Reads the times of one column, batch by batch.

    Args:
        name: Name of the column, for messages.
        format: Format of texts and integers: a ``strptime`` format, ``unix`` or ``unix-ms``; by default,
            texts are ISO 8601 and integers are rejected.
        zone: The time zone for days and hours; by default the column's own.

    Attributes:
        zone: The time zone, known once a batch was read; None if the times have no time zone.
    """

    def __init__(self, name: str, format: str | None = None, zone: str | None = None) -> None:
        self.name, self._format, self._asked, self.zone = name, format, zone, zone
        self._zoned: bool | None = None
        if zone is not None:
            wall(np.zeros(1, np.int64), zone)

    def read(self, column: pa.Array) -> tuple[Seconds, npt.NDArray[np.bool_]]:
        """Return each row's seconds since 1970, and whether it has a time in the supported range.

        The seconds are UTC for times with a time zone, otherwise local time.

        Raises:
            ColumnTypeError: The column does not hold times, or mixes times with and without a time zone.
        """
        column = plain_values(column)
        kind = column.type
        if pa.types.is_null(kind):
            return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
        if is_text(kind):
            column = self._parsed(as_text(column))
        elif pa.types.is_integer(kind) and self._format in (UNIX, UNIX_MS):
            column = self._numbers(column)
        kind = column.type
        if pa.types.is_timestamp(kind):
            self._meet(kind.tz)
            per_second = _UNITS[kind.unit]
            values = column.cast(pa.int64())
        elif pa.types.is_date(kind):
            self._meet(None)
            values, per_second = column.cast(pa.date32()).cast(pa.int32()), 1
        else:
            raise ColumnTypeError(f"column {self.name!r} is of type {kind}, not a time", hint=_hint(kind))
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        seconds = numbers * _DAY if pa.types.is_date(kind) else numbers // per_second
        return seconds, valid & (seconds >= _FIRST) & (seconds <= _LAST)

    def _meet(self, zone: str | None) -> None:
        """Check a batch's time zone against the previous batches."""
        zoned = zone is not None
        if self._zoned is None:
            self._zoned = zoned
            self.zone = self._asked or zone
            if not zoned and self._asked:
                raise UsageError(
                    f"--time-zone {self._asked}: the times in column {self.name!r} have no time zone",
                    hint="leave it out: the times are used as they are",
                )
            if self.zone is not None:
                wall(np.zeros(1, np.int64), self.zone)
        elif self._zoned != zoned:
            raise ColumnTypeError(
                f"column {self.name!r} mixes times with and without a time zone", hint="give all of them one"
            )

    def _numbers(self, column: pa.Array) -> pa.Array:
        unit = "s" if self._format == UNIX else "ms"
        return column.cast(pa.int64()).cast(pa.timestamp(unit, "UTC"))

    def _parsed(self, column: pa.Array) -> pa.Array:
        """Parse texts as times; empty texts become null."""
        texts = pc.utf8_trim_whitespace(column)
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
        if texts.null_count == len(texts):
            return pa.nulls(len(texts), pa.timestamp("us", "UTC" if self._zoned else None))
        if self._format in (UNIX, UNIX_MS):
            try:
                return self._numbers(texts.cast(pa.int64()))
            except pa.ArrowInvalid as error:
                raise self._unreadable(texts, lambda one: one.cast(pa.int64()), "an integer") from error
        if self._format is not None:
            return self._by_format(texts, self._format)
        first = texts.drop_null()[0].as_py()
        zoned = bool(pc.match_substring_regex(pa.array([first]), _ZONED)[0].as_py()) and len(first) > 10
        kind = pa.timestamp("us", "UTC" if zoned else None)
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            tidy = _tidy(texts)
        try:
            return tidy.cast(kind)
        except pa.ArrowInvalid as error:
            raise self._unreadable(tidy, lambda one: one.cast(kind), _ISO) from error

    def _by_format(self, texts: pa.Array, format: str) -> pa.Array:
        try:
            return pc.strptime(texts, format, "us")
        except pa.ArrowInvalid as error:
            raise self._unreadable(
                texts, lambda one: pc.strptime(one, format, "us"), f"in --time-format {format!r}"
            ) from error

    def _unreadable(self, texts: pa.Array, read: Any, name: str) -> ColumnTypeError:
        """The error for the first text that cannot be parsed."""
        low, high = 0, len(texts)  # bisection: the first bad text is in this range
        while high - low > 1:
            middle = (low + high) // 2
            try:
                read(texts.slice(low, middle - low))
                low = middle
            except pa.ArrowInvalid:
                high = middle
        text = one_line(texts[low].as_py(), 60)
        if name == _ISO and pc.match_substring_regex(pa.array([text]), r"^\d")[0].as_py():
            for zoned in ("UTC", None):
                try:
                    pa.array([text]).cast(pa.timestamp("us", zoned))
                except pa.ArrowInvalid:
                    continue
                return ColumnTypeError(
                    f"column {self.name!r} mixes times with and without a time zone, the first at {text!r}",
                    hint="give all of them one",
                )
        return ColumnTypeError(
            f"column {self.name!r}: {text!r} is not {name}",
            hint="give the format, e.g. --time-format '%d/%m/%Y %H:%M', or unix or unix-ms",
        )


def wall(seconds: Seconds, zone: str | None) -> Seconds:
    """Convert UTC seconds to local time, also as seconds since 1970; unchanged if the zone is None.

    Raises:
        UsageError: The time zone does not exist.
    """
    if zone is None or zone == "UTC":
        return seconds
    try:
        local = pc.local_timestamp(pa.array(seconds, pa.timestamp("s", zone)))
    except pa.ArrowInvalid as error:
        raise UsageError(f"unknown time zone {zone!r}", hint=_zone_hint(zone)) from error
    walls: Seconds = local.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return walls


def _zone_hint(zone: str) -> str:
    from zoneinfo import available_timezones

    close = difflib.get_close_matches(zone, sorted(available_timezones()), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "e.g. Europe/Lisbon or +01:00"


def _tidy(texts: pa.Array) -> pa.Array:
    """Normalize ISO 8601 variants that Arrow does not parse."""
    for pattern, new in (
        (r"([.,]\d{6})\d+", r"\1"),  # finer than microseconds
        (r"(:\d\d),(\d)", r"\1.\2"),
        (r"\s*(?:UTC|z)$", "Z"),
        (r"\s+([+-]\d\d)", r"\1"),
    ):
        texts = pc.replace_substring_regex(texts, pattern, new)
    return texts


def _hint(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "for seconds since 1970 give --time-format unix, for milliseconds unix-ms"
    if pa.types.is_struct(kind):
        return "name one of its fields: COLUMN.FIELD"
    return "choose another --time-column"
