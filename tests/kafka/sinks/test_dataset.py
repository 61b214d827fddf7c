"""Each row is in one file, once and in order, whatever is killed, re-sent, or written by another instance."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from effort import cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentstream.errors import InputFormatError, OutputExistsError, OutputWriteError, UsageError
from sentstream.kafka.clients.api import Origin, Partition
from sentstream.kafka.sinks import dataset_files
from sentstream.kafka.sinks.dataset import Dataset, PartitionColumn, Rolling, Superseded
from sentstream.kafka.sinks.dataset_files import file_name
from tests.kafka.sinks.dataset_worker import (
    DAY,
    HOUR,
    NEVER,
    NOON,
    P0,
    P1,
    SCHEMA,
    STAMP,
    continue_writing,
    make,
    rows,
    span,
)

ROOT = Path(__file__).parents[3]


def paths(folder: Path) -> list[str]:
    """Paths of all files, relative to the folder."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(folder)) for path in found)


def runs(folder: Path, partition: Partition = P0) -> list[tuple[int, int, list[int]]]:
    """A partition's files, sorted: first offset, next offset after the file, and the offsets of its rows."""
    found: list[tuple[int, int, list[int]]] = []
    for path in folder.rglob(f"{partition.topic}+{partition.partition}+*.parquet"):
        file = pq.ParquetFile(path)
        start, metadata = int(path.stem.rsplit("+", 1)[1]), file.metadata.metadata
        offsets = file.read(columns=["offset"]).column(0).to_pylist()
        assert int(metadata[b"sentstream.first_offset"]) == offsets[0] >= start
        assert int(metadata[b"sentstream.last_offset"]) == offsets[-1]
        found.append((start, int(metadata[b"sentstream.next_offset"]), offsets))
        file.close()
    return sorted(found)


def offsets(folder: Path, partition: Partition = P0) -> list[int]:
    """Offsets of all rows, sorted. Checks that the files of each directory follow each other without gaps."""
    found: list[int] = []
    for directory in {path.parent for path in folder.rglob("*.parquet")}:
        here = runs(directory, partition)
        for (_, end, inside), (start, _, following) in itertools.pairwise(here):
            assert start == end
            assert inside[-1] < following[0]
        found += [offset for _, _, inside in here for offset in inside]
    return sorted(found)


def complete(folder: Path, partition: Partition = P0) -> int:
    """The offset up to which no row is missing, according to the files."""
    return make(folder).next_offset(partition) or 0


