"""``--where`` on columns of every type: rows are kept unchanged, and values compared by their type."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sentstream.dataset.where import Condition, RowFilter

TYPES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string_view(), ["a", None, "c" * 20, "d"]),
    (pa.binary_view(), [b"a", None, b"c" * 20, b"d"]),
    (pa.large_binary(), [b"a", None, b"\xff", b"d"]),
    (pa.list_view(pa.int64()), [[1], None, [], [2, 3]]),
    (pa.list_(pa.string_view()), [["x"], None, [], ["y" * 20]]),
    (pa.struct({"a": pa.string_view()}), [{"a": "x"}, None, {"a": None}, {"a": "y"}]),
    (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, [], [("b", 2)]]),
    (pa.list_(pa.int8(), 2), [[1, 2], None, [3, 4], [5, 6]]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b", "a"]),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a"], None, [], ["b"]]),
    (pa.decimal32(5, 1), [Decimal("1.5"), None, Decimal("2.5"), Decimal(0)]),
    (pa.float16(), [1.5, None, float("nan"), 2.5]),
    (pa.uuid(), [uuid.UUID(int=number).bytes if number else None for number in (1, 0, 2, 3)]),
    (pa.json_(), ["1", None, "{}", "[]"]),
    (pa.null(), [None] * 4),
    (pa.month_day_nano_interval(), [(1, 2, 3), None, (0, 0, 0), (4, 5, 6)]),
    (pa.time64("ns"), [1, None, 2, 3]),
    (pa.duration("s"), [1, None, 2, 3]),
]


class TestPreserved:
    @pytest.mark.parametrize(("kind", "values"), TYPES, ids=[str(kind) for kind, _ in TYPES])
    @pytest.mark.parametrize("batch_rows", [1, 2, 100])
    def test_rows_by_type(self, kind: pa.DataType, values: list[Any], batch_rows: int) -> None:
        table = pa.table({"n": range(len(values) * 3), "x": pa.array(values * 3, kind)})
        batches = table.to_batches(2)
        found = list(RowFilter(Condition.parse("n in (0, 1, 2, 6, 11)")).filtered(batches, batch_rows))
        rows = pa.Table.from_batches(found, table.schema)
        rows.validate(full=True)
        expected = (
            table.slice(0, 3).to_pylist() + table.slice(6, 1).to_pylist() + table.slice(11, 1).to_pylist()
        )
        assert repr(rows.to_pylist()) == repr(expected)  # NaN is not equal to itself
        assert all(len(batch) <= max(2, batch_rows) for batch in found)

    @pytest.mark.parametrize(("kind", "values"), TYPES, ids=[str(kind) for kind, _ in TYPES])
    def test_null_by_type(self, kind: pa.DataType, values: list[Any]) -> None:
        batch = pa.record_batch({"x": pa.array(values, kind)})
        null = [value is None for value in values]
        assert Condition.parse("x is null").bind(batch.schema, {}).evaluate(batch).to_pylist() == null
        turned = [not one for one in null]
        assert Condition.parse("x is not null").bind(batch.schema, {}).evaluate(batch).to_pylist() == turned

    def test_run_ends(self) -> None:
        batch = pa.record_batch({"x": pc.run_end_encode(pa.array([1, 1, None, 2, 2]))})
        assert [len(part) for part in RowFilter(Condition.parse("x = 2")).filtered([batch.slice(1)], 9)] == [
            2
        ]
        kept = RowFilter(Condition.parse("x is null or x < 2")).filtered([batch], 9)
        assert [part["x"].to_pylist() for part in kept] == [[1, 1, None]]

    def test_dictionaries_of_row_groups_are_not_mixed(self) -> None:
        batches = [
            pa.record_batch({"x": pa.array(words).dictionary_encode()})
            for words in (["a", "b"], ["c"], ["c"])
        ]
        found = list(RowFilter(Condition.parse("x <> 'a'")).filtered(batches, 9))
        assert [part["x"].to_pylist() for part in found] == [["b"], ["c", "c"]]

    def test_omitted_rows_are_counted(self) -> None:
        counted: list[int] = []
        batches = pa.table({"x": range(10)}).to_batches(4)
        kept = RowFilter(Condition.parse("x between 2 and 5")).filtered(batches, 100, counted.append)
        assert [part["x"].to_pylist() for part in kept] == [[2, 3, 4, 5]]
        assert counted == [2, 2, 2]


class TestExactness:
    """Where other engines round."""

    @pytest.mark.parametrize(
        ("values", "kind", "where", "expected"),
        [
            ([2**53, 2**53 + 1], pa.int64(), "x > 9007199254740992.5", [False, True]),
            ([2**53, 2**53 + 1], pa.int64(), "x = 9007199254740993", [False, True]),
            ([254, 255], pa.uint8(), "x < 256 and x > -1", [True, True]),
            ([0, 1], pa.uint8(), "x <= -1 or x = 1.5 or x >= 1e30", [False, False]),
            ([0, 1], pa.uint8(), "x in (-1, 1, 300, 0.5)", [False, True]),
            ([Decimal("0.10"), Decimal("0.20")], pa.decimal128(38, 2), "x < 0.101", [True, False]),
            ([Decimal("9" * 38), Decimal(0)], pa.decimal128(38, 0), "x > 1e37", [True, False]),
            ([date(2026, 9, 1), date(2026, 9, 2)], pa.date32(), "x > '2026-09-01 00:00:01'", [False, True]),
            ([date(2026, 9, 1), date(2026, 9, 2)], pa.date64(), "x = '2026-09-02'", [False, True]),
            ([1, 2], pa.timestamp("ns"), "x > '1970-01-01 00:00:00.000000001'", [False, True]),
            ([0, 1], pa.timestamp("s"), "x > '1970-01-01 00:00:00.5'", [False, True]),
            ([0, 1], pa.timestamp("s"), "x > '0001-01-01' and x < '9999-12-31'", [True, True]),
            ([0, 1], pa.timestamp("ns"), "x > '0001-01-01' and x < '9999-12-31'", [True, True]),
            (
                [datetime(2026, 9, 1), datetime(2026, 9, 2)],
                pa.timestamp("ms", "Europe/Berlin"),
                "x >= '2026-09-01T02:00:01+02:00'",
                [False, True],
            ),
            ([0.5, 0.7], pa.float32(), "x = 0.7", [False, True]),
            ([0.5, float("inf")], pa.float32(), "x < 1e300", [True, False]),
            ([b"en", b"\xff"], pa.binary(), "x <> 'en'", [False, True]),
            ([b"EN", b"E\xff"], pa.binary(), "lower(x) like 'e_'", [True, True]),
            ([b"EN", b"E\xff"], pa.binary(), "length(x) = 2", [True, True]),
        ],
    )
    def test_values(self, values: list[Any], kind: pa.DataType, where: str, expected: list[bool]) -> None:
        batch = pa.record_batch({"x": pa.array([*values, None], kind)})
        found = Condition.parse(where).bind(batch.schema, {}).evaluate(batch)
        assert found.fill_null(False).to_pylist() == [*expected, False]

    @pytest.mark.parametrize("where", ["a < b", "b > a", "a <> b", "not a >= b"])
    def test_timestamps_of_different_units(self, where: str) -> None:
        batch = pa.record_batch(
            {"a": pa.array([0, 2**62], pa.timestamp("s")), "b": pa.array([1, 2**62], pa.timestamp("ns"))}
        )
        found = Condition.parse(where).bind(batch.schema, {}).evaluate(batch).to_pylist()
        assert found == [True, where == "a <> b"]
