"""Texts tokenized like Keras' own preprocessing, and rows of ids truncated and padded like it."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentstream.errors import BundleSchemaError
from sentstream.text import PAD, UNKNOWN, TextPath, TextRules, Vocabulary, tokenize
from sentstream.text.cut import lower
from sentstream.text.rules import KERAS_FILTERS

TOKENIZER, VECTORIZATION = TextRules.preset("keras-tokenizer"), TextRules.preset("text-vectorization")
CHARACTERS = TextRules(tokenizer="characters", case="full", wordless="padding")
TEXTS = st.lists(
    st.none() | st.text(st.sampled_from("ab'!@ \t\n\r\x0b\x1c\x85\u00a0\u3000éÉİΣσ😀|;"), max_size=12),
    max_size=8,
)


def rows_of(texts: list[str | None], rules: TextRules) -> list[list[str]]:
    tokens, _ = tokenize(pa.array(texts, pa.string()), rules, 1000)
    ends, found = tokens.offsets.tolist(), tokens.text.to_pylist()
    return [found[start:end] for start, end in pairwise(ends)]


def is_blank(text: str | None) -> bool:
    return text is None or not text or text.isspace()


def as_tokenizer(text: str, filters: str, split: str = " ") -> list[str]:
    """A reimplementation of ``keras.preprocessing.text.text_to_word_sequence``."""
    mapped = text.lower().translate(str.maketrans(dict.fromkeys(filters, split)))
    return [token for token in mapped.split(split) if token]


def as_vectorization(text: str) -> list[str]:
    """``tf.strings.lower``, ``regex_replace`` and ``split``, which know the letters and spaces of ASCII."""
    lowered = text.encode().lower().decode()
    kept = "".join(letter for letter in lowered if letter not in KERAS_FILTERS + "'")
    return [part.decode() for part in kept.encode().split()]


@given(TEXTS)
def test_keras_tokenizer_words(texts: list[str | None]) -> None:
    expected = [[] if is_blank(text) else as_tokenizer(text or "", KERAS_FILTERS + "\t\n") for text in texts]
    assert rows_of(texts, TOKENIZER) == expected


@given(TEXTS)
def test_custom_filters_and_separator(texts: list[str | None]) -> None:
    rules = replace(TOKENIZER, separators="é!a;", lowercase=False, case="full")
    expected = [
        []
        if is_blank(text)
        else [token for token in (text or "").translate(str.maketrans("é!a", ";;;")).split(";") if token]
        for text in texts
    ]
    assert rows_of(texts, rules) == expected


@given(TEXTS)
def test_text_vectorization_words(texts: list[str | None]) -> None:
    expected = [[] if is_blank(text) else as_vectorization(text or "") for text in texts]
    assert rows_of(texts, VECTORIZATION) == expected


@given(TEXTS)
def test_characters(texts: list[str | None]) -> None:
    assert rows_of(texts, CHARACTERS) == [
        [] if is_blank(text) else list((text or "").lower()) for text in texts
    ]


def test_deletion_comes_first() -> None:
    rules = TextRules(tokenizer="characters", case="ascii", deleted="b€")
    assert rows_of(["aBc€d", "b"], rules) == [["a", "c", "d"], []]


def test_lowercase_matches_python() -> None:
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    # Unicode versions differ between Arrow and Python in letters that are younger than one of them.
    old = [letter for letter in letters if unicodedata.category(letter) != "Cn"]
    full = lower(pa.array(old), "full").to_pylist()
    odd = {letter for letter, low in zip(old, full, strict=True) if low != letter.lower()}
    assert odd == set()
    assert lower(pa.array(["ΑΣ ΑΣΑ İ"]), "full").to_pylist() == ["ΑΣ ΑΣΑ İ".lower()]
    assert lower(pa.array(["ÉA"]), "ascii").to_pylist() == ["Éa"]


WORDS = ["<pad>", "<unk>", "a", "b", "c", "d"]


def ids_of(texts: list[str | None], rules: TextRules) -> list[list[int]]:
    encoded = TextPath(rules, Vocabulary(WORDS, escaped=rules.cuts)).encode(pa.array(texts, pa.string()))
    ends = encoded.offsets.tolist()
    return [encoded.words[start:end].tolist() for start, end in pairwise(ends)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[2, 1, 3], [], [0], [2, 3, 4, 5]]),
        ({"unknown": "drop"}, [[2, 3], [], [0], [2, 3, 4, 5]]),
        ({"wordless": "unknown"}, [[2, 1, 3], [], [1], [2, 3, 4, 5]]),
        ({"length": 3}, [[2, 1, 3], [], [0], [3, 4, 5]]),
        ({"length": 3, "truncating": "post"}, [[2, 1, 3], [], [0], [2, 3, 4]]),
        ({"length": 4, "padding": "pre"}, [[0, 2, 1, 3], [], [0, 0, 0, 0], [2, 3, 4, 5]]),
        ({"length": 4, "padding": "post"}, [[2, 1, 3, 0], [], [0, 0, 0, 0], [2, 3, 4, 5]]),
        (
            {"length": 2, "padding": "post", "truncating": "post", "unknown": "drop"},
            [[2, 3], [], [0, 0], [2, 3]],
        ),
    ],
)
def test_rows_are_cut_and_padded(settings: dict[str, object], expected: list[list[int]]) -> None:
    texts = ["a zz b", None, "!!", "a b c d"]
    assert ids_of(texts, replace(TOKENIZER, **settings)) == expected  # type: ignore[arg-type]


def test_padded_tweets() -> None:
    assert ids_of(["a a", "b"], TextRules(length=3, padding="pre")) == [[0, 2, 2], [0, 0, 3]]


@given(TEXTS, st.sampled_from(["none", "pre", "post"]), st.sampled_from(["pre", "post"]))
def test_rows_do_not_depend_on_neighbors(texts: list[str | None], padding: str, truncating: str) -> None:
    rules = replace(TOKENIZER, length=3, padding=padding, truncating=truncating)  # type: ignore[arg-type]
    assert ids_of(texts, rules) == [ids_of([text], rules)[0] for text in texts]


def test_vocabulary_may_contain_line_feeds() -> None:
    words = [*WORDS, "\n", "x\\n", "\\", "one\ntwo"]
    vocabulary = Vocabulary(words, escaped=True)
    data = vocabulary.words_bytes()
    assert data.count(b"\n") == len(words)
    assert Vocabulary.load(data, escaped=True).words.to_pylist() == words
    assert Vocabulary.load(Vocabulary([*WORDS, "\\o/"]).words_bytes()).words.to_pylist()[-1] == "\\o/"
    with pytest.raises(BundleSchemaError, match="is not a valid escape"):
        Vocabulary.load(b"<pad>\n<unk>\n\\o/\n", escaped=True)


def test_rules_of_both_versions_survive_json() -> None:
    for rules in (TextRules(), TextRules(length=5, padding="post"), TOKENIZER, VECTORIZATION, CHARACTERS):
        saved = rules.to_dict()
        assert TextRules.from_dict(saved) == rules
        assert rules.version == saved["version"] == (1 if rules == TextRules() else 2)
    assert "separators" not in TextRules().to_dict()
    assert "mentions" not in TOKENIZER.to_dict()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"length": 5}, "unknown text rule 'length'"),
        ({"version": 1, "tokenizer": "characters"}, "version 1 does not support"),
        ({"version": 2, "tokenizer": "split"}, "separators"),
        ({"version": 2, "tokenizer": "characters", "separators": " "}, "separators"),
        ({"version": 2, "tokenizer": "characters", "letter_repeats": 0}, "letter_repeats is not supported"),
        ({"version": 2, "deleted": "a"}, "are not supported by the tokenizer tweets"),
        ({"version": 2, "padding": "pre"}, "needs a length"),
        ({"version": 2, "length": -1}, "negative"),
        ({"version": 2, "length": 10**6}, "more than"),
        ({"version": 2, "padding": "left"}, "padding is 'left'"),
        ({"version": 4}, "version 4"),
    ],
)
def test_contradictory_rules_are_rejected(data: dict[str, object], message: str) -> None:
    with pytest.raises(BundleSchemaError, match=message):
        TextRules.from_dict(data)


def test_padding_ids() -> None:
    assert np.array_equal([PAD, UNKNOWN], [0, 1])
