"""Baselines: the lexicons' rules and published figures, TF-IDF compared with scikit-learn's own, no leaks."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import DataError, MissingExtraError
from sentstream.text import TextRules, Tokens, tokenize
from sentstream_train.data.labeled import LabeledData, SourceInfo, read_labeled
from sentstream_train.evaluate.baselines.lexicons import (
    LEXICONS,
    Lexicon,
    applies_to,
    score_texts,
    textblob_scores,
    vader_scores,
)
from sentstream_train.evaluate.baselines.run import LINEAR, Baseline, JudgedRows, places, run_baselines
from sentstream_train.evaluate.baselines.tfidf import TfidfClassifier, deal_folds

#: Looked for, not imported: with NLTK, which TextBlob brings, that takes every worker two seconds.
NEEDED = ("sklearn", "vaderSentiment", "textblob")
pytestmark = pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason=f"needs {', '.join(NEEDED)}")

VADER, TEXTBLOB = LEXICONS
TWO, THREE = ("negative", "positive"), ("negative", "neutral", "positive")


def tokens_of(texts: list[str]) -> Tokens:
    return tokenize(pa.array(texts, pa.string()), TextRules(), 1000)[0]


def judged(texts: list[str], truth: list[int], labels: tuple[str, ...] = TWO) -> JudgedRows:
    return JudgedRows(
        pa.array(texts, pa.string()), np.array(truth, np.int32), labels, np.zeros(len(texts), np.bool_)
    )


def labeled(texts: list[str | None], labels: list[str]) -> LabeledData:
    names = tuple(sorted(set(labels)))
    numbers = np.array([names.index(label) for label in labels], np.int32)
    source = SourceInfo("more.csv", len(texts), len(texts), "0" * 64)
    return LabeledData(pa.array(texts, pa.string()), numbers, names, None, np.arange(len(texts)), (source,))


def by_name(baselines: tuple[Baseline, ...]) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in baselines}


class TestLexicons:
    def test_vader_published_scores(self) -> None:
        # The README of vaderSentiment, "Code Examples".
        texts = [
            "VADER is smart, handsome, and funny.",
            "VADER is VERY SMART, handsome, and FUNNY!!!",
            "The book was good.",
            "Today only kinda sux! But I'll get by, lol",
            "Not bad at all",
        ]
        assert vader_scores(texts) == pytest.approx([0.8316, 0.9342, 0.4404, 0.5249, 0.431])

    def test_textblob_published_scores(self) -> None:
        text = "Textblob is amazingly simple to use. What great fun!"
        assert textblob_scores([text]) == pytest.approx([0.39166666666666666])

    @pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: lexicon.name)
    def test_any_text_has_a_score(self, lexicon: Lexicon) -> None:
        found = score_texts(
            lexicon, ["", " ", "\ufffd", "😂" * 50, "@a http://b #c", "I love it", "I hate it"]
        )
        assert found.dtype == np.float64
        assert (np.abs(found) <= 1).all()
        assert found[-2] > 0 > found[-1]

    @pytest.mark.parametrize(
        ("score", "vader", "textblob"),
        [
            (0.05, "positive", "positive"),
            (0.049, "neutral", "positive"),
            (0.0, "neutral", "neutral"),
            (-0.049, "neutral", "negative"),
            (-0.05, "negative", "negative"),
        ],
    )
    def test_three_labels(self, score: float, vader: str, textblob: str) -> None:
        for lexicon, expected in ((VADER, vader), (TEXTBLOB, textblob)):
            (found,) = lexicon.labels(np.array([score]), THREE)
            assert THREE[found] == expected

    @pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: lexicon.name)
    def test_two_labels_use_the_sign(self, lexicon: Lexicon) -> None:
        scores = np.array([-1, -0.001, 0.0, 0.001, 1])
        assert lexicon.labels(scores, TWO).tolist() == [0, 0, 1, 1, 1]
        assert lexicon.labels(scores, TWO[::-1]).tolist() == [1, 1, 0, 0, 0]

    def test_missing_label_falls_back_to_neutral(self) -> None:
        scores = np.array([-0.5, 0.0, 0.5])
        assert VADER.labels(scores, ("negative", "neutral")).tolist() == [0, 1, 1]
        assert VADER.labels(scores, ("neutral", "positive")).tolist() == [0, 0, 1]

    @pytest.mark.parametrize(
        ("labels", "known"),
        [
            (TWO, True),
            (THREE, True),
            (("positive", "negative"), True),
            (("0", "4"), False),
            (("positive",), False),
        ],
    )
    def test_supported_labels(self, labels: tuple[str, ...], known: bool) -> None:
        assert applies_to(labels) is known

    @pytest.mark.slow
    def test_processes_agree_with_one(self) -> None:
        texts = [f"{word} day {number}" for number in range(1500) for word in ("good", "bad", "grey")]
        assert np.array_equal(score_texts(VADER, texts, many=1), score_texts(VADER, texts))

    def test_missing_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "vaderSentiment.vaderSentiment", None)
        with pytest.raises(MissingExtraError, match=r"vaderSentiment.*\[train\]"):
            vader_scores(["hi"])


class TestTfidf:
    TEXTS = (
        "love this day", "love love it", "what a great day !", "so great", "happy :)", "i am happy today",
        "hate this day", "hate hate it", "what an awful day !", "so awful", "sad :(", "i am sad today",
    )  # fmt: skip
    LABELS = np.repeat(np.array([1, 0], np.int32), 6)

    def test_agrees_with_scikit_learns_vectorizer(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        tokens = tokens_of(list(self.TEXTS))
        flat, bounds = tokens.text.to_pylist(), tokens.offsets.tolist()
        lists = [flat[bounds[row] : bounds[row + 1]] for row in range(len(self.TEXTS))]
        theirs = TfidfVectorizer(
            tokenizer=lambda words: words,
            token_pattern=None,
            lowercase=False,
            ngram_range=(1, 2),
            sublinear_tf=True,
        )
        features = theirs.fit_transform(lists)
        expected = LogisticRegression(tol=1e-6).fit(features, self.LABELS).predict_proba(features)
        found = TfidfClassifier(2).fit(tokens, self.LABELS)
        counts = found._counts(tokens)
        assert counts.nnz == features.nnz
        assert len(np.unique(counts.indices)) == features.shape[1]
        assert found.probabilities(tokens) == pytest.approx(expected, abs=0.02)  # as far as the solver goes

    def test_probabilities(self) -> None:
        model = TfidfClassifier(3).fit(tokens_of(list(self.TEXTS)), self.LABELS)
        table = model.probabilities(tokens_of(["love it", "hate it", "never seen before", ""]))
        assert table.shape == (4, 3)
        assert table.sum(axis=1) == pytest.approx(1)
        assert (table[:, 2] == 0).all()  # a label that it never saw
        assert table[0, 1] > 0.5 > table[1, 1]
        assert table[2] == pytest.approx(table[3])  # nothing is known of either

    def test_same_seed_gives_the_same(self) -> None:
        tokens = tokens_of(list(self.TEXTS))
        first, second = (TfidfClassifier(2).fit(tokens, self.LABELS).probabilities(tokens) for _ in range(2))
        assert np.array_equal(first, second)


class TestFolds:
    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=120),
        st.integers(2, 6),
        st.integers(0, 100),
    )
    def test_groups_stay_together(self, rows: list[tuple[int, int]], folds: int, seed: int) -> None:
        groups = np.array([group for group, _ in rows], np.uint64)
        labels = np.array([label for _, label in rows], np.int32)
        found = deal_folds(groups, labels, folds, seed)
        for group in np.unique(groups):
            assert len(np.unique(found[groups == group])) == 1
        assert found.min() >= 0
        assert found.max() < folds
        # Groups are dealt one by one, so no fold has two more than another.
        _, first = np.unique(groups, return_index=True)
        sizes = np.bincount(found[first], minlength=folds)
        assert sizes.max() - sizes.min() <= 1

    def test_each_fold_has_its_share_of_each_label(self) -> None:
        labels = np.repeat(np.array([0, 1, 2], np.int32), [100, 50, 10])
        found = deal_folds(np.arange(160, dtype=np.uint64), labels, 5, seed=1)
        for label, share in ((0, 20), (1, 10), (2, 2)):
            assert np.bincount(found[labels == label], minlength=5).tolist() == [share] * 5

    def test_folds_depend_on_the_seed(self) -> None:
        groups, labels = np.arange(50, dtype=np.uint64), np.zeros(50, np.int32)
        assert np.array_equal(deal_folds(groups, labels, 5, 1), deal_folds(groups, labels, 5, 1))
        assert not np.array_equal(deal_folds(groups, labels, 5, 1), deal_folds(groups, labels, 5, 2))


class TestRunBaselines:
    GOOD, BAD = ["love", "great", "happy", "fun"], ["hate", "awful", "sad", "boring"]

    def rows(self, count: int = 60) -> JudgedRows:
        texts = [f"{(self.GOOD if row % 2 else self.BAD)[row % 4]} number {row}" for row in range(count)]
        return judged(texts, [row % 2 for row in range(count)])

    def test_baselines_are_evaluated_on_the_same_rows(self) -> None:
        found = by_name(run_baselines(self.rows()))
        assert list(found) == ["VADER", "TextBlob", LINEAR]
        for one in found.values():
            assert one.metrics is not None
            assert one.comparison is not None
            assert one.metrics.rows == 60
            assert one.metrics.accuracy > 0.9
            # The model was wrong everywhere.
            assert one.comparison.difference == pytest.approx(-one.metrics.accuracy)
        assert found["VADER"].metrics
        assert found["VADER"].metrics.calibration is None
        assert found[LINEAR].metrics
        assert found[LINEAR].metrics.calibration is not None
        assert "5 folds" in found[LINEAR].method

    def test_texts_are_never_on_both_sides_of_a_fold(self) -> None:
        # Labels are drawn; only who learned a row's twin by heart would do better than chance.
        random = np.random.default_rng(3)
        words = [f"w{number}" for number in range(400)]
        texts = [" ".join(random.choice(words, 6)) for _ in range(150)]
        truth = random.integers(0, 2, 150).tolist()
        # The twin is addressed to somebody, which makes it no other text.
        twins = judged([*texts, *(f"@somebody {text}" for text in texts)], [*truth, *truth])
        metrics = by_name(run_baselines(twins))[LINEAR].metrics
        assert metrics is not None
        assert metrics.accuracy < 0.65

    def test_lexicons_are_skipped_for_other_labels(self) -> None:
        rows = self.rows()
        found = by_name(run_baselines(JudgedRows(rows.text, rows.truth, ("angry", "joyful"), rows.right)))
        for name in ("VADER", "TextBlob"):
            assert found[name].metrics is None
            assert found[name].comparison is None
            assert found[name].method.startswith("skipped: ")
        assert found[LINEAR].metrics is not None

    @pytest.mark.parametrize(
        ("texts", "truth"),
        [
            (["good", "bad"], [1, 0]),
            (["good", "better", "best"], [1, 1, 1]),
            (["a b", "a b", "c", "d"], [0, 0, 1, 1]),  # the fold without a b is all of one label
        ],
    )
    def test_too_few_rows_to_cross_validate(self, texts: list[str], truth: list[int]) -> None:
        found = by_name(run_baselines(judged(texts, truth)))[LINEAR]
        assert found.metrics is None
        assert found.method.startswith("skipped: too few rows")

    def test_trained_on_other_rows(self) -> None:
        rows = self.rows(8)
        more = labeled(
            [*(f"{word} thing {k}" for k in range(9) for word in (*self.GOOD, *self.BAD)), None, "  ", "meh"],
            [*(["positive"] * 4 + ["negative"] * 4) * 9, "positive", "negative", "neutral"],
        )
        found = by_name(run_baselines(rows, more))[LINEAR]
        assert found.method == "trained on 72 rows of more.csv"  # blank rows and other labels are left out
        assert found.metrics is not None
        assert found.metrics.accuracy == 1.0

    def test_evaluation_texts_are_removed_from_training_rows(self) -> None:
        rows = self.rows(40)
        texts = rows.text.to_pylist()
        wrong = ["negative" if truth else "positive" for truth in rows.truth.tolist()]
        more = labeled(
            [*(f"@you {text}" for text in texts), *(f"{word} thing" for word in (*self.GOOD, *self.BAD))],
            [*wrong, *["positive"] * 4, *["negative"] * 4],
        )
        found = by_name(run_baselines(rows, more))[LINEAR]
        assert found.method == "trained on 8 rows of more.csv, 40 left out because their text is judged here"
        assert found.metrics is not None
        assert found.metrics.accuracy > 0.9

    def test_no_training_rows(self) -> None:
        with pytest.raises(DataError, match=r"more\.csv: 2 usable rows .* labeled negative, positive"):
            run_baselines(self.rows(), labeled(["good one", "other good one"], ["positive"] * 2))

    def test_json(self) -> None:
        for one in run_baselines(self.rows(20)):
            data = one.to_dict()
            assert set(data) == {"name", "method", "metrics", "comparison"}
            assert data["metrics"]["rows"] == 20
        skipped = Baseline("x", "skipped: y").to_dict()
        assert skipped == {"name": "x", "method": "skipped: y", "metrics": None, "comparison": None}

    def test_places(self) -> None:
        assert places(("neutral", "positive", "odd"), THREE).tolist() == [1, 2, -1]


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
@pytest.mark.parametrize(
    # Rows that VADER, TextBlob and the linear classifier (at least) get right.
    ("labels", "vader", "textblob", "linear"),
    [(TWO, 285, 254, 285), (THREE, 359, 324, 345)],
)
def test_real_tweets(labels: tuple[str, ...], vader: int, textblob: int, linear: int) -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    data = read_labeled(folder / "sentiment140/test.parquet", labels=labels)
    rows = JudgedRows(data.text, data.label, data.labels, np.ones(len(data), np.bool_))
    correct = {one.name: one.metrics.correct for one in run_baselines(rows) if one.metrics}
    assert (correct["VADER"], correct["TextBlob"]) == (vader, textblob)
    assert correct[LINEAR] >= linear


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
@pytest.mark.slow
def test_trained_on_other_real_tweets() -> None:
    """A set whose rows are mostly in the training data, too: these are not evaluated."""
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    data = read_labeled(folder / "semeval/validation.parquet")
    rows = JudgedRows(data.text, data.label, data.labels, np.ones(len(data), np.bool_))
    found = by_name(run_baselines(rows, read_labeled(folder / "semeval/train.parquet")))[LINEAR]
    left_out = re.search(r"([\d,]+) left out because their text is judged here", found.method)
    assert left_out
    assert int(left_out[1].replace(",", "")) >= 1_750
    assert found.metrics is not None
    assert 0.55 < found.metrics.accuracy < 0.72  # with the leak it would be far beyond
