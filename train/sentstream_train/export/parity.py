"""Check that the exported graph computes the same as Keras, on rows of every length."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from sentstream.cuda.placement import EXECUTION_PROVIDERS
from sentstream.errors import ParityError
from sentstream.session import Probabilities, Session
from sentstream.text import Encoded, TextPath
from sentstream_train.data.lengths import taken
from sentstream_train.network.predict import keras_probabilities

#: Maximum difference of a probability.
TOLERANCE = 1e-5
_DRAWN_LENGTHS, _DRAWN_ROWS = 64, 4


def draw_rows(text: TextPath, seed: int = 1) -> Encoded:
    """Rows of random token ids, some of each length from 1 to 64, for a model without saved rows."""
    random = np.random.default_rng(seed)
    lengths = np.repeat(np.arange(1, _DRAWN_LENGTHS + 1), _DRAWN_ROWS)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    vocabulary = text.vocabulary
    words = random.integers(1, len(vocabulary), offsets[-1]).astype(np.int32)
    words, offsets = text.fit(words, offsets)
    pairs = None
    if vocabulary.pairs is not None:
        pairs = random.integers(0, vocabulary.pair_count + 1, offsets[-1]).astype(np.int32)
    return Encoded(offsets, words, pairs)


def measure_parity(session: Session, model: keras.Model, rows: Encoded, kind: str) -> dict[str, Any]:
    """Compare ONNX Runtime with Keras.

    Args:
        session: The session of the exported graph.
        model: The network that was exported.
        rows: Token ids.
        kind: A description of the rows, for the record.

    Returns:
        Facts for the bundle: rows, lengths, and the largest difference of a probability.

    Raises:
        ParityError: A difference is larger than ``TOLERANCE`` or not finite.
    """
    ours, theirs = session.probabilities(rows), keras_probabilities(model, rows)
    lengths = rows.lengths
    used = lengths > 0
    difference = np.abs(ours[used] - theirs[used]).max(axis=1)
    worst = float(difference.max(initial=0.0))
    if not np.isfinite(difference).all() or worst > TOLERANCE:
        length = int(lengths[used][np.argmax(np.nan_to_num(difference, nan=np.inf))])
        raise ParityError(
            f"the graph and Keras differ by {worst:.1e} on a row of {length} tokens",
            hint=f"at most {TOLERANCE:.0e} is allowed; please report this",
        )
    return {
        "against": f"Keras {keras.__version__}",
        "rows": int(used.sum()),
        "of": kind,
        "shortest": int(lengths[used].min()),
        "longest": int(lengths[used].max()),
        "lengths": len(np.unique(lengths[used])),
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "provider": EXECUTION_PROVIDERS[session.provider],
    }


def check_bits(session: Session, rows: Encoded) -> None:
    """Raise if a row's probabilities depend on the other rows of the batch.

    Graphs from sentstream's own exporter are built not to; those from tf2onnx have to be checked.

    Raises:
        ParityError: A row's probabilities differ in their last bits between batches.
    """
    whole = session.probabilities(rows)
    for step in (2, 3):
        for first in range(step):
            chosen = np.arange(first, len(rows), step)
            if not np.array_equal(session.probabilities(taken(rows, chosen)), whole[chosen], equal_nan=True):
                raise ParityError(
                    "the graph gives a row different last bits in different batches",
                    hint="layers of even width are not known to do this; please report it",
                )


def measure_rounding(session: Session, model: keras.Model, rows: Encoded) -> dict[str, Any]:
    """How much storing the tables as int8 changes, compared with the original network."""
    moved = probability_differences(session.probabilities(rows), keras_probabilities(model, rows))
    return {"tables": "int8", **moved}


def probability_differences(after: Probabilities, before: Probabilities) -> dict[str, Any]:
    """How far probabilities moved and how many labels changed, without rows that have no tokens."""
    used = ~np.isnan(after).any(axis=1)
    difference = np.abs(after[used] - before[used])
    moved = after[used].argmax(axis=1) != before[used].argmax(axis=1)
    return {
        "max_abs_difference": float(difference.max()),
        "mean_abs_difference": float(difference.mean()),
        "labels_changed": int(moved.sum()),
        "rows": int(used.sum()),
    }
