"""Sentiment as polars expressions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from synthetic import synthetic_table

import sentstream
from sentstream.errors import BundleNotFoundError, ColumnTypeError, UsageError
from sentstream.polars import Sentiment

TEXTS = ["I love it", "", None, " \t", "so bad :(", "x" * 5000, "a\0b", "😂 good"]
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]
FIELDS = ["label", "score", "prob_negative", "prob_positive"]


@pytest.fixture(scope="module", name="frame")
def _frame() -> pl.DataFrame:
    few = [*synthetic_table(3_000)["text"].to_pylist(), *TEXTS]
    return pl.DataFrame({"id": range(40 * len(few)), "text": few * 40})


def expected(model: sentstream.Model, frame: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(model.score(frame["text"]).select(ADDED).rename_columns(FIELDS))


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_results_match_score(
    model: sentstream.Model, frame: pl.DataFrame, engine: Literal["in-memory", "streaming"]
) -> None:
    text: Any = pl.col("text")
    query = frame.lazy().select(text.sentiment.of(model).struct.unnest())
    assert query.collect(engine=engine).equals(expected(model, frame))


def test_streaming_from_a_file(model: sentstream.Model, frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=20_000)
    query = pl.scan_parquet(tmp_path / "in.parquet").with_columns(
        label=Sentiment(pl.col("text")).label(model), score=Sentiment(pl.col("text")).score(model)
    )
    query.sink_parquet(tmp_path / "out.parquet")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.columns == ["id", "text", "label", "score"]
    assert found["id"].equals(frame["id"])
    assert found.select("label", "score").equals(expected(model, frame).select("label", "score"))


def test_schema_is_known_before_running(model: sentstream.Model) -> None:
    text = Sentiment(pl.col("text"))
    nothing = pl.LazyFrame({"text": []}, {"text": pl.String})
    query = nothing.select(text.label(model), score=text.score(model), of=text.of(model))
    kinds = {
        "label": pl.String,
        "score": pl.Float32,
        "prob_negative": pl.Float32,
        "prob_positive": pl.Float32,
    }
    assert query.collect_schema() == {"text": pl.String, "score": pl.Float32, "of": pl.Struct(kinds)}
    assert query.collect().schema == query.collect_schema()


def test_nulls_have_no_fields(model: sentstream.Model) -> None:
    found = pl.DataFrame({"text": TEXTS}).select(Sentiment(pl.col("text")).of(model))["text"]
    assert found.is_null().to_list() == [False, True, True, True, False, False, False, False]


def test_conditions_groups_and_categories(model: sentstream.Model) -> None:
    text = Sentiment(pl.col("text"))
    frame = pl.DataFrame({"text": pl.Series(TEXTS, dtype=pl.Categorical), "even": [True, False] * 4})
    labels = frame.select(text.label(model))["text"]
    assert labels.to_list() == model.score(TEXTS)["sentiment"].to_pylist()
    kept = frame.filter(text.label(model) == "positive")
    assert len(kept) == (labels == "positive").sum()
    counts = frame.group_by("even").agg(text.label(model).count()).sort("even")["text"].to_list()
    assert counts == [labels.gather_every(2, 1).count(), labels.gather_every(2).count()]


def test_plan_is_serializable(model: sentstream.Model) -> None:
    plan = pl.LazyFrame({"text": TEXTS}).select(Sentiment(pl.col("text")).label(model))
    again = pickle.loads(pickle.dumps(plan))
    assert again.collect()["text"].to_list() == model.score(TEXTS)["sentiment"].to_pylist()


def test_abstaining(model: sentstream.Model) -> None:
    text = Sentiment(pl.col("text"))
    found = pl.DataFrame({"text": ["I love it", ""]}).select(text.label(model, abstain=1))
    assert found["text"].to_list() == ["uncertain", None]


def test_errors_come_when_the_expression_is_built(model: sentstream.Model, tmp_path: Path) -> None:
    text = Sentiment(pl.col("text"))
    with pytest.raises(UsageError, match="abstain"):
        text.label(model, abstain=2)
    with pytest.raises(BundleNotFoundError):
        text.label(tmp_path / "none")
    with pytest.raises(ColumnTypeError, match="int64, not text"):
        pl.DataFrame({"text": [1]}).select(text.label(model))


def test_namespace_is_registered() -> None:
    code = (
        "import polars as pl; assert not hasattr(pl.Expr, 'sentiment')\n"
        "import sentstream; sentstream.polars; assert hasattr(pl.Expr, 'sentiment')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
