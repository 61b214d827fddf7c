"""Open a model trained elsewhere, as a function from this project's token ids to probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from sentstream.errors import DataError, ModelFormatError, UsageError, counted
from sentstream.text import DEFAULT_MAX_CHARS, TextPath, TextRules
from sentstream_train.elsewhere.archive import Archive, embedding_rows, masks, open_archive
from sentstream_train.elsewhere.conversion import convert
from sentstream_train.elsewhere.padding import Fit, Padding, find_fit
from sentstream_train.elsewhere.preprocessing import Preprocessing, from_front
from sentstream_train.elsewhere.vocabulary_file import read_vocabulary_file
from sentstream_train.network.conversion import from_keras
from sentstream_train.network.predict import one_row

#: Character cap where Keras reads the whole text: longer than any tweet.
MAX_CHARS = 100_000


@dataclass(frozen=True)
class Foreign:
    """A model that was trained elsewhere.

    Attributes:
        archive: The contents of the file.
        preprocessing: How its texts became ids.
        fit: How rows were padded or cut to one length.
        text: The text path: texts -> the ids that ``model`` takes.
        model: The Keras model from those ids to probabilities.
        classes: Number of classes.
        reason: Why tf2onnx makes its graph, as a phrase; None if this project's exporter does.
    """

    archive: Archive
    preprocessing: Preprocessing
    fit: Fit
    text: TextPath
    model: Any
    classes: int
    reason: str | None

    @cached_property
    def wordless(self) -> npt.NDArray[np.float32] | None:
        """``float32[classes]``: the output for a text without tokens; None if the graph computes it."""
        return wordless_probabilities(self.model, self.text.rules)

    def graph(self) -> bytes:
        """The graph from tf2onnx.

        Raises:
            ModelFormatError: tf2onnx cannot convert the model.
        """
        unmasked = not self.fit.matters and self.archive.chain is not None
        return convert(self.model, classes=self.classes, wordless=self.wordless, unmasked=unmasked)


def open_foreign(
    path: Path, vocabulary: Path | None, labels: Sequence[str], rules: TextRules | None, padding: Padding
) -> Foreign:
    """Open a ``.keras`` file of a model trained elsewhere.

    Args:
        path: The file.
        vocabulary: Its vocabulary (see ``read_vocabulary_file``); None if the model contains it.
        labels: Its classes, in the order of its output.
        rules: How its texts were split, if neither the model nor the vocabulary says it.
        padding: How rows were padded or cut to one length, as far as the user knows.

    Raises:
        DataError: The vocabulary is not the model's, or cannot be read.
        ModelFormatError: The model cannot be loaded safely, or does not end in probabilities.
        UsageError: An argument is missing, or contradicts the model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' warnings about things that are measured here
        return _open(path, vocabulary, labels, rules, padding)


def _open(
    path: Path, vocabulary: Path | None, labels: Sequence[str], rules: TextRules | None, padding: Padding
) -> Foreign:
    archive = open_archive(path)
    rows = embedding_rows(archive.model)
    if archive.front is None and vocabulary is None:
        raise UsageError(f"{path} is not from a sentstream run, and --vocabulary is missing")
    if archive.front is not None and vocabulary is not None:
        raise UsageError(f"{path} contains its vocabulary", hint="leave out --vocabulary")
    if archive.front is not None:
        preprocessing = from_front(archive.front, rules, str(path))
    else:
        assert vocabulary is not None
        preprocessing = read_vocabulary_file(vocabulary, rows, rules)
    if len(preprocessing.vocabulary) - preprocessing.shift > rows:
        raise DataError(
            f"{path} has {counted(len(preprocessing.vocabulary), 'token')}; "
            f"its embedding has {counted(rows, 'row')}"
        )
    classes = _classes(archive, path, labels)
    fit = find_fit(archive, preprocessing, padding, rows)
    return _assemble(archive, preprocessing, fit, classes)


