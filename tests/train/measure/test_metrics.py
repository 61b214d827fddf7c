"""Metrics compared with scikit-learn and with figures calculated by hand, and their invariants."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.analyze.intervals import wilson
from sentstream_train.measure.bootstrap import mean_recalls, percentile_interval
from sentstream_train.measure.metrics import CALIBRATION_BINS, compare, mean_calibration, measure

THREE = ("negative", "neutral", "positive")


def probabilities(rows: int, classes: int, seed: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    table: npt.NDArray[np.float64] = random.dirichlet(np.full(classes, 0.7), rows)
    return table


@pytest.mark.parametrize(("classes", "rows"), [(2, 359), (3, 1000), (5, 40)])
def test_agrees_with_scikit_learn(classes: int, rows: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    table = probabilities(rows, classes, seed=rows)
    truth = np.random.default_rng(1).integers(0, classes, rows)
    truth[: 2 * classes] = np.tile(np.arange(classes), 2)
    predicted = table.argmax(axis=1)
    names = [f"label {index}" for index in range(classes)]
    found = measure(truth, predicted, names, table)
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=range(classes), zero_division=0
    )
    assert found.accuracy == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert found.macro_recall == pytest.approx(sklearn.balanced_accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(f1.mean())
    assert np.array_equal(found.confusion, sklearn.confusion_matrix(truth, predicted))
    assert [one.precision or 0 for one in found.classes] == pytest.approx(precision.tolist())
    assert [one.recall for one in found.classes] == pytest.approx(recall.tolist())
    assert [one.f1 for one in found.classes] == pytest.approx(f1.tolist())
    assert [one.support for one in found.classes] == support.tolist()
    assert found.calibration is not None
    assert found.calibration.log_loss == pytest.approx(
        sklearn.log_loss(truth, np.clip(table, 1e-7, 1), labels=range(classes)), rel=1e-5
    )
    if classes == 2:
        # scikit-learn's counts one of the two squares.
        assert found.calibration.brier == pytest.approx(2 * sklearn.brier_score_loss(truth, table[:, 1]))


def test_by_hand() -> None:
    found = measure([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], THREE)
    assert found.rows == 6
    assert found.correct == 3
    assert found.accuracy == 0.5
    assert found.confusion == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    negative, neutral, positive = found.classes
    assert (negative.precision, negative.recall, negative.support, negative.predicted) == (0.5, 2 / 3, 3, 4)
    assert (neutral.precision, neutral.recall, neutral.f1) == (0.5, 0.5, 0.5)
    assert (positive.precision, positive.recall, positive.f1) == (None, 0.0, 0.0)
    assert found.macro_recall == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert found.macro_f1 == pytest.approx((4 / 7 + 1 / 2) / 3)
    assert found.calibration is None


def test_labels_without_rows_are_excluded_from_the_mean() -> None:
    found = measure([0, 2], [0, 1], THREE)
    assert found.macro_recall == 0.5
    assert found.macro_f1 == 0.5
    assert found.classes[1].recall is None
    assert found.classes[1].precision == 0.0


class TestWilson:
    @pytest.mark.parametrize(
        ("successes", "trials", "low", "high"),
        # Newcombe 1998 (Statistics in Medicine 17, table I, method 3).
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_published_figures(self, successes: int, trials: int, low: float, high: float) -> None:
        assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)

    @given(st.integers(1, 10**7), st.floats(0, 1))
    def test_has_nominal_coverage(self, trials: int, share: float) -> None:
        successes = round(trials * share)
        low, high = wilson(successes, trials)
        assert 0 <= low <= successes / trials <= high <= 1
        assert high > low

    def test_is_symmetric(self) -> None:
        low, high = wilson(300, 359)
        assert wilson(59, 359) == pytest.approx((1 - high, 1 - low))

    @pytest.mark.parametrize("bad", [(1, 0), (-1, 5), (6, 5)])
    def test_invalid_counts(self, bad: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="not a proportion"):
            wilson(*bad)


class TestMacroRecallInterval:
    def test_agrees_with_drawing_rows(self) -> None:
        table = probabilities(300, 3, seed=2)
        random = np.random.default_rng(3)
        truth = (table.cumsum(axis=1) > random.random(300)[:, None]).argmax(axis=1)
        predicted = table.argmax(axis=1)
        drawn = (random.integers(0, 300, 300) for _ in range(1000))
        recalls = [measure(truth[rows], predicted[rows], THREE).macro_recall for rows in drawn]
        found = measure(truth, predicted, THREE)
        assert found.macro_recall_interval == pytest.approx(np.percentile(recalls, (2.5, 97.5)), abs=0.012)
        low, high = found.macro_recall_interval
        assert low < found.macro_recall < high

    def test_single_label_gives_the_binomial_interval(self) -> None:
        # 350 of 500: half a width of 1.96 √(0.7 · 0.3 / 500).
        found = measure([0] * 500, [0] * 350 + [1] * 150, ("a", "b"))
        half = 1.959964 * math.sqrt(0.7 * 0.3 / 500)
        assert found.macro_recall_interval == pytest.approx((0.7 - half, 0.7 + half), abs=0.006)

    def test_covers_the_population_19_times_in_20(self) -> None:
        # Recalls of 0.9 and 0.6, of labels of 80 and 20 % of the rows.
        random = np.random.default_rng(4)
        held = 0
        for _ in range(200):
            truth = (random.random(400) < 0.2).astype(int)
            right = random.random(400) < np.where(truth == 0, 0.9, 0.6)
            low, high = measure(truth, np.where(right, truth, 1 - truth), ("a", "b")).macro_recall_interval
            held += low <= 0.75 <= high
        assert 180 <= held <= 199

    def test_wrong_predictions_do_not_matter(self) -> None:
        first = measure([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], THREE)
        other = measure([0, 0, 0, 1, 1, 2], [0, 0, 2, 1, 2, 1], THREE)
        assert first.macro_recall_interval == other.macro_recall_interval

    def test_is_seeded_and_has_no_width_if_all_rows_agree(self) -> None:
        cells = np.array([[3, 7], [9, 5]])
        assert percentile_interval(cells, mean_recalls) == percentile_interval(cells, mean_recalls)
        assert percentile_interval(cells, mean_recalls) != percentile_interval(cells, mean_recalls, seed=2)
        assert measure([0, 1, 2], [0, 1, 2], THREE).macro_recall_interval == (1.0, 1.0)
        assert measure([0, 1], [1, 2], THREE).macro_recall_interval == (0.0, 0.0)
        assert measure([2], [2], THREE).macro_recall_interval == (1.0, 1.0)

    def test_labels_not_drawn_are_excluded_from_the_mean(self) -> None:
        cells = np.array([[[0, 4], [0, 0], [3, 1]], [[1, 1], [0, 0], [0, 0]]])
        assert mean_recalls(cells) == pytest.approx([0.625, 0.5])

    @settings(deadline=None, max_examples=50)
    @given(st.integers(1, 300), st.integers(2, 6), st.integers(0, 10**6))
    def test_invariants(self, rows: int, classes: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        truth, predicted = random.integers(0, classes, (2, rows))
        low, high = measure(truth, predicted, "abcdef"[:classes]).macro_recall_interval
        assert 0 <= low <= high <= 1

    def test_million_rows_and_a_thousand_labels(self) -> None:
        truth = np.arange(10**6) % 1000
        found = measure(
            truth, np.where(np.arange(10**6) % 3000 < 2000, truth, 0), list(map(str, range(1000)))
        )
        low, high = found.macro_recall_interval
        assert low < found.macro_recall < high < low + 0.01


class TestCalibration:
    def test_by_hand(self) -> None:
        # Confidences .95 (right), .95 (wrong), .55 (right): gaps |1 - 1.9| / 3 and |1 - .55| / 3.
        table = np.array([[0.95, 0.05], [0.95, 0.05], [0.45, 0.55]])
        found = measure([0, 1, 1], [0, 0, 1], THREE[::2], table).calibration
        assert found is not None
        assert found.ece == pytest.approx((0.9 + 0.45) / 3)
        assert found.log_loss == pytest.approx(-(math.log(0.95) + math.log(0.05) + math.log(0.55)) / 3)
        assert found.brier == pytest.approx((2 * 0.05**2 + 2 * 0.95**2 + 2 * 0.45**2) / 3)
        assert [one.rows for one in found.bins if one.rows] == [1, 2]
        assert found.bins[14].confidence == pytest.approx(0.95)
        assert found.bins[14].accuracy == 0.5
        assert found.bins[0].confidence is None
        assert found.bins[0].accuracy is None

    def test_bins_are_closed_above(self) -> None:
        table = np.array([[1.0, 0.0], [3 / 5, 2 / 5]])
        found = measure([0, 0], [0, 0], ("a", "b"), table).calibration
        assert found is not None
        assert [index for index, one in enumerate(found.bins) if one.rows] == [
            8,
            14,
        ]  # (8/15, 9/15], (14/15, 1]

    def test_confident_errors_have_finite_loss(self) -> None:
        found = measure([1], [0], ("a", "b"), np.array([[1.0, 0.0]])).calibration
        assert found is not None
        assert found.log_loss == pytest.approx(-math.log(1e-7))
        assert (found.brier, found.ece) == (2.0, 1.0)

    def test_float32_in_float64_out(self) -> None:
        table = probabilities(500, 3, seed=3)
        truth = table.argmax(axis=1)
        wide = measure(truth, truth, THREE, table).calibration
        narrow = measure(truth, truth, THREE, table.astype(np.float32)).calibration
        assert wide is not None
        assert narrow is not None
        assert narrow.log_loss == pytest.approx(wide.log_loss, abs=1e-6)

    def test_samples_from_the_probabilities_are_calibrated(self) -> None:
        table = probabilities(200_000, 3, seed=7)
        drawn = (table.cumsum(axis=1) > np.random.default_rng(8).random(len(table))[:, None]).argmax(axis=1)
        found = measure(drawn, table.argmax(axis=1), THREE, table).calibration
        assert found is not None
        assert found.ece < 0.005

    @settings(deadline=None, max_examples=50)
    @given(st.integers(1, 300), st.integers(2, 6), st.integers(0, 10**6))
    def test_invariants(self, rows: int, classes: int, seed: int) -> None:
        table = probabilities(rows, classes, seed)
        truth = np.random.default_rng(seed).integers(0, classes, rows)
        found = measure(truth, table.argmax(axis=1), [str(index) for index in range(classes)], table)
        assert found.calibration is not None
        assert len(found.calibration.bins) == CALIBRATION_BINS
        assert sum(one.rows for one in found.calibration.bins) == rows
        assert 0 <= found.calibration.ece <= 1
        assert 0 <= found.calibration.brier <= 2
        assert found.calibration.log_loss >= 0
        assert found.interval[0] <= found.accuracy <= found.interval[1]
        assert sum(map(sum, found.confusion)) == rows
        for one in found.calibration.bins:
            if one.confidence is not None:
                assert one.low - 1e-9 <= one.confidence <= one.high + 1e-9


class TestMeanCalibration:
    def test_single_set(self) -> None:
        table = probabilities(300, 3, seed=6)
        found = measure(np.arange(300) % 3, table.argmax(axis=1), THREE, table).calibration
        assert found is not None
        assert mean_calibration([found]).to_dict() == found.to_dict()

    def test_sets_are_weighted_equally(self) -> None:
        sets = []
        for rows, seed in ((900, 1), (30, 2)):
            table = probabilities(rows, 3, seed)
            truth = np.random.default_rng(seed).integers(0, 3, rows)
            found = measure(truth, table.argmax(axis=1), THREE, table).calibration
            # The same set four times over is the same set.
            again = measure(
                np.tile(truth, 4), np.tile(table.argmax(axis=1), 4), THREE, np.tile(table, (4, 1))
            )
            assert found is not None
            assert again.calibration is not None
            sets.append((found, again.calibration))
        (large, larger), (small, smaller) = sets
        mean, same = mean_calibration([large, small]), mean_calibration([larger, small])
        for name in ("ece", "log_loss", "brier"):
            of_both = (getattr(large, name) + getattr(small, name)) / 2
            assert getattr(mean, name) == pytest.approx(of_both)
            assert getattr(same, name) == pytest.approx(of_both)
        assert [one.rows for one in mean.bins] == [
            one.rows + other.rows for one, other in zip(large.bins, small.bins, strict=True)
        ]
        for one, other in zip(mean.bins, mean_calibration([large, smaller]).bins, strict=True):
            assert one.confidence == pytest.approx(other.confidence)
            assert one.accuracy == pytest.approx(other.accuracy)
            assert (one.confidence is None) == (one.rows == 0)

    def test_opposite_errors_do_not_cancel(self) -> None:
        table = np.tile([0.75, 0.25], (8, 1))
        zeros = np.zeros(8, int)
        sure = measure([0] * 4 + [1] * 4, zeros, THREE[:2], table).calibration
        unsure = measure([0] * 8, zeros, THREE[:2], table).calibration
        assert sure is not None
        assert unsure is not None
        assert mean_calibration([sure, unsure]).ece == pytest.approx(0.25)
        assert mean_calibration([sure, unsure]).bins[11].accuracy == pytest.approx(0.75)


class TestCompare:
    def test_by_hand(self) -> None:
        first = np.array([True] * 8 + [False] * 2)
        second = np.array([True] * 5 + [False] * 4 + [True])
        found = compare(first, second)
        assert (found.only_first, found.only_second) == (3, 1)
        assert found.difference == pytest.approx(0.2)
        half = 1.959964 * math.sqrt(4 - 4 / 10) / 10
        assert found.interval == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)

    def test_model_does_not_differ_from_itself(self) -> None:
        right = np.array([True, False, True])
        assert compare(right, right).interval == (0.0, 0.0)

    def test_pairing_narrows_the_interval(self) -> None:
        random = np.random.default_rng(0)
        first = random.random(1000) < 0.8
        second = first.copy()
        second[:20] = False
        low, high = compare(first, second).interval
        assert high - low < 0.03


def walk(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in walk(item)]
    return [leaf for item in value for leaf in walk(item)] if isinstance(value, list) else [value]


def test_to_dict_is_rounded_json() -> None:
    found = measure([0, 1, 1], [0, 0, 1], ("a", "b"), probabilities(3, 2, 1))
    data = found.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["accuracy"] == 0.666667
    assert all(leaf == round(leaf, 6) for leaf in walk(data) if isinstance(leaf, float))
    assert json.loads(json.dumps(compare(np.array([True]), np.array([False])).to_dict()))["only_first"] == 1


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([0], [0, 1])])
def test_rejects_invalid_arguments(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="predictions"):
        measure(truth, predicted, ("a", "b"))
