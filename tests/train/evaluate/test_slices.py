"""Slices by features of a text and by values of a column, and the figures of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_rows import THREE, drawn_rows, judged_rows

from sentstream.analyze.intervals import wilson
from sentstream.errors import ColumnNotFoundError, ColumnTypeError
from sentstream.text import TextPath, TextRules, Vocabulary
from sentstream_train.data.columns import read_column
from sentstream_train.data.labeled import read_labeled
from sentstream_train.evaluate.slices import MOST_VALUES, group_by, slice_rows
from sentstream_train.evaluate.text_marks import LENGTHS, PATTERNS, UNKNOWN_SHARES, mark_texts

WORDS = ["<pad>", "<unk>", *"i do not like it don't the day @u @url # ? . :) 😂".split()]
PATH = TextPath(TextRules(), Vocabulary(WORDS), max_chars=100)


def marks(text: str, path: TextPath = PATH) -> dict[str, set[str]]:
    """The slices that a text falls into, by group."""
    groups = mark_texts(pa.array([text]), path)
    return {group: {name for name, rows in slices.items() if rows[0]} for group, slices in groups.items()}


class TestContents:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("a day", set()),
            ("I do not like it", {"negation"}),
            ("Don't", {"negation"}),
            ("i dont", {"negation"}),
            ("won\u2019t", {"negation"}),
            ("CANNOT", {"negation", "words in capitals"}),
            ("nothing knotted", {"negation"}),
            ("knots and notes", set()),
            ("the day 😂", {"emoji"}),
            ("a day :)", {"emoticons"}),
            ("a #day", {"hashtags"}),
            ("hi @you", {"mentions"}),
            ("see https://t.co/a?b=c", {"links"}),
            ("www.ab.com/WHAT", {"links"}),
            ("really?", {"questions"}),
            ("really?! no", {"questions", "negation"}),
            ("\u672c\u5f53\uff1f", {"questions"}),
            ("RT OK I'M", set()),
            ("so HAPPY", {"words in capitals"}),
            ('"WOW"', {"words in capitals"}),
            ("#NEWS", {"hashtags"}),
            ("\u00c9T\u00c9 2024", {"words in capitals"}),
            ("iPHONE ABc", set()),
        ],
    )
    def test_by_hand(self, text: str, wanted: set[str]) -> None:
        assert marks(text)["texts with"] == wanted

    def test_negations_without_apostrophes(self) -> None:
        rules = TextRules(punctuation="strip", mentions="keep", links="keep", lowercase=False)
        path = TextPath(rules, Vocabulary(WORDS))
        assert "negation" in marks("I DON'T", path)["texts with"]

    def test_truncated_text_does_not_count(self) -> None:
        text = "a day " * 20 + "not #this?"
        assert marks(text)["texts with"] == set()
        assert marks(text, TextPath(TextRules(), Vocabulary(WORDS)))["texts with"] >= {"negation", "hashtags"}


class TestLengthsAndUnknownWords:
    @pytest.mark.parametrize(
        ("tokens", "name"),
        [
            (1, "1 to 5"),
            (5, "1 to 5"),
            (6, "6 to 10"),
            (10, "6 to 10"),
            (11, "11 to 20"),
            (20, "11 to 20"),
            (21, "21 and more"),
        ],
    )
    def test_bands(self, tokens: int, name: str) -> None:
        assert marks("i " * tokens)["length in tokens"] == {name}

    @pytest.mark.parametrize(
        ("known", "unknown", "name"),
        [
            (3, 0, "none"),
            (9, 1, "up to 10 %"),
            (8, 1, "10 to 25 %"),
            (3, 1, "10 to 25 %"),
            (2, 1, "more than 25 %"),
            (0, 2, "more than 25 %"),
        ],
    )
    def test_shares(self, known: int, unknown: int, name: str) -> None:
        text = "i " * known + "zebra " * unknown
        assert marks(text)["words the model does not know"] == {name}

    def test_text_without_tokens_counts_as_one_unknown_word(self) -> None:
        rules = TextRules(punctuation="strip", mentions="keep", links="keep")
        found = marks("...", TextPath(rules, Vocabulary(WORDS)))
        assert found["length in tokens"] == {"1 to 5"}
        assert found["words the model does not know"] == {"more than 25 %"}

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.text(max_size=60), min_size=1, max_size=20))
    def test_slices_partition_the_texts(self, texts: list[str]) -> None:
        groups = mark_texts(pa.array(texts), PATH)
        for name, parts in (("length in tokens", LENGTHS), ("words the model does not know", UNKNOWN_SHARES)):
            assert list(groups[name]) == [part[0] for part in parts]
            assert np.sum(list(groups[name].values()), axis=0).tolist() == [1] * len(texts)
        assert list(groups["texts with"]) == ["negation", *PATTERNS]

    def test_portions_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        texts = pa.array(["i do not", "a 😂 day?", "zebra", "SO #good", "@u it's"] * 7, pa.large_string())
        whole = mark_texts(texts, PATH)
        monkeypatch.setattr("sentstream_train.evaluate.text_marks._ROWS_AT_ONCE", 3)
        for group, slices in mark_texts(texts, PATH).items():
            for name, rows in slices.items():
                assert np.array_equal(rows, whole[group][name]), name


class TestFigures:
    def test_by_hand(self) -> None:
        judged = judged_rows([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
        groups = {"g": {"first three": np.array([True, True, True, False]), "none": np.zeros(4, bool)}}
        (found,) = slice_rows(judged, groups)
        assert (found.group, found.name, found.rows) == ("g", "first three", 3)
        assert found.accuracy == pytest.approx(2 / 3)
        assert found.interval == pytest.approx(wilson(2, 3))
        assert found.macro_recall == pytest.approx((1 / 2 + 1) / 2)
        assert found.score == pytest.approx((0.9 + 0.8 + 0.6) / 3)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(2, 200), st.integers(0, 1000))
    def test_slices_add_up(self, rows: int, seed: int) -> None:
        judged = drawn_rows(rows, 3, seed)
        values = pa.array(np.random.default_rng(seed).choice(["a", "b", "c"], rows)).dictionary_encode()
        found = slice_rows(judged, {"column": group_by(values)})
        assert sum(one.rows for one in found) == rows
        assert sum(one.rows * one.accuracy for one in found) == pytest.approx(judged.right.sum())
        assert sum(one.rows * one.score for one in found) == pytest.approx(
            float(judged.score.sum()), rel=1e-4
        )


class TestValues:
    def test_most_frequent_values_first_and_null_last(self) -> None:
        values = pa.array(["b", None, "a", "b", "c", "a", "b"]).dictionary_encode()
        groups = group_by(values)
        assert list(groups) == ["b", "a", "c", "(no value)"]
        assert [int(rows.sum()) for rows in groups.values()] == [3, 2, 1, 1]

    def test_rare_values_share_a_slice(self) -> None:
        names = [f"v{index:02}" for index in range(MOST_VALUES + 5)]
        values = pa.array(names + names[:MOST_VALUES]).dictionary_encode()
        groups = group_by(values)
        assert list(groups)[:MOST_VALUES] == names[:MOST_VALUES]
        assert int(groups["(5 other values)"].sum()) == 5


class TestColumn:
    def write(self, path: Path, values: object) -> Path:
        table = pa.table({"text": ["a", "b", "c"], "label": ["x", None, "y"], "more": values})
        pq.write_table(table, path)
        return path

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            (["s", " ", None], ["s", None, None]),
            (pa.array(["s", "t", "s"]).dictionary_encode(), ["s", "t", "s"]),
            (pa.array([1, None, 3]), ["1", None, "3"]),
            (pa.array([True, False, None]), ["true", "false", None]),
            (pa.array([1.0, float("nan"), 3.0]), ["1", None, "3"]),
        ],
    )
    def test_kinds(self, tmp_path: Path, values: object, wanted: list[str | None]) -> None:
        assert read_column(self.write(tmp_path / "a.parquet", values), "more").to_pylist() == wanted

    def test_rows_match_read_labeled(self, tmp_path: Path) -> None:
        first = self.write(tmp_path / "a.parquet", ["s", "t", "u"])
        second = tmp_path / "b.csv"
        second.write_text("more,label,text\nv,x,a\n,y,b\n")
        values = read_column([first, second], "more")
        data = read_labeled([first, second])
        assert values.take(pa.array(data.row)).to_pylist() == ["s", "u", "v", None]

    def test_official_file(self, tmp_path: Path) -> None:
        path = tmp_path / "official.csv"
        path.write_text('"0","1","now","NO_QUERY","ann","i hate it"\n"4","2","now","kindle","bob","nice"\n')
        assert read_column(path, "query").to_pylist() == ["NO_QUERY", "kindle"]

    def test_other_types_are_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(ColumnTypeError, match="'more' has fractional numbers"):
            read_column(self.write(tmp_path / "a.parquet", [0.5, 1.0, 2.0]), "more")
        with pytest.raises(ColumnTypeError, match="'more' is of type list"):
            read_column(self.write(tmp_path / "b.parquet", [[1], [2], [3]]), "more")

    def test_missing_column(self, tmp_path: Path) -> None:
        with pytest.raises(ColumnNotFoundError, match=r"no column 'mor'; did you mean 'more'.*--slice"):
            read_column(self.write(tmp_path / "a.parquet", ["s", "t", "u"]), "mor")


def test_three_labels_in_a_slice_with_two_of_them() -> None:
    judged = judged_rows([0, 2], [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]], THREE)
    (found,) = slice_rows(judged, {"all": {"all": np.ones(2, bool)}})
    assert found.macro_recall == 0.5
