"""A bundle's counts of its held-out rows: written, read, and everything else rejected."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sentstream.drift.distribution import BINS, LEAST_TEXTS, Distribution
from sentstream.drift.held_out import HeldOut

SCORES = np.linspace(0.5, 1.0, 1_500, dtype=np.float32)
TEXTS = Distribution.of({"bad": 500, "good": 1_000}, SCORES, 12_000, 300)
GOOD = HeldOut("validation rows of a.csv", TEXTS)


def test_round_trip() -> None:
    found = HeldOut.from_dict(json.loads(json.dumps(GOOD.to_dict())))
    assert found.to_dict() == GOOD.to_dict()
    assert (found.of, dict(found.texts.labels), found.texts.scores) == (GOOD.of, TEXTS.labels, TEXTS.scores)
    assert found.texts.score_sum == pytest.approx(TEXTS.score_sum, abs=0.005)
    assert str(found) == "1,500 validation rows of a.csv"


def test_score_sum_is_rounded() -> None:
    near = Distribution(TEXTS.labels, TEXTS.scores, TEXTS.score_sum + 1e-5, TEXTS.words, TEXTS.unknown)
    assert HeldOut(GOOD.of, near).to_dict() == GOOD.to_dict()


def test_unknown_words_not_counted() -> None:
    none = HeldOut(GOOD.of, Distribution.of(TEXTS.labels, SCORES, 12_000, None))
    assert HeldOut.from_dict(none.to_dict()).texts.unknown is None


def test_score_sum_may_slightly_exceed_the_count() -> None:
    """A softmax of float32 can be the next number above 1."""
    sure = np.full(1_000, np.nextafter(np.float32(1), np.float32(2)))
    found = HeldOut("rows", Distribution.of({"good": 1_000}, sure, 1, 0))
    assert HeldOut.from_dict(found.to_dict()).texts.scores[-1] == 1_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": None}, "of is not a line"),
        ({"of": ""}, "of is not a line"),
        ({"of": " rows"}, "of is not a line"),
        ({"of": "x" * 201}, "of is not a line"),
        ({"of": "\x1b[31m"}, "of is not a line"),
        ({"surprise": 1}, "keys"),
        ({"labels": [500, 1_000]}, "labels are not counts"),
        ({"labels": {"bad": 500, "good": True}}, "labels are not counts"),
        ({"labels": {"bad": -500, "good": 2_000}}, "labels are not counts"),
        ({"labels": {"bad": 500, "good": 999}}, "numbers of labels and scores differ"),
        ({"scores": [75] * (BINS + 1)}, "scores are not 20 counts"),
        ({"scores": [75.0] * BINS}, "scores are not 20 counts"),
        ({"score_sum": True}, "score_sum"),
        ({"score_sum": -1.0}, "score_sum"),
        ({"score_sum": 1_600.0}, "score_sum"),
        ({"score_sum": float("nan")}, "score_sum"),
        ({"words": 1.0}, "words and unknown"),
        ({"unknown": 12_001}, "words and unknown"),
        ({"unknown": "few"}, "words and unknown"),
        ({"labels": {"good": 20}, "scores": [1] * BINS, "score_sum": 9.0}, "20 texts are too few"),
    ],
)
def test_invalid_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeldOut.from_dict({**GOOD.to_dict(), **change})


@pytest.mark.parametrize("found", [None, [], "rows", {}, {"of": "rows"}])
def test_invalid_types(found: Any) -> None:
    with pytest.raises(ValueError, match=r"not"):
        HeldOut.from_dict(found)


def test_minimum_number_of_texts() -> None:
    labels, scores = {"good": LEAST_TEXTS}, np.full(LEAST_TEXTS, 0.9, np.float32)
    assert HeldOut.from_dict(HeldOut("rows", Distribution.of(labels, scores, 1, 0)).to_dict())
