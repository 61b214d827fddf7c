"""A column of texts -> one column of results, and the model that makes it: what every dataframe needs."""

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
    """A model by its name or path, loaded once in this process; one that is loaded is that one.

    Args:
        model: As of ``sentstream.load``; None is the model of ``sentstream score``.

    Raises:
        BundleError: There is no such model, or it is not sound.
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
    """What there is for one text: ``label``, ``score``, and ``prob_<label>`` for each label.

    They are the columns that ``score`` adds, without the prefix that keeps these apart from others.

    >>> [field.name for field in result_fields(["bad", "good"])]
    ['label', 'score', 'prob_bad', 'prob_good']
    """
    label, *others = label_fields(PREFIX, labels)
    return [label.with_name("label"), *(one.with_name(one.name.removeprefix(f"{PREFIX}_")) for one in others)]


def results(columns: Sequence[pa.Array], fields: Sequence[pa.Field]) -> pa.StructArray:
    """The columns that scoring adds as one of structs, null where there is nothing to label.

    Args:
        columns: n labels, n scores, n probabilities of each label.
        fields: Those of ``result_fields``.
    """
    return pa.StructArray.from_arrays(columns, fields=fields, mask=pc.is_null(columns[0]))
