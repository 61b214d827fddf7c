"""Times in any notation, and buckets in any time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.analyze.cells import Cells
from sentstream.analyze.scored import Labels
from sentstream.analyze.timeline import BucketName, Timeline, TimeSums
from sentstream.analyze.times import Times, wall
from sentstream.errors import ColumnTypeError, UsageError

SECOND = 1_788_247_800  # 2026-09-01 07:30 UTC
LABELS = Labels("sentiment", ("negative", "positive"))


def read(column: pa.Array, format: str | None = None, zone: str | None = None) -> list[int | None]:
    seconds, valid = Times("at", format, zone).read(column)
    return [int(one) if known else None for one, known in zip(seconds, valid, strict=True)]


class TestTimes:
    @pytest.mark.parametrize(
        "text",
        [
            "2026-09-01T07:30:00Z",
            "2026-09-01 07:30:00Z",
            "2026-09-01T07:30:00.123Z",
            "2026-09-01T07:30:00.123456789Z",
            "2026-09-01T07:30:00,5Z",
            "2026-09-01T09:30:00+02:00",
            "2026-09-01 00:30:00 -0700",
            "2026-09-01 07:30:00 UTC",
            "2026-09-01T07:30",
            "2026-09-01 07:30:00",
            " 2026-09-01 07:30:00 ",
        ],
    )
    def test_iso_8601(self, text: str) -> None:
        assert read(pa.array([None, text, ""])) == [None, SECOND, None]

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
    def test_timestamps(self, unit: str, zone: str | None) -> None:
        column = pa.array([SECOND, None], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
        assert read(column) == [SECOND, None]
        assert read(column.dictionary_encode()) == [SECOND, None]

    def test_times_before_1970_round_down(self) -> None:
        assert read(pa.array([-1500], pa.timestamp("ms"))) == [-2]

    def test_dates_and_nulls(self) -> None:
        assert read(pa.array([datetime(2026, 9, 1).date(), None])) == [SECOND - 27_000, None]
        assert read(pa.nulls(2)) == [None, None]
        assert read(pa.array(["", None])) == [None, None]

    @pytest.mark.parametrize(
        ("text", "format"),
        [
            ("Tue Sep 01 07:30:00 +0000 2026", "%a %b %d %H:%M:%S %z %Y"),
            ("01/09/2026 07:30", "%d/%m/%Y %H:%M"),
            (str(SECOND), "unix"),
            (f"{SECOND}123", "unix-ms"),
        ],
    )
    def test_other_formats_must_be_given(self, text: str, format: str) -> None:
        assert read(pa.array([text]), format) == [SECOND]
        with pytest.raises(ColumnTypeError, match="not an ISO 8601 time"):
            read(pa.array([text]))

    def test_numbers(self) -> None:
        assert read(pa.array([SECOND, None]), "unix") == [SECOND, None]
        with pytest.raises(ColumnTypeError, match="column 'at' is of type int64, not a time") as caught:
            read(pa.array([SECOND]))
        assert "--time-format unix" in str(caught.value)

    @pytest.mark.parametrize("column", [pa.array([1.5]), pa.array([True]), pa.array([[1]])])
    def test_invalid_times(self, column: pa.Array) -> None:
        with pytest.raises(ColumnTypeError, match="not a time"):
            read(column)

    def test_first_unreadable_time_is_named(self) -> None:
        texts = ["2026-09-01"] * 1000 + ["last \x1b[1mspring", "soon"]
        with pytest.raises(ColumnTypeError, match="'last �\\[1mspring' is not an ISO 8601 time"):
            read(pa.array(texts))

    def test_times_with_and_without_zone_do_not_mix(self) -> None:
        mixed = pa.array(["2026-09-01T07:30:00Z", "2026-09-01T07:30:00"])
        for column in (mixed, mixed[::-1]):
            with pytest.raises(ColumnTypeError, match="times with and without a time zone"):
                read(column)
        times = Times("at")
        times.read(pa.array([SECOND], pa.timestamp("s", "UTC")))
        with pytest.raises(ColumnTypeError, match="times with and without a time zone"):
            times.read(pa.array([SECOND], pa.timestamp("s")))

    def test_years_out_of_range_are_invalid(self) -> None:
        assert read(pa.array([2**62, -(2**62)], pa.timestamp("s"))) == [None, None]

    def test_zones(self) -> None:
        with pytest.raises(UsageError, match="unknown time zone 'Europe/Lisbn'") as caught:
            Times("at", zone="Europe/Lisbn")
        assert "Europe/Lisbon" in str(caught.value)
        with pytest.raises(UsageError, match="have no time zone"):
            read(pa.array([SECOND], pa.timestamp("s")), zone="Europe/Lisbon")
        assert wall(np.array([SECOND]), "+05:30").tolist() == [SECOND + 19_800]


def timeline(
    seconds: list[int], zone: str | None = "UTC", bucket: BucketName | None = None, portions: int = 1
) -> Timeline:
    cells = Cells(LABELS)
    sums = TimeSums(cells)
    for part in np.array_split(np.array(seconds, np.int64), portions):
        valid = np.ones(len(part), np.bool_)
        sums.add(part, valid, zone, np.zeros(len(part), np.int64), np.full(len(part), -0.5))
    return sums.timeline("at", zone, bucket)


def counts(line: Timeline) -> list[tuple[str, int]]:
    return [(one.start, one.figures.rows if one.figures else 0) for one in line.buckets]


class TestTimeline:
    def test_gaps_are_empty_buckets(self) -> None:
        line = timeline([SECOND, SECOND + 3 * 86_400], bucket="day")
        assert counts(line) == [("2026-09-01", 1), ("2026-09-02", 0), ("2026-09-03", 0), ("2026-09-04", 1)]
        assert line.buckets[1].figures is None

    def test_daylight_saving_changes(self) -> None:
        autumn = int(datetime(2026, 10, 25, 0, 0, tzinfo=UTC).timestamp())
        line = timeline([autumn + 1800 * half for half in range(8)], "Europe/Berlin", "hour")
        assert counts(line) == [
            ("2026-10-25T02:00:00+02:00", 2),
            ("2026-10-25T02:00:00+01:00", 2),
            ("2026-10-25T03:00:00+01:00", 2),
            ("2026-10-25T04:00:00+01:00", 2),
        ]
        spring = int(datetime(2026, 3, 29, 0, 0, tzinfo=UTC).timestamp())
        line = timeline([spring + 1800 * half for half in range(4)], "Europe/Berlin", "hour")
        assert counts(line) == [("2026-03-29T01:00:00+01:00", 2), ("2026-03-29T03:00:00+02:00", 2)]

    def test_days_follow_the_time_zone(self) -> None:
        late = int(datetime(2026, 9, 1, 23, 30, tzinfo=UTC).timestamp())
        assert counts(timeline([late], "UTC", "day")) == [("2026-09-01", 1)]
        assert counts(timeline([late], "Asia/Kolkata", "day")) == [("2026-09-02", 1)]
        assert counts(timeline([late], "-03:00", "day")) == [("2026-09-01", 1)]

    @pytest.mark.parametrize("bucket", ["day", "week", "month", "quarter", "year"])
    @settings(deadline=None)
    @given(
        seconds=st.lists(st.integers(-40_000_000, 40_000_000), min_size=1, max_size=30),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]),
    )
    def test_buckets_follow_the_calendar(self, bucket: BucketName, seconds: list[int], zone: str) -> None:
        wanted: dict[str, int] = {}
        for second in seconds:
            at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(ZoneInfo(zone))
            day = at.date()
            start = {
                "day": day,
                "week": day - timedelta(days=day.weekday()),
                "month": day.replace(day=1),
                "quarter": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
                "year": day.replace(month=1, day=1),
            }[bucket]
            wanted[start.isoformat()] = wanted.get(start.isoformat(), 0) + 1
        line = timeline(seconds, zone, bucket, portions=3)
        assert {start: rows for start, rows in counts(line) if rows} == wanted

    @pytest.mark.parametrize(
        ("span", "rows", "bucket"),
        [
            (50, 10_000, "second"),
            (3_600, 10_000, "minute"),
            (86_400, 10_000, "15 minutes"),
            (86_400, 250, "hour"),
            (7 * 86_400, 100_000, "6 hours"),
            (60 * 86_400, 100_000, "day"),
            (600 * 86_400, 100_000, "week"),
            (2_900 * 86_400, 100_000, "month"),
            (6_000 * 86_400, 100_000, "quarter"),
            (20_000 * 86_400, 100_000, "year"),
        ],
    )
    def test_bucket_size_is_chosen_to_fit(self, span: int, rows: int, bucket: str) -> None:
        seconds = np.linspace(SECOND, SECOND + span - 1, rows).astype(int).tolist()
        line = timeline(seconds)
        assert line.bucket == bucket
        assert len(line.buckets) <= 102
        assert sum(rows for _, rows in counts(line)) == rows

    def test_dates_have_no_hourly_buckets(self) -> None:
        days = [SECOND - 27_000 + 86_400 * day for day in range(3)]
        assert timeline(days, None).bucket == "day"
        assert timeline([SECOND, *days], None).bucket == "6 hours"

    def test_single_time_is_one_bucket(self) -> None:
        assert len(timeline([SECOND] * 5).buckets) == 1

    def test_outliers_do_not_stretch_the_axis(self) -> None:
        line = timeline([0, *range(SECOND, SECOND + 10_000, 10)])
        assert line.outside == 1
        assert line.bucket in ("minute", "5 minutes")
        assert line.rows == 1_001

    def test_days_are_exact_in_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seconds = np.random.default_rng(0).integers(0, 40 * 86_400, 30_000).tolist()
        exact = timeline(seconds, "Asia/Kolkata", "day")
        monkeypatch.setattr("sentstream.analyze.timeline._MOST_KEYS", 100)
        rough = timeline(seconds, "Asia/Kolkata", "day", portions=50)
        assert counts(rough) == counts(exact)

    def test_no_times(self) -> None:
        line = timeline([])
        assert (line.bucket, line.rows, line.buckets) == (None, 0, ())

    def test_too_many_buckets_are_rejected(self) -> None:
        with pytest.raises(UsageError, match="more than 1,000") as caught:
            timeline([SECOND, SECOND + 86_400], bucket="second")
        assert "--bucket" in str(caught.value)
