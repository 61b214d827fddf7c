"""Sentiment in Spark: ``sentstream.spark.score(frame)`` for batch and streaming, and SQL functions.

The executors need sentstream with the extras ``spark`` and ``cpu``. A model that does not ship with
sentstream is sent to them once. Importing this module does not load pyspark.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sentstream.bundle import list_models
from sentstream.engines.results import as_model, result_fields, results
from sentstream.errors import ColumnClashError, ColumnTypeError, UsageError
from sentstream.model import Model, ModelOptions, open_same
from sentstream.scorer.added_columns import DIGEST_KEY, MODEL_KEY, PREFIX, TEXT_COLUMN, VERSION_KEY
from sentstream.text.columns import find_field

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def score(
    frame: DataFrame,
    *,
    text_column: str = TEXT_COLUMN,
    model: Model | str | os.PathLike[str] | None = None,
    prefix: str = PREFIX,
    abstain: float | None = None,
) -> DataFrame:
    """Score the texts of a batch or streaming data frame.

    Args:
        frame: The rows, batch or streaming.
        text_column: The text column, string or binary, or the path of a struct field such as ``data.text``.
        model: A loaded model, a name or a path; by default the model of ``sentstream score``. Executors load
            it once per Python worker, with as many threads as a task has CPUs, and reject a model that
            differs from the driver's. A path is sent to them; with Spark Connect they must be able to read
            it.
        prefix: Name of the label column and prefix of the other added columns.
        abstain: Rows with a score below this value get the label ``uncertain``.

    Returns:
        The same rows and columns, followed by those that ``sentstream score`` writes, bit for bit:
        ``{prefix}`` (string), ``{prefix}_score`` and one ``{prefix}_prob_<label>`` per label (float). They
        are null if the text is null, empty or only whitespace. The metadata of the column ``{prefix}`` names
        the model.

    Raises:
        BundleError: The model does not exist or is not valid.
        ColumnNotFoundError: The column does not exist, or several have that name.
        ColumnTypeError: The column is neither string nor binary.
        ColumnClashError: A column to be added already exists.
        UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``.
        MissingExtraError: ONNX Runtime is not installed on the driver.
    """
    from pyspark.sql.types import FloatType, StringType, StructField, StructType

    opened = as_model(model)
    scorer = opened.scorer(text_column=text_column, prefix=prefix, abstain=abstain)
    _check_text(frame.schema, text_column)
    label, *numbers = (field.name for field in scorer.added_fields())
    sensitive = frame.sparkSession.conf.get("spark.sql.caseSensitive") == "true"
    existing = {name if sensitive else name.lower(): name for name in frame.columns}
    for name in (label, *numbers):
        if found := existing.get(name if sensitive else name.lower()):
            raise ColumnClashError(f"the input already has a column {found!r}", hint="choose another prefix")
    stamp = {
        MODEL_KEY.decode(): opened.name,
        VERSION_KEY.decode(): opened.version,
        DIGEST_KEY.decode(): opened.digest,
    }
    added = [
        StructField(label, StringType(), metadata=stamp),
        *(StructField(name, FloatType()) for name in numbers),
    ]
    settings = {"text_column": text_column, "prefix": prefix, "abstain": abstain}
    task = _Batches(_sent(frame.sparkSession, opened), settings)
    return frame.mapInArrow(task, StructType([*frame.schema, *added]))


def register(
    spark: SparkSession,
    model: Model | str | os.PathLike[str] | None = None,
    *,
    name: str = "sentiment",
    abstain: float | None = None,
) -> None:
    """Register SQL functions in a session that score texts with a model.

    ``sentiment(text)`` returns the label, a string; ``sentiment_score(text)`` its probability, a float; and
    ``sentiment_of(text)`` a struct of ``label``, ``score`` and one ``prob_<label>`` per label. All return
    null if the text is null, empty or only whitespace. A query that uses several of them scores each text
    once.

    Args:
        spark: The session. Existing functions with these names are replaced.
        model: As in ``score``.
        name: Prefix of the function names: ``mood``, ``mood_score``, ``mood_of``.
        abstain: Rows with a score below this value get the label ``uncertain``.

    Raises:
        BundleError: The model does not exist or is not valid.
        UsageError: ``name`` has other characters than letters, digits and underscores; ``abstain`` is not in
            (0, 1], or the model already has a label ``uncertain``.
        MissingExtraError: ONNX Runtime is not installed on the driver.
    """
    from pyspark.sql.pandas.functions import arrow_udf
    from pyspark.sql.types import FloatType, StringType, StructField, StructType

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid function name", hint="use letters, digits and underscores: name='mood'"
        )
    opened = as_model(model)
    opened.scorer(abstain=abstain)  # checks the argument
    label, *numbers = (field.name for field in result_fields(opened.labels))
    kind = StructType([StructField(label, StringType()), *(StructField(one, FloatType()) for one in numbers)])
    task = _Texts(_sent(spark, opened), abstain)

    def of(texts: pa.Array) -> pa.Array:
        return task(texts)

    make: Any = arrow_udf  # its type hints do not support structs
    spark.udf.register(f"{name}_of", make(of, kind))
    for suffix, field, returned in (("", "label", "STRING"), ("_score", "score", "FLOAT")):
        spark.sql(
            f"CREATE OR REPLACE TEMPORARY FUNCTION {name}{suffix}(text STRING) RETURNS {returned}"
            f" RETURN {name}_of(text).{field}"
        )


@dataclass(frozen=True)
class _Sent:
    """A model for executors: where to load it from, and the digest it must have.

    Attributes:
        options: The options on the driver: the model by name if it ships, otherwise by path.
        digest: SHA-256 digest that covers every file of it.
        archive: The name under which Spark sent it, or None.
    """

    options: ModelOptions
    digest: str
    archive: str | None

    def open(self) -> Model:
        """Load it once per Python worker, with as many threads as the task has CPUs.

        Raises:
            BundleError: It does not exist or is not valid.
            BundleDigestError: It differs from the driver's.
        """
        from pyspark import SparkFiles, TaskContext

        context = TaskContext.get()
        source = SparkFiles.get(self.archive) if self.archive else self.options.model
        threads = context.cpus() if context else 1
        return open_same(replace(self.options, model=source, threads=threads), self.digest)


@dataclass(frozen=True)
class _Batches:
    """The function that ``mapInArrow`` applies to the batches of a partition."""

    model: _Sent
    settings: dict[str, Any]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = self.model.open()
        scorer = model.scorer(**self.settings)
        for scored in scorer.score_stream(batches, model.threads):
            yield scored.batch


@dataclass(frozen=True)
class _Texts:
    """The function that the SQL functions apply to a column."""

    model: _Sent
    abstain: float | None

    def __call__(self, texts: pa.Array) -> pa.Array:
        model = self.model.open()
        scored = model.score(texts, abstain=self.abstain).drop_columns(TEXT_COLUMN).combine_chunks()
        return results([column.combine_chunks() for column in scored.columns], result_fields(model.labels))


def _sent(spark: SparkSession, model: Model) -> _Sent:
    """The model for executors; a model that does not ship with sentstream is sent to them."""
    from pyspark.sql.utils import is_remote

    if model.source in list_models() or is_remote():
        return _Sent(model.options, model.digest, None)
    return _Sent(model.options, model.digest, _send(spark.sparkContext, model.source, model.digest))


def _send(context: Any, source: str, digest: str) -> str:
    """The name of a model's archive, which executors fetch on first use."""
    archive = _packed(context.applicationId, source, digest)
    if archive.name not in (Path(one).name for one in context.listArchives):
        context.addArchive(str(archive))
    return archive.name


