"""Drift as Prometheus sees it: a sliding window, and its distance from a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sentstream.drift.distances import PSI_LARGE, PSI_SOME
from sentstream.drift.distribution import BINS, LEAST_TEXTS, Distribution
from sentstream.kafka.watch.drift import Baseline, Drift
from sentstream.kafka.watch.events import Committed


@dataclass
class Clock:
    now: float = 10_000.0

    def __call__(self) -> float:
        return self.now


def texts(good: int, bad: int, *, unknown: int = 0) -> Distribution:
    """Return texts of ten words each; good ones score 0.9, bad ones 0.6."""
    scores = [0] * BINS
    scores[18], scores[12] = good, bad
    return Distribution(
        {"bad": bad, "good": good}, tuple(scores), 0.9 * good + 0.6 * bad, 10 * (good + bad), unknown
    )


class Watched:
    """A window of a minute."""

    def __init__(self, reference: Distribution | None = None, **compared: Any) -> None:
        self.clock, self.registry = Clock(), CollectorRegistry()
        baseline = None if reference is None else Baseline(reference, **compared)
        self.drift = Drift(self.registry, 60.0, baseline, clock=self.clock)

    def add(self, seen: Distribution) -> None:
        self.drift.committed(Committed(seen.labels, seen=seen))

    def shown(self) -> Mapping[str, float]:
        return {
            "/".join([sample.name.removeprefix("sentstream_drift_"), *sample.labels.values()]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
        }


def test_nothing_seen() -> None:
    assert Watched(texts(1_000, 1_000)).shown() == {"window_seconds": 60.0, "texts": 0}


def test_shares_means_and_unknown_words_of_a_window() -> None:
    watched = Watched()
    watched.add(texts(20, 5, unknown=10))
    watched.add(texts(10, 15, unknown=40))
    assert watched.shown() == {
        "window_seconds": 60.0,
        "texts": 50,
        "label_share/good": 0.6,
        "label_share/bad": 0.4,
        "score_mean": pytest.approx(0.6 * 0.9 + 0.4 * 0.6),
        "unknown_word_share": 0.1,
    }


def test_old_texts_leave_the_window() -> None:
    watched = Watched()
    watched.add(texts(10, 0))
    watched.clock.now += 40
    watched.add(texts(0, 30))
    assert watched.shown()["texts"] == 40
    watched.clock.now += 25
    assert watched.shown()["texts"] == 30
    assert watched.shown()["label_share/bad"] == 1
    watched.clock.now += 60
    assert watched.shown() == {"window_seconds": 60.0, "texts": 0}


def test_long_run_keeps_no_more_than_its_window() -> None:
    watched = Watched()
    for _ in range(1_000):
        watched.add(texts(1, 0))
        watched.clock.now += 1
    assert watched.shown()["texts"] == pytest.approx(60, abs=1)
    assert len(watched.drift._slots) <= 61


def test_distance_from_the_reference_is_small_until_the_stream_changes() -> None:
    watched = Watched(texts(50_000, 50_000, unknown=10_000))
    watched.add(texts(LEAST_TEXTS, LEAST_TEXTS, unknown=200))
    near = watched.shown()
    assert {"psi/labels/reference", "psi/scores/reference", "psi/words/reference"} <= near.keys()
    assert all(near[f"psi/{of}/reference"] < PSI_SOME for of in ("labels", "scores", "words"))
    watched.clock.now += 61
    watched.add(texts(1_900, 100, unknown=10_000))
    far = watched.shown()
    assert all(far[f"psi/{of}/reference"] > PSI_LARGE for of in ("labels", "scores", "words"))


def test_no_distance_with_too_few_texts() -> None:
    watched = Watched(texts(50_000, 50_000))
    watched.add(texts(LEAST_TEXTS - 1, 0))
    assert not any(name.startswith("psi") for name in watched.shown())
    watched.add(texts(1, 0))
    assert watched.shown()["psi/labels/reference"] > PSI_LARGE


def test_without_a_reference_there_is_no_distance() -> None:
    watched = Watched()
    watched.add(texts(LEAST_TEXTS, 0))
    assert not any(name.startswith("psi") for name in watched.shown())


def test_unknown_words_that_are_not_counted_are_not_shown() -> None:
    watched = Watched(texts(5_000, 5_000))
    watched.add(Distribution({"good": 2_000}, (2_000, *(BINS - 1) * (0,)), 100.0, 20_000, None))
    assert "unknown_word_share" not in watched.shown()
    assert {name for name in watched.shown() if name.startswith("psi")} == {
        "psi/labels/reference",
        "psi/scores/reference",
    }


def test_baseline_is_named_and_abstaining_omits_labels() -> None:
    watched = Watched(texts(5_000, 5_000), name="training", labels=False)
    watched.add(texts(1_000, 1_000))
    assert set(watched.drift.distances()) == {"scores", "words"}
    assert {name for name in watched.shown() if name.startswith("psi")} == {
        "psi/scores/training",
        "psi/words/training",
    }
