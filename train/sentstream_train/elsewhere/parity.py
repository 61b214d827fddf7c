"""Does a bundle answer as Keras did, text for text? Its text path is compared with Keras' own, too."""

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
    """Compare a bundle with the model that it came from, from the text on.

    Keras' side has none of this project's code: its own tokenizer, ``pad_sequences``, the model as it was
    saved.

    Args:
        session: The graph.
        foreign: The model; what made ids of its texts is known.
        texts: Texts that are not blank.
        kind: What they are, for the record.
        tolerance: The largest difference of a probability that is allowed.

    Returns:
        What goes into the bundle: rows, lengths, the largest difference, the labels that differ, the share
        of words that the model does not know, and the texts that Keras has no number for.

    Raises:
        ParityError: A text differs by more than the tolerance, or Keras has no number for any.
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
        "against": f"Keras {keras.__version__} and {foreign.made.made_by}, from the text on",
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
    """``float32[texts, classes]``: what the model as it was saved says of texts, with Keras' own means."""
    fit, model = foreign.fit, _reference(foreign.archive)
    shape = tf.TensorSpec([None, model.input_shape[1]], tf.int32)
    run = tf.function(lambda ids: model(ids, training=False), input_signature=[shape])
    table = np.full((len(texts), foreign.classes), np.nan, np.float32)
    for chosen, ids in _batches(foreign, texts, fit.unpadded):
        table[chosen] = as_classes(run(ids).numpy())
    return table


def _reference(archive: Archive) -> Any:
    """The model as it was saved, but for one mistake of Keras.

    Keras 3.15 takes the mask of a TimeDistributed layer by the wrong axis once it is traced: it fails, or a
    text's answer depends on its neighbors. The chain has the layer inside instead, which does the same to
    each step.
    """
    distributed = any(isinstance(layer, keras.layers.TimeDistributed) for layer in archive.model.layers)
    return archive.chain if distributed and archive.chain is not None else archive.model


def _batches(foreign: Foreign, texts: Sequence[str], unpadded: bool) -> Any:
    """Row numbers with their ids: padded, or of one length each where the model never saw padding."""
    fit, made = foreign.fit, foreign.made
    places: npt.NDArray[np.int64] = np.arange(len(texts))
    groups = [places]
    if unpadded:
        assert made.sequences is not None
        lengths = np.array([len(row) for row in made.sequences(texts)])
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths[lengths > 0])]
    for group in groups:
        for start in range(0, len(group), _BATCH):
            chosen = group[start : start + _BATCH]
            some = [texts[place] for place in chosen.tolist()]
            yield chosen, made.padded(some, fit.length, fit.padding, fit.truncating)
