"""What counts as an improvement: more than chance, no row lost, and not just giving up on the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentstream_train.measure.improvement import errors_above_guess, reason_not_better

seeds = st.integers(0, 2**31)


def model(truth: Any, accuracy: float, sure: float, random: np.random.Generator, classes: int = 3) -> Any:
    """Probabilities that are right in so many rows, with so much confidence."""
    given_labels = np.where(
        random.random(len(truth)) < accuracy, truth, random.integers(0, classes, len(truth))
    )
    rest = (1 - sure) / (classes - 1)
    return np.where(given_labels[:, None] == np.arange(classes), sure, rest).astype(np.float32)


@given(seeds)
def test_clear_improvement_is_one_way(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, 400).astype(np.int32)
    worse, better = (model(truth, accuracy, 0.7, random) for accuracy in (0.4, 0.8))
    assert reason_not_better(worse, better, truth) == ""
    assert reason_not_better(better, worse, truth) == "no lower loss"
    assert reason_not_better(better, better, truth) == "no lower loss"


@given(seeds)
def test_few_more_correct_rows_are_chance(seed: int) -> None:
    """Of 20 rows one comes out right that did not; all others are as before, a little less sure."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, 20).astype(np.int32)
    before = model(truth, 1.0, 0.8, random, 2)
    before[0] = before[0, ::-1]
    after = model(truth, 1.0, 0.79, random, 2)
    assert reason_not_better(before, after, truth) == "a lower loss by chance only"


def test_lost_rows_count_regardless_of_loss() -> None:
    truth = np.zeros(100, np.int32)
    truth[50:] = 1
    before = np.where(truth[:, None] == np.arange(2), 0.55, 0.45).astype(np.float32)
    after = np.where(truth[:, None] == np.arange(2), 0.95, 0.05).astype(np.float32)
    assert reason_not_better(before, after, truth) == ""
    after[0] = 0.45, 0.55
    assert reason_not_better(before, after, truth) == "fewer rows right"
    # Where the other class counts ten times as much, the row that was lost is outweighed.
    before[99] = 0.55, 0.45
    weights = np.where(truth == 1, np.float32(10), np.float32(1))
    assert reason_not_better(before, after, truth, weights) == ""


@pytest.mark.parametrize("shares", [(0.34, 0.33, 0.33), (0.6, 0.3, 0.1)])
def test_giving_up_on_random_labels_is_not_progress(shares: tuple[float, ...]) -> None:
    """For random labels, predicting their frequencies has the lowest possible loss."""
    taken = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.choice(3, 300, p=shares).astype(np.int32)
        before = model(random.integers(0, 3, 300), 0.9, 0.9, random)  # sure of something else
        resigned = np.tile(np.float32(shares), (300, 1)) + random.normal(0, 0.05, (300, 3)).astype(np.float32)
        taken += not reason_not_better(before, np.clip(resigned, 0.01, 1), truth)
        exact = np.tile(np.float32(shares), (300, 1))
        assert reason_not_better(before, exact, truth) in ("no better than a guess", "fewer rows right")
        assert reason_not_better(before, exact, truth, errors=0) != "no better than a guess"
    assert taken <= 10  # two standard errors: 2.3 % of 200


def test_constant_guess_is_not_better_than_chance() -> None:
    random = np.random.default_rng(0)
    truth = random.choice(3, 500, p=(0.7, 0.2, 0.1)).astype(np.int32)
    guesses = [model(random.choice(3, 500, p=(0.5, 0.3, 0.2)), 1.0, 0.9, random) for _ in range(500)]
    errors = np.array([errors_above_guess(one, truth) for one in guesses])
    assert abs(errors.mean()) < 0.2
    assert errors.std() == pytest.approx(1, abs=0.15)  # so they are standard errors
    assert errors_above_guess(model(truth, 1.0, 0.9, random), truth) > 10
    assert errors_above_guess(np.tile(np.float32([1, 0, 0]), (500, 1)), truth) == 0  # always the same
    assert errors_above_guess(np.full((500, 3), np.nan, np.float32), truth) == 0


def test_rows_without_words_do_not_count() -> None:
    truth = np.array([0, 1] * 50, np.int32)
    before = np.full((100, 2), 0.5, np.float32)
    after = np.where(truth[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)
    after[:10] = before[:10] = np.nan
    assert reason_not_better(before, after, truth) == ""
    before[:] = np.nan
    assert reason_not_better(before, after, truth) == "no held-out row has a word"
