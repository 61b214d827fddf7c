"""The drift reference of a bundle: its outputs on rows that were held out of training."""

from __future__ import annotations

import numpy as np

from sentstream.bundle import Bundle
from sentstream.drift.distribution import LEAST_TEXTS, Distribution
from sentstream.drift.held_out import HeldOut
from sentstream.session import Session
from sentstream_train.store.folder import HeldOutRows


def count_held_out(bundle: Bundle, session: Session, held_out: HeldOutRows) -> HeldOut | None:
    """Count a bundle's outputs on held-out rows; None if fewer than 1,000 rows have a token.

    Args:
        bundle: The model; it need not be sealed.
        session: The bundle's session.
        held_out: The rows.
    """
    rows = held_out.ids
    used = rows.lengths > 0
    if used.sum() < LEAST_TEXTS:
        return None
    table = session.probabilities(rows)[used]
    counts = np.bincount(table.argmax(axis=1), minlength=len(bundle.labels)).tolist()
    texts = Distribution.of(
        dict(zip(bundle.labels, counts, strict=True)),
        table.max(axis=1),
        *bundle.text.count_words(rows.words),
    )
    return HeldOut(held_out.of, texts)
