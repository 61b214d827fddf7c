"""The same tweets through every interface give the same bits; Kafka and Spark have their own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from golden import ODD, ROWS, bits, golden_bits, golden_model, golden_tweets

import sentstream
import sentstream.duckdb
import sentstream.pandas
from sentstream.polars import Sentiment


def by_files(folder: Path) -> pa.Table:
    pq.write_table(golden_tweets(), folder / "in.parquet", row_group_size=3_000)
    sentstream.score_files(folder / "in.parquet", folder / "out.parquet")
    return pq.read_table(folder / "out.parquet")


def by_batches(folder: Path) -> pa.Table:
    """Of different sizes than any other."""
    model = golden_model()
    return pa.Table.from_batches(map(model.score_batch, golden_tweets().to_batches(max_chunksize=777)))


def by_duckdb(folder: Path) -> pa.Table:
    with duckdb.connect() as con:
        sentstream.duckdb.register(con)
        con.register("tweets", golden_tweets())
        numbers = ", ".join(
            f"sentiment_of(text).prob_{label} as sentiment_prob_{label}" for label in golden_model().labels
        )
        return con.sql(
            "select id, sentiment(text) as sentiment, sentiment_score(text) as sentiment_score,"
            f" {numbers} from tweets"
        ).to_arrow_table()


def by_polars(engine: Any) -> pa.Table:
    text = Sentiment(pl.col("text"))
    probabilities = [f"prob_{label}" for label in golden_model().labels]
    frame = pl.LazyFrame(golden_tweets()).select("id", text.of().struct.unnest()).collect(engine=engine)
    names = {"label": "sentiment", "score": "sentiment_score"} | {
        name: f"sentiment_{name}" for name in probabilities
    }
    return frame.rename(names).to_arrow()


def by_pandas(folder: Path) -> pa.Table:
    return pa.Table.from_pandas(sentstream.pandas.score(golden_tweets().to_pandas()))


DOORS = {
    "score_files": by_files,
    "score_batch": by_batches,
    "duckdb": by_duckdb,
    "polars": lambda folder: by_polars("in-memory"),
    "polars, streaming": lambda folder: by_polars("streaming"),
    "pandas": by_pandas,
}


def test_golden_bits_exist() -> None:
    found = golden_bits()
    assert len(found) == ROWS
    assert sum(row[1] is None for row in found) == sum(text is None or not text.strip() for text in ODD)
    assert {row[1] for row in found} == {*golden_model().labels, None}
    assert len({row[2] for row in found}) > ROWS // 2


@pytest.mark.parametrize("door", DOORS)
def test_every_integration_gives_the_same_bits(door: str, tmp_path: Path) -> None:
    assert bits(DOORS[door](tmp_path)) == golden_bits()
