"""The Python API: accepted inputs and returned values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sentstream
from sentstream import model as module
from sentstream.bundle import store
from sentstream.errors import (
    BundleDigestError,
    BundleNotFoundError,
    ColumnClashError,
    ColumnNotFoundError,
    ColumnTypeError,
    ProviderError,
    UsageError,
)
from sentstream.session import usable_cpus

TEXTS = ["I love it", None, "awful day :(", "", "not so good", "  "]
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]


@pytest.fixture(scope="module", name="path")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module", name="model")
def _model(path: Path) -> sentstream.Model:
    return sentstream.load(path, provider="cpu", threads=2)


@pytest.fixture(name="expected")
def _expected(model: sentstream.Model) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = model.score(TEXTS).select(ADDED).to_pylist()
    return rows


class OneShot:
    """An object of an unknown library that only supports Arrow."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class OneBatch:
    def __init__(self, batch: pa.RecordBatch | pa.Array) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self.batch.__arrow_c_array__(requested_schema)


class TestTexts:
    @pytest.mark.parametrize(
        "make",
        [
            list,
            tuple,
            iter,
            lambda texts: (text for text in texts),
            lambda texts: np.array(texts, object),
            pa.array,
            lambda texts: pa.array(texts, pa.large_string()),
            lambda texts: pa.array(texts, pa.string_view()),
            lambda texts: pa.array(texts).dictionary_encode(),
            lambda texts: pa.chunked_array([texts[:2], [], texts[2:]], pa.string()),
            pl.Series,
            lambda texts: pd.Series(texts, dtype="str"),
            lambda texts: OneBatch(pa.array(texts)),
        ],
    )
    def test_text_types(
        self, model: sentstream.Model, expected: list[dict[str, Any]], make: Callable[[list[str | None]], Any]
    ) -> None:
        scored = model.score(make(TEXTS))
        assert scored.column_names == ["text", *ADDED]
        assert scored.select(ADDED).to_pylist() == expected
        assert scored["text"].to_pylist() == TEXTS

    @pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()], ids=str)
    def test_column_type_is_kept(self, model: sentstream.Model, kind: pa.DataType) -> None:
        assert model.score(pa.array(TEXTS, kind)).schema.field("text").type == kind

    @pytest.mark.parametrize("empty", [[], (), pa.array([], pa.string()), pa.chunked_array([], pa.string())])
    def test_no_texts(self, model: sentstream.Model, empty: Any) -> None:
        scored = model.score(empty)
        assert scored.num_rows == 0
        assert scored.column_names == ["text", *ADDED]
        assert scored.schema.metadata[b"sentstream.model"] == b"tiny"

    def test_only_nulls(self, model: sentstream.Model) -> None:
        assert model.score([None, None])["sentiment"].to_pylist() == [None, None]
        assert model.score(pa.nulls(2))["sentiment"].null_count == 2

    def test_column_has_the_requested_name(self, model: sentstream.Model) -> None:
        scored = model.score(["good"], text_column="tweet", prefix="mood")
        assert scored.column_names == ["tweet", *(name.replace("sentiment", "mood") for name in ADDED)]

    @pytest.mark.parametrize(
        ("text", "read"),
        [("\ud800abc", "\ufffdabc"), ("good\udfff", "good\ufffd"), ("\udfff\ud800", "\ufffd\ufffd")],
    )
    def test_lone_surrogates_do_not_shift_rows(self, model: sentstream.Model, text: str, read: str) -> None:
        scored = model.score(["I love it", text, None, "bad", ""])
        plain = model.score(["I love it", read, None, "bad", ""])
        assert scored.equals(plain)
        assert scored["text"].to_pylist() == ["I love it", read, None, "bad", ""]

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.none() | st.text(st.characters(), max_size=20), max_size=8))
    def test_any_list_of_texts_is_scored_row_by_row(
        self, model: sentstream.Model, texts: list[str | None]
    ) -> None:
        scored = model.score(texts).select(ADDED).to_pylist()
        assert scored == [model.score([text]).select(ADDED).to_pylist()[0] for text in texts]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["a", 1], "item 1 is of type int, not text or None"),
            (["a", None, b"b"], "item 2 is of type bytes"),
            ([float("nan")], "item 0 is of type float"),
            ([["nested"]], "item 0 is of type list"),
            (["\ud800", 1], "item 1 is of type int"),
            (range(3), "item 0 is of type int"),
        ],
    )
    def test_non_text_item_is_named_by_its_index(
        self, model: sentstream.Model, texts: Any, message: str
    ) -> None:
        with pytest.raises(ColumnTypeError, match=message) as caught:
            model.score(texts)
        assert caught.value.exit_code == 13

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"one text", "bytes are not text"),
            (None, "a NoneType is neither texts nor a table"),
            (7, "a int is neither"),
            ({"text": ["good"]}, "a dict is neither"),
            (pl.LazyFrame({"text": ["good"]}), "a LazyFrame is neither"),
        ],
    )
    def test_invalid_input_types(self, model: sentstream.Model, data: Any, message: str) -> None:
        with pytest.raises(ColumnTypeError, match=message) as caught:
            model.score(data)
        assert caught.value.hint

    @pytest.mark.parametrize(
        "data", [pa.array([1]), pl.Series([1]), pd.Series([1.5]), OneBatch(pa.array([1]))]
    )
    def test_non_text_arrays(self, model: sentstream.Model, data: Any) -> None:
        with pytest.raises(ColumnTypeError, match="not text"):
            model.score(data)

    def test_generator_errors_pass_through(self, model: sentstream.Model) -> None:
        def texts() -> Iterator[str]:
            yield "good"
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError, match="gone"):
            model.score(texts())


