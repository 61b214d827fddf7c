"""``--partition-by``: every row is in the folder that its values name, however the run ends."""

from __future__ import annotations

import datetime
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import PIECES, Stopped, entries, kill_loop, run, stop, stop_at, tree
from effort import LONG

from sentstream.cli import main
from sentstream.dataset import partitions, prepare, score_plan
from sentstream.dataset.manifest.records import read_records
from sentstream.dataset.partitions import Partitions, Scatter, check_distinct
from sentstream.dataset.verify import verify
from sentstream.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    InputFormatError,
    OutputExistsError,
    OutputWriteError,
    ResumeError,
    UsageError,
)
from tools.local_stores import LocalS3

LANGS = ("en", "de", None, "São Paulo/Rio", "")


def table(rows: Iterable[int]) -> pa.Table:
    numbers = list(rows)
    return pa.table(
        {
            "id": numbers,
            "text": [f"so {'good' if row % 3 else 'bad'} {row}" for row in numbers],
            "lang": [LANGS[row * 3 % 5] for row in numbers],
            "day": pa.array([datetime.date(2026, 9, 1 + row % 2) for row in numbers], pa.date32()),
        }
    )


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    labels = ("negative", "neutral", "positive")
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=labels))


@pytest.fixture(name="inputs")
def _inputs(tmp_path: Path) -> Path:
    """Six files in two folders."""
    for number in range(6):
        path = tmp_path / "in" / f"month={number % 2}" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(range(number * 60, number * 60 + 60)), path, row_group_size=20)
    return tmp_path / "in"


