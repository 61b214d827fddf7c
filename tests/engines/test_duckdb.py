"""Sentiment in DuckDB SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from bundles import make_bundle
from synthetic import synthetic_table

import sentstream
import sentstream.duckdb
from sentstream.errors import BundleNotFoundError, UsageError

TEXTS = ["I love it", "", None, " \t", "so bad :(", "x" * 5000, "a\0b", "😂 good"]
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]

FIELDS = ["label", "score", "prob_negative", "prob_positive"]


@pytest.fixture(name="con")
def _con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return con.execute(sql).fetchall()


def expected(model: sentstream.Model, texts: Any, **settings: Any) -> list[tuple[Any, ...]]:
    scored = model.score(texts, **settings).select(ADDED)
    return [tuple(row.values()) for row in scored.to_pylist()]


@pytest.fixture(name="tweets")
def _tweets(con: duckdb.DuckDBPyConnection) -> pa.Table:
    """More rows than a row group of DuckDB's has, so that several of its threads read them."""
    few = pa.concat_tables([synthetic_table(7_000).select(["text"]), pa.table({"text": TEXTS})])
    tweets = pa.concat_tables([few] * 20).combine_chunks()
    tweets = tweets.append_column("id", pa.array(range(len(tweets))))
    con.register("arrow_tweets", tweets)
    con.execute("create table tweets as from arrow_tweets")
    return tweets


class TestFunctions:
    def test_results_match_score(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tweets: pa.Table
    ) -> None:
        assert sentstream.duckdb.register(con, model) is model
        found = rows(
            con,
            "select sentiment(text), sentiment_score(text), sentiment_of(text).prob_negative,"
            " sentiment_of(text).prob_positive from tweets order by id",
        )
        assert found == expected(model, tweets)

    def test_struct_has_label_score_and_probabilities(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model
    ) -> None:
        sentstream.duckdb.register(con, model)
        con.register("few", pa.table({"text": TEXTS}))
        found = con.sql("select sentiment_of(text) as s from few").to_arrow_table()["s"]
        assert [field.name for field in found.type] == FIELDS
        assert [str(field.type) for field in found.type] == ["string", "float", "float", "float"]
        wanted = expected(model, TEXTS)
        assert found.to_pylist() == [
            None if row[0] is None else dict(zip(FIELDS, row, strict=True)) for row in wanted
        ]
        assert rows(con, "select count(*) from few where sentiment_of(text) is null") == [(3,)]

    @pytest.mark.parametrize("threads", [1, 7])
    def test_any_number_of_threads(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tweets: pa.Table, threads: int
    ) -> None:
        sentstream.duckdb.register(con, model)
        con.execute(f"set threads = {threads}")
        found = rows(con, "select sentiment(text), count(*) from tweets group by all")
        assert dict(found) == Counter(model.score(tweets)["sentiment"].to_pylist())

    def test_threads_are_raised_only_from_their_default(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model
    ) -> None:
        def threads() -> object:
            return rows(con, "select current_setting('threads')")[0][0]

        default = threads()
        sentstream.duckdb.register(con, model, threads=None)
        assert threads() == default
        sentstream.duckdb.register(con, model)
        assert threads() == max(default, 16)
        for chosen in 1, 40:
            con.execute(f"set threads = {chosen}")
            sentstream.duckdb.register(con, model)
            assert threads() == chosen

    def test_concurrent_queries(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tweets: pa.Table
    ) -> None:
        sentstream.duckdb.register(con, model)
        sql = "select id, sentiment_score(text) from tweets where id % 5 = {} order by id"
        wanted = model.score(tweets)["sentiment_score"].to_pylist()

        def ask(part: int) -> None:
            assert rows(con.cursor(), sql.format(part)) == [
                (index, wanted[index]) for index in range(part, len(wanted), 5)
            ]

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(ask, range(5)))

    def test_conditions_and_empty_tables(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model
    ) -> None:
        sentstream.duckdb.register(con, model)
        con.register("few", pa.table({"text": TEXTS}))
        kept = rows(con, "select text from few where sentiment(text) = 'positive'")
        labels = [row[0] for row in expected(model, TEXTS)]
        assert [row[0] for row in kept] == [
            text for text, label in zip(TEXTS, labels, strict=True) if label == "positive"
        ]
        assert rows(con, "select sentiment(text) from few where false") == []

    def test_abstaining(self, con: duckdb.DuckDBPyConnection, model: sentstream.Model) -> None:
        sentstream.duckdb.register(con, model, abstain=1)
        assert rows(con, "select sentiment('I love it'), sentiment('')") == [("uncertain", None)]


class TestRegistration:
    def test_two_models(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tmp_path: Path
    ) -> None:
        other = make_bundle(tmp_path / "other", labels=("sad", "glad"), seed=3)
        sentstream.duckdb.register(con, model)
        sentstream.duckdb.register(con, other, name="mood")
        ((ours, theirs),) = rows(con, "select sentiment('I love it'), mood_of('I love it')")
        assert ours in model.labels
        assert set(theirs) == {"label", "score", "prob_sad", "prob_glad"}

    def test_replacing_a_model(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tmp_path: Path
    ) -> None:
        sentstream.duckdb.register(con, model)
        sentstream.duckdb.register(con, make_bundle(tmp_path / "other", labels=("sad", "glad")))
        assert rows(con, "select sentiment('I love it')")[0][0] in ("sad", "glad")
        assert "prob_glad" in rows(con, "select sentiment_of('I love it')")[0][0]

    def test_database_file_stores_nothing(self, model: sentstream.Model, tmp_path: Path) -> None:
        with duckdb.connect(tmp_path / "tweets.duckdb") as con:
            sentstream.duckdb.register(con, model)
            con.execute("create table scored as select sentiment('I love it') as label")
        with duckdb.connect(tmp_path / "tweets.duckdb") as con:
            assert rows(con, "from scored")[0][0] in model.labels
            with pytest.raises(duckdb.CatalogException, match="sentiment"):
                con.execute("select sentiment('I love it')")

    def test_connections_share_functions(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model
    ) -> None:
        sentstream.duckdb.register(con, model)
        cursor = con.cursor()
        assert rows(cursor, "select sentiment('I love it')")[0][0] in model.labels
        with pytest.raises(UsageError, match="already has a function sentiment"):
            sentstream.duckdb.register(cursor, model)

    @pytest.mark.parametrize("name", ["", "1st", "a b", 'a"; drop table t; --', "größe"])
    def test_invalid_names(self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, name: str) -> None:
        with pytest.raises(UsageError, match="not a valid function name"):
            sentstream.duckdb.register(con, model, name=name)

    def test_builtin_function_name(self, con: duckdb.DuckDBPyConnection, model: sentstream.Model) -> None:
        with pytest.raises(UsageError, match="already has a function lower"):
            sentstream.duckdb.register(con, model, name="lower")

    def test_invalid_registrations(
        self, con: duckdb.DuckDBPyConnection, model: sentstream.Model, tmp_path: Path
    ) -> None:
        with pytest.raises(BundleNotFoundError):
            sentstream.duckdb.register(con, tmp_path / "none")
        with pytest.raises(UsageError, match="abstain"):
            sentstream.duckdb.register(con, model, abstain=2)
        with pytest.raises(duckdb.CatalogException):
            con.execute("select sentiment('I love it')")

    def test_non_text_arguments(self, con: duckdb.DuckDBPyConnection, model: sentstream.Model) -> None:
        sentstream.duckdb.register(con, model)
        with pytest.raises(duckdb.BinderException, match="VARCHAR"):
            con.execute("select sentiment(17)")
