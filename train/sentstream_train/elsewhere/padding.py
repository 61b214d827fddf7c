"""Find out whether padding changes a model's output and, if it does, how rows are to be padded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sentstream.errors import UsageError
from sentstream.text import TextRules
from sentstream_train.elsewhere.archive import Archive, masks
from sentstream_train.elsewhere.preprocessing import Preprocessing, Side

#: The lengths of test rows, and the length that they are padded to.
_TRIED, _PADDED = (1, 4), 7
#: The effect of rounding alone. Padding changes the output of a random network a hundred times as much.
_ROUNDING = 2e-6


@dataclass(frozen=True)
class Padding:
    """How rows are padded or cut to one length, according to the user.

    Attributes:
        length: The ``maxlen`` of ``pad_sequences``; 0 for rows that were never padded; None: not given.
        padding: The side where zeros are added; None: not given.
        truncating: The side where longer rows are cut; None: not given.
    """

    length: int | None = None
    padding: Side | None = None
    truncating: Side | None = None


@dataclass(frozen=True)
class Fit:
    """How rows are padded or cut to one length.

    Attributes:
        length: The maximum number of ids in a row, or None.
        padding, truncating: The sides where zeros are added and ids are cut.
        matters: Whether zeros change the model's output; if so, every row is padded.
        unpadded: Whether the model was trained without padding.
        assumed: Whether a side is Keras' default, not confirmed by the user.
    """

    length: int | None
    padding: Side
    truncating: Side
    matters: bool
    unpadded: bool
    assumed: bool

    def rules(self, rules: TextRules) -> TextRules:
        """The text rules with this length and padding."""
        padding: Literal["none", "pre", "post"] = self.padding if self.matters else "none"
        return replace(rules, length=self.length or 0, truncating=self.truncating, padding=padding)


def find_fit(archive: Archive, preprocessing: Preprocessing, requested: Padding, rows: int) -> Fit:
    """How a model's rows are to be padded.

    Args:
        archive: The model.
        preprocessing: How its texts became ids.
        requested: What the user says.
        rows: Rows of its embedding.

    Raises:
        UsageError: ``requested`` contradicts the model or lacks something.
    """
    fixed = archive.length or preprocessing.length
    if requested.length is not None and fixed not in (None, requested.length):
        raise UsageError(
            f"--pad-to {requested.length}: the model takes rows of {fixed} token IDs", hint="leave it out"
        )
    unpadded = requested.length == 0
    length = fixed or requested.length or None
    padding, truncating = requested.padding or preprocessing.side, requested.truncating or preprocessing.side
    if length is None and not unpadded and (requested.padding or requested.truncating):
        raise UsageError(
            "--padding and --truncating need a length", hint="add --pad-to N, the maxlen of pad_sequences"
        )
    sides: tuple[Side, ...] = ("pre", "post") if requested.padding is None and length is None else (padding,)
    matters = not unpadded and _matters(archive, sides, rows)
    if matters and length is None:
        raise UsageError(
            "padding zeros change the output of this model"
            + ("" if masks(archive.model) else ", because its Embedding does not mask them")
            + ", and the padded length in training is unknown",
            hint="give --pad-to N (the maxlen of pad_sequences), --padding and --truncating, or --pad-to 0"
            " if it was trained without padding",
        )
    assumed = (
        length is not None
        and (requested.padding is None or requested.truncating is None)
        and not preprocessing.length
    )
    return Fit(length, padding, truncating, matters, unpadded, assumed)


def _matters(archive: Archive, sides: tuple[Side, ...], rows: int) -> bool:
    """Whether padding a row changes the model's output; measured where possible, else True."""
    if not masks(archive.model) or (archive.chain is None and archive.length is not None):
        return True
    length = archive.length or _PADDED
    random = np.random.default_rng(1)
    for size in (size for size in _TRIED if size < length):
        ids = random.integers(1, rows, (3, size)).astype(np.int32)
        bare = _run(archive.chain if archive.chain is not None else archive.model, ids)
        for side in sides:
            width = (length - size, 0) if side == "pre" else (0, length - size)
            filled = _run(archive.model, np.pad(ids, ((0, 0), width)))
            if not np.allclose(filled, bare, rtol=0, atol=_ROUNDING):
                return True
    return False


def _run(model: Any, ids: Any) -> Any:
    return np.asarray(model(ids, training=False))
