"""Check that a bundle gives the same answers as Keras for texts, so that the text path is compared, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from sentstream.cuda.placement import EXECUTION_PROVIDERS
from sentstream.errors import ParityError, one_line
from sentstream.session import Session
from sentstream.text import tokenize
from sentstream.text.vocabulary import UNKNOWN
from sentstream_train.elsewhere.archive import Archive
from sentstream_train.elsewhere.foreign import Foreign
from sentstream_train.network.predict import Probabilities, as_classes

_BATCH = 256


def measure_texts(
    session: Session, foreign: Foreign, texts: Sequence[str], kind: str, tolerance: float
) -> dict[str, Any]:
    """Compare a bundle with its original model, from texts on.

    The Keras side uses none of this project's code: its own tokenizer, ``pad_sequences``, and the model as
    it was saved.

    Args:
        session: The session of the bundle's graph.
        foreign: The model; it must be known how its texts became ids.
        texts: Texts that are not blank.
        kind: A description of the texts, for the record.
        tolerance: The maximum difference of a probability.

    Returns:
        Facts for the bundle: rows, lengths, the largest difference, how many labels differ, the share of
        unknown words, and how many texts have no finite answer from Keras.

    Raises:
        ParityError: A text differs by more than the tolerance, or Keras has no finite answer for any text.
    """
    path = foreign.text
    column = pa.array(texts, pa.string())
    rows = path.encode(column)
    ours, theirs = session.probabilities(rows), keras_answers(foreign, texts)
    used = np.isfinite(theirs).all(axis=1)
    if not used.any():
        raise ParityError("Keras gives NaN for all of the texts")
    difference = np.where(used, np.abs(ours - theirs).max(axis=1), 0)
    difference = np.nan_to_num(difference, nan=np.inf)
    beyond = np.flatnonzero(difference > tolerance)
    if len(beyond):
        labels = int((ours[beyond].argmax(axis=1) != theirs[beyond].argmax(axis=1)).sum())
        raise ParityError(
            f"{len(beyond):,} of {int(used.sum()):,} texts differ from Keras by more than {tolerance:.0e}, "
            f"{labels:,} of them in the label; the first is {one_line(repr(texts[beyond[0]]), 60)}",
            hint="nothing was written; are the vocabulary and padding the same as in training?",
        )
    tokens, _ = tokenize(column, path.rules, path.max_chars)
    unknown = path.vocabulary.word_ids(tokens.text) == UNKNOWN
    lengths = rows.lengths[used]
    return {
        "against": f"Keras {keras.__version__} and {foreign.preprocessing.made_by}, from the text on",
        "rows": int(used.sum()),
        "of": kind,
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "lengths": len(np.unique(lengths)),
        "max_abs_difference": float(difference[used].max()),
        "tolerance": tolerance,
        "labels_changed": int((ours[used].argmax(axis=1) != theirs[used].argmax(axis=1)).sum()),
        "unknown_words": float(unknown.mean()) if len(unknown) else 0.0,
        "without_answer": int((~used).sum()),
        "provider": EXECUTION_PROVIDERS[session.provider],
    }


def keras_answers(foreign: Foreign, texts: Sequence[str]) -> Probabilities:
    """``float32[texts, classes]``: the saved model's answers, with only Keras' own preprocessing."""
    fit, model = foreign.fit, _reference(foreign.archive)
    shape = tf.TensorSpec([None, model.input_shape[1]], tf.int32)
    run = tf.function(lambda ids: model(ids, training=False), input_signature=[shape])
    table = np.full((len(texts), foreign.classes), np.nan, np.float32)
    for chosen, ids in _batches(foreign, texts, fit.unpadded):
        table[chosen] = as_classes(run(ids).numpy())
    return table


def _reference(archive: Archive) -> Any:
    """The model as it was saved, with a workaround for a bug in Keras.

    In traced functions, Keras 3.15 indexes the mask of a TimeDistributed layer along the wrong axis: it
    fails, or a text's answer depends on its neighbors. The chain has the inner layer instead, which computes
    the same for each step.
    """
    distributed = any(isinstance(layer, keras.layers.TimeDistributed) for layer in archive.model.layers)
    return archive.chain if distributed and archive.chain is not None else archive.model


def _batches(foreign: Foreign, texts: Sequence[str], unpadded: bool) -> Any:
    """Row indices with their ids: padded, or of one length per batch if the model never saw padding."""
    fit, preprocessing = foreign.fit, foreign.preprocessing
    indices: npt.NDArray[np.int64] = np.arange(len(texts))
    groups = [indices]
    if unpadded:
        assert preprocessing.sequences is not None
        lengths = np.array([len(row) for row in preprocessing.sequences(texts)])
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths[lengths > 0])]
    for group in groups:
        for start in range(0, len(group), _BATCH):
            chosen = group[start : start + _BATCH]
            some = [texts[index] for index in chosen.tolist()]
            yield chosen, preprocessing.padded(some, fit.length, fit.padding, fit.truncating)
