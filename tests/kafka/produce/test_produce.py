"""Rows of Parquet files in a topic: each once, unchanged, at the requested rate."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from kafka_tools import drain
from processes import PATIENCE, child, wait_until
from terminals import Terminal

from sentstream.cli import main
from sentstream.cli.produce import parse_rate
from sentstream.dataset.formats.json.rows import json_objects
from sentstream.errors import (
    ColumnClashError,
    ColumnNotFoundError,
    ColumnTypeError,
    DeliveryError,
    InputError,
    InputNotFoundError,
    SentstreamError,
    TopicNotFoundError,
    UsageError,
)
from sentstream.kafka.access.settings import Settings
from sentstream.kafka.names import ClientName
from sentstream.kafka.produce.pace import Pace
from sentstream.kafka.produce.rows import Shape
from sentstream.kafka.produce.run import Report, prepare

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "tweets.parquet"
MOMENT = 1_700_000_000_123


def written(column: pa.Array) -> list[str]:
    """A column as JSON, taken from complete rows."""
    objects = json_objects(pa.RecordBatch.from_arrays([column], ["x"]))
    return [one.decode()[len('{"x":') : -1] for one in objects]


def broken_text() -> pa.Array:
    """Two texts that are not UTF-8, as Parquet files have them."""
    return pa.array([b"caf\xe9\n", b'\xff"']).view(pa.string())


class TestJson:
    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (pa.array([2**63 - 1, -(2**63), None]), ["9223372036854775807", "-9223372036854775808", "null"]),
            (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
            (pa.array([0.1, 1e300, -0.0, None]), ["0.1", "1e+300", "-0", "null"]),
            (pa.array([float("nan"), float("inf"), -float("inf")]), ["null"] * 3),
            (pa.array([0.1, 16777216], pa.float32()), ["0.1", "16777216"]),
            (pa.array([1.5, None], pa.float16()), ["1.5", "null"]),
            (pa.array([True, False, None]), ["true", "false", "null"]),
            (pa.nulls(2), ["null", "null"]),
            (pa.array(["größe 😂", "", None]), ['"größe 😂"', '""', "null"]),
            (pa.array(['"\\\b\t\n\f\r\0\x1f\x7f']), ['"\\"\\\\\\b\\t\\n\\f\\r\\u0000\\u001f\x7f"']),
            (pa.array(["a\\n"]), ['"a\\\\n"']),
            (pa.array(["a", None], pa.large_string()), ['"a"', "null"]),
            (pa.array(["a", None], pa.string_view()), ['"a"', "null"]),
            (pa.array(["a", None, "b"]).dictionary_encode(), ['"a"', "null", '"b"']),
            (pa.array([7, None, 7]).dictionary_encode(), ["7", "null", "7"]),
            (broken_text(), ['"caf\ufffd\\n"', '"\ufffd\\""']),
            (pa.array([Decimal("12345678901234567890.10"), None]), ['"12345678901234567890.10"', "null"]),
            (pa.array([date(2026, 11, 25), None]), ['"2026-11-25"', "null"]),
            (pa.array([3_661_000_001], pa.time64("us")), ['"01:01:01.000001"']),
            (pa.array([MOMENT, None], pa.timestamp("ms")), ['"2023-11-14T22:13:20.123"', "null"]),
            (pa.array([MOMENT], pa.timestamp("ms", "Europe/Berlin")), ['"2023-11-14T22:13:20.123Z"']),
            (pa.array([-1], pa.timestamp("ns", "UTC")), ['"1969-12-31T23:59:59.999999999Z"']),
            (pa.array([90, None], pa.duration("s")), ["90", "null"]),
            (pa.array([b"\xff\0", None]), ['"/wA="', "null"]),
            (pa.array([b"ab"], pa.binary(2)), ['"YWI="']),
            (pa.array([[1, None], [], None]), ["[1,null]", "[]", "null"]),
            (pa.array([["a,b", 'c"']], pa.large_list(pa.string())), ['["a,b","c\\""]']),
            (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)), ["[1,2]", "null", "[3,4]"]),
            (pa.array([[1, 2], None, [3]], pa.list_view(pa.int8())), ["[1,2]", "null", "[3]"]),
            (
                pa.array([{"a": 1, "b": [{"c": "x"}]}, None, {"a": None, "b": None}]),
                ['{"a":1,"b":[{"c":"x"}]}', "null", '{"a":null,"b":null}'],
            ),
            (pa.array([{}, None], pa.struct([])), ["{}", "null"]),
            (
                pa.array([[('k"', 1), ("l", None)], None, []], pa.map_(pa.string(), pa.int64())),
                ['{"k\\"":1,"l":null}', "null", "{}"],
            ),
            (pa.array([[(1, True)]], pa.map_(pa.int32(), pa.bool_())), ['{"1":true}']),
        ],
        ids=lambda part: str(part.type) if isinstance(part, pa.Array) else "",
    )
    def test_types_and_slices(self, column: pa.Array, expected: list[str]) -> None:
        assert written(column) == expected
        assert written(column.slice(1)) == expected[1:]
        for one in expected:
            json.loads(one)

    def test_column_order_and_escaped_names(self) -> None:
        batch = pa.RecordBatch.from_pydict({"z": [1], 'na"me\n': ["x"], "größe": [None], "": [True]})
        assert json_objects(batch) == ['{"z":1,"na\\"me\\n":"x","größe":null,"":true}'.encode()]

    def test_no_columns_gives_an_empty_object(self) -> None:
        batch = pa.RecordBatch.from_pydict({"a": [1, 2]}).select([])
        assert json_objects(batch) == [b"{}", b"{}"]

    def test_unsupported_types_are_rejected(self) -> None:
        with pytest.raises(ColumnTypeError, match="month_day_nano_interval"):
            written(pa.array([], pa.month_day_nano_interval()))

    @given(st.lists(st.none() | st.text(), max_size=6), st.lists(st.none() | st.floats(), max_size=6))
    @hypothesis(max_examples=150, deadline=None)
    def test_any_text_and_number_round_trips(
        self, texts: list[str | None], numbers: list[float | None]
    ) -> None:
        assert [json.loads(one) for one in written(pa.array(texts, pa.string()))] == texts
        read = [json.loads(one) for one in written(pa.array(numbers, pa.float64()))]
        expected = [None if n is None or n - n != 0 else n for n in numbers]
        assert read == expected

    def test_example_round_trips(self) -> None:
        table = pq.read_table(EXAMPLE)
        read = [json.loads(one) for batch in table.to_batches() for one in json_objects(batch)]
        rows = table.to_pylist()
        for row in rows:
            if row["created_at"] is not None:
                row["created_at"] = row["created_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert read == rows


class Clock:
    """Time that passes only in sleep and when advanced."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 0.1
        self.now += seconds