@pytest.fixture(name="pieces")
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are cut into pieces, too."""
    from sentstream.dataset.formats import api

    for name, value in PIECES.items():
        monkeypatch.setattr(api, name, value)


def written(output: Path) -> pa.Table:
    """All rows, in the order of their ids, with the columns of the folders as text."""
    folders = (parent.name for path in output.rglob("*.parquet") for parent in path.parents)
    names = {folder.partition("=")[0] for folder in folders if "=" in folder}
    hive = ds.partitioning(pa.schema([(name, pa.string()) for name in sorted(names)]), flavor="hive")
    return ds.dataset(output, format="parquet", partitioning=hive).to_table().sort_by("id")


class TestFolders:
    def test_rows_are_in_the_folder_of_their_values(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        report = run(inputs, tmp_path / "out", bundle, partition_by=["lang", "day"])
        assert report.tally.rows == 360
        rows = written(tmp_path / "out")
        wanted = table(range(360))
        assert rows["id"].to_pylist() == wanted["id"].to_pylist()
        assert rows["lang"].to_pylist() == wanted["lang"].to_pylist()
        assert rows["day"].to_pylist() == [str(day) for day in wanted["day"].to_pylist()]
        run(inputs, tmp_path / "plain", bundle)
        plain = written(tmp_path / "plain")
        for name in ("text", "sentiment", "sentiment_score", "month"):
            assert rows[name].equals(plain[name])

    def test_names_and_columns(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """The input's own folders stay, below those that are asked for; the rows keep their order."""
        run(inputs, tmp_path / "out", bundle, partition_by=["lang", "day"])
        folders = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").iterdir()}
        assert folders == {
            "_sentstream",
            "lang=en",
            "lang=de",
            "lang=",
            "lang=__HIVE_DEFAULT_PARTITION__",
            "lang=S%C3%A3o%20Paulo%2FRio",
        }
        path = tmp_path / "out" / "lang=en" / "day=2026-09-01" / "month=1" / "3.parquet"
        schema = pq.read_schema(path)
        assert schema.names[:2] == ["id", "text"]
        assert not {"lang", "day"} & {*schema.names}
        assert b"sentstream.model_digest" in schema.metadata
        ids = pq.ParquetFile(path).read()["id"].to_pylist()
        assert ids == [row for row in range(180, 240) if row % 5 == 0 and row % 2 == 0]

    def test_other_readers_read_the_folders(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        import duckdb
        import pandas as pd

        run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        wanted = sorted((lang or "", 72) for lang in LANGS if lang)
        pattern = tmp_path / "out" / "**" / "*.parquet"
        found = duckdb.sql(f"SELECT lang, count(*) FROM '{pattern}' GROUP BY ALL").fetchall()
        assert sorted(row for row in found if row[0]) == wanted
        counted = pl.scan_parquet(pattern, hive_partitioning=True).group_by("lang").len().collect()
        assert sorted(row for row in counted.iter_rows() if row[0]) == wanted
        # pyarrow makes categories of folders for pandas, and none of nulls.
        run(inputs, tmp_path / "some", bundle, partition_by=["lang"], where="lang IS NOT NULL")
        frame = pd.read_parquet(tmp_path / "some").groupby("lang", observed=True).size()
        assert sorted((lang, count) for lang, count in frame.items() if lang) == wanted

    def test_folders_of_the_input(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """Hive folders override columns of the same name, so that there are no duplicates."""
        run(inputs, tmp_path / "out", bundle, partition_by=["day", "month"])
        below = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.parquet")}
        assert below == {
            Path(f"day=2026-09-0{day}", f"month={number % 2}", f"{number}.parquet")
            for day in (1, 2)
            for number in range(6)
        }
        other = table(range(5)).append_column("month", pa.array([7] * 5))
        pq.write_table(other, inputs / "month=1" / "x.parquet")
        run(inputs, tmp_path / "again", bundle, partition_by=["month"])
        assert "month" not in pq.read_schema(tmp_path / "again" / "month=1" / "x.parquet").names

    def test_partition_by_added_columns(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle, partition_by=["sentiment"], columns=["id"])
        run(inputs, tmp_path / "plain", bundle, columns=["id"])
        rows, plain = written(tmp_path / "out"), written(tmp_path / "plain")
        assert rows["sentiment"].to_pylist() == plain["sentiment"].to_pylist()
        assert len({*rows["sentiment"].to_pylist()}) > 1

    def test_partition_by_a_dropped_column(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"], columns=["id"])
        assert pq.read_schema(tmp_path / "out" / "lang=en" / "month=0" / "0.parquet").names[0:2] == [
            "id",
            "sentiment",
        ]
        assert written(tmp_path / "out")["lang"].to_pylist() == table(range(360))["lang"].to_pylist()

    def test_only_requested_rows(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"], where="lang = 'en' and id < 100")
        assert {path.name for path in (tmp_path / "out").glob("*")} == {"_sentstream", "lang=en"}
        assert len(entries(tmp_path / "out")) == 6  # also those of which no row is
        assert not verify(tmp_path / "out").findings

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "orc", "arrow-stream"])
    def test_every_format(self, inputs: Path, tmp_path: Path, bundle: str, kind: Any) -> None:
        run(inputs, tmp_path / "text", bundle, output_format=kind)
        run(tmp_path / "text", tmp_path / "out", bundle, partition_by=["lang"], prefix="again")
        found = verify(tmp_path / "out", sample=20, model=bundle)
        assert not found.findings
        assert (found.rows, found.sampled) == (360, 20)
        assert len(list((tmp_path / "out" / "lang=de").rglob("*.*"))) == 6

    def test_json_lines_are_unchanged(self, tmp_path: Path, bundle: str) -> None:
        lines = [{"text": f"good {row}", "lang": LANGS[row % 2], "x": row} for row in range(9)]
        source = tmp_path / "in.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run(source, tmp_path / "out", bundle, partition_by=["lang"])
        found = (tmp_path / "out" / "lang=de" / "in.jsonl").read_text().splitlines()
        assert [line.partition(', "sentiment"')[0].partition(',"sentiment"')[0] for line in found] == [
            json.dumps(line)[:-1] for line in lines[1::2]
        ]


class TestSplit:
    def test_types(self) -> None:
        moment = datetime.datetime(2026, 9, 1, 12, 30)
        values = {
            "int": pa.array([1, None], pa.int8()),
            "bool": pa.array([True, False]),
            "float": pa.array([0.5, None]),
            "time": pa.array([moment, None], pa.timestamp("ms", "UTC")),
            "bytes": pa.array([b"a\xff", b""]),
            "dictionary": pa.array(["x", None]).dictionary_encode(),
            "view": pa.array(["x=1", "%"], pa.string_view()),
            "null": pa.nulls(2),
        }
        folders = {
            "int": ["1", None],
            "bool": ["true", "false"],
            "float": ["0.5", None],
            "time": ["2026-09-01%2012%3A30%3A00.000Z", None],
            "bytes": ["a%FF", ""],
            "dictionary": ["x", None],
            "view": ["x%3D1", "%25"],
            "null": [None],
        }
        for name, column in values.items():
            batch = pa.record_batch({name: column, "text": ["a", "b"]})
            split = Partitions((name,), {}, "a", "out")
            split.schema(batch.schema)
            rows, spans = split.split(batch)
            assert rows.schema.names == ["text"]
            assert list(spans) == [
                f"{name}={'__HIVE_DEFAULT_PARTITION__' if value is None else value}"
                for value in folders[name]
            ]

    def test_other_columns_of_any_type(self) -> None:
        """Also types that pyarrow cannot take rows of."""
        values = pa.array(["a", "bb", "ccc", "dddd"])
        batch = pa.record_batch(
            {
                "key": [1, 2, 1, 2],
                "view": values.cast(pa.string_view()),
                "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 4], pa.int32()), pa.array(["x", "y"])),
                "list": [["a"], [], None, ["b"]],
            }
        )
        rows, spans = Partitions(("key",), {}, "a", "out").split(batch)
        assert spans == {"key=1": (0, 2), "key=2": (2, 4)}
        assert rows.to_pydict() == {
            "view": ["a", "ccc", "bb", "dddd"],
            "runs": ["x", "y", "y", "y"],
            "list": [["a"], None, [], ["b"]],
        }

    def test_no_rows(self) -> None:
        batch = pa.record_batch({"key": pa.array([], pa.string()), "id": pa.array([], pa.int64())})
        rows, spans = Partitions(("key",), {}, "a", "out").split(batch)
        assert (len(rows), spans) == (0, {})

    @pytest.mark.parametrize("held", [1, 2000, 1 << 30])
    def test_buffering_does_not_matter(self, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
        """In memory or in a file, in batches of any size; with dictionaries, and ends of row groups."""
        monkeypatch.setattr(partitions, "HELD_BYTES", held)
        chance = np.random.default_rng(1)
        whole = pa.table(
            {
                "key": chance.integers(0, 30, 5000),
                "id": range(5000),
                "kind": pa.array([f"k{row % 7}" for row in range(5000)]).dictionary_encode(),
            }
        )
        with Scatter(Partitions(("key",), {}, "a", "out")) as scatter:
            for number, batch in enumerate(whole.to_batches(max_chunksize=333)):
                scatter.write(batch)
                if number == 7:
                    scatter.end_group()
            assert sum(scatter.folders.values()) == 5000
            for folders, count in scatter.folders.items():
                writer = Kept()
                scatter.copy(folders, writer)
                rows = pa.Table.from_batches(writer.batches)
                wanted = whole.filter(pa.compute.equal(whole["key"], int(folders[4:])))
                assert rows["id"].to_pylist() == wanted["id"].to_pylist()
                assert rows["kind"].to_pylist() == wanted["kind"].to_pylist()
                assert len(rows) == count
                assert writer.groups == [sum(row < 8 * 333 for row in wanted["id"].to_pylist())]

    def test_case_insensitive_folder_names(self) -> None:
        def files(*names: str) -> list[tuple[str, Partitions]]:
            return [(name, Partitions.of(["day"], name, name, "out")) for name in names]

        check_distinct(files("day=1/a", "day=2/a", "x/day=1/a", "day=1/b"))
        for names in (("day=1/a", "a"), ("day=1/x/a", "x/day=1/a")):
            with pytest.raises(OutputExistsError, match=r"may have the same output, day=\*"):
                check_distinct(files(*names))


class Kept:
    """A writer that keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.groups: list[int] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)

    def end_group(self) -> None:
        self.groups.append(sum(map(len, self.batches)))

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class TestKilled:
    @pytest.mark.parametrize("large", [False, True])
    def test_killed_at_any_moment(self, tmp_path: Path, inputs: Path, bundle: str, large: bool) -> None:
        from sentstream.dataset.formats import api

        options = {"partition_by": ["lang", "day"]}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in PIECES.items() if large else ():
                patch.setattr(api, name, value)
            run(inputs, tmp_path / "whole", bundle, **options)
        pieces = {"pieces": PIECES} if large else {}
        killed = kill_loop(
            inputs,
            tmp_path / "out",
            tmp_path / "whole",
            bundle,
            kills=50 if LONG else 8,
            most=12,
            options=options,
            **pieces,
        )
        assert killed >= 2
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]

    @pytest.mark.usefixtures("pieces")
    def test_pieces_are_assembled(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """The rows of a folder come from several pieces, and not from all."""
        late = table(range(400)).set_column(2, "lang", pa.array(["en"] * 300 + ["fr"] * 100))
        pq.write_table(late, inputs / "large.parquet", row_group_size=20)
        run(inputs / "large.parquet", tmp_path / "out", bundle, partition_by=["lang"])
        for lang, ids in (("en", range(300)), ("fr", range(300, 400))):
            path = tmp_path / "out" / f"lang={lang}" / "large.parquet"
            assert pq.ParquetFile(path).read()["id"].to_pylist() == list(ids)
        assert not verify(tmp_path / "out", sample=50, model=bundle).findings

    def test_removed_or_truncated_outputs_are_rewritten(
        self, inputs: Path, tmp_path: Path, bundle: str
    ) -> None:
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        first = tree(tmp_path / "out")
        (tmp_path / "out" / "lang=en" / "month=0" / "0.parquet").unlink()
        (tmp_path / "out" / "lang=de" / "month=1" / "3.parquet").write_bytes(b"cut")
        report = run(inputs, tmp_path / "out", bundle, partition_by=["lang"], resume=True)
        assert (report.tally.rows, report.before.rows) == (360, 240)
        assert tree(tmp_path / "out") == first

    @pytest.mark.usefixtures("pieces")
    def test_shards_form_one_run(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        pq.write_table(table(range(400)), inputs / "large.parquet", row_group_size=20)
        run(inputs, tmp_path / "whole", bundle, partition_by=["lang"])
        stop(inputs, tmp_path / "out", bundle, 100, shard="2/3", partition_by=["lang"])
        for number in (3, 1):
            run(inputs, tmp_path / "out", bundle, shard=f"{number}/3", partition_by=["lang"])
        with pytest.raises(OutputExistsError, match="continue with --resume"):
            run(inputs, tmp_path / "out", bundle, shard="2/3", partition_by=["lang"])
        report = run(inputs, tmp_path / "out", bundle, shard="2/3", resume=True, partition_by=["lang"])
        assert not report.pending
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    def test_partitions_on_s3(
        self,
        inputs: Path,
        tmp_path: Path,
        bundle: str,
        s3_here: LocalS3,
    ) -> None:
        bucket = s3_here.folder / "partitions"
        bucket.mkdir()
        options: dict[str, Any] = {"model": bundle, "partition_by": ["lang", "day"]}
        run(inputs, tmp_path / "whole", bundle, partition_by=["lang", "day"])
        with (
            prepare([str(inputs)], output="s3://partitions/out", **options) as plan,
            pytest.raises(Stopped),
        ):
            score_plan(plan, stop_at(150))
        with prepare([str(inputs)], output="s3://partitions/out", resume=True, **options) as plan:
            assert score_plan(plan).tally.rows == 360
        assert tree(bucket / "out") == tree(tmp_path / "whole")
        assert not verify("s3://partitions/out", sample=30, model=bundle).findings
        assert not s3_here.uploads()
        other = {**options, "partition_by": ["day"]}
        with prepare([str(inputs)], output="s3://partitions/out", overwrite=True, **other) as plan:
            score_plan(plan)
        assert {path.name for path in (bucket / "out").glob("*/*") if any(path.rglob("*.parquet"))} == {
            "month=0",
            "month=1",
        }


class TestOverwriting:
    def test_earlier_outputs_are_removed(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """Rows would be there twice."""
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        pq.write_table(table(range(2)), inputs / "month=1" / "5.parquet")
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"], overwrite=True)
        assert not (tmp_path / "out" / "lang=" / "month=1" / "5.parquet").exists()
        assert len(written(tmp_path / "out")) == 302
        run(inputs, tmp_path / "out", bundle, partition_by=["day"], overwrite=True)
        assert not list((tmp_path / "out").rglob("lang=*/**/*.parquet"))
        assert not verify(tmp_path / "out").findings
        run(inputs, tmp_path / "out", bundle, overwrite=True)
        assert not list((tmp_path / "out").rglob("day=*/**/*.parquet"))
        assert not verify(tmp_path / "out").findings

    def test_damaged_or_missing_manifest(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        """The names tell."""
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        (tmp_path / "out" / "_sentstream" / "manifest.jsonl").write_bytes(b"x")
        (tmp_path / "out" / "notes.txt").write_text("mine")
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"], overwrite=True, where="lang = 'en'")
        assert {path.parts[-3] for path in (tmp_path / "out").rglob("*.parquet")} == {"lang=en"}
        assert (tmp_path / "out" / "notes.txt").exists()


class TestRejected:
    def test_existing_outputs(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        (tmp_path / "out").mkdir()
        pq.write_table(table([1]), tmp_path / "out" / "x.parquet")
        for resume in (False, True):
            with pytest.raises(OutputExistsError, match=r"out already has files, such as .*x\.parquet"):
                run(inputs, tmp_path / "out", bundle, partition_by=["lang"], resume=resume)
        (tmp_path / "out" / "x.parquet").unlink()
        stop(inputs, tmp_path / "out", bundle, 100, partition_by=["lang"])
        with pytest.raises(OutputExistsError, match="continue with --resume"):
            run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        with pytest.raises(ResumeError, match=r"--partition-by \['lang'\], not \['day'\]"):
            run(inputs, tmp_path / "out", bundle, partition_by=["day"], resume=True)
        with pytest.raises(ResumeError, match=r"--partition-by \['lang'\], not unset"):
            run(inputs, tmp_path / "out", bundle, resume=True)

    @pytest.mark.parametrize(
        ("columns", "error", "message"),
        [
            (["lnag"], ColumnNotFoundError, "no column 'lnag'; did you mean 'lang'"),
            (["lang", "lang"], UsageError, "duplicate column"),
            (["_id"], UsageError, "ignore folders that start with '_'"),
            (["tags"], ColumnTypeError, "values of type list<.*> cannot name a folder"),
            (["lang", "id"], UsageError, "more than 40 folders from one file"),
        ],
    )
    def test_invalid_columns(
        self,
        inputs: Path,
        tmp_path: Path,
        bundle: str,
        columns: list[str],
        error: type[Exception],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(partitions, "MOST_FOLDERS", 40)
        source = inputs / "month=0" / "0.parquet"
        pq.write_table(pq.ParquetFile(source).read().append_column("tags", pa.array([["a"]] * 60)), source)
        with pytest.raises(error, match=message):
            run(inputs, tmp_path / "out", bundle, partition_by=columns)
        assert not (tmp_path / "out").exists()

    def test_invalid_outputs(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        source = str(inputs / "month=0" / "0.parquet")
        for output in (None, "-"):
            with (
                pytest.raises(UsageError, match="--partition-by needs a directory"),
                prepare([source], output=output, model=bundle, partition_by=["lang"]),
            ):
                pass
        with (
            pytest.raises(OutputExistsError, match="is inside"),
            prepare([source], output=str(inputs), model=bundle, partition_by=["lang"]),
        ):
            pass

    def test_invalid_input(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        path = inputs / "month=1" / "3.parquet"
        rows = pq.ParquetFile(path).read()
        pq.write_table(rows, path, write_page_checksum=True, compression="none")
        path.write_bytes(path.read_bytes().replace(b"so good 230", b"so good 999"))
        with pytest.raises(InputFormatError):
            run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        report = run(inputs, tmp_path / "out", bundle, partition_by=["lang"], resume=True, on_error="skip")
        assert (report.tally.rows, len(report.skipped)) == (300, 1)
        assert not list((tmp_path / "out").rglob("3.parquet"))
        found = verify(tmp_path / "out")
        assert (found.findings, found.skipped) == ([], 1)

    def test_disk_full_for_buffered_rows(
        self, inputs: Path, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partitions, "HELD_BYTES", 1)
        monkeypatch.setattr(partitions.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: SIM115
        with pytest.raises(
            OutputWriteError, match=r"rows cannot be buffered in .*: No space left.*set TMPDIR"
        ):
            run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        assert not list((tmp_path / "out").rglob("*.parquet"))


class TestVerify:
    def test_changed_outputs_are_found(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        out = tmp_path / "out"
        run(inputs, out, bundle, partition_by=["lang"])
        found = verify(out, inputs=[str(inputs)], sample=80, model=bundle)
        assert (found.findings, found.outputs, found.rows, found.sampled) == ([], 30, 360, 80)
        (out / "lang=en" / "month=0" / "0.parquet").unlink()
        (out / "lang=xx").mkdir()
        (out / "lang=de" / "month=1" / "1.parquet").rename(out / "lang=xx" / "1.parquet")
        assert {one.name: one.problem for one in verify(out).findings} == {
            "lang=de/month=1/1.parquet": "is missing",
            "lang=en/month=0/0.parquet": "is missing",
            "lang=xx/1.parquet": "is not in the manifest",
        }

    def test_manifest(self, inputs: Path, tmp_path: Path, bundle: str) -> None:
        run(inputs, tmp_path / "out", bundle, partition_by=["lang"])
        path = tmp_path / "out" / "_sentstream" / "manifest.jsonl"
        header, found = read_records(path.read_bytes(), "it", whole=True)
        assert header.options["--partition-by"] == ["lang"]
        assert [len(entry.written) for entry in found] == [5] * 6
        names = itertools.chain(*((one.name for one in entry.written) for entry in found))
        assert {*names} == {name for name in tree(tmp_path / "out") if not name.startswith("_")}


def test_command(
    inputs: Path,
    tmp_path: Path,
    bundle: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = [
        "score",
        "--model",
        bundle,
        str(inputs),
        "-o",
        str(tmp_path / "out"),
        "--partition-by",
        "lang,day",
    ]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path}/out/lang=*/day=*/month=0/0.parquet: 60 rows" in shown
    assert not (tmp_path / "out").exists()
    assert main([*command, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["partition_by"] == ["lang", "day"]
    assert about["outputs"][0]["output"] == f"{tmp_path}/out/lang=*/day=*/month=0/0.parquet"
    assert main([*command, "--resume"]) == 0
    assert "360 of them in earlier runs" in capsys.readouterr().err
    assert main([*command[:-1], "lang,,day"]) == 2
    assert "--partition-by takes names separated by commas" in capsys.readouterr().err
    monkeypatch.setenv("SENTSTREAM_SCORE_PARTITION_BY", "lang,day")
    assert main([*command[:-2], "--resume"]) == 0
    assert "360 of them in earlier runs" in capsys.readouterr().err


def test_from_standard_input(tmp_path: Path, bundle: str) -> None:
    """Nothing to resume, so there is no manifest; and all files are in their folders."""
    pq.write_table(table(range(50)), tmp_path / "in.parquet")
    command = [sys.executable, "-m", "sentstream", "score", "-", "-o", str(tmp_path / "out")]
    command += ["--model", bundle, "--partition-by", "lang"]
    with (tmp_path / "in.parquet").open("rb") as source:
        subprocess.run(command, stdin=source, check=True, capture_output=True)
    assert written(tmp_path / "out")["id"].to_pylist() == list(range(50))
    assert not (tmp_path / "out" / "_sentstream").exists()
    with (tmp_path / "in.parquet").open("rb") as source:
        again = subprocess.run(command, stdin=source, check=False, capture_output=True, text=True)
    assert again.returncode == 20
    assert "already has files" in again.stderr
    pq.write_table(table(range(4)), tmp_path / "in.parquet")
    with (tmp_path / "in.parquet").open("rb") as source:
        subprocess.run([*command, "--overwrite"], stdin=source, check=True, capture_output=True)
    assert written(tmp_path / "out")["id"].to_pylist() == list(range(4))
