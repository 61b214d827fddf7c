"""Counts of a model's outputs on texts, and the distance between two sets of counts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bundles import WORDS, make_bundle

from sentstream.drift.distances import PSI_LARGE, PSI_SOME, stability_index
from sentstream.drift.distribution import BINS, Distribution
from sentstream.model import Model
from sentstream.text import TextRules


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle = make_bundle(
        tmp_path_factory.mktemp("bundle") / "tiny", labels=("negative", "neutral", "positive")
    )
    return Model.load(str(bundle), provider="cpu", threads=1)


def seen(model: Model, texts: list[str | None], **more: float) -> Distribution:
    scorer = model.scorer(text_column="text", columns=[], **more)
    return scorer.score(pa.record_batch({"text": texts})).distribution


TEXTS = ["i love you", "zebra i zebra", None, "", "this is not so good", "qwerty", "great day !"]


def test_counts_match_the_rows(model: Model) -> None:
    table = model.score(TEXTS)
    scores = [score for score in table["sentiment_score"].to_pylist() if score is not None]
    found = seen(model, TEXTS)
    assert found.texts == 5 == sum(found.labels.values())
    assert dict(found.labels) == {
        label: table["sentiment"].to_pylist().count(label) for label in ("negative", "neutral", "positive")
    }
    assert found.mean_score == pytest.approx(np.mean(scores))
    for index, count in enumerate(found.scores):
        assert count == sum(index / BINS <= score < (index + 1) / BINS for score in scores)
    assert (found.words, found.unknown) == (3 + 3 + 5 + 1 + 3, 2 + 1)
    assert found.unknown_share == 3 / 15


def test_known_words_are_not_unknown(model: Model) -> None:
    known = [word for word in WORDS if word.isalpha()]
    assert seen(model, [" ".join(known)]).unknown == 0


def test_no_unknown_share_if_unknown_words_are_dropped(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "drops", rules=TextRules(unknown="drop"))
    found = seen(Model.load(str(bundle), provider="cpu"), TEXTS)
    assert (found.unknown, found.unknown_share) == (None, None)
    assert set(found.distances(found)) == {"labels", "scores"}
    assert (found + Distribution()).unknown is None


def test_uncertain_is_a_label(model: Model) -> None:
    assert seen(model, TEXTS, abstain=1.0).labels["uncertain"] == 5


def test_score_of_1_is_in_the_last_bin() -> None:
    found = Distribution.of({"positive": 1}, np.array([1.0], np.float32), 1, 0)
    assert found.scores == (*(BINS - 1) * (0,), 1)


def test_sums_match_all_texts_at_once(model: Model) -> None:
    parts = [seen(model, [text]) for text in TEXTS]
    together = sum(parts, Distribution())
    whole = seen(model, TEXTS)
    assert together.to_dict() == whole.to_dict() | {"score_sum": pytest.approx(whole.score_sum)}
    json.dumps(whole.to_dict())


def test_empty_distribution() -> None:
    empty = Distribution()
    assert (empty.texts, empty.mean_score, empty.unknown_share) == (0, None, None)


class TestDistances:
    def test_by_hand(self) -> None:
        """Of the definition, with half a row added to each cell."""
        one, other = (30.5 / 101, 70.5 / 101), (60.5 / 101, 40.5 / 101)
        expected = sum((b - a) * math.log(b / a) for a, b in zip(one, other, strict=True))
        assert stability_index([30, 70], [60, 40]) == pytest.approx(expected)

    def test_symmetric_and_finite_for_empty_bins(self) -> None:
        assert stability_index([5, 0], [1, 9]) == pytest.approx(stability_index([1, 9], [5, 0]))
        assert math.isfinite(stability_index([1000, 0], [0, 1000]))

    def test_same_source_is_close_and_another_is_far(self) -> None:
        chance = np.random.default_rng(0)

        def drawn(shares: list[float], rows: int) -> list[int]:
            return chance.multinomial(rows, shares).tolist()

        usual = [1 / BINS] * BINS
        for _ in range(50):
            assert stability_index(drawn(usual, 100_000), drawn(usual, 1_000)) < PSI_SOME
        skewed = np.linspace(1, 5, BINS) / np.linspace(1, 5, BINS).sum()
        for _ in range(50):
            assert stability_index(drawn(usual, 100_000), drawn(skewed.tolist(), 1_000)) > PSI_SOME
        assert stability_index([70, 30], [30, 70]) > PSI_LARGE

    def test_each_change_moves_one_distance(self) -> None:
        usual = Distribution({"a": 500, "b": 500}, (0, 1000, *(BINS - 2) * (0,)), 100.0, 10_000, 100)
        other = Distribution({"a": 500, "b": 500}, usual.scores, 100.0, 10_000, 5_000)
        far = usual.distances(other)
        assert far["words"] > PSI_LARGE
        assert far["labels"] == far["scores"] == 0

    def test_new_label_counts(self) -> None:
        usual = Distribution({"a": 1000}, (1000, *(BINS - 1) * (0,)))
        new = Distribution({"a": 500, "uncertain": 500}, usual.scores)
        assert usual.distances(new)["labels"] > PSI_LARGE
