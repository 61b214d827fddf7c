"""Intervals, drift, sums by key and keys, against closed forms, SciPy and brute force."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from sentstream.analyze.intervals import difference_interval, mean_interval, paired_interval, student, wilson
from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.analyze.keys import rough_keys, text_keys
from sentstream.analyze.repeats import TextRepeats
from sentstream.analyze.sample import TextSample
from sentstream.analyze.strongest import Example, Strongest, shown_text
from sentstream.drift.distances import jensen_shannon, stability_index

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=8).filter(any)


class TestIntervals:
    @pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 15, 29, 100, 100_000])
    def test_student(self, freedom: int) -> None:
        assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.01)

    def test_mean_interval(self) -> None:
        values = np.array([0.1, 0.5, -0.3, 0.2, 0.9, 0.4])
        ends = mean_interval(6, float(values.sum()), float((values**2).sum()), -1, 1)
        theirs = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
        assert ends == pytest.approx(theirs, abs=2e-3)
        assert mean_interval(1, 0.5, 0.25, -1, 1) == (-1, 1)
        assert mean_interval(2, 0.0, 2.0, -1, 1) == (-1, 1)  # cut at the scale

    def test_difference_interval(self) -> None:
        """The example of Newcombe (1998), table II: 56/70 and 48/80, method 10."""
        low, high = difference_interval((48, 80), (56, 70))
        assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)

    def test_paired_interval_is_narrower_if_few_rows_change(self) -> None:
        low, high = paired_interval(12, 8, 1000)
        assert low < 0.004 < high
        apart = difference_interval((500, 1000), (504, 1000))
        assert high - low < (apart[1] - apart[0]) / 4


class TestDrift:
    @settings(deadline=None)
    @given(COUNTS)
    def test_identical_distributions_have_no_drift(self, counts: list[int]) -> None:
        assert stability_index(counts, counts) == 0
        assert jensen_shannon(counts, counts) == pytest.approx(0, abs=1e-12)

    @settings(deadline=None)
    @given(st.integers(2, 6).flatmap(lambda size: st.tuples(*[
        st.lists(st.integers(0, 1000), min_size=size, max_size=size).filter(any)] * 2)))  # fmt: skip
    def test_is_symmetric_and_agrees_with_scipy(self, pair: tuple[list[int], list[int]]) -> None:
        before, after = pair
        assert stability_index(before, after) == pytest.approx(stability_index(after, before))
        assert stability_index(before, after) >= 0
        theirs = distance.jensenshannon(before, after, base=2) ** 2
        assert jensen_shannon(before, after) == pytest.approx(theirs, abs=1e-9)


class TestKeyedSums:
    @settings(deadline=None)
    @given(
        st.lists(st.lists(st.tuples(st.sampled_from(["a", "b", None, ""]), st.integers(-5, 5)))),
        st.integers(1, 10),
    )
    def test_sums_match_a_plain_count(self, portions: list[list[tuple[str, int]]], every: int) -> None:
        sums = KeyedSums(pa.string(), 1, merge_at=every)
        wanted: dict[str, int] = {}
        for portion in portions:
            sums.add(
                pa.array([key for key, _ in portion], pa.string()),
                np.array([[one] for _, one in portion], np.int64).reshape(-1, 1),
            )
            for key, one in portion:
                wanted[key] = wanted.get(key, 0) + one
        keys, found = sums.merged()
        assert dict(zip(keys.to_pylist(), found[:, 0].tolist(), strict=True)) == wanted


class TestRepeats:
    @settings(deadline=None)
    @given(st.lists(st.text(max_size=30)))
    def test_keys_do_not_depend_on_neighbors(self, texts: list[str]) -> None:
        texts = [text.encode("utf-8", "replace").decode() for text in texts]
        for make in (rough_keys, text_keys):
            keys = make(pa.array([*texts, "x", *texts], pa.string()).slice(0, 2 * len(texts) + 1))
            again = make(pa.array(texts, pa.large_string()))
            assert keys[: len(texts)].tolist() == keys[len(texts) + 1 :].tolist() == again.tolist()
            if make is text_keys:
                assert len(set(keys[: len(texts)].tolist())) == len(set(texts))

    def test_few_texts_are_counted_exactly(self) -> None:
        repeats = TextRepeats()
        for texts in (["a", "b", "a"], ["a", "a long text that goes on", "a long text that goes in"]):
            repeats.add(pa.array(texts, pa.large_string()))
        found = repeats.repeats()
        assert (found.distinct, found.repeated, found.most, found.sampled) == (4, 2, 3, 1)

    def test_many_texts_are_estimated_in_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.analyze.repeats._MOST_TEXTS", 2_000)
        repeats = TextRepeats()
        for start in range(0, 60_000, 6_000):  # each text of the first half comes twice
            numbers = [str(number % 40_000) for number in range(start, start + 6_000)]
            repeats.add(pa.array(numbers, pa.large_string()))
            assert repeats._sums.known <= 2_000
        found = repeats.repeats()
        assert found.sampled < 0.1
        assert found.distinct == pytest.approx(40_000, rel=0.05)
        assert found.distinct + found.repeated == 60_000

    def test_texts_with_equal_ends_are_distinguished(self) -> None:
        texts = [f"{'same ' * 10}{number:05}{' middle' * 10}" for number in range(500)]
        repeats = TextRepeats()
        repeats.add(pa.array(texts, pa.large_string()))
        assert repeats.repeats().distinct == 500


class TestSample:
    def test_every_row_is_equally_likely(self) -> None:
        sample = TextSample(1_000)
        for start in range(0, 50_000, 5_000):
            rows = range(start, start + 5_000)
            sample.add(pa.array(map(str, rows), pa.large_string()), np.arange(start, start + 5_000))
        texts, label = sample.drawn()
        assert texts.to_pylist() == [str(one) for one in label]
        assert 400 <= len(texts) <= 1_000
        thirds = np.histogram(label, 5, (0, 50_000))[0]
        assert stats.chisquare(thirds).pvalue > 1e-3

    def test_sample_has_fewer_long_texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.analyze.sample._MOST_BYTES", 100_000)
        sample = TextSample()
        for _ in range(20):
            sample.add(pa.array(["x" * 1000] * 50, pa.large_string()), np.zeros(50, np.int64))
        assert len(sample.drawn()[0]) <= 100


class TestStrongest:
    @settings(deadline=None)
    @given(
        st.lists(
            st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abcdefghij")), max_size=40), max_size=6
        )
    )
    def test_keeps_the_highest_values(self, portions: list[list[tuple[float, str]]]) -> None:
        kept = Strongest(3)
        best: dict[str, float] = {}
        for portion in portions:
            texts = [text for _, text in portion]
            kept.add(
                np.array([figure for figure, _ in portion]),
                texts.__getitem__,
                lambda index, texts=texts: Example(texts[index], "l", None, (), "f", index),  # type: ignore[misc]
            )
            for figure, text in portion:
                best[text] = max(figure, best.get(text, -2.0))
        found = [figure for figure, _ in kept.examples]
        assert len({one.text for one in kept.found()}) == len(kept.found()) == min(3, len(best))
        assert found == sorted(found, reverse=True)
        if len(best) <= 3:
            assert {one.text for one in kept.found()} == set(best)

    def test_repeated_text_appears_once(self) -> None:
        kept = Strongest(2)
        texts = ["spam"] * 1000 + ["ham", "eggs"]
        figure = np.array([0.9] * 1000 + [0.8, 0.7])
        kept.add(figure, texts.__getitem__, lambda index: Example(texts[index], "l", None, (), "f", index))
        assert [one.text for one in kept.found()] == ["spam", "ham"]

    def test_personal_data_is_masked(self) -> None:
        shown = shown_text("RT @some_one: write to a.b@c.org or www.x.example/y?z=1 #tag")
        assert shown == "RT @(name): write to (address) or (link) #tag"
        assert len(shown_text("x" * 5000)) == 400


def test_wilson_interval_stays_within_bounds() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
