"""Sentiment in Spark, on a cluster of two executors on this machine."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from golden import bits, golden_bits, golden_tweets
from kafka_tools import fill, make_topic

import sentstream
import sentstream.spark
from sentstream.errors import (
    BundleNotFoundError,
    ColumnClashError,
    ColumnNotFoundError,
    ColumnTypeError,
    UsageError,
)
from sentstream.spark import _Batches, _sent
from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka, fetch, java

pytest.importorskip("pyspark", reason="pyspark is not installed")
pytestmark = [
    pytest.mark.slow,
    # Spark's gateway leaves the sockets of its threads to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
CONNECTOR = ROOT / "tools" / "spark-kafka.pom.xml"
CONNECTOR_JAR = "spark-sql-kafka-0-10_2.13-4.2.0.jar"
#: JVMs that live for a minute: compiled once, and quickly, as those of the brokers.
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]


def connector() -> Path:
    """The folder with the jars of Spark's Kafka connector."""
    return fetch(
        CONNECTOR, ROOT / "build" / "spark-kafka-4.2.0-libs", CONNECTOR_JAR, "Spark's Kafka connector"
    )


@pytest.fixture(scope="module", name="spark")
def _spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two executors of one core each, in separate processes, as on a cluster."""
    from pyspark.sql import SparkSession

    try:
        java()
        jars = ",".join(map(str, sorted(connector().glob("*.jar"))))
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Spark: {error}", pytrace=False)
        pytest.skip(f"no Spark: {error}")
    path = os.pathsep.join([str(ROOT), str(ROOT / "train"), str(ROOT / "tests" / "support")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", path)
        patch.chdir(tmp_path_factory.mktemp("spark"))  # where Spark leaves its folders
        session = (
            SparkSession.builder.master("local-cluster[2,1,1024]")
            .config("spark.jars", jars)
            .config("spark.driver.extraJavaOptions", QUICK_JVM)
            .config("spark.executor.extraJavaOptions", QUICK_JVM)
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "localhost")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", "500")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not shipped, so it has to be sent to executors."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module", name="tweets")
def _tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden tweets in four files."""
    folder = tmp_path_factory.mktemp("tweets")
    for part in range(4):
        pq.write_table(golden_tweets().slice(part * 2_500, 2_500), folder / f"{part}.parquet")
    return folder


def read(folder: Path) -> pa.Table:
    """What Spark wrote."""
    return pa.concat_tables([pq.ParquetFile(path).read() for path in sorted(folder.glob("part-*.parquet"))])


def wanted(bundle: Path) -> pa.Table:
    return sentstream.load(bundle, threads=1).score(golden_tweets())


def test_added_columns_match_score(spark: Any, tweets: Path, tmp_path: Path) -> None:
    scored = sentstream.spark.score(spark.read.parquet(str(tweets)))
    scored.write.parquet(str(tmp_path / "out"))
    assert bits(read(tmp_path / "out")) == golden_bits()
    stamp = spark.read.parquet(str(tmp_path / "out")).schema["sentiment"].metadata
    assert stamp["sentstream.model_digest"] == sentstream.load().digest


def test_sql_matches_and_scores_once(spark: Any, tweets: Path, bundle: Path) -> None:
    sentstream.spark.register(spark, bundle)
    spark.read.parquet(str(tweets)).createOrReplaceTempView("tweets")
    found = spark.sql(
        "select id, sentiment(text) as sentiment, sentiment_score(text) as sentiment_score,"
        " sentiment_of(text) as all from tweets"
    )
    plan = found._jdf.queryExecution().executedPlan().toString()
    assert plan.count("ArrowEvalPython [sentiment_of(") == 1
    table = found.toArrow().sort_by("id")
    expected = wanted(bundle)
    assert table["sentiment"].to_pylist() == expected["sentiment"].to_pylist()
    assert table["sentiment_score"].to_pylist() == expected["sentiment_score"].to_pylist()
    assert [field.name for field in table["all"].type] == ["label", "score", "prob_negative", "prob_positive"]
    rows = zip(*(expected[name].to_pylist() for name in ADDED), strict=True)
    assert [one and tuple(one.values()) for one in table["all"].to_pylist()] == [
        None if row[0] is None else row for row in rows
    ]
    # Each application is sent a model once.
    sentstream.spark.score(spark.table("tweets"), model=bundle)
    assert sum("sentstream-" in one for one in spark.sparkContext.listArchives) == 1