class TestFiles:
    def test_files_are_named_after_their_first_offset(self, tmp_path: Path) -> None:
        folder = tmp_path / "set"
        dataset = make(folder, memory=0)
        dataset.append(P0, span(7, 10), 10)
        assert os.listdir(folder) == []
        assert open_files(dataset) == 1
        assert dataset.close(P0) == 10
        assert paths(folder) == ["tweets+0+00000000000000000007.parquet"]
        assert (dataset.files, dataset.rows) == (1, 3)

    def test_rows_are_unchanged(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        for start in range(0, 300, 2):
            dataset.append(P0, span(start, start + 2), start + 2)
        dataset.close(P0)
        table = pq.read_table(tmp_path / file_name(P0, 0), partitioning=None)
        assert table.equals(pa.Table.from_batches([span(0, 300)]))

    def test_metadata_is_readable_by_pyarrow_and_others(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        dataset.append(P0, rows([5, 8]), 12)
        dataset.close(P0)
        path = tmp_path / file_name(P0, 5)
        expected = {
            "sentstream.topic": "tweets",
            "sentstream.partition": "0",
            "sentstream.first_offset": "5",
            "sentstream.last_offset": "8",
            "sentstream.next_offset": "12",
        } | STAMP
        wanted = {key.encode(): value.encode() for key, value in expected.items()}
        assert pq.read_schema(path).metadata == wanted
        assert pq.read_table(path, partitioning=None).schema.metadata == wanted
        found = pq.read_metadata(path).metadata
        assert {key: value for key, value in found.items() if key != b"ARROW:schema"} == wanted
        query = f"SELECT key, value FROM parquet_kv_metadata('{path}') WHERE key != 'ARROW:schema'"
        with duckdb.connect() as connection:
            assert dict(connection.execute(query).fetchall()) == wanted

    def test_topic_and_dead_letter_facts_are_stored(self, tmp_path: Path) -> None:
        dataset, origin = make(tmp_path, "hour"), Origin("a cluster's", "a topic's")
        dataset.stamp({"tweets": origin})
        times = [NOON, NOON + HOUR, NOON, NOON + HOUR]
        dataset.append(P0, rows(range(4), times), 4, 2)
        dataset.close(P0)
        found = sorted(dataset.facts(P0), key=lambda facts: facts.start)
        assert [(facts.start, facts.next_offset, facts.complete_to) for facts in found] == [
            (0, 4, 1),
            (1, 4, 4),
        ]
        assert {(facts.letters_to, facts.origin) for facts in found} == {(2, origin)}
        assert dataset.reach(P0) == (4, 2)

    def test_partitions_have_their_own_files(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        other = Partition("tweets.2", 1)
        for partition in (P0, P1, other):
            dataset.append(partition, span(0, 5, partition), 5)
        assert dataset.close_all() == {P0: 5, P1: 5, other: 5}
        assert len(paths(tmp_path)) == 3
        assert [dataset.next_offset(one) for one in (P0, P1, other)] == [5, 5, 5]
        assert dataset.next_offset(Partition("tweets", 10)) is None

    def test_longest_topic_names_stay_distinct(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "topic")
        dataset.check()
        topics = [Partition("x" * 249, 2**31 - 1), Partition("x" * 248 + "y", 2**31 - 1)]
        for one in topics:
            dataset.append(one, span(0, 1, one), 1)
        dataset.close_all()
        assert [make(tmp_path).next_offset(one) for one in topics] == [1, 1]

    def test_files_are_contiguous_across_gaps(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        dataset.append(P0, span(0, 3), 5)
        assert dataset.close(P0) == 5
        dataset.append(P0, rows([]), 8)
        dataset.append(P0, rows([9, 11]), 13)
        assert dataset.close(P0) == 13
        assert runs(tmp_path) == [(0, 5, [0, 1, 2]), (5, 13, [9, 11])]

    def test_no_file_without_rows(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        dataset.append(P0, rows([]), 4)
        assert dataset.close(P0) == 4
        assert dataset.close(P1) == 0
        assert paths(tmp_path) == []
        assert dataset.next_offset(P0) is None

    def test_existing_rows_are_skipped(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        dataset.append(P0, span(0, 10), 10)
        dataset.append(P0, span(5, 12), 12)  # still open
        dataset.close(P0)
        dataset.append(P0, span(3, 15), 15)
        assert dataset.close(P0) == 15
        again = make(tmp_path)
        assert len(again.append(P0, span(0, 14), 14)) == 0
        assert again.close(P0) == 14
        again.append(P0, span(12, 16), 16)
        assert again.close(P0) == 16
        assert offsets(tmp_path) == list(range(16))

    def test_dropping_leaves_no_files(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        dataset.append(P0, span(0, 10), 10)
        dataset.append(P1, span(0, 10, P1), 10)
        dataset.drop(P0)
        assert dataset.close_all() == {P1: 10}
        assert offsets(tmp_path) == []
        dataset.append(P0, span(0, 10), 10)
        dataset.drop_all()
        assert len(paths(tmp_path)) == 1
        dataset.append(P0, span(0, 4), 4)
        dataset.close(P0)
        assert offsets(tmp_path) == list(range(4))

    def test_unclosed_dataset_leaves_no_files(self, tmp_path: Path) -> None:
        make(tmp_path).append(P0, span(0, 10), 10)
        assert paths(tmp_path) == []


class TestRolling:
    def test_by_rows(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, rolling=Rolling(rows=10, size=1 << 60, seconds=1e9))
        dataset.append(P0, span(0, 9), 9)
        dataset.append(P1, span(0, 10, P1), 10)
        assert dataset.due() == {P1}
        dataset.close(P1)
        assert dataset.due() == set()

    def test_by_size(self, tmp_path: Path) -> None:
        rolling = Rolling(rows=1 << 40, size=200_000, seconds=1e9)
        dataset, start = make(tmp_path, rolling=rolling), 0
        while len(runs(tmp_path)) < 4:
            dataset.append(P0, span(start, start + 1000), start + 1000)
            start += 1000
            if dataset.due():
                dataset.close(P0)
        sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
        assert all(size < 300_000 for size in sizes)

    def test_by_time_even_without_rows(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, rolling=Rolling(rows=1 << 40, size=1 << 60, seconds=0.05))
        dataset.append(P0, rows([]), 3)
        dataset.append(P1, span(0, 1, P1), 1)
        began = time.monotonic()
        while dataset.due() != {P0, P1}:
            assert time.monotonic() < began + 5
        assert time.monotonic() >= began + 0.04
        assert dataset.close_all() == {P0: 3, P1: 1}
        assert dataset.due() == set()

    def test_memory_is_bounded_over_all_partitions(self, tmp_path: Path) -> None:
        memory, largest = 100_000, 0
        dataset = make(tmp_path, memory=memory)
        partitions = [Partition("tweets", number) for number in range(20)]
        for step in range(100):
            one = partitions[step % 20 if step % 3 else 0]
            start = dataset._tails[one].next_offset if one in dataset._tails else 0
            dataset.append(one, span(start, start + 200, one), start + 200)
            held = [file for tail in dataset._tails.values() for file in tail.files.values()]
            largest = max(largest, sum(file.waiting for file in held))
        assert memory / 2 < largest <= memory
        ends = dataset.close_all()
        for one in ends:
            assert offsets(tmp_path, one) == list(range(ends[one]))
        groups = pq.read_metadata(tmp_path / file_name(partitions[0], 0)).num_row_groups
        assert 1 < groups < 68  # which is how often rows were added

    def test_many_small_batches_cost_little_memory(self, tmp_path: Path) -> None:
        dataset, before, held = make(tmp_path), pa.total_allocated_bytes(), 0
        for offset in range(5000):
            dataset.append(P0, span(offset, offset + 1), offset + 1)
            held = max(held, pa.total_allocated_bytes() - before)
        dataset.close(P0)
        assert held < 1_000_000
        assert offsets(tmp_path) == list(range(5000))


class TestDirectories:
    def test_rows_go_to_the_directory_of_their_time(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "topic", "date", "hour")
        times = [NOON, NOON + HOUR - 1, NOON + HOUR, NOON + HOUR + 5, NOON, None, None, NOON + DAY]
        dataset.append(P0, rows([0, 1, 2, 5, 6, 7, 8, 9], times), 11)
        dataset.append(P0, rows([11, 12], [NOON + DAY, -1]), 13)
        assert runs(tmp_path) == []
        assert dataset.close(P0) == 13
        dataset.append(P0, rows([13, 14], [NOON, NOON + HOUR]), 15)
        assert dataset.close(P0) == 15
        null = "__HIVE_DEFAULT_PARTITION__"
        assert [path.split("/")[1:] for path in paths(tmp_path) if path.startswith("topic=tweets/")] == [
            ["date=1969-12-31", "hour=23", file_name(P0, 12)],
            ["date=2023-11-15", "hour=12", file_name(P0, 0)],
            ["date=2023-11-15", "hour=12", file_name(P0, 13)],
            ["date=2023-11-15", "hour=13", file_name(P0, 2)],
            ["date=2023-11-15", "hour=13", file_name(P0, 13)],
            ["date=2023-11-16", "hour=12", file_name(P0, 9)],
            [f"date={null}", f"hour={null}", file_name(P0, 7)],
        ]
        assert offsets(tmp_path) == [0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 13, 14]
        assert (dataset.files, dataset.rows) == (7, 12)
        assert make(tmp_path).next_offset(P0) == 15

    def test_hour_without_date_wraps_around(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "hour")
        dataset.append(P0, rows([0, 1, 2], [NOON, NOON + DAY, NOON + HOUR]), 3)
        dataset.close(P0)
        assert paths(tmp_path) == [f"hour=12/{file_name(P0, 0)}", f"hour=13/{file_name(P0, 2)}"]

    def test_column_order_matters(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "date", "partition", "topic")
        dataset.append(P1, span(0, 1, P1), 1)
        dataset.close(P1)
        assert paths(tmp_path) == [f"date=2023-11-15/partition=1/topic=tweets/{file_name(P1, 0)}"]

    def test_contradictory_options(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="duplicate"):
            make(tmp_path, "date", "date")
        clash = SCHEMA.append(pa.field("date", pa.string()))
        with pytest.raises(UsageError, match="choose another --prefix"):
            Dataset(tmp_path, clash, rolling=NEVER, partition_by=["date"])


class TestLayout:
    """Files that cannot be read together are never written into one directory."""

    @pytest.mark.parametrize(
        ("by", "other"), list(itertools.permutations([(), ("date",), ("topic", "date")], 2))
    )
    def test_different_layout_is_rejected(
        self, tmp_path: Path, by: list[PartitionColumn], other: list[PartitionColumn]
    ) -> None:
        dataset = make(tmp_path, *by)
        dataset.check()
        dataset.append(P0, span(0, 10), 10)
        dataset.close(P0)
        for _ in range(2):
            make(tmp_path, *by).check()
            with pytest.raises(OutputExistsError, match="readers could not read both together") as caught:
                make(tmp_path, *other).check()
            option = f"--partition-by {','.join(by)}" if by else "without --partition-by"
            assert option in str(caught.value)
            assert "choose another directory" in str(caught.value)

    def test_layout_is_rechecked_before_the_first_file(self, tmp_path: Path) -> None:
        """Two writers that start at the same time both find the directory empty."""
        ours, theirs = make(tmp_path), make(tmp_path, "date")
        for dataset in (ours, theirs):
            dataset.check()
            dataset.append(P0, span(0, 5), 5)
        theirs.close(P0)
        with pytest.raises(OutputExistsError, match="readers could not read both together"):
            ours.close(P0)
        assert len(paths(tmp_path)) == 1

    @pytest.mark.parametrize(
        ("change", "option"),
        [
            (lambda schema: schema.append(pa.field("sentiment_prob_neutral", pa.float32())), "neutral"),
            (lambda schema: schema.remove(5), "sentiment_score"),
            (
                lambda schema: schema.set(5, pa.field("mood_score", pa.float32())),
                "sentiment_score, mood_score",
            ),
            (lambda schema: schema.set(5, pa.field("sentiment_score", pa.float64())), "sentiment_score"),
        ],
    )
    def test_different_columns_are_rejected(
        self, tmp_path: Path, change: Callable[[pa.Schema], pa.Schema], option: str
    ) -> None:
        dataset = make(tmp_path, "date")
        dataset.append(P1, span(0, 10, P1), 10)
        dataset.close(P1)
        other = Dataset(tmp_path, change(SCHEMA), rolling=NEVER, partition_by=["date"])
        with pytest.raises(OutputExistsError, match=f"different columns.*{option}.*choose another directory"):
            other.check()

    def test_another_model_with_the_same_columns_continues(self, tmp_path: Path) -> None:
        """Each file records the model that it was written with."""
        for start, model in (0, b"first"), (10, b"second"):
            schema = SCHEMA.with_metadata({**SCHEMA.metadata, b"sentstream.model_digest": model})
            dataset = Dataset(tmp_path, schema, rolling=NEVER)
            dataset.check()
            dataset.append(P0, span(0, start + 10), start + 10)
            dataset.close(P0)
        assert offsets(tmp_path) == list(range(20))
        stamps = [pq.read_schema(tmp_path / path).metadata for path in paths(tmp_path)]
        assert [stamp[b"sentstream.model_digest"] for stamp in stamps] == [b"first", b"second"]


def open_files(dataset: Dataset) -> int:
    return sum(file.is_open for tail in dataset._tails.values() for file in tail.files.values())


class TestManyDirectories:
    """Open files and work are bounded, whatever the order of the timestamps."""

    def test_interleaved_hours_make_one_file_each(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "date", "hour")
        for start in range(0, 2000, 50):
            span_ = range(start, start + 50)
            dataset.append(P0, rows(span_, [NOON + offset % 2 * HOUR for offset in span_]), start + 50)
        assert dataset.close(P0) == 2000
        assert len(paths(tmp_path)) == 2
        assert offsets(tmp_path) == list(range(2000))

    def test_many_hours_per_batch_keep_few_files_open(self, tmp_path: Path) -> None:
        dataset, largest = make(tmp_path, "date", "hour", memory=1 << 40), 0
        for start in range(0, 500, 100):
            span_ = range(start, start + 100)
            dataset.append(P0, rows(span_, [NOON + offset % 100 * HOUR for offset in span_]), start + 100)
            largest = max(largest, open_files(dataset))
        assert largest == 0
        assert dataset.close(P0) == 500
        assert len(paths(tmp_path)) == 100
        assert offsets(tmp_path) == list(range(500))

    def test_least_recently_written_file_is_closed_first(self, tmp_path: Path) -> None:
        """``memory=0``: each row is written to its file at once."""
        dataset = make(tmp_path, "date", "hour", memory=0)
        times = [NOON + hour * HOUR for hour in [*range(8), 0, 8, 1]]
        for offset, when in enumerate(times):
            dataset.append(P0, rows([offset], [when]), offset + 1)
            assert open_files(dataset) <= 8
        assert paths(tmp_path) == [
            f"date=2023-11-15/hour=13/{file_name(P0, 1)}",
            f"date=2023-11-15/hour=14/{file_name(P0, 2)}",
        ]
        assert complete(tmp_path) == 0  # what is open goes further back
        assert dataset.close(P0) == len(times)
        assert offsets(tmp_path) == list(range(len(times)))
        assert complete(tmp_path) == len(times)

    def test_closing_is_incremental(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "hour", rolling=Rolling(rows=3, size=1 << 60, seconds=1e9))
        dataset.append(P0, rows(range(8), [NOON + offset % 4 * HOUR for offset in range(8)]), 8)
        assert dataset.due() == set()
        dataset.append(P0, rows([8], [NOON]), 9)
        assert dataset.due() == {P0}
        done = []
        closed, waiting, new = 0, 3, 5
        for offset, hour in (9, closed), (10, waiting), (11, new):
            done.append(dataset.close(P0, 0.0))
            assert dataset.due() == {P0}
            dataset.append(P0, rows([offset], [NOON + hour * HOUR]), offset + 1)
        done.append(dataset.close(P0, 0.0))
        assert done == [1, 2, 3, 9]
        assert dataset.due() == set()
        assert dataset.close(P0) == 12
        assert offsets(tmp_path) == list(range(12))
        assert [len(inside) for _, _, inside in runs(tmp_path)] == [3, 2, 2, 3, 1, 1]

    def test_too_many_pending_directories_are_closed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentstream.kafka.sinks.dataset._MOST_FILES", 10)
        dataset = make(tmp_path, "date", "hour")
        for count in 9, 10:
            dataset.append(P0, rows(range(count), [NOON + offset * HOUR for offset in range(count)]), count)
            assert dataset.due() == ({P0} if count == 10 else set())
        dataset.drop_all()

    def test_killed_set_is_completed_by_the_next_reader(self, tmp_path: Path) -> None:
        """The rows of some directories are written, others are not yet; none is written twice."""
        times = [NOON + offset % 3 * HOUR for offset in range(12)]
        for files in range(1, 4):
            folder = tmp_path / str(files)
            killed = make(folder, "hour")
            killed.append(P0, rows(range(12), times), 12)
            for _ in range(files):
                killed.close(P0, 0.0)
            assert len(paths(folder)) == files
            assert complete(folder) == [1, 2, 12][files - 1]
            for position in range(complete(folder) + 1):
                again = make(folder, "hour")
                added = again.append(P0, rows(range(position, 12), times[position:]), 12)
                assert len(added) == len([one for one in range(position, 12) if one % 3 >= files])
                again.drop_all()
            again = make(folder, "hour")
            again.append(P0, rows(range(12), times), 12)
            assert again.close(P0) == 12
            assert offsets(folder) == list(range(12))


class TestReaders:
    """Readers of a dataset find each column once, even during a write."""

    @pytest.fixture(name="folder", params=[[], ["date", "hour"], ["topic", "partition", "date"]], ids=str)
    def _folder(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
        folder = tmp_path / "set"  # what the file system makes hidden files of stands beside it
        dataset = make(folder, *request.param, memory=0)
        for partition in (P0, P1):
            times = [NOON + offset * HOUR for offset in range(40)]
            dataset.append(partition, rows(range(40), times, partition), 40)
        dataset.close_all()
        dataset.append(P0, span(40, 9000), 9000)  # some of it is on the disk
        yield folder
        dataset.drop_all()

    def check(self, frame: pd.DataFrame) -> None:
        assert len(frame.columns) == len(set(frame.columns))
        assert set(SCHEMA.names) <= set(frame.columns)
        keys = [
            (str(topic), int(one), int(offset))
            for topic, one, offset in zip(frame["topic"], frame["partition"], frame["offset"], strict=True)
        ]
        assert sorted(keys) == [("tweets", one, offset) for one in (0, 1) for offset in range(40)]

    def test_pyarrow(self, folder: Path) -> None:
        self.check(ds.dataset(folder, format="parquet", partitioning="hive").to_table().to_pandas())
        self.check(pq.read_table(folder).to_pandas())

    def test_pandas(self, folder: Path) -> None:
        self.check(pd.read_parquet(folder))

    def test_duckdb(self, folder: Path) -> None:
        with duckdb.connect() as connection:
            for within in ("**/*.parquet", "**"):
                found = connection.execute(f"SELECT * FROM read_parquet('{folder}/{within}')")
                self.check(found.df())

    def test_polars(self, folder: Path) -> None:
        for source in (folder, folder / "**" / "*.parquet"):
            found = pl.scan_parquet(source, hive_partitioning=True).collect()
            self.check(pd.DataFrame(found.to_dict(as_series=False)))


class TestDisk:
    def test_directory_is_created(self, tmp_path: Path) -> None:
        make(tmp_path / "a" / "b").check()
        assert os.listdir(tmp_path / "a" / "b") == []
        assert make(tmp_path / "missing").next_offset(P0) is None

    def test_file_in_place_of_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
            with pytest.raises(OutputWriteError, match=r"(?i)not a directory"):
                make(folder).check()

    def test_file_in_place_of_a_hive_directory(self, tmp_path: Path) -> None:
        (tmp_path / "date=2023-11-15").write_bytes(b"")
        dataset = make(tmp_path, "date")
        dataset.check()
        with pytest.raises(OutputWriteError, match=r"date=2023-11-15 cannot be read: Not a directory"):
            dataset.append(P0, span(0, 1), 1)
        assert dataset.due() == set()

    def test_file_system_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        with pytest.raises(OutputWriteError, match="hard links"):
            make(tmp_path).check()
        dataset = make(tmp_path)
        dataset.append(P0, span(0, 1), 1)
        with pytest.raises(OutputWriteError):
            dataset.close(P0)
        assert os.listdir(tmp_path) == []

    def test_full_disk(self, tmp_path: Path) -> None:
        """Simulated by a file size limit, which makes ``write`` fail in the same way."""
        code = (
            "import resource, signal, sys; from pathlib import Path\n"
            "import tests.kafka.sinks.dataset_worker as t; from sentstream.errors import OutputWriteError\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "dataset = t.make(Path(sys.argv[1]), memory=10_000)\n"
            "try:\n"
            "    for start in range(0, 100_000, 100): dataset.append(t.P0, t.span(start, start + 100), 0)\n"
            "except OutputWriteError as error: print(error)\n"
            "dataset.append(t.P0, t.span(0, 10), 10)\n"
            "print(dataset.close(t.P0))"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
        assert run.stderr == ""
        assert re.fullmatch(r".*cannot be written: File too large \(free some space.*\)\n10\n", run.stdout)
        assert offsets(tmp_path) == list(range(10))

    def test_foreign_files_are_ignored(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "date")
        dataset.append(P0, span(0, 5), 5)
        dataset.close(P0)
        ours = file_name(P0, 9)
        names = [f"{ours}.bak", f"x{ours}", f".{ours}.0123.tmp", "a.parquet", "_SUCCESS"]
        names += ["tweets+0+0000000009.parquet", "tweets+0+9.parquet"]
        for name in names:
            (tmp_path / name).write_bytes(b"junk")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / file_name(P0, 9)).write_bytes(b"junk")
        assert make(tmp_path).next_offset(P0) == 5

    def test_damaged_last_file_is_named(self, tmp_path: Path) -> None:
        dataset = make(tmp_path)
        for start in (0, 5):
            dataset.append(P0, span(start, start + 5), start + 5)
            dataset.close(P0)
        path = tmp_path / file_name(P0, 5)
        whole = path.read_bytes()
        for content in (b"", whole[:-1], whole[: len(whole) // 2]):
            path.write_bytes(content)
            with pytest.raises(InputFormatError, match=re.escape(str(path))):
                dataset.next_offset(P0)
        table = pa.Table.from_batches([span(5, 10)])
        pq.write_table(table, path)  # as if rewritten by another program
        with pytest.raises(InputFormatError, match="does not record its last offset"):
            dataset.next_offset(P0)
        (tmp_path / file_name(P0, 0)).rename(path)
        with pytest.raises(InputFormatError, match="does not record its last offset"):
            dataset.next_offset(P0)

    def test_different_content_under_the_name(self, tmp_path: Path) -> None:
        dataset = make(tmp_path, "date")
        dataset.append(P0, span(0, 5), 5)
        (tmp_path / "date=2023-11-15" / file_name(P0, 0)).mkdir(parents=True)
        with pytest.raises((OutputExistsError, InputFormatError)):
            dataset.close(P0)
        with pytest.raises(InputFormatError, match="is damaged"):
            make(tmp_path, "date").append(P0, span(0, 5), 5)


class TestConcurrentWriters:
    def test_first_to_name_wins(self, tmp_path: Path) -> None:
        ours, theirs = make(tmp_path), make(tmp_path)
        ours.append(P0, span(0, 10), 10)
        theirs.append(P0, span(0, 7), 7)
        assert theirs.close(P0) == 7
        with pytest.raises(Superseded) as caught:
            ours.close(P0)
        assert (caught.value.partition, caught.value.next_offset) == (P0, 7)
        assert len(paths(tmp_path)) == 1
        ours.append(P0, span(0, 10), 10)
        assert ours.close(P0) == 10
        assert runs(tmp_path) == [(0, 7, list(range(7))), (7, 10, [7, 8, 9])]

    @pytest.mark.parametrize(
        ("mine", "first"), [(span(0, 10), 0), (rows([1, 2, 9]), 1), (span(5, 20), 5), (rows([30]), 30)]
    )
    @pytest.mark.parametrize("by", [[], ["date"]])
    def test_writer_with_other_content_loses(
        self, tmp_path: Path, by: list[PartitionColumn], mine: pa.RecordBatch, first: int
    ) -> None:
        """Two writers with different first rows, due to compaction, an unreadable record, or "latest"."""
        ours, theirs = make(tmp_path, *by), make(tmp_path, *by)
        ours.append(P0, mine, 40)
        theirs.append(P0, span(3, 35), 35)
        theirs.close(P0)
        with pytest.raises(Superseded):
            ours.close(P0)
        assert runs(tmp_path) == [(3, 35, list(range(3, 35)))]

    def test_file_closed_during_append_may_be_taken(self, tmp_path: Path) -> None:
        ours, theirs = make(tmp_path, "date", memory=0), make(tmp_path, "date")
        times = [NOON + offset * DAY for offset in range(8)]
        for dataset in (ours, theirs):
            dataset.append(P0, rows(range(8), times), 8)
        theirs.close(P0)
        with pytest.raises(Superseded) as caught:
            ours.append(P0, rows([8], [NOON + 8 * DAY]), 9)
        assert caught.value.next_offset == 8
        assert ours.next_offset(P0) == 8
        assert ours.close(P0) == 8
        assert len(paths(tmp_path)) == 8

    def test_each_writer_may_win_a_directory(self, tmp_path: Path) -> None:
        ours, theirs = make(tmp_path, "hour"), make(tmp_path, "hour")
        times = [NOON + offset % 2 * HOUR for offset in range(10)]
        ours.append(P0, rows(range(10), times), 10)
        theirs.append(P0, rows(range(1, 7), times[1:7]), 7)  # it began elsewhere
        theirs.drop_all()
        theirs.append(P0, rows(range(7), times[:7]), 7)
        assert ours.close(P0, 0.0) == 1  # the even ones
        with pytest.raises(Superseded):
            theirs.close(P0)
        theirs.append(P0, rows(range(1, 7), times[1:7]), 7)
        assert theirs.close(P0) == 7
        with pytest.raises(Superseded) as caught:
            ours.close(P0)
        assert caught.value.next_offset == 7
        ours.append(P0, rows(range(7, 10), times[7:]), 10)
        assert ours.close(P0) == 10
        assert offsets(tmp_path) == list(range(10))

    def test_name_taken_between_check_and_link(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The directory check is only for writers that began elsewhere; for others the name decides."""
        ours, theirs = make(tmp_path), make(tmp_path)
        ours.append(P0, span(0, 10), 10)
        theirs.append(P0, span(0, 7), 7)
        look = dataset_files.end_in

        def looked(*arguments: Any) -> int | None:
            found = look(*arguments)
            monkeypatch.setattr(dataset_files, "end_in", look)
            theirs.close(P0)
            return found

        monkeypatch.setattr(dataset_files, "end_in", looked)
        with pytest.raises(Superseded) as caught:
            ours.close(P0)
        assert caught.value.next_offset == 7
        assert offsets(tmp_path) == list(range(7))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=st.data())
    def test_any_number_of_writers_in_any_order(self, data: st.DataObject) -> None:
        """Writers are interrupted anywhere and continue with their rows: the result is as if from one."""
        layouts: list[list[PartitionColumn]] = [[], ["date", "hour"]]
        by = data.draw(st.sampled_from(layouts))
        log = sorted(data.draw(st.sets(st.integers(0, 80), min_size=1)))
        times = {offset: NOON + data.draw(st.integers(0, 2)) * HOUR for offset in log} if by else {}
        memory = data.draw(st.sampled_from([0, 1 << 20]))
        with temporary() as folder:
            rivals = [make(folder, *by, memory=memory) for _ in range(data.draw(st.integers(2, 3)))]
            positions = [0] * len(rivals)
            for writer, closes, count in data.draw(steps(len(rivals))):
                rival = rivals[writer]
                try:
                    if closes:
                        rival.close(P0, 0.0 if count % 2 else None)
                    else:
                        rest = [one for one in log if one >= positions[writer]]
                        batch, unread = rest[:count], rest[count:]
                        nothing = unread[0] if unread else log[-1] + 1  # a poll that found a gap alone
                        following = batch[-1] + 1 if batch else nothing
                        rival.append(P0, rows(batch, [times.get(one, NOON) for one in batch]), following)
                        positions[writer] = following
                except Superseded as error:
                    positions[writer] = error.next_offset
                check(folder, log, one_directory=not by)
            for rival in rivals[1:]:
                rival.drop_all()
            rivals[0].drop_all()
            rivals[0].append(P0, rows(log, [times.get(one, NOON) for one in log]), log[-1] + 1)
            rivals[0].close(P0)
            assert offsets(folder) == log
            assert hidden(folder) == []


def steps(rivals: int) -> st.SearchStrategy[list[tuple[int, bool, int]]]:
    return st.lists(
        st.tuples(st.integers(0, rivals - 1), st.booleans(), st.integers(0, 20)), min_size=5, max_size=40
    )


def check(folder: Path, log: list[int], *, one_directory: bool) -> list[int]:
    """Check that each row is there once and none is missing before ``complete()``; return the offsets."""
    done, end = offsets(folder), complete(folder)
    assert len(done) == len(set(done))
    assert set(done) <= set(log)
    assert [offset for offset in log if offset < end] == [offset for offset in done if offset < end]
    if one_directory:
        assert done == log[: len(done)]
    return done


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_batches_rollings_and_restarts(data: st.DataObject) -> None:
    """A log with gaps, read in any batches, reread from any earlier offset, by any number of runs."""
    gaps = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=120))
    log = [sum(gaps[: index + 1]) - 1 for index in range(len(gaps))]
    end = log[-1] + data.draw(st.integers(1, 3))
    times: dict[int, int | None] = {
        offset: NOON + minutes * 60_000 if minutes else None
        for offset, minutes in zip(
            log,
            data.draw(st.lists(st.integers(0, 400), min_size=len(log), max_size=len(log))),
            strict=True,
        )
    }
    layouts: list[list[PartitionColumn]] = [[], ["hour"], ["date", "hour"], ["partition", "date"]]
    by = data.draw(st.sampled_from(layouts))
    with temporary() as folder:
        for restart in range(6):
            rolling = Rolling(rows=data.draw(st.integers(1, 50)), size=data.draw(st.integers(100, 50_000)))
            dataset = make(
                folder, *by, rolling=rolling, memory=data.draw(st.sampled_from([0, 1000, 1 << 20]))
            )
            dataset.check()
            assert hidden(folder) == []
            position = data.draw(st.integers(0, dataset.next_offset(P0) or 0))
            for _ in range(data.draw(st.integers(1, 8))):
                following = min(end, position + data.draw(st.integers(1, 60)))
                batch = [offset for offset in log if position <= offset < following]
                dataset.append(P0, rows(batch, [times[offset] for offset in batch]), following)
                position = following - data.draw(st.integers(0, 5)) if following < end else end
                position = max(0, position)
                for one in dataset.due():
                    if data.draw(st.booleans()):
                        assert position <= dataset.close(one) <= following
                    else:
                        assert dataset.close(one, 0.0) <= following
            if restart == 5:
                batch = [offset for offset in log if offset >= position]
                dataset.append(P0, rows(batch, [times[offset] for offset in batch]), end)
            if restart == 5 or data.draw(st.booleans()):
                dataset.close_all()
            else:
                dataset.drop_all()
            done = check(folder, log, one_directory=not {"date", "hour"} & set(by))
        assert done == log


def whole(folder: Path, *, one_directory: bool) -> int:
    """Check a log without gaps: each row is there once, and none is missing before ``complete()``.

    Returns:
        The number of rows.
    """
    count = 0
    for one in (P0, P1):
        done, end = offsets(folder, one), complete(folder, one)
        assert len(done) == len(set(done))
        assert done[:end] == list(range(end))
        if one_directory:
            assert len(done) == end
        count += len(done)
    return count


class TestKilled:
    """kill -9 at any moment: missing rows are read again, and none is duplicated."""

    @pytest.mark.parametrize("by", [[], ["hour"]], ids=str)
    def test_killed_repeatedly(self, tmp_path: Path, by: list[PartitionColumn]) -> None:
        dice, kills, patience, before = random.Random(7), 0, 0.08, 0
        while kills < cases(8) or before < 100:
            process = start(tmp_path, by)
            time.sleep(dice.random() * patience)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            now = whole(tmp_path, one_directory=not by)
            if now == before:  # a busy machine
                patience *= 1.5
            before = now
        make(tmp_path, *by).check()
        assert hidden(tmp_path) == []

    def test_two_writers_killed_repeatedly(self, tmp_path: Path) -> None:
        """Two processes that both believe they own the partitions are stopped, continued and killed."""
        dice, patience = random.Random(8), 0.06
        while whole(tmp_path, one_directory=False) < 1000:
            pair = [start(tmp_path, ["hour"]) for _ in range(2)]
            for _ in range(6):
                for process, act in zip(pair, dice.sample([signal.SIGSTOP, signal.SIGCONT], 2), strict=True):
                    os.kill(process.pid or 0, act)
                time.sleep(dice.random() * patience)
            patience *= 1.5
            for process in pair:
                process.kill()
                process.join()
        make(tmp_path, "hour").check()
        assert hidden(tmp_path) == []


def hidden(folder: Path) -> list[str]:
    return [path for path in paths(folder) if Path(path).name.startswith(".")]


class temporary:
    """A new directory for each Hypothesis example."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp())
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


# Forked from a process that has loaded pyarrow, a writer starts in milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pyarrow.compute", "pyarrow.parquet", "pytest"])


def start(folder: Path, by: list[PartitionColumn]) -> ForkServerProcess:
    """Start a process that writes in an endless loop, and wait until it has begun."""
    parent_end, child_end = CONTEXT.Pipe()
    process = CONTEXT.Process(target=continue_writing, args=(child_end, folder, *by), daemon=True)
    process.start()
    with parent_end, child_end:
        assert parent_end.recv() == "ready"
    return process
