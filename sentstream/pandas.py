"""Sentiment in pandas: ``sentstream.pandas.score(frame)``.

>>> import pandas as pd
>>> import sentstream.pandas
>>> tweets = pd.DataFrame({"text": ["what a lovely morning", ""]}, index=["mon", "tue"])
>>> scored = sentstream.pandas.score(tweets, model="sentiment140")
>>> scored.loc["mon", "sentiment"]
'positive'
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import TYPE_CHECKING

import pyarrow as pa

from sentstream.engines.results import as_model
from sentstream.model import Model, text_array
from sentstream.scorer.added_columns import PREFIX, TEXT_COLUMN

if TYPE_CHECKING:
    import pandas as pd


def score(
    frame: pd.DataFrame,
    *,
    text_column: Hashable = TEXT_COLUMN,
    model: Model | str | os.PathLike[str] | None = None,
    prefix: str = PREFIX,
    abstain: float | None = None,
) -> pd.DataFrame:
    """Score the texts of a data frame.

    The index, the other columns and their types are kept. The added columns are bit for bit those that
    ``sentstream score`` writes: ``{prefix}`` (text), ``{prefix}_score`` and one ``{prefix}_prob_<label>`` per
    label (float32). Their values are missing if the text is missing, empty or only whitespace.

    Args:
        frame: The rows; not modified.
        text_column: The text column.
        model: A loaded model, or a name or path, which is loaded once per process; by default the model of
            ``sentstream score``.
        prefix: Name of the label column and prefix of the other added columns.
        abstain: Rows with a score below this value get the label ``uncertain``.

    Returns:
        A new frame whose ``attrs`` name the model.

    Raises:
        BundleError: The model does not exist or is not valid.
        ColumnNotFoundError: The column does not exist, or several have that name.
        ColumnTypeError: The column, or an item in it, is not text.
        ColumnClashError: A column to be added already exists.
        UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``.
    """
    opened = as_model(model)
    text = str(text_column)
    scorer = opened.scorer(text_column=text, prefix=prefix, abstain=abstain)
    # Check the names before reading any text.
    checked = scorer.output_schema(pa.schema([(str(name), pa.string()) for name in frame.columns]))
    texts = pa.table({text: _texts(frame[text_column])})
    scored = opened.score(texts, text_column=text, prefix=prefix, abstain=abstain)
    added = scored.select([field.name for field in scorer.added_fields()]).to_pandas()
    added.index = frame.index
    result = frame.assign(**{name: added[name] for name in added})
    result.attrs.update({key.decode(): value.decode() for key, value in checked.metadata.items()})
    return result


def _texts(series: pd.Series) -> pa.Array | pa.ChunkedArray:
    """A series as Arrow data; if that fails, object by object, so that an error names the bad item."""
    try:
        return pa.Array.from_pandas(series)
    except (UnicodeEncodeError, pa.ArrowException):
        missing = zip(series, series.isna(), strict=True)
        return text_array(None if lacking else text for text, lacking in missing)
