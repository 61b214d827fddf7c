"""Word lookups in a table, with the same results as Arrow's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.bundle import load_bundle
from sentstream.text import vocabulary as module
from sentstream.text.word_table import WordTable

#: Of a few letters and around eight bytes, where words begin in the same way and end differently.
WORD = st.text("ab\0é", max_size=20) | st.text(max_size=9)


def by_arrow(known: pa.Array, asked: pa.Array) -> list[int]:
    found: list[int] = pc.index_in(asked, value_set=known).fill_null(-1).to_pylist()
    return found


@settings(deadline=None)
@given(st.lists(WORD, unique=True), st.lists(WORD), st.integers(0, 3), st.integers(0, 3))
def test_indices_match_arrow(known: list[str], others: list[str], before: int, after: int) -> None:
    words = pa.array(known, pa.string())
    asked = pa.array([*known, *others, *reversed(known)], pa.string())
    asked = asked[before : len(asked) - after]
    assert WordTable(words).find(asked).tolist() == by_arrow(words, asked)


def test_sliced_input() -> None:
    words = pa.array(["no", "good", "day", "goodness gracious", "yes"])[1:4]
    asked = pa.array(["x", "day", "goodness gracious", "no", "goodness graciouz", "good"])[1:]
    assert WordTable(words).find(asked).tolist() == [1, 2, -1, -1, 0]


def test_empty_input() -> None:
    nothing = pa.array([], pa.string())
    assert WordTable(nothing).find(pa.array(["a", ""])).tolist() == [-1, -1]
    assert WordTable(pa.array(["a"])).find(nothing).tolist() == []


@pytest.mark.parametrize("count", [1, 3_000, 200_000])
def test_ids_do_not_depend_on_batch_size(count: int) -> None:
    """Few, some and many tokens go three ways."""
    vocabulary = load_bundle("tweets-small").text.vocabulary
    assert 1 < module._SMALL < 3_000 < module._LARGE < 200_000
    tokens = ["<pad>", "<unk>", "good", "nosuchword", "", "x" * 4_000, *vocabulary.words.to_pylist()[2::7]]
    asked = pa.array((tokens * (count // len(tokens) + 1))[:count], pa.string())
    assert vocabulary.word_ids(asked).tolist() == vocabulary.ids_of(asked.to_pylist()).tolist()
