"""A column of texts -> one struct column of results; shared by the adapters for SQL and data frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.bundle import DEFAULT_MODEL, list_models
from sentstream.model import Model
from sentstream.scorer.added_columns import PREFIX, label_fields


def as_model(model: Model | str | os.PathLike[str] | None) -> Model:
    """Load a model by name or path, once per process. A loaded model is returned unchanged.

    Args:
        model: As for ``sentstream.load``; None is the default model.

    Raises:
        BundleError: The model does not exist or is not valid.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if isinstance(model, Model):
        return model
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    return _load(name if name in list_models() else str(Path(name).resolve()))


@lru_cache(maxsize=8)
def _load(name_or_path: str) -> Model:
    return Model.load(name_or_path)


def result_fields(labels: Sequence[str]) -> list[pa.Field]:
    """The result fields of one text: ``label``, ``score``, and ``prob_<label>`` for each label.

    They match the columns that ``score`` adds, without their prefix.

    >>> [field.name for field in result_fields(["bad", "good"])]
    ['label', 'score', 'prob_bad', 'prob_good']
    """
    label, *others = label_fields(PREFIX, labels)
    return [label.with_name("label"), *(one.with_name(one.name.removeprefix(f"{PREFIX}_")) for one in others)]


def results(columns: Sequence[pa.Array], fields: Sequence[pa.Field]) -> pa.StructArray:
    """Combine the columns that scoring adds into one struct column, null where the label is null.

    Args:
        columns: n labels, n scores, and n probabilities for each label.
        fields: The fields from ``result_fields``.
    """
    return pa.StructArray.from_arrays(columns, fields=fields, mask=pc.is_null(columns[0]))
