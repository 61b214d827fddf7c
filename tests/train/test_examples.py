"""The examples that train run, at a small size."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from processes import output_of
from synthetic import synthetic_table, write_synthetic

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.slow


def test_own_labels(tmp_path: Path) -> None:
    train, test, tweets = tmp_path / "train.csv", tmp_path / "test.csv", EXAMPLES / "tweets.parquet"
    pyarrow.csv.write_csv(synthetic_table(600, neutral=True, seed=1), train)
    pyarrow.csv.write_csv(synthetic_table(100, neutral=True, seed=2), test)
    output_of([EXAMPLES / "own_labels.sh", train, test, tweets, tmp_path], MODEL="tweets-small")
    scored = pq.ParquetFile(tmp_path / "scored.parquet")
    assert scored.schema_arrow.metadata[b"sentstream.model"] == b"own"
    assert scored.metadata.num_rows == pq.read_metadata(tweets).num_rows


def test_train_and_resume(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "data.parquet", 12_000)
    output_of([EXAMPLES / "train_and_resume.sh", data, tmp_path])  # its kill comes at any time
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["finished"]
    assert pq.read_metadata(tmp_path / "scored.parquet").num_rows == 305


def test_keras_tutorial(tmp_path: Path) -> None:
    table = synthetic_table(1_000)
    official = tmp_path / "official.csv"
    with official.open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        for row, tweet in enumerate(table.to_pylist()):
            target = 4 if tweet["label"] == "positive" else 0
            writer.writerow([target, row, "Mon Apr 06 22:19:45 PDT 2009", "NO_QUERY", "user", tweet["text"]])
    output = output_of([sys.executable, EXAMPLES / "keras_tutorial.py", official, 800, tmp_path / "out"])
    assert "800 tweets: 0 labels differ from Keras" in output
