"""Sentences whose label nobody would dispute: the list is valid, and shipped models score above a floor."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest

from benchmarks.common_sense import KINDS, MODELS, by_kind, judge, sentences

#: Of all sentences whose label the model knows: some five points below the score in docs/results.md.
FLOORS = {"tweets": 0.84, "tweets-small": 0.82, "sentiment140": 0.88}


def test_list_is_valid() -> None:
    rows = sentences()
    assert len(rows) == 300
    assert Counter(one.label for one in rows) == {"negative": 100, "neutral": 100, "positive": 100}
    assert {one.kind for one in rows} == set(KINDS)
    folded = [" ".join(unicodedata.normalize("NFKC", one.text).casefold().split()) for one in rows]
    assert len(set(folded)) == len(rows)
    for one in rows:
        assert one.text == one.text.strip()
        assert 0 < len(one.text) <= 80


def test_no_kind_determines_its_label() -> None:
    """Except neutral ones and sarcasm."""
    counts = Counter((one.kind, one.label) for one in sentences())
    for kind in set(KINDS) - {"questions", "news", "sarcasm"}:
        negative, positive = counts[kind, "negative"], counts[kind, "positive"]
        assert min(negative, positive) >= 6
        assert abs(negative - positive) <= 4


@pytest.mark.parametrize("model", MODELS)
def test_shipped_models_have_common_sense(model: str) -> None:
    scores = by_kind(list(judge(model)))
    assert list(scores) == [*KINDS, "all"]
    assert scores["all"].right / scores["all"].rows >= FLOORS[model]
