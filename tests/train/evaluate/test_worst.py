"""The worst errors: the right rows, in the right files, without their texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_rows import drawn_rows, judged_rows

from sentstream_train.data.labeled import SourceInfo
from sentstream_train.evaluate.worst import worst_errors


def sources(*rows: int) -> list[SourceInfo]:
    return [SourceInfo(f"{index}.csv", number, number, "") for index, number in enumerate(rows)]


TABLE = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.2, 0.8]]


def test_by_hand() -> None:
    judged = judged_rows([1, 0, 0, 0], TABLE, row=[0, 3, 4, 6])
    found = worst_errors(judged, sources(3, 0, 4), 20)
    assert [(one.file, one.file_number, one.row) for one in found] == [
        ("0.csv", 0, 0),
        ("2.csv", 2, 0),
        ("2.csv", 2, 3),
    ]
    assert [(one.label, one.predicted) for one in found] == [
        ("positive", "negative"),
        ("negative", "positive"),
        ("negative", "positive"),
    ]
    assert [one.score for one in found] == pytest.approx([0.9, 0.8, 0.8])
    assert [one.label_probability for one in found] == pytest.approx([0.1, 0.2, 0.2])


def test_texts_only_on_request() -> None:
    judged = judged_rows([1, 0, 0, 0], TABLE)
    assert all("text" not in one.to_dict() for one in worst_errors(judged, sources(4), 20))
    shown = worst_errors(judged, sources(4), 20, texts=True)
    assert [one.to_dict()["text"] for one in shown] == ["text 0", "text 1", "text 3"]


def test_number_of_errors() -> None:
    judged = judged_rows([1, 0, 0, 0], TABLE)
    assert [one.row for one in worst_errors(judged, sources(4), 2)] == [0, 1]
    assert worst_errors(judged, sources(4), 0) == ()
    assert worst_errors(judged_rows([0, 1, 0, 1], TABLE), sources(4), 20) == ()


def test_only_among_some_rows() -> None:
    judged = judged_rows([1, 0, 0, 0], TABLE)
    among = np.array([False, True, True, True])
    assert [one.row for one in worst_errors(judged, sources(4), 20, among=among)] == [1, 3]
    assert worst_errors(judged, sources(4), 20, among=np.zeros(4, np.bool_)) == ()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), st.integers(0, 1000))
def test_every_error_names_its_row(sizes: list[int], seed: int) -> None:
    drawn = drawn_rows(sum(sizes), 3, seed)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(drawn)) < 0.8)
    judged = judged_rows(drawn.truth[kept], drawn.probabilities[kept], drawn.labels, row=kept)
    found = worst_errors(judged, sources(*sizes), len(drawn), texts=True)
    starts = np.cumsum([0, *sizes])
    assert sorted(starts[one.file_number] + one.row for one in found) == kept[~judged.right].tolist()
    for one in found:
        assert 0 <= one.row < sizes[one.file_number]
        assert one.text == f"text {starts[one.file_number] + one.row}"
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
