"""Compute probabilities with Keras from token ids, in batches of one exact length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sentstream.text import Encoded
from sentstream_train.data.lengths import exact_length_batches, id_matrix

Probabilities: TypeAlias = npt.NDArray[np.float32]
_BATCH = 256


def traced(model: keras.Sequential) -> Callable[[npt.NDArray[np.int32]], Any]:
    """The model as one traced graph for any length and number of rows."""
    shape = tf.TensorSpec([None, *model.input_shape[1:]], tf.int32)
    run: Callable[[npt.NDArray[np.int32]], Any] = tf.function(
        lambda ids: model(ids, training=False), input_signature=[shape]
    )
    return run


def keras_probabilities(
    model: keras.Sequential, rows: Encoded, progress: Callable[[int, int], None] | None = None
) -> Probabilities:
    """Class probabilities of every row.

    Args:
        model: The network; one sigmoid counts as two classes.
        rows: Token ids.
        progress: Called with (rows done, total rows).

    Returns:
        ``float32[rows, classes]``; NaN for rows without tokens.
    """
    run, lengths = traced(model), rows.lengths
    classes = max(2, model.output_shape[-1])
    table = np.full((len(rows), classes), np.nan, np.float32)
    done = int((lengths == 0).sum())
    for batch in exact_length_batches(lengths, _BATCH):
        table[batch] = as_classes(run(id_matrix(rows, batch, int(lengths[batch[0]]))).numpy())
        done += len(batch)
        if progress:
            progress(done, len(rows))
    return table


def as_classes(out: Probabilities) -> Probabilities:
    """A model's output with one column per class; a single sigmoid is the second class's probability."""
    return out if out.shape[1] > 1 else np.concatenate((1 - out, out), axis=1)


def one_row(model: Any, ids: Sequence[int]) -> Probabilities:
    """``float32[classes]``: a model's output for one row of ids."""
    table: Probabilities = np.asarray(model(np.array([ids], np.int32), training=False), np.float32)
    row: Probabilities = as_classes(table)[0]
    return row
