"""Sentiment in polars: ``pl.col("text").sentiment.label()``, ``.score()`` and ``.of()``.

>>> import polars as pl
>>> import sentstream.polars
>>> tweets = pl.LazyFrame({"text": ["what a lovely morning", ""]})
>>> label = pl.col("text").sentiment.label("sentiment140")
>>> tweets.select(label).collect()["text"].to_list()
['positive', None]

Importing this module adds the namespace to every polars expression. ``Sentiment(pl.col("text"))`` does the
same for type checkers, which do not know the namespace.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import BoundedSemaphore

import polars as pl
import pyarrow as pa

from sentstream.engines.results import as_model, result_fields, results
from sentstream.model import Model

#: Two morsels are scored at a time. All of the model's threads share the texts of one; the next one keeps
#: them busy while it begins and ends. More would only compete for them.
_TURN = BoundedSemaphore(2)


@pl.api.register_expr_namespace("sentiment")
class Sentiment:
    """Scores a column of texts in eager frames, lazy frames and the streaming engine.

    The values are bit for bit those that ``sentstream score`` writes, and null if the text is null, empty or
    only whitespace. A model given by name or path is loaded once per process.

    Each method takes a loaded model, a name or a path; by default the model of ``sentstream score``. With
    ``abstain``, rows with a score below that value get the label ``uncertain``.

    Args:
        expression: A column of type ``String``, ``Categorical``, ``Enum`` or ``Binary``.

    Raises:
        BundleError: When the expression is created: the model does not exist or is not valid.
        UsageError: When the expression is created: ``abstain`` is not in (0, 1], or the model already has a
            label ``uncertain``.
        ColumnTypeError: When the expression runs: the column is not text.
    """

    def __init__(self, expression: pl.Expr) -> None:
        self._expression = expression

    def label(
        self, model: Model | str | os.PathLike[str] | None = None, *, abstain: float | None = None
    ) -> pl.Expr:
        """The most probable label, a ``String``."""
        return self.of(model, abstain=abstain).struct.field("label").name.keep()

    def score(self, model: Model | str | os.PathLike[str] | None = None) -> pl.Expr:
        """The probability of the label, a ``Float32``."""
        return self.of(model).struct.field("score").name.keep()

    def of(
        self, model: Model | str | os.PathLike[str] | None = None, *, abstain: float | None = None
    ) -> pl.Expr:
        """A ``Struct`` of ``label``, ``score`` and one ``prob_<label>`` per label.

        Each text is scored once, however many fields are used: ``…of().struct.unnest()``.
        """
        opened = as_model(model)
        scorer = opened.scorer(abstain=abstain)  # checks the argument before there are any rows
        fields = result_fields(opened.labels)
        kinds = {field.name: pl.Float32() for field in fields} | {"label": pl.String()}
        work = _Work(opened, abstain, [field.name for field in scorer.added_fields()], fields)
        return self._expression.map_batches(work, pl.Struct(kinds), is_elementwise=True)


@dataclass(frozen=True)
class _Work:
    """The function that polars applies to a series; a class, so that a query plan can be pickled."""

    model: Model
    abstain: float | None
    added: list[str]
    fields: list[pa.Field]

    def __call__(self, texts: pl.Series) -> pl.Series:
        with _TURN:
            scored = self.model.score(texts, abstain=self.abstain).select(self.added)
        chunks = [results(batch.columns, self.fields) for batch in scored.to_batches()]
        return pl.Series(texts.name, pa.chunked_array(chunks, pa.struct(self.fields)))
