"""Scoring files: each row as if it were alone, whatever the batches, row groups and threads."""

from __future__ import annotations

import dataclasses
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentstream.dataset import Piece, Report, open_source, prepare, read_piece, score_piece, score_plan
from sentstream.errors import (
    BundleNotFoundError,
    ColumnClashError,
    ColumnNotFoundError,
    InputFormatError,
    OutputExistsError,
    OutputWriteError,
    UsageError,
)
from sentstream.model import Model
from sentstream.storage.local import local_file

CAP = 50


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    labels = ("negative", "neutral", "positive")
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=labels, max_chars=CAP))


@pytest.fixture(name="model", scope="module")
def _model(bundle: str) -> Model:
    return Model.load(bundle, provider="cpu", threads=1)


def run(source: Path, target: Path, bundle: str, **options: Any) -> Report:
    with prepare([str(source)], output=str(target), model=bundle, provider="cpu", **options) as plan:
        return score_plan(plan)


words = st.sampled_from(["i", "love", "hate", "you", "so", "not", "bad", "😂", ":(", "@a", "!!!", "zzz"])
texts = st.one_of(
    st.none(),
    st.sampled_from(
        ["", " ", "\t\n", "\u00a0", "\0", "x" * 5000, "i love you " * 300, "😂" * CAP, "😂" * (CAP + 1)]
    ),
    st.lists(words, min_size=1, max_size=9).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


class TestIndependentRows:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(texts, max_size=40),
        group=st.integers(1, 20),
        batch_rows=st.integers(1, 50),
        threads=st.integers(1, 4),
        kind=st.sampled_from(
            [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
        ),
    )
    def test_rows_are_scored_bit_for_bit(
        self,
        model: Model,
        bundle: str,
        rows: list[str | None],
        group: int,
        batch_rows: int,
        threads: int,
        kind: pa.DataType,
    ) -> None:
        table = pa.table({"id": pa.array(range(len(rows)), pa.int32()), "text": pa.array(rows, kind)})
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.parquet"), Path(folder, "out.parquet")
            pq.write_table(table, source, row_group_size=group)
            report = run(source, target, bundle, batch_rows=batch_rows, threads=threads)
            scored = pq.read_table(target)
        assert scored["id"].to_pylist() == list(range(len(rows)))
        assert scored["text"].to_pylist() == rows
        assert scored.schema.field("text").type == kind
        alone = pa.concat_tables([model.score([row]) for row in rows]) if rows else model.score([])
        for name in alone.schema.names[1:]:
            mine, right = (t[name].combine_chunks() for t in (scored, alone))
            if name == "sentiment":
                assert mine.equals(right)
            else:
                bits = [
                    np.nan_to_num(a.to_numpy(zero_copy_only=False)).view(np.uint32) for a in (mine, right)
                ]
                np.testing.assert_array_equal(*bits)
                assert mine.is_null().equals(right.is_null())
        tally = report.tally
        assert tally.rows == len(rows)
        assert tally.truncated == sum(row is not None and len(row) > CAP for row in rows)
        assert tally.unlabeled == scored["sentiment"].null_count
        assert sum(tally.labels.values()) + tally.unlabeled == len(rows)

    @pytest.mark.parametrize("index", [0, 1, 499, 998, 999])
    def test_huge_text_anywhere(self, tmp_path: Path, model: Model, bundle: str, index: int) -> None:
        rows: list[str | None] = [f"i love {row}" for row in range(1000)]
        rows[index] = "i hate " + "x" * 3_000_000
        pq.write_table(pa.table({"text": rows}), tmp_path / "in.parquet", row_group_size=300)
        report = run(tmp_path / "in.parquet", tmp_path / "out.parquet", bundle, batch_rows=128, threads=3)
        scored = pq.read_table(tmp_path / "out.parquet")
        assert report.tally.truncated == 1
        assert scored["text"].to_pylist() == rows
        assert scored.slice(index, 1).drop_columns("text").to_pylist() == (
            model.score([rows[index]]).drop_columns("text").to_pylist()
        )

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_threads_and_batches_do_not_change_the_data(self, tmp_path: Path, precision: Any) -> None:
        bundle = str(make_bundle(tmp_path / "tiny", precision=precision))
        rows = [f"i love {row % 91} you " * (row % 7) for row in range(20_000)]
        pq.write_table(pa.table({"text": rows}), tmp_path / "in.parquet", row_group_size=3000)
        tables = []
        for threads, batch_rows in ((1, 20_000), (2, 777), (4, 4096)):
            target = tmp_path / f"{threads}.parquet"
            run(tmp_path / "in.parquet", target, bundle, threads=threads, batch_rows=batch_rows)
            tables.append(pq.read_table(target))
        assert tables[0].equals(tables[1], check_metadata=True)
        assert tables[0].equals(tables[2], check_metadata=True)


class TestTextLocations:
    """In a column of bytes without a mark, or inside of structs."""

    def file(self, path: Path, texts: list[bytes | None]) -> Path:
        raw = pa.array(texts, pa.binary())
        data = pa.StructArray.from_arrays([raw, pa.array(["x"] * len(raw))], names=["text", "more"])
        pq.write_table(pa.table({"id": range(len(raw)), "text": raw, "data": data}), path, store_schema=False)
        return path

    @pytest.mark.parametrize("column", ["text", "data.text"])
    @pytest.mark.parametrize("columns", [None, ["id"]], ids=["all", "id"])
    def test_nested_text_scores_like_plain_text(
        self, tmp_path: Path, bundle: str, column: str, columns: list[str] | None
    ) -> None:
        texts = [b"i love you", None, b"", b"not bad \xff\xfe", "hate 😂".encode()] * 400
        source = self.file(tmp_path / "in.parquet", texts)
        plain = pa.table({"text": pa.array(texts, pa.binary()).view(pa.string())})
        pq.write_table(plain, tmp_path / "plain.parquet")
        run(tmp_path / "plain.parquet", tmp_path / "expected.parquet", bundle)
        run(source, tmp_path / "out.parquet", bundle, text_column=column, columns=columns, batch_rows=300)
        scored, expected = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("out", "expected"))
        assert scored.select(expected.column_names[1:]).equals(expected.drop_columns(["text"]))
        kept = columns or ["id", "text", "data"]
        assert scored.column_names[: len(kept) + 1] == [*kept, "sentiment"]
        assert scored.select(kept).equals(pq.read_table(source, columns=kept))

    def test_only_the_field_is_read_if_the_struct_is_dropped(
        self, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sentstream.dataset import pieces as module

        schemas: list[pa.Schema] = []

        def watched(*args: Any) -> Any:
            for batch in read_piece(*args):
                schemas.append(batch.schema)
                yield batch

        monkeypatch.setattr(module, "read_piece", watched)
        source = self.file(tmp_path / "in.parquet", [b"i love you"])
        run(source, tmp_path / "out.parquet", bundle, text_column="data.text", columns=["id"])
        data = pa.field("data", pa.struct([("text", pa.binary())]))
        assert schemas == [pa.schema([pa.field("id", pa.int64()), data])]

    def test_missing_field_suggests_the_nearest(self, tmp_path: Path, bundle: str) -> None:
        source = self.file(tmp_path / "in.parquet", [b"i love you"])
        message = r"in\.parquet: no column 'data\.txt'; did you mean 'data\.text'"
        with pytest.raises(ColumnNotFoundError, match=message):
            run(source, tmp_path / "out.parquet", bundle, text_column="data.txt")


class TestPieces:
    def test_pieces_form_the_file(self, tmp_path: Path, model: Model) -> None:
        table = pa.table({"id": range(100), "text": [f"so bad {row}" for row in range(100)]})
        pq.write_table(table, tmp_path / "in.parquet", row_group_size=13)
        scorer = model.scorer(columns=["id"])
        groups = len(open_source(local_file(tmp_path / "in.parquet")).rows)
        whole = score_piece(scorer, Piece(local_file(tmp_path / "in.parquet"), 0, groups))
        parts = (
            score_piece(scorer, Piece(local_file(tmp_path / "in.parquet"), at, at + 1))
            for at in range(groups)
        )
        schema = scorer.output_schema(table.schema)
        expected = pa.Table.from_batches((scored.batch for scored in whole), schema)
        assert expected["id"].to_pylist() == list(range(100))
        assert pa.Table.from_batches((scored.batch for part in parts for scored in part), schema).equals(
            expected
        )

    def test_piece_can_be_pickled(self, tmp_path: Path) -> None:
        (tmp_path / "in.parquet").write_bytes(b"not looked at")
        piece = Piece(local_file(tmp_path / "in.parquet"), 2, 3)
        assert pickle.loads(pickle.dumps(piece)) == piece


class TestEarlyErrors:
    @pytest.fixture(name="source")
    def _source(self, tmp_path: Path) -> Path:
        pq.write_table(pa.table({"id": [1], "text": ["hi"], "sentiment": ["old"]}), tmp_path / "in.parquet")
        return tmp_path / "in.parquet"

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({}, ColumnClashError, r"in\.parquet: the input already has a column 'sentiment'"),
            (
                {"text_column": "txt"},
                ColumnNotFoundError,
                r"in\.parquet: no column 'txt'; did you mean 'text'",
            ),
            ({"columns": ["id", "idd"]}, ColumnNotFoundError, r"no column 'idd'; did you mean 'id'"),
            ({"columns": ["nothing"]}, ColumnNotFoundError, r"columns: id, text, sentiment"),
            ({"model": "nowhere"}, BundleNotFoundError, "nowhere"),
            ({"columns": ["id", "id"]}, UsageError, "duplicate column"),
            ({"batch_rows": 0}, UsageError, "batch_rows"),
            ({"threads": 0}, UsageError, "threads"),
            ({"max_chars": 0}, UsageError, "max_chars"),
            ({"prefix": ""}, UsageError, "prefix"),
            ({"provider": "tpu"}, UsageError, "provider"),
        ],
    )
    def test_invalid_requests(
        self, source: Path, bundle: str, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        everything = {"model": bundle, "provider": "cpu", **options}
        with pytest.raises(error, match=message), prepare([str(source)], **everything):
            pass
        assert [path.name for path in source.parent.iterdir()] == ["in.parquet"]

    def test_other_prefix_or_fewer_columns_avoid_the_clash(self, source: Path, bundle: str) -> None:
        run(source, source.with_name("a.parquet"), bundle, prefix="mood")
        assert pq.read_schema(source.with_name("a.parquet")).names[2:5] == ["sentiment", "mood", "mood_score"]
        run(source, source.with_name("b.parquet"), bundle, columns=["id"])
        assert pq.read_schema(source.with_name("b.parquet")).names[:2] == ["id", "sentiment"]

    def test_last_file_is_checked_before_the_first_is_scored(self, tmp_path: Path, bundle: str) -> None:
        for name in "abc":
            pq.write_table(pa.table({"text" if name < "c" else "txt": ["hi"]}), tmp_path / f"{name}.parquet")
        with pytest.raises(ColumnNotFoundError, match=r"c\.parquet"):
            run(tmp_path, tmp_path / "out", bundle)
        assert not (tmp_path / "out").exists()

    def test_unwritable_type(self, tmp_path: Path, bundle: str) -> None:
        from sentstream.dataset.formats.parquet.writer import leaf_paths

        runs, empty = pa.run_end_encoded(pa.int32(), pa.string()), pa.list_(pa.struct([]))
        schema = pa.schema([("x", runs), ("id", pa.int64()), ("ids", pa.list_(pa.uuid())), ("y", empty)])
        with pytest.raises(OutputWriteError) as caught:
            leaf_paths(schema)
        assert f"cannot write columns 'x' ({runs}), 'y' ({empty}) as Parquet" in caught.value.message
        assert "--columns" in (caught.value.hint or "")
        assert leaf_paths(pa.schema([schema.field("id"), schema.field("ids")])) == ["id", "ids.list.element"]


class TestDuringTheRun:
    @pytest.fixture(name="half")
    def _half(self, tmp_path: Path) -> Path:
        """A file whose last row group is corrupt."""
        path = tmp_path / "half.parquet"
        table = pa.table({"text": [f"i love {row}" for row in range(5000)]})
        pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, compression="none")
        data = bytearray(path.read_bytes())
        data[data.index(b"i love 4500")] ^= 1
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize("threads", [1, 3])
    def test_corrupt_input_leaves_no_output(self, half: Path, bundle: str, threads: int) -> None:
        with pytest.raises(InputFormatError, match=r"half\.parquet, row group 4"):
            run(half, half.with_name("out.parquet"), bundle, batch_rows=100, threads=threads)
        assert [path.name for path in half.parent.iterdir()] == ["half.parquet"]

    def test_files_before_a_corrupt_one_are_complete(self, half: Path, bundle: str) -> None:
        pq.write_table(pa.table({"text": ["hi"]}), half.with_name("a.parquet"))
        with pytest.raises(InputFormatError):
            run(half.parent, half.parent / "out", bundle)
        names = sorted(path.name for path in (half.parent / "out").iterdir())
        assert names == ["_sentstream", "a.parquet"]
        assert pq.read_table(half.parent / "out" / "a.parquet").num_rows == 1

    def test_interrupted_by_the_caller(self, tmp_path: Path, bundle: str) -> None:
        pq.write_table(pa.table({"text": ["hi"] * 5000}), tmp_path / "in.parquet")

        def stop(done: int, total: int) -> None:
            assert total == 5000
            if done:
                raise KeyboardInterrupt

        source = str(tmp_path / "in.parquet")
        with prepare([source], model=bundle, batch_rows=500) as plan, pytest.raises(KeyboardInterrupt):
            score_plan(plan, stop)
        assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]

    def test_output_appears_during_the_run(self, tmp_path: Path, bundle: str) -> None:
        pq.write_table(pa.table({"text": ["hi"]}), tmp_path / "in.parquet")
        target = tmp_path / "in.scored.parquet"
        with prepare([str(tmp_path / "in.parquet")], model=bundle) as plan:
            target.write_bytes(b"somebody else's")
            with pytest.raises(OutputExistsError):
                score_plan(plan)
        assert target.read_bytes() == b"somebody else's"


def test_report(tmp_path: Path, bundle: str) -> None:
    pq.write_table(pa.table({"text": ["i love you", None, "y" * 60]}), tmp_path / "in.parquet")
    seen: list[tuple[int, int]] = []
    with prepare([str(tmp_path / "in.parquet")], model=bundle, provider="cpu", threads=2) as plan:
        report = score_plan(plan, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (3, 3)]
    about = json.loads(json.dumps(report.to_dict()))
    assert (about["rows"], about["unlabeled"], about["truncated"], about["threads"]) == (3, 1, 1, 2)
    assert sum(about["labels"].values()) == 2
    assert about["provider"] == "cpu"
    assert about["model"] == {"name": "tiny", "version": "0.0.1", "digest": plan.model.digest}
    assert about["rows_per_second"] > 0
    assert about["outputs"] == [
        {"input": str(tmp_path / "in.parquet"), "output": str(tmp_path / "in.scored.parquet"), "rows": 3}
    ]
    assert dataclasses.is_dataclass(report)
