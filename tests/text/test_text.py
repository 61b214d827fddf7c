"""The text path: every rule by example, and properties that hold for any text."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import BundleSchemaError, ColumnTypeError
from sentstream.text import PAD, UNKNOWN, TextPath, TextRules, Vocabulary, tokenize
from sentstream.text.clean import CleanText, clean

RULES = TextRules()


def tokens_of(text: str | None, rules: TextRules = RULES, max_chars: int = 1000) -> list[str]:
    tokens, _ = tokenize(pa.array([text], pa.string()), rules, max_chars)
    result: list[str] = tokens.text.to_pylist()
    return result


def rows_of(column: pa.Array, rules: TextRules = RULES, max_chars: int = 1000) -> list[list[str]]:
    tokens, _ = tokenize(column, rules, max_chars)
    flat, offsets = tokens.text.to_pylist(), tokens.offsets.tolist()
    return [flat[start:stop] for start, stop in itertools.pairwise(offsets)]


def broken(rows: list[bytes]) -> pa.StringArray:
    """Return a string array with arbitrary bytes, as a careless writer leaves them."""
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(b"".join(rows)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I love it", ["i", "love", "it"]),
        ("don't can't 'quoted' rock'n'roll", ["don't", "can't", "'", "quoted", "'", "rock'n'roll"]),
        ("’tis I’m “here” – now…", ["'", "tis", "i'm", '"', "here", '"', "-", "now", "..."]),
        ("@bob hi @Al_1! mail a@b.com", ["@u", "hi", "@u", "!", "mail", "a", "@", "b", ".", "com"]),
        ("@@bob @ bob", ["@", "@u", "@", "bob"]),
        ("see http://t.co/a?b=c now", ["see", "@url", "now"]),
        ("(https://x.y/z) www.foo.org/bar www. awww.", ["(", "@url", "@url", "ww", ".", "aww", "."]),
        ("HTTP://SHOUT.COM", ["@url"]),
        ("http://a.b/http://c.d x", ["@url", "x"]),
        ("#fail #winning", ["#", "fail", "#", "winning"]),
        ("soooo goooood 1000000", ["soo", "good", "1000000"]),
        ("no!!!!!! what?!?!", ["no", "!!!", "what", "?!?!"]),
        (":) :-( <3 ;)", [":)", ":-(", "<", "3", ";)"]),
        (
            "&lt;3 &amp;amp; R&amp;B &quot;x&quot; &#39;",
            ["<", "3", "&", "amp", ";", "r", "&", "b", '"', "x", '"', "'"],
        ),
        ("😂😂😂😂😂😂 ok", ["😂", "😂", "😂", "ok"]),
        ("👍🏽👍🏿 ❤️ ☺", ["👍", "👍", "❤", "☺"]),
        ("👩‍👩‍👧", ["👩", "👩", "👧"]),
        ("a\u00a0b\u2003c\u3000d\x85e", ["a", "b", "c", "d", "e"]),
        ("<user> and <url> and <user><user>", ["@u", "and", "@url", "and", "@u", "@u"]),
        ("naïve café ÜBER", ["naïve", "café", "über"]),
        ("شكرا جزيلا", ["شكرا", "جزيلا"]),
        ("good\x00bad", ["good", "\x00", "bad"]),
        ("\ufefflead", ["lead"]),
        ("10% $5 £3", ["10", "%", "$", "5", "£", "3"]),
        ("", []),
        (" \t\r\n\u2028", []),
        (None, []),
    ],
)
def test_tokens_of_a_tweet(text: str | None, expected: list[str]) -> None:
    assert tokens_of(text) == expected


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        ({"lowercase": False}, "Good DAY", ["Good", "DAY"]),
        ({"entities": False}, "a &lt; b", ["a", "&", "lt", ";", "b"]),
        ({"mentions": "keep"}, "@bob <user>", ["@", "bob", "<", "user", ">"]),
        ({"links": "keep"}, "http://a.b", ["http", "://", "a", ".", "b"]),
        ({"letter_repeats": 0}, "soooo!!!!!!", ["soooo", "!!!"]),
        ({"letter_repeats": 3, "symbol_repeats": 0}, "soooo!!!!!! 😂😂😂😂", ["sooo", "!!!!!!", *"😂😂😂😂"]),
        ({"letter_repeats": 1, "symbol_repeats": 1}, "aabb!!??", ["ab", "!?"]),
        (
            {"punctuation": "space", "mentions": "keep", "links": "keep", "letter_repeats": 0},
            "it's (so_good)! @bob",
            ["it's", "so", "good", "bob"],
        ),
        (
            {"punctuation": "strip", "mentions": "keep", "links": "keep", "letter_repeats": 0},
            "it's (so_good)! @bob",
            ["its", "sogood", "bob"],
        ),
    ],
)
def test_each_rule(rules: dict[str, object], text: str, expected: list[str]) -> None:
    assert tokens_of(text, TextRules(**rules)) == expected  # type: ignore[arg-type]


def test_max_chars_counts_characters() -> None:
    column = pa.array(["é" * 10, "é" * 11, "short", None])
    tokens, truncated = tokenize(column, TextRules(letter_repeats=0), 10)
    assert truncated == 1
    assert tokens.text.to_pylist() == ["é" * 10, "é" * 10, "short"]


def test_text_without_tokens_is_unknown() -> None:
    path = TextPath(RULES, Vocabulary(["<pad>", "<unk>", "hi"]))
    encoded = path.encode(pa.array(["\u200d", "hi", "", "\u200d", None, "\ufe0f\u200d"]))
    assert encoded.lengths.tolist() == [1, 1, 0, 1, 0, 1]
    assert encoded.words.tolist() == [UNKNOWN, 2, UNKNOWN, UNKNOWN]


def test_invalid_utf8_does_not_affect_other_rows() -> None:
    rows = [b"good", b"\xff\xfe bad", b"fine", b"\xed\xa0\x80", b"cut \xe2\x82", b"last"]
    got = rows_of(broken(rows))
    assert [got[0], got[2], got[5]] == [["good"], ["fine"], ["last"]]
    assert "bad" in got[1]
    assert "\ufffd" in got[1]
    assert set(got[3]) == {"\ufffd"}
    assert got[4][0] == "cut"


def test_truncation_never_splits_a_character() -> None:
    assert tokens_of("x" + "😂" * 4000, TextRules(symbol_repeats=0), 3) == ["x", "😂", "😂"]


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=60),
    st.text(alphabet="aA'@#:/.!<>&;w http://www.😂🏽\u200d\ufe0f\u2019\u2026\u00a0é\x00", max_size=60),
    st.sampled_from(
        ["", " ", "\u3000", "@bob", "http://t.co/x", "<user>", "&amp;", "'" * 9, "@" * 9, "a" * 300]
    ),
)


@settings(max_examples=cases(300), deadline=None)
@given(st.lists(TEXTS, max_size=12))
def test_rows_are_tokenized_independently(texts: list[str | None]) -> None:
    assert rows_of(pa.array(texts, pa.string())) == [tokens_of(text) for text in texts]


@settings(max_examples=cases(100), deadline=None)
@given(st.lists(st.binary(max_size=24), max_size=8))
def test_any_bytes_are_tokenized_independently(rows: list[bytes]) -> None:
    alone = [rows_of(broken([row]))[0] for row in rows]
    assert rows_of(broken(rows)) == alone
    for row, tokens in zip(rows, alone, strict=True):
        assert tokens == tokens_of(row.decode("utf-8", "replace"))


@settings(max_examples=cases(100), deadline=None)
@given(TEXTS)
def test_tokens_hold_no_white_space_and_only_blank_rows_are_blank(text: str | None) -> None:
    tokens, _ = tokenize(pa.array([text], pa.string()), RULES, 1000)
    assert bool(tokens.blank[0]) == (text is None or not text.strip())
    for token in tokens.text.to_pylist():
        assert token
        assert not any(character.isspace() for character in token)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=10), st.integers(0, 3))
def test_text_types_and_slices_are_equal(texts: list[str | None], skip: int) -> None:
    plain = pa.array(texts, pa.string())
    expected = rows_of(plain)[skip:]
    for column in (
        plain,
        plain.cast(pa.large_string()),
        plain.cast(pa.string_view()),
        plain.dictionary_encode(),
    ):
        assert rows_of(column.slice(skip)) == expected
    halves = pa.chunked_array([plain[: len(texts) // 2], plain[len(texts) // 2 :]], pa.string())
    assert rows_of(halves)[skip:] == expected


def test_null_column_is_blank_and_numbers_are_rejected() -> None:
    assert rows_of(pa.nulls(3)) == [[], [], []]
    with pytest.raises(ColumnTypeError, match="int64"):
        tokenize(pa.array([1]), RULES, 10)


@pytest.mark.parametrize(
    "giant", ["a", "@", "!", "'", "http://", "www.a", "😂", "\u200d", "<user>", "&amp;", "\x00"]
)
def test_cost_is_linear_for_huge_texts(giant: str) -> None:
    """A megabyte, uncapped, in one row: the work is a few linear passes; a quadratic one would hang."""
    tokens, _ = tokenize(pa.array([giant * (1_000_000 // len(giant)), "next"]), RULES, 1_000_000)
    assert tokens.text[-1].as_py() == "next"


def _vocabulary() -> Vocabulary:
    words = ["<pad>", "<unk>", "not", "good", "bad", "@u"]
    return Vocabulary(words, np.array([[2, 3], [0, 2], [3, 4]], np.int32))


def test_words_and_pairs_are_looked_up() -> None:
    encoded = TextPath(RULES, _vocabulary()).encode(
        pa.array(["not good", None, "good bad", "so not", "<pad> bad"])
    )
    assert encoded.words.tolist() == [2, 3, 3, 4, UNKNOWN, 2, UNKNOWN, UNKNOWN, UNKNOWN, 4]
    assert encoded.pairs is not None
    assert encoded.pairs.tolist() == [2, 1, 0, 3, 0, 0, 0, 0, 0, 0]
    assert encoded.offsets.tolist() == [0, 2, 2, 4, 6, 10]


def test_small_and_large_batches_agree() -> None:
    """Below a few thousand tokens a dictionary and a binary search serve; above, Arrow's hash join."""
    path = TextPath(RULES, _vocabulary())
    texts = ["not good", "bad good not good", "zzz", None, "good bad @bob not"] * 2000
    large = path.encode(pa.array(texts))
    assert large.pairs is not None
    for row in range(5):
        small = path.encode(pa.array(texts[row : row + 1]))
        assert small.pairs is not None
        for start in (row, row + 5000):
            span = slice(large.offsets[start], large.offsets[start + 1])
            assert large.words[span].tolist() == small.words.tolist()
            assert large.pairs[span].tolist() == small.pairs.tolist()


