"""The coverage curve: correct thresholds, its invariants, and its area."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_rows import drawn_rows, judged_rows

from sentstream.analyze.intervals import wilson
from sentstream_train.evaluate.coverage import STEPS, cover


def scored(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """``float[rows, 2]``: label 0 with these scores, all of at least a half."""
    first = np.asarray(scores, np.float64)
    return np.stack((first, 1 - first), axis=1)


def test_by_hand() -> None:
    scores = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.51]
    truth = [0, 0, 0, 0, 1, 0, 1, 0, 1, 1]  # label 0 is given to all
    found = cover(judged_rows(truth, scored(scores)))
    assert [point.rows for point in found.points] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert found.points[0].threshold == 0
    assert [point.threshold for point in found.points[1:4]] == [0.55, 0.6, 0.65]
    assert [point.accuracy for point in found.points] == [0.6, 6 / 9, 6 / 8, 5 / 7, 5 / 6, 4 / 5, 1, 1, 1, 1]
    assert found.points[6].macro_recall == 1.0
    assert found.points[5].macro_recall == 0.5
    assert found.points[4].interval == wilson(5, 6)
    assert found.area == pytest.approx(np.mean([1, 1, 1, 1, 4 / 5, 5 / 6, 5 / 7, 6 / 8, 6 / 9, 6 / 10]))
    assert found.best_area == pytest.approx(np.mean([1, 1, 1, 1, 1, 1, 6 / 7, 6 / 8, 6 / 9, 6 / 10]))


def test_equal_scores_stay_together() -> None:
    truth = [0, 1, 0, 1]
    found = cover(judged_rows(truth, scored([0.75] * 4)))
    assert [(point.threshold, point.rows) for point in found.points] == [(0.0, 4)]
    # As if right and wrong rows alternated evenly, whatever the order of the file.
    assert found.area == pytest.approx(0.5)
    assert found.area == cover(judged_rows(truth[::-1], scored([0.75] * 4))).area


def test_one_row() -> None:
    found = cover(judged_rows([1], [[0.3, 0.7]]))
    assert [point.rows for point in found.points] == [1]
    assert (found.area, found.best_area) == (1.0, 1.0)


def test_all_wrong_and_all_right() -> None:
    table = scored([0.9, 0.8, 0.7])
    assert cover(judged_rows([1, 1, 1], table)).area == 0.0
    assert cover(judged_rows([0, 0, 0], table)).area == 1.0


def test_thresholds_have_minimal_digits() -> None:
    points = cover(drawn_rows(20_000, seed=3)).points
    for step, point in zip(STEPS, points, strict=True):
        assert step / 100 <= point.coverage <= step / 100 + 0.006
        assert point.threshold == round(point.threshold, 4)


def test_thresholds_near_1_have_more_digits() -> None:
    scores = 1 - np.linspace(1e-5, 9e-5, 100)
    points = cover(judged_rows(np.zeros(100), scored(scores))).points
    assert [point.rows for point in points][-1] < 25
    assert points[-1].threshold > 0.9999


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(2, 4), st.integers(0, 10**6), st.integers(1, 6))
def test_invariants(rows: int, classes: int, seed: int, digits: int) -> None:
    drawn = drawn_rows(rows, classes, seed)
    judged = judged_rows(drawn.truth, drawn.probabilities.round(digits), drawn.labels)  # so that scores tie
    found = cover(judged)
    assert found.points[0].rows == rows
    assert 0 <= found.area <= found.best_area + 1e-12 <= 1 + 1e-12
    kept = [point.rows for point in found.points]
    assert kept == sorted(set(kept), reverse=True)
    # What is written in JSON is what abstaining at this score gives.
    for point in json.loads(json.dumps(found.to_dict(), allow_nan=False))["points"]:
        which = judged.score >= np.float32(point["threshold"])
        assert point["rows"] == which.sum() >= 1
        assert point["accuracy"] == pytest.approx(judged.right[which].mean(), abs=1e-6)
        assert point["coverage"] == pytest.approx(which.mean(), abs=1e-6)
