"""By distinct chunks or token by token: the same ids, whatever the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import BundleSchemaError
from sentstream.profile import LOOK_UP, TOKENIZE, Profile
from sentstream.text import Encoded, TextPath, TextRules, Vocabulary, chunks, path, tokenize
from sentstream.text.vocabulary import _KeyTable
from tests.test_text import TEXTS, broken

WORDS = "<pad> <unk> a aa w @u @url ' < > & ; . ... http www x é 😂 good bob".split()
VOCABULARY = Vocabulary(WORDS, np.array([[0, 2], [2, 2], [6, 2], [5, 6], [2, 6], [12, 12]], np.int32))

#: Every rule in each of its states.
RULES = st.sampled_from(
    [
        TextRules(),
        TextRules(links="keep", mentions="keep", entities=False, letter_repeats=0, symbol_repeats=0),
        TextRules(links="mask", mentions="keep", lowercase=False),
        TextRules(punctuation="space", mentions="keep", links="keep", lowercase=False),
        TextRules(punctuation="strip", mentions="keep", links="keep"),
    ]
)
#: What may end a link, and what may not.
LINKS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "(", "www.", "\n", "HTTP://", "http://", "a"]),
    st.sampled_from(
        ["http://", "https://", "http:/", "https:", "httpss://", "http", " http://", "http://a.b"]
    ),
    st.text(alphabet="ab/.?=&;nsp<>@ \t\n\x00\x7f\u00a0\u3000é😂", max_size=12),
)
ROWS = st.lists(st.one_of(TEXTS, LINKS), max_size=12)


@contextmanager
def small_parts() -> Iterator[None]:
    """Every limit of the way by chunks so low that it counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path, "_FEW_ROWS", 1)
        patch.setattr(path, "_MOST_ROWS", 5)
        patch.setattr(path, "_CHUNKS_AT_ONCE", 3)
        patch.setattr(chunks, "_BYTES_AT_ONCE", 64)
        yield


def token_by_token(text_path: TextPath, column: pa.Array | pa.ChunkedArray) -> Encoded:
    return text_path.look_up(*tokenize(column, text_path.rules, text_path.max_chars))


def assert_same(one: Encoded, other: Encoded) -> None:
    assert one.offsets.tolist() == other.offsets.tolist()
    assert one.words.tolist() == other.words.tolist()
    assert one.words.dtype == other.words.dtype == np.int32
    assert one.offsets.dtype == other.offsets.dtype == np.int64
    assert (one.pairs is None) == (other.pairs is None)
    if one.pairs is not None and other.pairs is not None:
        assert one.pairs.tolist() == other.pairs.tolist()
    assert one.truncated == other.truncated


@settings(max_examples=400, deadline=None)
@given(ROWS, RULES, st.sampled_from([5, 30, 1000]))
def test_any_text_gets_the_ids_that_it_gets_token_by_token(
    texts: list[str | None], rules: TextRules, max_chars: int
) -> None:
    text_path = TextPath(rules, VOCABULARY, max_chars)
    column = pa.array(texts, pa.string())
    with small_parts():
        assert_same(text_path.encode(column), token_by_token(text_path, column))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=24), min_size=1, max_size=8), RULES)
def test_any_bytes_do_too(rows: list[bytes], rules: TextRules) -> None:
    text_path = TextPath(rules, Vocabulary(WORDS))
    with small_parts():
        assert_same(text_path.encode(broken(rows)), token_by_token(text_path, broken(rows)))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_slices_and_pieces_of_a_column_do_too(texts: list[str | None], skip: int) -> None:
    text_path = TextPath(TextRules(), VOCABULARY)
    column = pa.array(texts, pa.string())
    pieces = pa.chunked_array([column[:skip], column[skip:], column], pa.string())
    with small_parts():
        for one in (column.slice(skip), column.cast(pa.large_string()).slice(skip), pieces):
            assert_same(text_path.encode(one), token_by_token(text_path, one))


def test_only_text_that_is_not_blank_reads_as_unknown() -> None:
    texts = ["\u200d", " \u200d ", "\u3000", " ", "", None, "a \u200d", "\u200d \u200d a"]
    text_path = TextPath(TextRules(), VOCABULARY)
    with small_parts():
        encoded = text_path.encode(pa.array(texts))
    assert encoded.lengths.tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert encoded.words.tolist() == [1, 1, 2, 2]


def test_example_tweets_in_a_large_batch() -> None:
    from pyarrow import parquet

    text = parquet.read_table(Path(__file__).parent.parent / "examples" / "tweets.parquet")["text"]
    column = pa.chunked_array([text.combine_chunks()] * (1 + 70_000 // len(text)))
    text_path = TextPath(TextRules(), VOCABULARY)
    assert_same(text_path.encode(column), token_by_token(text_path, column))
    one = pa.concat_arrays(column.chunks)
    watch = Profile()
    assert_same(text_path.encode(one, watch.clock()), token_by_token(text_path, one))
    watch.stop()
    assert {TOKENIZE, LOOK_UP} <= watch.as_dict(len(one))["stages"].keys()


def test_the_rest_of_a_link_is_not_told_apart() -> None:
    rows = pa.array([f"see http://t.co/{number} https://x.y/{number}?a" for number in range(100)])
    found = chunks.cut(rows, TextRules())
    assert set(found.distinct.to_pylist()) == {"see", " http://", " https://"}
    assert found.which.null_count == 200
    kept = chunks.cut(rows, TextRules(links="keep"))
    assert len(kept.distinct) == 201
    assert kept.which.null_count == 0


@pytest.mark.parametrize("rest", ["a&nbsp;b", "a\tb", "a\u00a0b", "", "\u3000"])
def test_what_may_end_a_link_is_left_to_the_rules(rest: str) -> None:
    found = chunks.cut(pa.array([f"http://{rest}"]), TextRules())
    assert found.which.null_count == 0


def test_rows_part_by_their_bytes() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_BYTES_AT_ONCE", 4)
        column = pa.array(["ab", "cd", "e", "fghijk", "", "", "l"])
        assert [part.to_pylist() for part in chunks.parts(column)] == [
            ["ab", "cd"],
            ["e"],
            ["fghijk"],
            ["", "", "l"],
        ]
        assert list(chunks.parts(column.slice(0, 0))) == []


def test_keys_that_share_their_home_are_found() -> None:
    keys = np.arange(0, 50_000, 7, dtype=np.int64)
    table = _KeyTable(keys)
    assert table.find(keys).tolist() == list(range(1, len(keys) + 1))
    assert not table.find(keys + 1).any()
    with pytest.raises(BundleSchemaError, match="repeats a word pair"):
        _KeyTable(np.append(keys, keys[1234]))
    with pytest.raises(BundleSchemaError, match="too many"):
        _KeyTable(np.array([2**62, 5, 6], np.int64))
