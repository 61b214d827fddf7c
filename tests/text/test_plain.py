"""Plain tweets in Python: the same tokens and ids as on every other path."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import BundleSchemaError
from sentstream.text import Encoded, TextPath, TextRules, Vocabulary, path, tokenize
from sentstream.text.key_table import KeyTable
from sentstream.text.plain import is_plain, plain_tokenizer
from tests.text.test_text import broken, tokens_of

WORDS = "<pad> <unk> a aa w @u @url ' < > & ; . ... http www x é 😂 good bob".split()
VOCABULARY = Vocabulary(WORDS, np.array([[0, 2], [2, 2], [6, 2], [5, 6], [2, 6], [12, 12]], np.int32))

RULES = st.builds(
    TextRules,
    lowercase=st.booleans(),
    entities=st.booleans(),
    mentions=st.sampled_from(["mask", "keep"]),
    links=st.sampled_from(["mask", "keep"]),
    letter_repeats=st.integers(0, 4),
    symbol_repeats=st.integers(0, 4),
)
ASCII = st.text(alphabet=st.characters(max_codepoint=127, exclude_characters="&<"), max_size=40)
DENSE = st.text(alphabet="aAbw_09'@#!.:/ \t\n\x0b\x1c\x1f\x00\x7f", max_size=40)
PARTS = st.lists(
    st.sampled_from(
        [
            "@",
            "@bob",
            "'",
            "'s",
            "a",
            "http://",
            "https://x",
            "www.",
            "www.a",
            " ",
            "!",
            "!!!!",
            "#",
            "w",
            "://",
        ]
    ),
    max_size=10,
).map("".join)
PLAIN = st.one_of(ASCII, DENSE, PARTS)


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


@settings(max_examples=cases(200), deadline=None)
@given(PLAIN, RULES)
def test_plain_text_matches_scan(text: str, rules: TextRules) -> None:
    assert is_plain(text)
    tokenizer = plain_tokenizer(rules)
    assert tokenizer is not None
    assert tokenizer(text) == tokens_of(text, rules)


@settings(max_examples=cases(100), deadline=None)
@given(st.lists(st.one_of(st.none(), PLAIN), max_size=path._FEW_ROWS), RULES, st.sampled_from([5, 1000]))
def test_small_batches_get_the_same_ids(texts: list[str | None], rules: TextRules, max_chars: int) -> None:
    text_path = TextPath(rules, VOCABULARY, max_chars)
    column = pa.array(texts, pa.string())
    assert_same(text_path.encode(column), token_by_token(text_path, column))


@pytest.mark.parametrize("text", ["R&amp;B", "<user> hi", "caf\u00e9", "\u200d", "I \u2764 it", "\u0130"])
def test_other_text_goes_to_scan(text: str) -> None:
    assert not is_plain(text)
    text_path = TextPath(TextRules(), VOCABULARY)
    column = pa.array(["good", text])
    assert_same(text_path.encode(column), token_by_token(text_path, column))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["@bob good", "a"]).dictionary_encode(),
        pa.array(["@bob good", "a"], pa.large_string()),
        pa.array(["@bob good", "a"], pa.string_view()),
        pa.chunked_array([["@bob good"], ["a"]], pa.string()),
        broken([b"good \xff", b"a"]),
        pa.nulls(2),
    ],
    ids=lambda column: str(column.type),
)
def test_other_column_types(column: pa.Array | pa.ChunkedArray) -> None:
    text_path = TextPath(TextRules(), VOCABULARY)
    assert_same(text_path.encode(column), token_by_token(text_path, column))


@pytest.mark.parametrize("punctuation", ["space", "strip"])
def test_other_rules_go_to_scan(punctuation: str) -> None:
    rules = TextRules(mentions="keep", links="keep", punctuation=punctuation)  # type: ignore[arg-type]
    assert plain_tokenizer(rules) is None
    text_path = TextPath(rules, VOCABULARY)
    assert_same(text_path.encode(pa.array(["a.b 'c'"])), token_by_token(text_path, pa.array(["a.b 'c'"])))


@pytest.mark.parametrize("giant", ["a", "@", "!", "'", "a'", "http://", "www.", "www.a", " ", "#@", "@a'"])
def test_cost_is_linear_for_huge_texts(giant: str) -> None:
    """Two megabytes: a quadratic expression would hang."""
    tokenizer = plain_tokenizer(TextRules())
    assert tokenizer is not None
    text = giant * (2_000_000 // len(giant)) + " next"
    assert tokenizer(text)[-1] == "next"


def test_pairs_match_for_small_and_large_batches() -> None:
    random = np.random.default_rng(0)
    pairs = np.unique(random.integers(0, 300, (2000, 2)).astype(np.int32), axis=0)
    vocabulary = Vocabulary([*WORDS, *map(str, range(300))], pairs)
    words = random.integers(1, 300, 4000).astype(np.int32)
    whole = vocabulary.pair_ids(words, np.array([0, len(words)]))
    assert 0 < np.count_nonzero(whole) < len(whole)
    for start in range(0, len(words) - 20, 20):
        few = vocabulary.pair_ids(words[start : start + 20], np.array([0, 20]))
        assert few[1:].tolist() == whole[start + 1 : start + 20].tolist()


def test_encoded_types_match() -> None:
    encoded: Encoded = TextPath(TextRules(), VOCABULARY).encode(pa.array(["good <3", "good"]))
    few = TextPath(TextRules(), VOCABULARY).encode(pa.array(["good"]))
    for one in (encoded, few):
        assert one.words.dtype == np.int32
        assert one.offsets.dtype == np.int64
        assert one.pairs is not None
        assert one.pairs.dtype == np.int32
    assert tokenize(pa.array([""]), TextRules(), 5)[1] == 0


def test_colliding_keys_are_found() -> None:
    keys = np.arange(0, 50_000, 7, dtype=np.int64)
    table = KeyTable(keys)
    assert table.find(keys).tolist() == list(range(1, len(keys) + 1))
    assert not table.find(keys + 1).any()
    with pytest.raises(BundleSchemaError, match="repeats a word pair"):
        KeyTable(np.append(keys, keys[1234]))
    with pytest.raises(BundleSchemaError, match="too many"):
        KeyTable(np.array([2**62, 5, 6], np.int64))
