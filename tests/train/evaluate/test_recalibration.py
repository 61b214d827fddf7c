"""Temperatures: they are found, they help where they should, and uninformative rows are skipped."""

from __future__ import annotations

import numpy as np
import pytest
from judged_rows import drawn_rows, judged_rows

from sentstream_train.evaluate.recalibration import recalibrate
from sentstream_train.measure.metrics import calibrate
from sentstream_train.measure.temperature import FEWEST, LOWEST


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_temperature_undoes_sharpening(classes: int, sharpness: float) -> None:
    judged = drawn_rows(20_000, classes, seed=1, sharpness=sharpness)
    found = recalibrate(judged)
    assert found.temperature == pytest.approx(sharpness, rel=0.05)
    before = calibrate(judged.truth, judged.predicted, judged.probabilities)
    assert found.calibration is not None
    assert found.calibration.ece < 0.02
    if sharpness != 1:
        assert found.calibration.log_loss < before.log_loss
        assert found.calibration.ece < before.ece / 3
    assert sum(one.rows for one in found.calibration.bins) == 20_000


def test_probabilities_of_0_and_1() -> None:
    table = np.tile([[1.0, 0.0], [0.0, 1.0]], (50, 1))
    truth = np.tile([0, 1, 0, 1, 1], 20)
    found = recalibrate(judged_rows(truth, table))
    assert found.temperature is not None
    assert found.temperature > 1
    assert found.calibration is not None
    assert np.isfinite(found.calibration.log_loss)


def test_perfect_model_gets_the_lowest_temperature() -> None:
    truth = np.tile([0, 1], 100)
    found = recalibrate(judged_rows(truth, np.where(truth[:, None] == [0, 1], 0.9, 0.1)))
    assert found.temperature == pytest.approx(LOWEST, rel=1e-2)
    assert found.method.endswith("; it is at the limit of the search range")


def test_too_few_rows_or_one_label() -> None:
    few = drawn_rows(FEWEST - 1)
    found = recalibrate(few)
    assert (found.temperature, found.calibration) == (None, None)
    assert found.method == "skipped: 99 rows are too few to fit a temperature"
    same = judged_rows(np.zeros(100), np.tile([[0.8, 0.2]], (100, 1)))
    assert recalibrate(same).method == "skipped: the rows have one label only"
    assert recalibrate(same).to_dict() == {
        "method": "skipped: the rows have one label only",
        "temperature": None,
        "calibration": None,
    }