#: Folders of sent archives, kept because executors may still fetch them.
_KEPT: list[TemporaryDirectory[str]] = []


@lru_cache(maxsize=64)
def _packed(application: str, source: str, digest: str) -> Path:
    """A bundle as one archive file, created once per application."""
    folder = TemporaryDirectory(prefix="sentstream-")
    _KEPT.append(folder)
    name = f"sentstream-{digest.removeprefix('sha256:')[:16]}"
    return Path(shutil.make_archive(str(Path(folder.name) / name), "zip", source))


def _check_text(schema: StructType, name: str) -> None:
    """Check that the column exists and that its Spark type is text.

    Raises:
        ColumnNotFoundError: No or several such columns; the message suggests the closest name.
        ColumnTypeError: It is of another type.
    """
    from pyspark.sql.types import BinaryType, NullType, StringType

    column = find_field(pa.schema([(field.name, _shape(field.dataType)) for field in schema]), name)
    kind: Any = schema
    for index in column.path:
        kind = kind[index].dataType
    if not isinstance(kind, StringType | BinaryType | NullType):
        raise ColumnTypeError(
            f"column {name!r} is of type {kind.simpleString()}, not string", hint="choose another text_column"
        )


def _shape(kind: DataType) -> pa.DataType:
    """The nesting of structs as an Arrow type; all other types are null."""
    from pyspark.sql.types import StructType

    if isinstance(kind, StructType):
        return pa.struct([(field.name, _shape(field.dataType)) for field in kind])
    return pa.null()
