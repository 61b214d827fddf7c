"""Sums over time in bounded memory: collected finely, shown in buckets that fit the data.

Rows are counted by the second while there are few distinct seconds, then by minute, quarter of an hour, day
and month. Up to a quarter of an hour, these are spans of UTC, which can be combined to hours and days of any
time zone, whatever its offset; days and months are in local time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.analyze.cells import FEW_ROWS, Cells, Figures, Floats, Ints
from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.analyze.times import Seconds, wall
from sentstream.errors import UsageError

BucketName: TypeAlias = Literal[
    "second", "10 seconds", "minute", "5 minutes", "15 minutes", "hour", "6 hours",
    "day", "week", "month", "quarter", "year",
]  # fmt: skip

_DAY: Final = 86_400
#: Seconds of the buckets with a fixed length; those up to an hour stay distinct when clocks are set back.
_SPANS: Final = {
    "second": 1,
    "10 seconds": 10,
    "minute": 60,
    "5 minutes": 300,
    "15 minutes": 900,
    "hour": 3_600,
    "6 hours": 21_600,
}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
#: The approximate length of each bucket in seconds.
_LENGTHS: Final = {
    **_SPANS, "day": _DAY, "week": 7 * _DAY, "month": 30 * _DAY, "quarter": 91 * _DAY, "year": 365 * _DAY,
}  # fmt: skip
#: The levels at which rows are counted, finest first.
_LEVELS: Final = ("second", "minute", "15 minutes", "day", "month")
#: Maximum number of distinct keys per level; only months may be more, at most those of 10,000 years.
_MOST_KEYS: Final = 65_536
#: Maximum and minimum number of buckets in a chart by default; maximum for a requested bucket length.
_MOST_BUCKETS, _FEWEST_BUCKETS, _MOST_ASKED = 100, 8, 1_000
#: Share of rows that may be dropped as outliers at each end, such as from a wrong clock, and how many times
#: the rest of the axis they must extend it.
_OUTSIDE, _STRETCH = 0.001, 5
_LEAST_ROWS = 50
_THURSDAY = 3  # 1970 began on a Thursday; weeks begin on Mondays (ISO 8601)


@dataclass(frozen=True)
class Bucket:
    """A time bucket.

    Attributes:
        start: Its start in ISO 8601: a date, or a time with its offset.
        label: A short form of the start.
        figures: The figures of its rows; None if it has none (a gap).
    """

    start: str
    label: str
    figures: Figures | None


@dataclass(frozen=True)
class Timeline:
    """Rows over time.

    Attributes:
        column: The time column.
        zone: The time zone of the buckets; None if the times have none.
        bucket: The length of a bucket; None if no row has a time.
        rows: Number of rows with a time.
        without: Number of rows without a time.
        outside: Number of rows with a time so far from the others that it is not shown.
        buckets: The buckets in order, including gaps.
    """

    column: str
    zone: str | None
    bucket: BucketName | None
    rows: int
    without: int
    outside: int
    buckets: tuple[Bucket, ...]


class TimeSums:
    """Sums rows by their time.

    Args:
        cells: Computes the sums.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._level = 0
        self._sums = KeyedSums(pa.int64(), cells.columns, dtype=np.float64, merge_at=2 * _MOST_KEYS)
        self.without = 0

    def add(
        self,
        seconds: Seconds,
        valid: npt.NDArray[np.bool_],
        zone: str | None,
        label: Ints,
        value: Floats | None,
    ) -> None:
        """Count some rows.

        Args:
            seconds: ``int64[rows]``, from ``Times.read``.
            valid: ``bool[rows]``: whether a row has a time.
            zone: The time zone of days.
            label: As for ``Cells.from_codes``.
            value: As for ``Cells.from_codes``.
        """
        if not valid.all():
            self.without += int((~valid).sum())
            seconds, label = seconds[valid], label[valid]
            value = None if value is None else value[valid]
        if not len(seconds):
            return
        keys, codes = _distinct(seconds // _SPANS[_LEVELS[min(self._level, 2)]])
        keys = self._coarser(keys, min(self._level, 2), self._level, zone)
        merged = self._sums.add(pa.array(keys), self._cells.from_codes(codes, len(keys), label, value))
        if merged:
            self._shrink(zone)

    def _shrink(self, zone: str | None) -> None:
        """Switch to coarser levels until there are few enough keys."""
        keys, sums = self._sums.merged()
        while len(keys) > _MOST_KEYS and self._level < len(_LEVELS) - 1:
            numbers = self._coarser(keys.to_numpy(), self._level, self._level + 1, zone)
            self._level += 1
            self._sums.replace(pa.array([], pa.int64()), sums[:0])
            self._sums.add(pa.array(numbers), sums)
            keys, sums = self._sums.merged()

    @staticmethod
    def _coarser(keys: Ints, level: int, wanted: int, zone: str | None) -> Ints:
        """Convert keys of one level to those of a coarser level."""
        while level < wanted:
            if level < 2:
                keys = keys * _SPANS[_LEVELS[level]] // _SPANS[_LEVELS[level + 1]]
            elif level == 2:
                keys = wall(keys * _SPANS["15 minutes"], zone) // _DAY
            else:
                keys = _month_of(keys)
            level += 1
        return keys

    def timeline(self, column: str, zone: str | None, bucket: BucketName | None = None) -> Timeline:
        """Return the sums in buckets.

        Args:
            column: Name of the time column.
            zone: The time zone of the buckets.
            bucket: The length of a bucket; by default one that fits the data.

        Raises:
            UsageError: There would be more than a thousand buckets.
        """
        self._shrink(zone)
        keys, sums = self._sums.merged()
        order = np.argsort(keys.to_numpy(), kind="stable")
        fine, sums = keys.to_numpy()[order], sums[order]
        rows = self._cells.rows(sums)
        total = int(rows.sum())
        if not total:
            return Timeline(column, zone, None, 0, self.without, 0, ())
        kept = self._kept(fine, rows)
        fine, sums, rows = fine[kept], sums[kept], rows[kept]
        chosen = bucket or self._fitting(fine, rows, zone)
        starts, summed = self._grouped(fine, sums, chosen, zone)
        if len(starts) > 1 and (starts[-1] - starts[0]) / _LENGTHS[chosen] > _MOST_ASKED:
            raise UsageError(
                f"--bucket {chosen} makes more than {_MOST_ASKED:,} buckets",
                hint=f"give --bucket {self._fitting(fine, rows, zone)!r}, or leave it out",
            )
        buckets: list[Bucket] = []
        for index, start in enumerate(starts.tolist()):
            if index:
                missing = _next(int(starts[index - 1]), chosen)
                while missing < start:
                    buckets.append(self._bucket(missing, chosen, zone, None))
                    missing = _next(missing, chosen)
            buckets.append(self._bucket(start, chosen, zone, self._cells.figures(summed[index])))
        outside = total - int(rows.sum())
        return Timeline(column, zone, chosen, total, self.without, outside, tuple(buckets))

    def _seconds(self, fine: Ints) -> Seconds:
        """The start of each fine key in seconds: UTC, or local time for days and months."""
        name = _LEVELS[self._level]
        if name == "month":
            return fine.astype("M8[M]").astype("M8[s]").astype(np.int64)
        return fine * _LENGTHS[name]

    def _kept(self, fine: Ints, rows: Floats) -> slice:
        """The keys to show: all, or without a few outliers at either end."""
        total = rows.sum()
        if total < _LEAST_ROWS or len(fine) < 3:
            return slice(None)
        allowed = max(1.0, _OUTSIDE * total)
        running = np.cumsum(rows)
        first = int(np.searchsorted(running, allowed, side="right"))
        last = len(fine) - int(np.searchsorted(np.cumsum(rows[::-1]), allowed, side="right"))
        seconds = self._seconds(fine)
        inner = max(1, int(seconds[max(first, last - 1)] - seconds[first]))
        start = first if seconds[first] - seconds[0] > _STRETCH * inner else 0
        stop = last if seconds[-1] - seconds[last - 1] > _STRETCH * inner else len(fine)
        return slice(start, stop)

    def _fitting(self, fine: Ints, rows: Floats, zone: str | None) -> BucketName:
        """The finest buckets that a chart can show and of which most have enough rows."""
        seconds = self._seconds(fine)
        span = int(seconds[-1] - seconds[0]) + 1
        least = _LENGTHS[_LEVELS[self._level]]
        if zone is None and not (seconds % _DAY).any():  # dates
            least = max(least, _DAY)
        names = [name for name in get_args(BucketName) if _LENGTHS[name] >= least]
        fits = [name for name in names if span <= _MOST_BUCKETS * _LENGTHS[name]] or names[-1:]
        best: BucketName = fits[0]
        for name in fits:
            if span < _FEWEST_BUCKETS * _LENGTHS[name]:
                break
            best = name
            _, counts = self._grouped(fine, rows[:, np.newaxis], name, zone)
            if np.median(counts) >= FEW_ROWS:
                break
        return best

    def _grouped(
        self, fine: Ints, sums: Floats, bucket: BucketName, zone: str | None
    ) -> tuple[Seconds, Floats]:
        """The start of each bucket in order, and its sums.

        Starts are UTC seconds for buckets of up to an hour or without a time zone; otherwise local time.
        """
        seconds = self._seconds(fine)
        walls = wall(seconds, zone) if self._level <= 2 else seconds
        if bucket in _SPANS:
            starts = walls // _SPANS[bucket] * _SPANS[bucket]
            if _is_instant(bucket):  # the hour repeated in autumn makes two buckets
                starts = starts - (walls - seconds)
        else:
            days = walls // _DAY
            if bucket == "day":
                starts = days * _DAY
            elif bucket == "week":
                starts = ((days + _THURSDAY) // 7 * 7 - _THURSDAY) * _DAY
            else:
                months = _month_of(days) // _MONTHS[bucket] * _MONTHS[bucket]
                starts = months.astype("M8[M]").astype("M8[s]").astype(np.int64)
        keys, codes = np.unique(starts, return_inverse=True)
        grouped = [np.bincount(codes, column, len(keys)) for column in sums.T]
        return keys, np.stack(grouped, axis=1)

    @staticmethod
    def _bucket(start: int, name: BucketName, zone: str | None, figures: Figures | None) -> Bucket:
        offset = 0
        if _is_instant(name):
            offset = int(wall(np.array([start]), zone)[0]) - start
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=start + offset)
        if name not in _SPANS:
            label = {"month": f"{time:%Y-%m}", "year": f"{time.year:04}"}.get(name, f"{time:%Y-%m-%d}")
            if name == "quarter":
                label = f"{time.year:04} Q{(time.month + 2) // 3}"
            return Bucket(f"{time:%Y-%m-%d}", label, figures)
        text = f"{time:%Y-%m-%dT%H:%M:%S}"
        if zone is not None and _is_instant(name):
            sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
            text += f"{sign}{minutes // 60:02}:{minutes % 60:02}"
        label = f"{time:%Y-%m-%d %H:%M:%S}" if _SPANS[name] < 60 else f"{time:%Y-%m-%d %H:%M}"
        return Bucket(text, label, figures)


def _is_instant(bucket: str) -> bool:
    return _SPANS.get(bucket, _DAY) <= _SPANS["hour"]


def _next(start: int, bucket: BucketName) -> int:
    """The start of the next bucket."""
    if bucket in _MONTHS:
        month = np.datetime64(start, "s").astype("M8[M]") + _MONTHS[bucket]
        return int(month.astype("M8[s]").astype(np.int64))
    return start + _LENGTHS[bucket]


def _month_of(days: Ints) -> Ints:
    months: Ints = days.astype("M8[D]").astype("M8[M]").astype(np.int64)
    return months


def _distinct(keys: Ints) -> tuple[Ints, Ints]:
    """The distinct keys in order, and each row's index in them."""
    low, high = int(keys.min()), int(keys.max())
    if high - low >= 4 * len(keys) + 1024:
        unique, codes = np.unique(keys, return_inverse=True)
        return unique, codes
    counts = np.bincount(keys - low, minlength=high - low + 1)
    indices = np.cumsum(counts > 0) - 1
    return np.flatnonzero(counts) + low, indices[keys - low]