class TestTables:
    @pytest.mark.parametrize(
        "make",
        [
            lambda table: table,
            lambda table: table.combine_chunks().to_batches()[0],
            lambda table: table.to_reader(max_chunksize=2),
            OneShot,
            lambda table: OneBatch(table.combine_chunks().to_batches()[0]),
            pl.DataFrame,
            lambda table: pl.DataFrame(table).lazy().collect(),
            lambda table: table.to_pandas(),
            duckdb.arrow,
            lambda table: pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1)]),
        ],
    )
    def test_tables_of_other_libraries(
        self, model: sentstream.Model, expected: list[dict[str, Any]], make: Callable[[pa.Table], Any]
    ) -> None:
        table = pa.table({"id": range(6), "text": pa.array(TEXTS, pa.string())})
        scored = model.score(make(table))
        assert isinstance(scored, pa.Table)
        assert scored.column_names[:2] == ["id", "text"]
        assert scored["id"].to_pylist() == list(range(6))
        assert scored.select(ADDED).to_pylist() == expected

    def test_result_converts_to_other_libraries(self, model: sentstream.Model) -> None:
        scored = model.score(pl.DataFrame({"text": ["good", ""]}))
        assert pl.DataFrame(scored)["sentiment"].null_count() == 1
        assert scored.to_pandas()["sentiment"].isna().tolist() == [False, True]
        assert duckdb.arrow(scored).filter("sentiment IS NULL").fetchall()[0][0] == ""

    def test_empty_table(self, model: sentstream.Model) -> None:
        for empty in (
            pa.table({"text": pa.array([], pa.string())}),
            pl.DataFrame({"text": []}, {"text": pl.String}),
        ):
            scored = model.score(empty)
            assert (scored.num_rows, scored.column_names) == (0, ["text", *ADDED])

    def test_metadata_is_kept_and_the_model_recorded(self, model: sentstream.Model) -> None:
        table = pa.table({"text": ["good"]}).replace_schema_metadata({"made": "by hand"})
        metadata = model.score(table).schema.metadata
        assert metadata[b"made"] == b"by hand"
        assert metadata[b"sentstream.model_digest"] == model.digest.encode()

    def test_stream_is_read_lazily(self, model: sentstream.Model) -> None:
        schema = pa.schema([("text", pa.string())])
        alive: list[int] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for number in range(20):
                alive.append(number)
                yield pa.record_batch({"text": [f"day {number}"] * 3}, schema=schema)

        scored = model.score(pa.RecordBatchReader.from_batches(schema, batches()))
        assert scored.num_rows == 60
        assert alive == list(range(20))

    def test_large_batches_are_split_without_shifts(
        self, model: sentstream.Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = [f"good {'day ' * (number % 7)}" for number in range(1000)]
        table = pa.table({"id": range(1000), "text": texts})
        whole = model.score(table)
        monkeypatch.setattr(module, "BATCH_ROWS", 37)
        cut = model.score(table)
        assert cut.column("text").num_chunks == -(-1000 // 37)
        assert cut.combine_chunks().equals(whole.combine_chunks())

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (pa.table({"body": ["good"]}), ColumnNotFoundError),
            (pa.table({"text": [1]}), ColumnTypeError),
            (pa.table({"text": ["good"], "sentiment": [1]}), ColumnClashError),
            (pl.DataFrame({"text": [["good"]]}), ColumnTypeError),
        ],
    )
    def test_unscorable_tables(self, model: sentstream.Model, data: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            model.score(data)

    def test_single_batch_in_the_calling_thread(self, model: sentstream.Model) -> None:
        batch = pa.record_batch({"tweet": TEXTS})
        scored = model.score_batch(batch, text_column="tweet", prefix="mood")
        assert isinstance(scored, pa.RecordBatch)
        assert scored.num_rows == 6
        assert scored.column_names[1] == "mood"
        with pytest.raises(ColumnNotFoundError):
            model.score_batch(batch)

    def test_scorer_keeps_the_requested_columns(self, model: sentstream.Model) -> None:
        scorer = model.scorer(columns=["id"])
        batch = pa.record_batch({"id": [1], "text": ["good"]})
        assert scorer.score(batch).batch.column_names == ["id", *ADDED]


class TestAbstention:
    def test_same_in_every_way_of_scoring(self, model: sentstream.Model) -> None:
        below = pc.max(model.score(TEXTS)["sentiment_score"]).as_py()
        scored = model.score(TEXTS, abstain=below)
        assert {"uncertain", None} < set(scored["sentiment"].to_pylist())
        batch = pa.record_batch({"text": TEXTS})
        for one in (
            model.score_batch(batch, abstain=below),
            model.scorer(abstain=below).score(batch).batch,
        ):
            assert pa.Table.from_batches([one]).equals(scored, check_metadata=True)
        assert scored.drop_columns("sentiment").equals(model.score(TEXTS).drop_columns("sentiment"))
        sure = model.score(TEXTS, abstain=1)["sentiment"].to_pylist()
        assert sure == [None if text is None or not text.strip() else "uncertain" for text in TEXTS]

    def test_invalid_threshold_is_reported_before_reading(self, model: sentstream.Model) -> None:
        texts = iter(["good"])
        with pytest.raises(UsageError, match="abstain must be above 0 and at most 1, not 60"):
            model.score(texts, abstain=60)
        assert list(texts) == ["good"]


class TestLoading:
    def test_model_repr(self, model: sentstream.Model, path: Path) -> None:
        assert (model.name, model.version, model.labels) == ("tiny", "0.0.1", ("negative", "positive"))
        assert model.digest.startswith("sha256:")
        assert model.provider == "cpu"
        assert model.threads == min(2, usable_cpus())
        assert repr(model) == f"<sentstream.Model tiny 0.0.1 {model.digest[:19]} on cpu>"
        assert model.bundle.path == path

    def test_bundle_repr_is_short(self, model: sentstream.Model) -> None:
        assert len(repr(model.bundle)) < 500

    @pytest.mark.parametrize("threads", [1, 2, 5, None])
    def test_threads_do_not_change_results(
        self, path: Path, threads: int | None, expected: list[dict[str, Any]]
    ) -> None:
        model = sentstream.load(str(path), threads=threads)
        assert 1 <= model.threads <= usable_cpus()
        assert model.score(TEXTS).select(ADDED).to_pylist() == expected

    @pytest.mark.parametrize("threads", [0, -1])
    def test_invalid_threads(self, path: Path, threads: int) -> None:
        with pytest.raises(UsageError, match="threads must be a positive integer"):
            sentstream.load(path, threads=threads)

    def test_smaller_max_chars(self, path: Path) -> None:
        model = sentstream.load(path, max_chars=4)
        assert (
            model.score(["good", "good day"]).select(ADDED).to_pylist()[1]
            == (model.score(["good"]).select(ADDED).to_pylist()[0])
        )
        with pytest.raises(UsageError):
            sentstream.load(path, max_chars=0)

    def test_unloadable_models(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError):
            sentstream.load("no such model")
        with pytest.raises(BundleDigestError):
            sentstream.load(tmp_path)
        with pytest.raises(UsageError, match="provider"):
            sentstream.load(path, provider="tpu")  # type: ignore[arg-type]

    def test_missing_cuda(self, path: Path) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        with pytest.raises(ProviderError):
            sentstream.load(path, provider="cuda")

    def test_default_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "MODELS", tmp_path)
        make_bundle(tmp_path / store.DEFAULT_MODEL, name="other")
        assert sentstream.load().name == "other"

    def test_public_names(self) -> None:
        assert sentstream.Model is module.Model
        for name in sentstream.__all__:
            assert getattr(sentstream, name) is not None
        assert set(sentstream.__all__) <= set(dir(sentstream))
        with pytest.raises(AttributeError, match="no attribute 'Modle'"):
            sentstream.Modle  # noqa: B018
