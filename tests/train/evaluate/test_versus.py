"""Two models on the same rows: McNemar's test, the bootstrap, models with different labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_rows import THREE, drawn_rows, judged_rows

from sentstream.errors import DataError, UsageError
from sentstream.text import TextPath, TextRules, Vocabulary
from sentstream_train.data.labeled import SourceInfo
from sentstream_train.evaluate.versus import bootstrap, check_labels, macro_recalls, mcnemar, run_against
from sentstream_train.measure.metrics import measure
from sentstream_train.store.predictor import Probabilities, Progress


class Fixed:
    """A model with fixed probabilities for each text."""

    text = TextPath(TextRules(), Vocabulary(["<pad>", "<unk>"]))

    def __init__(self, table: npt.ArrayLike, labels: tuple[str, ...], name: str = "fixed") -> None:
        self.table, self.labels = np.asarray(table, np.float32), labels
        self.about: dict[str, Any] = {"name": name, "labels": list(labels)}

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        if progress:
            progress(len(text), len(text))
        return self.table[[int(one.as_py().split()[1]) for one in text]]


class TestMcNemar:
    @pytest.mark.parametrize(
        ("first", "second", "method", "p"),
        [
            (0, 0, "exact", 1.0),
            (1, 0, "exact", 1.0),
            (5, 5, "exact", 1.0),
            (6, 0, "exact", 2 / 64),
            (1, 9, "exact", 22 / 1024),
            (24, 0, "exact", 2 / 2**24),
            (59, 121, "chi-squared", 5.45e-6),  # (|59 - 121| - 1)² / 180 = 20.67 on one degree of freedom
            (13, 13, "chi-squared", 1.0),
        ],
    )
    def test_by_hand(self, first: int, second: int, method: str, p: float) -> None:
        found = mcnemar(first, second)
        assert found.method == method
        assert found.p == pytest.approx(p, rel=2e-2)
        assert (found.statistic is None) == (method == "exact")

    def test_chi_squared_has_continuity_correction(self) -> None:
        assert mcnemar(59, 121).statistic == pytest.approx(61**2 / 180)

    @given(st.integers(0, 500), st.integers(0, 500))
    def test_invariants(self, first: int, second: int) -> None:
        found = mcnemar(first, second)
        assert 0 <= found.p <= 1
        assert found == mcnemar(second, first)
        if first > second:
            assert mcnemar(first, second).p <= mcnemar(first - 1, second + 1).p + 1e-12 or first - second < 2

    def test_agrees_with_scipy(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        for first, second in ((3, 11), (0, 24), (12, 12), (40, 60), (300, 250)):
            found = mcnemar(first, second)
            if found.statistic is None:
                wanted = stats.binomtest(first, first + second).pvalue
            else:
                wanted = stats.chi2.sf(found.statistic, 1)
            assert found.p == pytest.approx(wanted)


def cells_of(
    truth: npt.NDArray[Any], first: npt.NDArray[Any], second: npt.NDArray[Any], labels: int
) -> npt.NDArray[np.int64]:
    cells = np.zeros((labels, 2, 2), np.int64)
    np.add.at(cells, (truth, first.astype(int), second.astype(int)), 1)
    return cells


class TestBootstrap:
    def test_macro_recall_of_cells_matches_rows(self) -> None:
        first, second = drawn_rows(200, 3, seed=1), drawn_rows(200, 3, seed=2)
        right = second.predicted == first.truth
        (found,) = macro_recalls(cells_of(first.truth, first.right, right, 3)[None])
        wanted = [measure(first.truth, one.predicted, "abc").macro_recall for one in (first, second)]
        assert found == pytest.approx(wanted)

    def test_labels_without_rows_are_excluded_from_the_mean(self) -> None:
        cells = np.array([[[0, 0], [0, 4]], [[0, 0], [0, 0]], [[2, 0], [2, 0]]])
        assert macro_recalls(cells[None])[0] == pytest.approx([0.75, 0.5])

    def test_agrees_with_resampling_rows(self) -> None:
        drawn = drawn_rows(300, 2, seed=4)
        second = drawn.right ^ (np.random.default_rng(5).random(300) < 0.15)
        random = np.random.default_rng(6)
        differences = []
        for _ in range(1000):
            rows = random.integers(0, 300, 300)
            cells = cells_of(drawn.truth[rows], drawn.right[rows], second[rows], 2)
            recalls = macro_recalls(cells[None])[0]
            differences.append(recalls[0] - recalls[1])
        wanted = np.percentile(differences, (2.5, 97.5))
        found = bootstrap(cells_of(drawn.truth, drawn.right, second, 2))
        assert found == pytest.approx(wanted, abs=0.012)

    def test_is_seeded(self) -> None:
        cells = np.array([[[5, 3], [9, 40]], [[7, 8], [2, 30]]])
        assert bootstrap(cells) == bootstrap(cells)
        assert bootstrap(cells) != bootstrap(cells, seed=2)

    def test_equal_models_do_not_differ(self) -> None:
        assert bootstrap(np.array([[[5, 0], [0, 40]], [[7, 0], [0, 30]]])) == (0.0, 0.0)


class TestModels:
    def test_by_hand(self) -> None:
        judged = judged_rows([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
        other = Fixed([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.9, 0.1]], judged.labels)
        done: list[tuple[int, int]] = []
        found = run_against(judged, other, lambda *rows: done.append(rows))
        assert (found.rows, found.accuracy, found.macro_recall) == (4, (0.75, 0.5), (0.75, 0.5))
        assert (found.comparison.only_first, found.comparison.only_second) == (2, 1)
        assert found.comparison.difference == found.macro_recall_difference == 0.25
        assert found.mcnemar.p == 1.0
        low, high = found.macro_recall_interval
        assert low < 0.25 < high
        assert done == [(4, 4)]

    def test_only_rows_with_common_labels_count(self) -> None:
        table = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
        judged = judged_rows([0, 1, 2, 2], table, THREE)
        # Its labels stand in another order.
        other = Fixed([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [0.1, 0.9]], ("positive", "negative"))
        found = run_against(judged, other)
        assert found.labels == ("negative", "positive")
        assert found.rows == 3
        # The first called the third row neutral, which the second cannot; the fourth it had right.
        assert found.accuracy == pytest.approx((2 / 3, 2 / 3))
        assert found.macro_recall == pytest.approx((0.75, 0.75))
        assert (found.comparison.only_first, found.comparison.only_second) == (1, 1)

    def test_fewer_than_two_labels_in_common(self) -> None:
        first, second = Fixed([], THREE, "mine"), Fixed([], ("positive", "sad"), "theirs")
        with pytest.raises(UsageError, match=r"mine and theirs share fewer.*negative.*against positive, sad"):
            check_labels(first, second)
        check_labels(first, Fixed([], ("positive", "negative", "sad")))

    def test_no_row_with_a_common_label(self) -> None:
        judged = judged_rows([1, 1], [[0.1, 0.8, 0.1]] * 2, THREE)
        with pytest.raises(DataError, match="both models know: negative, positive"):
            run_against(judged, Fixed([[0.5, 0.5]] * 2, ("negative", "positive")))

    def test_rows_without_text_for_the_other_are_omitted(self) -> None:
        judged = judged_rows([0, 1, 1], [[0.9, 0.1]] * 3)
        hidden = [np.nan, np.nan]
        found = run_against(judged, Fixed([[0.9, 0.1], hidden, [0.2, 0.8]], judged.labels))
        assert (found.rows, found.accuracy) == (2, (0.5, 1.0))
        with pytest.raises(DataError, match="fixed finds no text"):
            run_against(judged, Fixed([hidden] * 3, judged.labels))

    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 200), st.integers(2, 4), st.integers(0, 1000))
    def test_swapping_models_flips_signs(self, rows: int, classes: int, seed: int) -> None:
        first, second = drawn_rows(rows, classes, seed), drawn_rows(rows, classes, seed + 1)
        second = judged_rows(first.truth, second.probabilities, first.labels)
        forward = run_against(first, Fixed(second.probabilities, first.labels))
        back = run_against(second, Fixed(first.probabilities, first.labels))
        assert forward.accuracy == back.accuracy[::-1]
        assert forward.macro_recall_difference == pytest.approx(-back.macro_recall_difference)
        assert forward.mcnemar == back.mcnemar
        assert forward.accuracy[0] == first.right.mean()
        assert forward.only_first_rows == forward.only_second_rows == ()  # none was asked for
        data = forward.to_dict()
        assert json.loads(json.dumps(data, allow_nan=False)) == data

    def test_tiny_p_value_is_not_rounded_to_0(self) -> None:
        table = np.tile([[0.9, 0.1]], (500, 1))
        found = run_against(judged_rows(np.zeros(500), table), Fixed(1 - table, ("negative", "positive")))
        assert 0 < found.to_dict()["mcnemar"]["p"] < 1e-80


class TestOneSidedRows:
    SOURCES = (SourceInfo("a.csv", 3, 3, ""), SourceInfo("b.csv", 0, 0, ""), SourceInfo("c.csv", 9, 2, ""))

    def test_by_hand(self) -> None:
        # The first is right but for the last two rows, the second is right in the third and the last.
        table = [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
        judged = judged_rows([0, 1, 1, 0, 0, 1], table, row=[0, 1, 2, 5, 6, 7])
        says = [[0.2, 0.8], [0.7, 0.3], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6], [0.3, 0.7]]
        # It answers by the number in the text, which is the row's.
        other = Fixed(np.array([*says[:3], [0, 0], [0, 0], *says[3:]]), judged.labels)
        found = run_against(judged, other, sources=self.SOURCES, limit=20)
        assert [(one.file, one.file_number, one.row) for one in found.only_first_rows] == [
            ("a.csv", 0, 0),
            ("a.csv", 0, 1),
            ("c.csv", 2, 2),
        ]
        # What the second made of them, the surest first.
        assert [one.predicted for one in found.only_first_rows] == ["positive", "negative", "positive"]
        assert [one.score for one in found.only_first_rows] == pytest.approx([0.8, 0.7, 0.6])
        (only,) = found.only_second_rows
        assert (only.file, only.row, only.label, only.predicted) == ("c.csv", 4, "positive", "negative")
        assert (only.score, only.label_probability) == pytest.approx((0.6, 0.4))
        assert (found.comparison.only_first, found.comparison.only_second) == (3, 1)

    def test_listed_rows_are_limited_but_all_counted(self) -> None:
        table = np.tile([[0.9, 0.1]], (40, 1))
        judged = judged_rows(np.zeros(40), table)
        sources = [SourceInfo("a.csv", 40, 40, "")]
        found = run_against(judged, Fixed(1 - table, judged.labels), sources=sources, limit=3, texts=True)
        data = found.to_dict()
        assert [(row["row"], row["text"]) for row in data["only_first_rows"]] == [
            (0, "text 0"),
            (1, "text 1"),
            (2, "text 2"),
        ]
        assert data["only_second_rows"] == []
        assert data["comparison"]["only_first"] == 40
        quiet = run_against(judged, Fixed(1 - table, judged.labels), sources=sources, limit=3)
        assert "text" not in json.dumps(quiet.to_dict()["only_first_rows"])

    def test_different_labels_and_missing_text(self) -> None:
        table = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]]
        judged = judged_rows([0, 1, 2, 2, 2], table, THREE)
        # Its labels stand in another order; of the last row it reads nothing.
        says = [[0.9, 0.1], [0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]]
        other = Fixed(says, ("positive", "negative"))
        found = run_against(judged, other, sources=[SourceInfo("a.csv", 5, 5, "")], limit=20)
        assert [(one.row, one.label, one.predicted) for one in found.only_first_rows] == [
            (0, "negative", "positive"),  # of which it is surer than of the other
            (3, "positive", "negative"),
        ]
        (only,) = found.only_second_rows
        assert (only.row, only.label, only.predicted) == (2, "positive", "neutral")

    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 200), st.integers(2, 4), st.integers(0, 1000))
    def test_listed_rows_are_correct(self, rows: int, classes: int, seed: int) -> None:
        first, second = drawn_rows(rows, classes, seed), drawn_rows(rows, classes, seed + 1)
        second = judged_rows(first.truth, second.probabilities, first.labels)
        sources = [SourceInfo("a.csv", rows, rows, "")]
        forward = run_against(first, Fixed(second.probabilities, first.labels), sources=sources, limit=rows)
        back = run_against(second, Fixed(first.probabilities, first.labels), sources=sources, limit=rows)
        assert forward.only_first_rows == back.only_second_rows
        assert forward.only_second_rows == back.only_first_rows
        only = np.flatnonzero(first.right & ~second.right)
        assert sorted(one.row for one in forward.only_first_rows) == only.tolist()
        assert len(forward.only_second_rows) == forward.comparison.only_second