def paced(rate: float, rows: int, *, limit: int = 5000, cost: float = 0.0) -> tuple[float, list[int]]:
    """Seconds that it takes to send some rows, and the sizes of the bursts; each takes ``cost`` seconds."""
    clock = Clock()
    pace = Pace(rate, clock=clock, sleep=clock.sleep)
    bursts: list[int] = []
    while (left := rows - sum(bursts)) > 0:
        bursts.append(pace.wait(min(left, limit), lambda: False))
        clock.now += cost
    return clock.now - 1000, bursts


class TestPace:
    @pytest.mark.parametrize(
        ("rate", "rows"), [(1, 10), (0.5, 5), (20, 200), (333.3, 3333), (1000, 5000), (20_000, 200_000)]
    )
    def test_rate_is_exact_on_average(self, rate: float, rows: int) -> None:
        seconds, bursts = paced(rate, rows)
        assert sum(bursts) == rows
        assert seconds == pytest.approx((rows - 1) / rate, abs=0.021)
        assert max(bursts) <= rate * 0.021 + 1

    def test_sending_time_is_compensated(self) -> None:
        seconds, bursts = paced(20_000, 100_000, cost=0.05)
        assert seconds == pytest.approx(5, abs=0.1)
        assert max(bursts) <= 1100

    def test_unreachable_rate_runs_at_full_speed(self) -> None:
        seconds, bursts = paced(20_000, 20_000, limit=100, cost=0.1)
        assert set(bursts[1:-1]) == {100}
        assert seconds == pytest.approx(20.1, abs=0.2)

    def test_catch_up_after_a_stall_is_limited(self) -> None:
        clock = Clock()
        pace = Pace(100, clock=clock, sleep=clock.sleep)
        assert pace.wait(5000, lambda: False) == 1
        clock.now += 60
        assert 99 <= pace.wait(5000, lambda: False) <= 101
        before = clock.now
        assert pace.wait(5000, lambda: False) <= 3
        assert clock.now - before == pytest.approx(0.02)

    def test_stop_ends_the_wait(self) -> None:
        clock = Clock()
        pace = Pace(0.001, clock=clock, sleep=clock.sleep)
        assert pace.wait(10, lambda: False) == 1
        assert pace.wait(10, lambda: clock.now > 1002) == 0
        assert clock.now < 1003
        assert Pace(None).wait(10, lambda: True) == 0

    def test_rate_syntax(self) -> None:
        assert parse_rate(None, "--rate") is None
        assert [parse_rate(text, "--rate") for text in ("20", " 20/s", "1200/m", "7200 / h", "0.5")] == [
            20,
            20,
            20,
            2,
            0.5,
        ]
        for text in ("", "0", "-1", "fast", "10/d", "1/s/s", "1e3"):
            with pytest.raises(UsageError, match="--rate takes rows"):
                parse_rate(text, "--rate")