@pytest.mark.parametrize("average", [20, 600, 3000])
def test_portions_have_the_same_ids(average: int) -> None:
    path = TextPath(TextRules(), Vocabulary(["<pad>", "<unk>", "good", "day"], np.array([[2, 3]], np.int32)))
    lengths = np.random.default_rng(average).integers(0, 2 * average, 9000)
    texts = pa.chunked_array(
        [["good day " * (length // 9) for length in some] for some in (lengths[:5000], lengths[5000:])]
    )
    whole, portions = path.encode(texts), list(path.portions(texts))
    assert (len(portions) > 1) == (average > 100)
    assert [one for part in portions for one in part.lengths] == list(whole.lengths)
    assert np.array_equal(np.concatenate([part.words for part in portions]), whole.words)
    pairs = [part.pairs for part in portions]
    assert whole.pairs is not None
    assert np.array_equal(np.concatenate([one for one in pairs if one is not None]), whole.pairs)
    assert sum(part.truncated for part in portions) == whole.truncated


@pytest.mark.parametrize(
    ("kind", "letters", "wanted"),
    [
        (pa.string(), 90, [8192, 808]),
        (pa.large_string(), 90, [8192, 808]),
        (pa.string_view(), 90, [1024, 7976]),  # whose bytes may be anywhere
        (pa.string(), 900, [1024, 2319, 2319, 2319, 1019]),
    ],
)
def test_how_many_rows_are_scanned_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: pa.DataType, letters: int, wanted: list[int]
) -> None:
    rows: list[int] = []

    def counting(column: pa.Array, max_chars: int) -> CleanText:
        rows.append(len(column))
        return clean(column, max_chars)

    monkeypatch.setattr("sentstream.text.path.clean", counting)
    tokens, _ = tokenize(pa.array(["x" * letters] * 9000).cast(kind), RULES, 1000)
    assert rows == wanted
    assert len(tokens.text) == 9000


def test_padding_token_in_text_is_unknown() -> None:
    vocabulary = _vocabulary()
    for count in (1, 10_000):
        assert set(vocabulary.word_ids(pa.array(["<pad>"] * count)).tolist()) == {UNKNOWN}
    assert PAD == 0


def test_vocabulary_round_trip() -> None:
    vocabulary = _vocabulary()
    again = Vocabulary.load(vocabulary.words_bytes(), vocabulary.pairs_bytes())
    assert again.words.equals(vocabulary.words)
    assert again.pairs is not None
    assert vocabulary.pairs is not None
    assert (again.pairs == vocabulary.pairs).all()
    assert again.words_bytes() == vocabulary.words_bytes()
    assert again.pairs_bytes() == vocabulary.pairs_bytes()
    assert Vocabulary.load(vocabulary.words_bytes()).pair_count == 0


@pytest.mark.parametrize(
    ("words", "pairs", "message"),
    [
        (["a", "b"], None, "must begin with"),
        (["<pad>", "<unk>", "a", "a"], None, "repeats a word"),
        (["<pad>", "<unk>", "a"], [[2, 9]], "not in the vocabulary"),
        (["<pad>", "<unk>", "a"], [[-1, 2]], "not in the vocabulary"),
        (["<pad>", "<unk>", "a"], [[2, 2], [2, 2]], "repeats a word pair"),
    ],
)
def test_invalid_vocabulary_is_rejected(
    words: list[str], pairs: list[list[int]] | None, message: str
) -> None:
    with pytest.raises(BundleSchemaError, match=message):
        Vocabulary(words, None if pairs is None else np.array(pairs, np.int32))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x00" * 100])
def test_non_parquet_pairs_are_rejected(data: bytes) -> None:
    with pytest.raises(BundleSchemaError, match="pairs"):
        Vocabulary.load(b"<pad>\n<unk>\n", data)


def test_rules_round_trip_and_reject_unknown_keys() -> None:
    rules = TextRules(tokenizer="nltk", stop_words=("the", "a"), stemmer="porter")
    assert TextRules.from_dict(rules.to_dict()) == rules
    assert TextRules.from_dict({}) == TextRules()
    for bad, message in [
        ({"version": 99}, "version 99"),
        ({"version": "1"}, "version"),
        ({"emoji": True}, "unknown text rule 'emoji'"),
        ({"lowercase": 1}, "lowercase"),
        ({"punctuation": "eat"}, "punctuation"),
        ({"letter_repeats": -1}, "negative"),
        ({"stop_words": "the"}, "stop_words"),
        ({"stop_words": ["the"]}, "nltk"),
        ({"punctuation": "space"}, "masks need"),
    ]:
        with pytest.raises(BundleSchemaError, match=message):
            TextRules.from_dict(bad)


def test_nltk_text_path() -> None:
    pytest.importorskip("nltk")
    rules = TextRules(tokenizer="nltk", stop_words=("the",), stemmer="porter")
    got = rows_of(pa.array(["The dogs @bob were running http://a.b :)", None, " "]), rules)
    assert got == [["dog", "@u", "were", "run", "@url", ":)"], [], []]
