"""Sentiment of pandas data frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sentstream
import sentstream.pandas
from sentstream.errors import (
    BundleNotFoundError,
    ColumnClashError,
    ColumnNotFoundError,
    ColumnTypeError,
    UsageError,
)

TEXTS = ["I love it", "", None, " \t", "so bad :(", "x" * 5000, "a\0b", "😂 good"]
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]


@pytest.mark.parametrize("kind", [object, "str", "category", "string[pyarrow]"])
def test_added_columns_match_score(model: sentstream.Model, kind: Any) -> None:
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2026-01-01", periods=len(TEXTS), tz="Europe/Zurich"),
            "text": pd.Series(TEXTS, dtype=kind),
            "thing": [object()] * len(TEXTS),  # that Arrow knows nothing of
        }
    ).set_index("when")
    before = frame.copy()
    scored = sentstream.pandas.score(frame, model=model)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(scored[["text", "thing"]], before)
    wanted = model.score(TEXTS).select(ADDED).to_pandas()
    pd.testing.assert_frame_equal(scored[ADDED], wanted.set_index(frame.index), check_exact=True)
    assert scored["sentiment_score"].dtype == "float32"
    assert scored["sentiment"].isna().tolist() == [False, True, True, True, *[False] * 4]
    assert scored.attrs["sentstream.model_digest"] == model.digest


def test_duplicate_index(model: sentstream.Model) -> None:
    frame = pd.DataFrame({"text": ["I love it", "bad", None]}, index=["a", "a", "b"])
    scored = sentstream.pandas.score(frame, model=model)
    assert scored.index.tolist() == ["a", "a", "b"]
    assert scored["sentiment"].iloc[1] == model.score("bad")["sentiment"][0].as_py()


def test_names(model: sentstream.Model) -> None:
    scored = sentstream.pandas.score(
        pd.DataFrame({7: ["I love it"]}), text_column=7, model=model, prefix="mood", abstain=1
    )
    assert scored.columns.tolist() == [7, *(name.replace("sentiment", "mood") for name in ADDED)]
    assert scored["mood"].tolist() == ["uncertain"]


def test_no_rows(model: sentstream.Model) -> None:
    scored = sentstream.pandas.score(pd.DataFrame({"text": pd.Series([], dtype=object)}), model=model)
    assert scored.columns.tolist() == ["text", *ADDED]
    assert scored["sentiment_score"].dtype == "float32"


def test_surrogates_do_not_shift_rows(model: sentstream.Model) -> None:
    frame = pd.DataFrame({"text": pd.Series(["good\ud800", float("nan"), "bad"], dtype=object)})
    found = sentstream.pandas.score(frame, model=model)[ADDED]
    wanted = sentstream.pandas.score(pd.DataFrame({"text": ["good\ufffd", None, "bad"]}), model=model)[ADDED]
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


@pytest.mark.parametrize(
    ("frame", "settings", "error", "message"),
    [
        ({"txt": ["a"]}, {}, ColumnNotFoundError, "did you mean 'txt'"),
        ({"text": [1]}, {}, ColumnTypeError, "int64, not text"),
        ({"text": ["a", 1]}, {}, ColumnTypeError, "item 1 is of type int"),
        ({"text": ["a"], "sentiment": [1]}, {}, ColumnClashError, "already has a column 'sentiment'"),
        ({"text": ["a"]}, {"abstain": 2}, UsageError, "abstain"),
        ({"text": ["a"]}, {"prefix": ""}, UsageError, "prefix"),
    ],
)
def test_unscorable_input(
    model: sentstream.Model, frame: Any, settings: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sentstream.pandas.score(pd.DataFrame(frame), model=model, **settings)


def test_duplicate_columns(model: sentstream.Model) -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ColumnNotFoundError, match="2 columns"):
        sentstream.pandas.score(frame, model=model)


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        sentstream.pandas.score(pd.DataFrame({"text": ["a"]}), model=tmp_path / "none")
