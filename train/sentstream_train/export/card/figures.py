"""Measure a bundle on named files of labeled rows, for its model card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentstream.bundle import Bundle
from sentstream.errors import UsageError
from sentstream.model import Model
from sentstream.session import Session, usable_cpus
from sentstream_train.data.labeled import read_labeled
from sentstream_train.evaluate.judged import judge
from sentstream_train.evaluate.slices import slice_rows
from sentstream_train.evaluate.text_marks import mark_texts
from sentstream_train.measure.metrics import measure
from sentstream_train.store.predictor import BundlePredictor

#: The key of the figures that a run measured in Keras on its held-out rows.
HELD_OUT = "validation"
#: Figures of all rows that go into the card, without those that depend on probabilities.
_FIGURES = ("accuracy", "interval", "macro_recall", "macro_recall_interval", "macro_f1")


def named_files(given: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """Files by their names in the card.

    Args:
        given: Each is ``FILE``, which gets its base name, or ``NAME=FILE``. An existing path that contains
            ``=`` is a ``FILE``.

    Raises:
        UsageError: A name or file is missing, or a name is repeated, reserved or not printable.
    """
    found: dict[str, Path] = {}
    for one in [os.fspath(each) for each in given]:
        name, equals, file = one.partition("=")
        if not equals or Path(one).exists():
            name, file = Path(one).name, one
        name = name.strip()
        if not name or not file:
            raise UsageError(
                f"--evaluate {one} has no name or no file", hint="write FILE or NAME=FILE, quoted"
            )
        if not name.isprintable() or name == HELD_OUT:
            why = "is reserved for the rows held out in training" if name == HELD_OUT else "cannot be printed"
            raise UsageError(f"--evaluate: the name {name!r} {why}", hint="give another name: NAME=FILE")
        if name in found:
            raise UsageError(
                f"--evaluate: {found[name]} and {file} have the same name, {name}",
                hint="give them different names: NAME=FILE",
            )
        found[name] = Path(file)
    return found


def measure_bundle(bundle: Bundle, session: Session, path: Path) -> dict[str, Any]:
    """The figures of a bundle on a file's rows for its card: those of all rows, then those of slices.

    Args:
        bundle: The model; it need not be sealed.
        session: The bundle's session.
        path: Labeled rows; rows with labels that the model does not have are left out.

    Raises:
        SentstreamError: As ``read_labeled``.
        DataError: No row is left to judge.
    """
    predictor = BundlePredictor(Model(bundle, session, usable_cpus()))
    judged, _ = judge(predictor, read_labeled(path, labels=bundle.labels))
    found = measure(judged.truth, judged.predicted, judged.labels, judged.probabilities)
    figures = found.to_dict()
    calibration = figures["calibration"]
    return {
        "n": figures["rows"],
        **{key: figures[key] for key in _FIGURES if key in figures},
        "calibration_error": calibration["ece"],
        "log_loss": calibration["log_loss"],
        "slices": [one.to_dict() for one in slice_rows(judged, mark_texts(judged.text, bundle.text))],
    }
