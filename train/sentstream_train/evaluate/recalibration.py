"""What a temperature would do to the calibration: what ``sentstream calibrate`` would give on these rows."""

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
        method: How it was made, or why it was skipped, in a sentence.
        temperature: Fitted to all rows; above 1 where the model is too sure. None: skipped.
        calibration: Each row with the temperature that the other folds give; None: skipped.
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
    """Fit a temperature (Guo et al. 2017), in cross-validation so that no row sets its own."""
    if len(judged) < FEWEST:
        return Recalibration(f"skipped: {len(judged):,} rows are too few to fit a temperature")
    if len(np.unique(judged.truth)) < 2:
        return Recalibration("skipped: the rows have one label only")
    # Softmax does not care that these are logits less a constant of the row.
    logits: Floats = np.log(np.maximum(judged.probabilities.astype(np.float64), _SMALLEST))
    temperature = fit_temperature(logits, judged.truth)
    bound = "; it is at the bound of what is looked for" if is_at_bound(temperature) else ""
    return Recalibration(
        method=f"cross-validated on the same rows ({FOLDS} folds){bound}",
        temperature=temperature,
        calibration=calibrate(judged.truth, judged.predicted, cross_validated(logits, judged.truth)),
    )
