"""The effect of a temperature on a model's calibration: what ``sentstream calibrate`` would achieve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sentstream_train.evaluate.judged import Judged
from sentstream_train.measure.metrics import Calibration, Floats, calibrate, rounded
from sentstream_train.measure.temperature import FEWEST, FOLDS, cross_validated, fit_temperature, is_at_bound

_SMALLEST = 1e-12


@dataclass(frozen=True)
class Recalibration:
    """The calibration before and after dividing the logarithms of the probabilities by a temperature.

    Attributes:
        method: How it was computed, or why it was skipped, in a phrase.
        temperature: Fitted to all rows; above 1 if the model is overconfident. None: skipped.
        calibration: With each row at the temperature fitted to the other folds; None: skipped.
    """

    method: str
    temperature: float | None = None
    calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        return {
            "method": self.method,
            "temperature": rounded(self.temperature),
            "calibration": self.calibration and self.calibration.to_dict(),
        }


def recalibrate(judged: Judged) -> Recalibration:
    """Fit a temperature (Guo et al. 2017); figures are cross-validated, so no row affects its own."""
    if len(judged) < FEWEST:
        return Recalibration(f"skipped: {len(judged):,} rows are too few to fit a temperature")
    if len(np.unique(judged.truth)) < 2:
        return Recalibration("skipped: the rows have one label only")
    # These are the logits minus a constant per row, which softmax ignores.
    logits: Floats = np.log(np.maximum(judged.probabilities.astype(np.float64), _SMALLEST))
    temperature = fit_temperature(logits, judged.truth)
    bound = "; it is at the limit of the search range" if is_at_bound(temperature) else ""
    return Recalibration(
        method=f"cross-validated on the same rows ({FOLDS} folds){bound}",
        temperature=temperature,
        calibration=calibrate(judged.truth, judged.predicted, cross_validated(logits, judged.truth)),
    )