def test_killed_workers_and_a_killed_executor(spark: Any, tweets: Path, bundle: Path, tmp_path: Path) -> None:
    """Something next to the scorer kills, once each, all Python workers and the executor."""
    flags = str(tmp_path)

    def killing(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        def first(name: str) -> bool:
            try:
                os.close(os.open(f"{flags}/{name}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            return True

        def parent(pid: int) -> int:
            with open(f"/proc/{pid}/stat") as stat:
                return int(stat.read().rpartition(")")[2].split()[1])

        for number, batch in enumerate(batches):
            yield batch
            if number == 2 and first("workers"):
                daemon = os.getppid()
                for pid in filter(str.isdigit, os.listdir("/proc")):
                    if int(pid) != os.getpid() and parent(int(pid)) == daemon:
                        os.kill(int(pid), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 3 and first("executor"):
                os.kill(parent(os.getppid()), signal.SIGKILL)

    frame = spark.read.parquet(str(tweets)).mapInArrow(killing, "id bigint, text string")
    sentstream.spark.score(frame, model=bundle).write.parquet(str(tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"workers", "executor", "out"}
    found = read(tmp_path / "out").sort_by("id")
    assert found["id"].to_pylist() == list(range(golden_tweets().num_rows))
    assert found.select(ADDED).equals(wanted(bundle).select(ADDED))


def test_failed_run_keeps_existing_output(spark: Any, tweets: Path, bundle: Path, tmp_path: Path) -> None:
    frame = spark.read.parquet(str(tweets))
    out = tmp_path / "out"
    sentstream.spark.score(frame.limit(10), model=bundle).write.parquet(str(out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(Exception, match="PATH_ALREADY_EXISTS"):
        sentstream.spark.score(frame, model=bundle).write.parquet(str(out))
    sent = _sent(spark, sentstream.load(bundle))
    other = dataclasses.replace(sent, digest="sha256:" + "0" * 64)
    failing = frame.limit(10).mapInArrow(_Batches(other, {"columns": ["id", "text"]}), frame.schema)
    with pytest.raises(Exception, match=r"BundleDigestError: .* but the pickled model is sha256:0000"):
        failing.write.mode("append").parquet(str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


#: What becomes of Arrow's types in Parquet that Spark reads and writes: docs/spark.md has the table.
TYPES: dict[str, tuple[pa.Array, str]] = {
    "null": (pa.nulls(1), "int32"),
    "bool": (pa.array([True]), "bool"),
    "int8": (pa.array([1], pa.int8()), "int8"),
    "uint8": (pa.array([1], pa.uint8()), "int16"),
    "uint16": (pa.array([1], pa.uint16()), "int32"),
    "uint32": (pa.array([1], pa.uint32()), "int64"),
    "uint64": (pa.array([1], pa.uint64()), "decimal128(20, 0)"),
    "float": (pa.array([1.5], pa.float32()), "float"),
    "double": (pa.array([1.5]), "double"),
    "decimal128(9, 2)": (pa.array([1], pa.decimal128(9, 2)), "decimal128(9, 2)"),
    "large_string": (pa.array(["a"], pa.large_string()), "string"),
    "string_view": (pa.array(["a"], pa.string_view()), "string"),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "string"),
    "binary": (pa.array([b"a"]), "binary"),
    "fixed_size_binary[2]": (pa.array([b"ab"], pa.binary(2)), "binary"),
    "date32[day]": (pa.array([1], pa.date32()), "date32[day]"),
    "timestamp[ms]": (pa.array([1], pa.timestamp("ms")), "timestamp[us]"),
    "timestamp[us]": (pa.array([1], pa.timestamp("us")), "timestamp[us]"),
    "timestamp[us, tz=UTC]": (pa.array([1], pa.timestamp("us", "UTC")), "timestamp[ns]"),
    "timestamp[us, tz=Europe/Zurich]": (pa.array([1], pa.timestamp("us", "Europe/Zurich")), "timestamp[ns]"),
    "list<int64>": (pa.array([[1]]), "list<element: int64>"),
    "struct<a: int64>": (pa.array([{"a": 1}]), "struct<a: int64>"),
    "map<string, int64>": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map<string, int64>"),
}


def test_spark_types(spark: Any, bundle: Path, tmp_path: Path) -> None:
    columns = {str(index): values for index, (values, _) in enumerate(TYPES.values())}
    table = pa.table({"text": ["I love it"], **columns}).replace_schema_metadata({"made": "by hand"})
    pq.write_table(table, tmp_path / "in.parquet")
    frame = spark.read.parquet(str(tmp_path / "in.parquet"))
    sentstream.spark.score(frame, model=bundle).coalesce(1).write.parquet(str(tmp_path / "out"))
    found = read(tmp_path / "out")
    kinds = [str(found.schema.field(str(index)).type) for index in range(len(TYPES))]
    # pyarrow shows what Spark calls the entries of a map: the column.
    assert dict(zip(TYPES, (re.sub(r" \('\d+'\)", "", kind) for kind in kinds), strict=True)) == {
        name: written for name, (_, written) in TYPES.items()
    }
    assert b"made" not in found.schema.metadata
    page = (ROOT / "docs" / "spark.md").read_text("utf-8")
    for name, (_, written) in TYPES.items():
        assert f"| `{name}` | `{written}` |" in page, name


def test_stream_from_kafka(spark: Any, bundle: Path, tmp_path: Path) -> None:
    texts = golden_tweets()["text"].to_pylist()[:1000]
    with LocalKafka() as kafka:
        topic = make_topic(kafka.bootstrap, 2)
        records: list[Any] = [
            (str(index).encode(), None if text is None else text.encode(), (), None)
            for index, text in enumerate(texts)
        ]
        fill(kafka.bootstrap, topic, records[:600])
        rows = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", kafka.bootstrap)
            .option("subscribe", topic)
            .option("startingOffsets", "earliest")
            .load()
            .selectExpr("cast(cast(key as string) as bigint) as id", "value as text")
        )
        scored = sentstream.spark.score(rows, model=bundle)
        assert scored.isStreaming

        def drain() -> None:
            query = (
                scored.writeStream.format("parquet")
                .option("path", str(tmp_path / "out"))
                .option("checkpointLocation", str(tmp_path / "checkpoint"))
                .trigger(availableNow=True)
                .start()
            )
            query.awaitTermination()

        drain()
        fill(kafka.bootstrap, topic, records[600:])
        drain()  # goes on where it was
    found = spark.read.parquet(str(tmp_path / "out")).toArrow().sort_by("id")
    assert found["id"].to_pylist() == list(range(1000))
    assert (
        found.select(ADDED)
        .cast(wanted(bundle).select(ADDED).schema)
        .equals(wanted(bundle).select(ADDED).slice(0, 1000))
    )


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"text_column": "txt"}, ColumnNotFoundError, "did you mean 'text'"),
        ({"text_column": "id"}, ColumnTypeError, "'id' is of type bigint, not string"),
        ({"text_column": "data"}, ColumnTypeError, "not string"),
        ({"prefix": "ID"}, ColumnClashError, "already has a column 'id'"),
        ({"abstain": 2}, UsageError, "abstain"),
        ({"model": "no such model"}, BundleNotFoundError, "no such model"),
    ],
)
def test_errors_come_before_anything_runs(
    spark: Any, settings: Any, error: type[Exception], message: str
) -> None:
    frame = spark.range(1).selectExpr("id", "'a' as text", "named_struct('n', 1) as data")
    with pytest.raises(error, match=message):
        sentstream.spark.score(frame, **settings)


def test_field_of_a_struct_bytes_and_abstaining(spark: Any, bundle: Path) -> None:
    frame = spark.range(2).selectExpr("id", "named_struct('body', cast('I love it' as binary)) as data")
    scored = sentstream.spark.score(
        frame, text_column="data.body", prefix="mood", abstain=1, model=bundle
    ).toArrow()
    assert scored["mood"].to_pylist() == ["uncertain"] * 2
    alone = sentstream.load(bundle).score("I love it")["sentiment_score"].to_numpy()
    assert np.array_equal(scored["mood_score"].to_numpy(), alone.repeat(2))


def test_invalid_names(spark: Any) -> None:
    with pytest.raises(UsageError, match="not a valid function name"):
        sentstream.spark.register(spark, name="a b")