def _classes(archive: Archive, path: Path, labels: Sequence[str]) -> int:
    """The number of classes, after checks of the model's output and the labels."""
    width = int(archive.model.output_shape[-1])
    if len(archive.model.output_shape) != 2 or not _gives_probabilities(archive, width):
        raise ModelFormatError(
            "the model does not end in probabilities",
            hint="its last layer must be Dense with softmax, or one sigmoid",
        )
    classes = max(2, width)
    if len(labels) != classes or len(set(labels)) < len(labels):
        raise UsageError(
            f"{', '.join(labels)} are not {classes} different labels, the number of classes in {path}"
        )
    return classes


def _gives_probabilities(archive: Archive, width: int) -> bool:
    ids = np.random.default_rng(5).integers(1, embedding_rows(archive.model), (16, archive.length or 7))
    table = np.asarray(archive.model(ids.astype(np.int32), training=False))
    if not np.isfinite(table).all() or (table < 0).any() or (table > 1).any():
        return False
    last = archive.model.layers[-1]
    if width == 1:  # a softmax of one value is always 1
        return getattr(getattr(last, "activation", None), "__name__", "sigmoid") != "softmax"
    return bool(np.allclose(table.sum(axis=1), 1, atol=1e-3))


def _assemble(archive: Archive, preprocessing: Preprocessing, fit: Fit, classes: int) -> Foreign:
    rules = fit.rules(preprocessing.rules)
    if preprocessing.shift and rules.unknown == "token" and masks(archive.model) and not fit.matters:
        rules = replace(rules, unknown="drop")  # the unknown word has the masked id
    model, reason = archive.model, "it masks some of the zeros that change what it says"
    if archive.chain is not None and not (fit.matters and masks(archive.model)):
        model = archive.chain
        try:
            from_keras(model)
            reason = ""
        except ModelFormatError as error:
            reason = error.message
    elif archive.chain is None:
        reason = "it is not one chain of layers for any length"
    if preprocessing.shift:
        model = _shifted(model) if not reason else _wrapped(model)
    if fit.unpadded or (not fit.matters and rules.wordless == "padding"):
        answer = None if fit.unpadded else one_row(model, [0])
        if answer is None or not np.isfinite(answer).all():
            rules = replace(rules, wordless="unknown")
    cap = MAX_CHARS if rules.cuts else DEFAULT_MAX_CHARS
    return Foreign(
        archive,
        preprocessing,
        fit,
        TextPath(rules, preprocessing.vocabulary, cap),
        model,
        classes,
        reason or None,
    )


def _shifted(chain: Any) -> Any:
    """The chain with one more row in its table, so that padding and the unknown word have one each."""
    layers = [
        _with_a_row_more(layer) if isinstance(layer, keras.layers.Embedding) else layer
        for layer in chain.layers
    ]
    return keras.Sequential([keras.Input((None,), dtype="int32", name="tokens"), *layers], name=chain.name)


def _with_a_row_more(layer: Any) -> Any:
    table = np.asarray(layer.get_weights()[0])
    wide = keras.layers.Embedding(len(table) + 1, table.shape[1], mask_zero=layer.mask_zero, name=layer.name)
    wide.build((None, None))
    wide.set_weights([np.concatenate((table[:1], table))])
    return wide


def _wrapped(model: Any) -> Any:
    """The model for ids that are one higher, except padding."""
    tokens = keras.Input(model.input_shape[1:], dtype="int32", name="tokens")
    return keras.Model(tokens, model(keras.ops.maximum(tokens - 1, 0)), name=model.name)


def wordless_probabilities(model: Any, rules: TextRules) -> npt.NDArray[np.float32] | None:
    """``float32[classes]``: the output of a model for a row of only padding.

    None if the rules do not need it: texts without tokens get the unknown word, or all rows are padded.
    """
    if rules.wordless != "padding" or rules.padded:
        return None
    return one_row(model, [0])