class TestShape:
    def schema_error(self, schema: pa.Schema, **shape: Any) -> SentstreamError:
        with pytest.raises(SentstreamError) as caught:
            Shape(**shape).check_schema(schema)
        return caught.value

    def test_missing_or_mistyped_columns(self) -> None:
        schema = pa.schema({"id": pa.int64(), "text": pa.string(), "score": pa.float64()})
        missing = self.schema_error(schema, columns=["id", "txt"])
        assert isinstance(missing, ColumnNotFoundError)
        assert "did you mean 'text'" in str(missing)
        assert isinstance(self.schema_error(schema, key_column="score"), ColumnTypeError)
        assert isinstance(self.schema_error(schema, timestamp_column="id"), ColumnTypeError)
        assert isinstance(self.schema_error(schema, format="text", text_column="id"), ColumnTypeError)

    def test_duplicate_columns(self) -> None:
        schema = pa.schema([("id", pa.int64()), ("id", pa.int64())])
        assert isinstance(self.schema_error(schema), ColumnClashError)

    @pytest.mark.parametrize(
        "shape",
        [
            {"format": "text", "columns": ["a"]},
            {"format": "json", "text_column": "a"},
            {"columns": ["a", "a"]},
        ],
    )
    def test_contradictory_options(self, shape: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            Shape(**shape).check()

    def test_texts_in_structs_and_as_bytes(self) -> None:
        text = pa.array([b"a", b"caf\xe9", None])
        data = pa.StructArray.from_arrays([text], names=["text"], mask=pa.array([True, False, False]))
        batch = pa.record_batch({"text": text, "data": data})
        for column, values in ((None, [b"a", b"caf\xe9", None]), ("data.text", [None, b"caf\xe9", None])):
            shape = Shape(format="text", text_column=column)
            shape.check_schema(batch.schema)
            assert [each.value for each in shape.messages(batch, "t")] == values
        assert "did you mean 'data.text'" in str(
            self.schema_error(batch.schema, format="text", text_column="data.txt")
        )

    def test_key_types(self) -> None:
        for column, keys in (
            (pa.array(["ä", "", None]), ["ä".encode(), b"", None]),
            (pa.array([-5, 2**63 - 1, None]), [b"-5", b"9223372036854775807", None]),
            (pa.array([b"\xff", None]), [b"\xff", None]),
            (pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
            (pa.array(["a", None, "a"]).dictionary_encode(), [b"a", None, b"a"]),
            (pa.array([1, None]).dictionary_encode(), [b"1", None]),
            (broken_text(), [b"caf\xe9\n", b'\xff"']),
        ):
            batch = pa.RecordBatch.from_arrays([column], ["k"])
            assert [each.key for each in Shape(key_column="k").messages(batch, "t")] == keys

    def test_timestamp_types(self) -> None:
        for column, times in (
            (pa.array([MOMENT, None], pa.timestamp("ms")), [MOMENT, None]),
            (pa.array([MOMENT * 1000 + 999], pa.timestamp("us", "Europe/Berlin")), [MOMENT]),
            (pa.array([1_700_000_000], pa.timestamp("s", "UTC")), [1_700_000_000_000]),
            (pa.array([date(1970, 1, 2)]), [86_400_000]),
        ):
            batch = pa.RecordBatch.from_arrays([column], ["at"])
            assert [each.timestamp for each in Shape(timestamp_column="at").messages(batch, "t")] == times

    def test_time_before_1970_is_rejected(self) -> None:
        batch = pa.RecordBatch.from_arrays([pa.array([date(1969, 12, 31)])], ["at"])
        with pytest.raises(InputError, match="before 1970"):
            Shape(timestamp_column="at").messages(batch, "t")


@pytest.fixture(name="settings")
def _settings(kafka: Any) -> Settings:
    return Settings.load(None, overrides={"bootstrap.servers": kafka.bootstrap})


@pytest.fixture(name="produce")
def _produce(settings: Settings) -> Callable[..., Report]:
    def produce(
        inputs: Sequence[Path] | Path,
        topic: str,
        shape: Shape | None = None,
        *,
        client: ClientName = "kafka-python",
        partitions: int | None = None,
        **run: Any,
    ) -> Report:
        names = [str(each) for each in ([inputs] if isinstance(inputs, Path) else inputs)]
        with prepare(
            names, topic, shape or Shape(), settings, client=client, partitions=partitions
        ) as production:
            return production.run(**run)

    return produce


def save(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=700)
    return path


CLIENTS: tuple[ClientName, ...] = ("kafka-python", "confluent")


class TestProduce:
    @pytest.mark.parametrize("client", CLIENTS)
    def test_rows_round_trip(self, client: ClientName, produce: Any, kafka: Any, topic: Any) -> None:
        name = topic(3)
        moves: list[tuple[int, int]] = []
        report = produce(
            EXAMPLE,
            name,
            Shape(key_column="id"),
            client=client,
            progress=lambda done, total: moves.append((done, total)),
        )
        table = pq.read_table(EXAMPLE)
        assert (report.rows, report.passes, report.production.partitions) == (table.num_rows, 1, 3)
        assert moves[0] == (0, table.num_rows)
        assert moves[-1] == (table.num_rows, table.num_rows)
        read = {int(record.key): record.value for record in drain(kafka.bootstrap, name)}
        expected = [one for batch in table.to_batches() for one in json_objects(batch)]
        assert read == dict(zip(table["id"].to_pylist(), expected, strict=True))

    @pytest.mark.parametrize("client", CLIENTS)
    def test_texts_are_sent_verbatim_and_null_as_no_value(
        self, client: ClientName, produce: Any, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        texts = [b"plain", b"\xff\xfe\0", b"", None, "größe 😂".encode()]
        path = save(
            tmp_path / "ugly.parquet",
            body=pa.array(texts, pa.binary()).view(pa.string()),
            key=["a", None, "", None, "ä"],
            at=pa.array([MOMENT, MOMENT + 1, MOMENT + 2, MOMENT + 3, None], pa.timestamp("ms", "UTC")),
        )
        name = topic()
        before = time.time() * 1000
        shape = Shape("text", text_column="body", key_column="key", timestamp_column="at")
        produce(path, name, shape, client=client)
        records = drain(kafka.bootstrap, name)
        assert [record.value for record in records] == texts
        assert [record.key for record in records] == [b"a", None, b"", None, "ä".encode()]
        assert [record.timestamp for record in records[:4]] == [MOMENT + index for index in range(4)]
        assert before - 60_000 < records[4].timestamp < before + 600_000

    def test_selected_columns_in_order(self, produce: Any, kafka: Any, topic: Any, tmp_path: Path) -> None:
        path = save(tmp_path / "t.parquet", id=[1, 2], text=["a", "b"], other=[b"x", b"y"])
        name = topic()
        produce(path, name, Shape(columns=["text", "id"], key_column="other"))
        read = [(record.key, record.value) for record in drain(kafka.bootstrap, name)]
        assert read == [(b"x", b'{"text":"a","id":1}'), (b"y", b'{"text":"b","id":2}')]

    def test_files_are_sent_in_order(self, produce: Any, kafka: Any, topic: Any, tmp_path: Path) -> None:
        first = save(tmp_path / "b.parquet", n=list(range(6000)))
        second = save(tmp_path / "a.parquet", n=list(range(6000, 9000)))
        empty = save(tmp_path / "c.parquet", n=pa.array([], pa.int64()))
        name = topic()
        assert produce([first, empty, second], name).rows == 9000
        assert [json.loads(r.value)["n"] for r in drain(kafka.bootstrap, name)] == list(range(9000))

    def test_missing_topic_is_an_error_unless_created(
        self, produce: Any, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        path = save(tmp_path / "t.parquet", n=[1])
        name = f"{topic()}-new"
        with pytest.raises(TopicNotFoundError, match="--partitions N"):
            produce(path, name)
        assert produce(path, name, partitions=3).production.partitions == 3
        assert produce(path, name, partitions=5).production.partitions == 3
        assert len(drain(kafka.bootstrap, name)) == 2

    def test_file_errors_name_the_file(self, produce: Any, topic: Any, tmp_path: Path) -> None:
        good = save(tmp_path / "good.parquet", text=["a"])
        bad = save(tmp_path / "bad.parquet", txt=["a"])
        with pytest.raises(ColumnNotFoundError, match=r"bad\.parquet: no column 'text'; did you mean 'txt'"):
            produce([good, bad], topic(), Shape("text"))
        with pytest.raises(InputNotFoundError):
            produce(tmp_path / "none.parquet", topic())

    @pytest.mark.parametrize("client", CLIENTS)
    def test_rejected_row_is_named_and_earlier_ones_sent(
        self, client: ClientName, produce: Any, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        texts = ["x" * 100] * 1000
        texts[777] = os.urandom(60_000).hex()
        path = save(tmp_path / "large.parquet", text=texts)
        name = topic(max_message_bytes=50_000)
        with pytest.raises(DeliveryError, match=r"large\.parquet, row 777 .*rejects.*--columns") as caught:
            produce(path, name, client=client, rate=20_000)
        assert caught.value.exit_code == 77
        assert len(drain(kafka.bootstrap, name)) >= 300

    def test_loop_repeats_until_stopped(self, produce: Any, kafka: Any, topic: Any, tmp_path: Path) -> None:
        path = save(tmp_path / "t.parquet", n=list(range(10)))
        name = topic()
        done = 0

        def progress(now: int, total: int) -> None:
            nonlocal done
            done = now
            assert now <= total

        report = produce(path, name, loop=True, progress=progress, stopped=lambda: done >= 35)
        assert (report.rows, report.passes) == (40, 4)
        assert [json.loads(r.value)["n"] for r in drain(kafka.bootstrap, name)] == [*range(10)] * 4

    def test_loop_over_no_rows_ends(self, produce: Any, topic: Any, tmp_path: Path) -> None:
        path = save(tmp_path / "t.parquet", n=pa.array([], pa.int64()))
        assert produce(path, topic(), loop=True).rows == 0

    @pytest.mark.parametrize(("rate", "rows"), [(20, 40), (2000, 4000)])
    def test_rate_is_kept(
        self, rate: float, rows: int, produce: Any, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        path = save(tmp_path / "t.parquet", n=list(range(rows)))
        name = topic()
        report = produce(path, name, rate=rate)
        assert report.rows == rows
        assert rows / rate - 0.2 < report.seconds < 3 * rows / rate + 2
        times = [record.timestamp for record in drain(kafka.bootstrap, name)]
        assert times[-1] - times[0] > 1000 * rows / rate * 0.5


class TestCommand:
    def test_summary_and_rows(
        self, kafka: Any, topic: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        name = topic()
        path = save(tmp_path / "t.parquet", id=[7, 8], text=["a", None])
        place = ["--topic", name, "--bootstrap-servers", kafka.bootstrap]
        assert main(["produce", str(path), *place, "--key-column", "id"]) == 0
        out, err = capfd.readouterr()
        assert out == ""
        assert "rows      2\n" in err
        assert f"topic     {name}, 1 partition\n" in err
        assert main(["produce", str(path), *place, "--format", "text", "--json"]) == 0
        about = json.loads(capfd.readouterr().out)
        assert about["rows"] == 2
        assert about["inputs"] == [{"input": str(path), "rows": 2}]
        assert about["interrupted"] is False
        assert [(r.key, r.value) for r in drain(kafka.bootstrap, name)] == [
            (b"7", b'{"id":7,"text":"a"}'),
            (b"8", b'{"id":8,"text":null}'),
            (None, b"a"),
            (None, None),
        ]

    def test_dry_run_sends_and_creates_nothing(
        self, kafka: Any, topic: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        name = topic()
        path = save(tmp_path / "t.parquet", text=["\x1b[31mred"])
        place = ["produce", str(path), "--bootstrap-servers", kafka.bootstrap, "--dry-run", "--topic"]
        assert main([*place, name, "--format", "text"]) == 0
        out = capfd.readouterr().out
        assert f"{path} → {name}: 1 row\n" in out
        assert "first value: \ufffd[31mred\n" in out
        assert main([*place, name, "--json"]) == 0
        about = json.loads(capfd.readouterr().out)
        assert json.loads(about["first"]["value"]) == {"text": "\x1b[31mred"}
        assert main([*place, f"{name}-new", "--partitions", "2"]) == 0
        assert drain(kafka.bootstrap, name) == []
        capfd.readouterr()
        assert main([*place, f"{name}-new"]) == 75
        assert "no topic" in capfd.readouterr().err

    def test_standard_input(self, kafka: Any, topic: Any) -> None:
        name = topic()
        command = [sys.executable, "-m", "sentstream", "produce", "-", "--topic", name, "--json"]
        run = subprocess.run(
            [*command, "--bootstrap-servers", kafka.bootstrap],
            input=EXAMPLE.read_bytes(),
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["rows"] == len(drain(kafka.bootstrap, name)) == 305

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("loop", [True, False])
    def test_signal_waits_for_acknowledgments(
        self, sent: signal.Signals, loop: bool, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        """That is how a loop ends; without one the rest was not sent, and that is an error."""
        name = topic(2)
        path = save(tmp_path / "t.parquet", n=list(range(10_000)))
        command = [sys.executable, "-m", "sentstream", "produce", str(path), "--topic", name, "--json"]
        command += ["--loop"] if loop else ["--rate", "100/s"]
        with child(
            [*command, "--bootstrap-servers", kafka.bootstrap],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_until(lambda: drain(kafka.bootstrap, name) or process.poll() is not None)
            process.send_signal(sent)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == (0 if loop else 128 + sent), err
        about = json.loads(out)
        assert about["interrupted"] is True
        assert about["rows"] == len(drain(kafka.bootstrap, name)) > 0
        assert err.strip() == ("" if loop else "sentstream: error: interrupted")

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
    def test_loop_on_a_terminal_ends_with_a_summary(
        self, sent: signal.Signals, kafka: Any, topic: Any, tmp_path: Path
    ) -> None:
        name = topic()
        paths = [save(tmp_path / f"{each}.parquet", n=list(range(50))) for each in ("first", "second")]
        command = ["-m", "sentstream", "produce", *map(str, paths), "--topic", name, "--loop"]
        with Terminal([*command, "--rate", "200/s", "--bootstrap-servers", kafka.bootstrap]) as terminal:
            terminal.read_until(lambda screen: "sending second.parquet (file 2 of 2)" in screen.text)
            terminal.read_until(lambda screen: "/200 rows" in screen.text)  # the second pass
            terminal.process.send_signal(sent)
            code, out = terminal.finish()
        assert (code, out) == (0, "")
        shown = terminal.screen.text
        rows = re.search(r"^rows +(\d+)$", shown, re.MULTILINE)
        assert rows is not None, shown
        assert int(rows[1]) == len(drain(kafka.bootstrap, name))
        assert "file 2 of 2" not in shown
        assert "error" not in shown

    def test_slow_rate_stops_immediately(self, kafka: Any, topic: Any, tmp_path: Path) -> None:
        name = topic()
        path = save(tmp_path / "t.parquet", n=[1, 2, 3])
        command = [sys.executable, "-m", "sentstream", "produce", str(path), "--topic", name]
        with child(
            [*command, "--rate", "1/h", "--bootstrap-servers", kafka.bootstrap],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        ) as process:
            wait_until(lambda: drain(kafka.bootstrap, name) or process.poll() is not None)
            process.terminate()
            assert process.wait(PATIENCE) == 143  # the next row would be sent in an hour


def test_iso_8601_round_trip() -> None:
    [text] = written(pa.array([MOMENT], pa.timestamp("ms", "America/New_York")))
    assert datetime.fromisoformat(json.loads(text)) == datetime.fromtimestamp(MOMENT / 1000, UTC)
    [text] = written(pa.array([b"\0\1\2"]))
    assert base64.b64decode(json.loads(text)) == b"\0\1\2"
