"""Does padding change what a model says, and if so, how were its texts padded?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sentstream.errors import UsageError
from sentstream.text import TextRules
from sentstream_train.elsewhere.archive import Archive, masks
from sentstream_train.elsewhere.preprocessing import Preprocessing, Side

#: Lengths of the rows that are tried, and to how many ids they are padded.
_TRIED, _PADDED = (1, 4), 7
#: What rounding alone changes. Padding changes the output of a random network by a hundred times as much.
_ROUNDING = 2e-6


@dataclass(frozen=True)
class Padding:
    """How texts are brought to one length, as a user says it.

    Attributes:
        length: ``pad_sequences``' ``maxlen``; 0 for texts that were never padded, None where it is not said.
        padding: Where zeros go; None where it is not said.
        truncating: Where ids go from texts that are longer; None where it is not said.
    """

    length: int | None = None
    padding: Side | None = None
    truncating: Side | None = None


@dataclass(frozen=True)
class Fit:
    """How texts are brought to one length.

    Attributes:
        length: The ids of a row at most, or None.
        padding, truncating: Where zeros go to, and ids from.
        matters: Whether zeros change what the model says: then every row gets them.
        unpadded: Whether the model never saw any.
        assumed: Whether the sides are Keras' defaults, which nobody confirmed.
    """

    length: int | None
    padding: Side
    truncating: Side
    matters: bool
    unpadded: bool
    assumed: bool

    def rules(self, rules: TextRules) -> TextRules:
        """The text rules with this."""
        padding: Literal["none", "pre", "post"] = self.padding if self.matters else "none"
        return replace(rules, length=self.length or 0, truncating=self.truncating, padding=padding)


def find_fit(archive: Archive, made: Preprocessing, told: Padding, rows: int) -> Fit:
    """How the texts of a model are to be padded.

    Args:
        archive: The model.
        made: How its texts became ids.
        told: What the user says.
        rows: Rows of its embedding.

    Raises:
        UsageError: What was told contradicts the model, or something is missing.
    """
    fixed = archive.length or made.length
    if told.length is not None and fixed not in (None, told.length):
        raise UsageError(
            f"--pad-to {told.length}: the model takes rows of {fixed} token IDs", hint="leave it out"
        )
    unpadded = told.length == 0
    length = fixed or told.length or None
    padding, truncating = told.padding or made.side, told.truncating or made.side
    if length is None and not unpadded and (told.padding or told.truncating):
        raise UsageError(
            "--padding and --truncating need a length", hint="add --pad-to N, the maxlen of pad_sequences"
        )
    sides: tuple[Side, ...] = ("pre", "post") if told.padding is None and length is None else (padding,)
    matters = not unpadded and _matters(archive, sides, rows)
    if matters and length is None:
        raise UsageError(
            "padding zeros change the output of this model"
            + ("" if masks(archive.model) else ", because its Embedding does not mask them")
            + ", and the padded length in training is unknown",
            hint="give --pad-to N (the maxlen of pad_sequences), --padding and --truncating, or --pad-to 0"
            " if it was trained without padding",
        )
    assumed = length is not None and (told.padding is None or told.truncating is None) and not made.length
    return Fit(length, padding, truncating, matters, unpadded, assumed)


def _matters(archive: Archive, sides: tuple[Side, ...], rows: int) -> bool:
    """Whether the model says something else of a row once it is padded; measured."""
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
