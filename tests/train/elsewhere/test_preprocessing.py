"""Vocabularies as Keras writes them: they give the same ids as Keras for the same texts."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf

from sentstream.errors import DataError
from sentstream.text import TextPath, TextRules, Vocabulary
from sentstream_train.elsewhere.preprocessing import Preprocessing, from_tokenizer, from_vectorization
from sentstream_train.elsewhere.texts import odd_texts
from sentstream_train.elsewhere.vocabulary_file import read_vocabulary_file

LEARNED = [
    "I LOVE this, it's SO good!!! :-)",
    "bad bad day... can't sleep\nthe\\end #fail",
    "\u00c9t\u00e9 \u0130 a b e",
]
TOKENIZERS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "no unknown word": {"oov_token": None},
    "few words": {"num_words": 8},
    "few words, no unknown word": {"num_words": 8, "oov_token": None},
    "characters": {"char_level": True},
    "other filters, capitals stay": {"filters": '.,"', "lower": False},
    "cut at a letter": {"split": "e"},
    "no filters": {"filters": ""},
}
LAYERS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "capitals and marks stay": {"standardize": None},
    "marks stay": {"standardize": "lower"},
    "capitals stay": {"standardize": "strip_punctuation"},
    "characters": {"split": "character"},
}


@cache
def of_kind(kind: str, name: str) -> Preprocessing:
    if kind == "Tokenizer":
        from keras.src.legacy.preprocessing.text import Tokenizer

        made = Tokenizer(**{"oov_token": "<OOV>", **TOKENIZERS[name]})
        made.fit_on_texts(LEARNED)
        return from_tokenizer(made.get_config(), made.word_index, 500, "it")
    layer = keras.layers.TextVectorization(**LAYERS[name])
    layer.adapt(LEARNED)
    return from_vectorization(layer.get_config(), layer.get_vocabulary(), "it")


KINDS = [*(("Tokenizer", name) for name in TOKENIZERS), *(("TextVectorization", name) for name in LAYERS)]


def same_ids(made: Preprocessing, texts: list[str]) -> None:
    assert made.sequences is not None
    rows = TextPath(made.rules, made.vocabulary).encode(pa.array(texts))
    ends = rows.offsets.tolist()
    found = [rows.words[start:end] - made.shift for start, end in pairwise(ends)]
    # No ids at all are a row of padding, which stands for them.
    ours = [[] if row.tolist() == [-made.shift] else row.tolist() for row in found]
    assert ours == made.sequences(texts)


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_unusual_texts(kind: str, name: str) -> None:
    made = of_kind(kind, name)
    same_ids(made, odd_texts(made.vocabulary, 300))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.lists(
        st.text(
            st.sampled_from("abeE'!.,\\# \t\n\r\x1c\u00a0\u3000\u00c9\u0130\u03a3"), min_size=1, max_size=12
        ),
        min_size=1,
    ),
)
def test_any_texts(kind: tuple[str, str], texts: list[str]) -> None:
    texts = [text for text in texts if not text.isspace()]
    if texts:
        same_ids(of_kind(*kind), texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "  "}, "split='  '"),
        ({"filters": 3}, "filters"),
        ({"oov_token": "other"}, "does not have ID 1"),
    ],
)
def test_unsupported_tokenizer_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_tokenizer({"oov_token": "<OOV>", **change}, {"<OOV>": 1, "a": 2}, 9, "it")


@pytest.mark.parametrize(
    "config",
    [{"ngrams": 2}, {"output_mode": "multi_hot"}, {"split": None}, {"standardize": "mine"}, {"ragged": True}],
)
def test_unsupported_vectorization_settings(config: dict[str, Any]) -> None:
    (name,) = config
    with pytest.raises(DataError, match=f"has {name}="):
        from_vectorization(config, ["", "[UNK]", "a"], "it")


def test_vocabulary_of_this_project(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("<pad>\n<unk>\nthe\n")
    made = read_vocabulary_file(tmp_path / "vocabulary.txt", 3)
    assert (made.rules, made.shift, made.sequences) == (TextRules(), 0, None)


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"\xef\xbb\xbf\r\n[UNK]\r\nthe\r\n")
    assert read_vocabulary_file(tmp_path / "v.txt", 3).vocabulary.words.to_pylist()[2:] == ["the"]


def test_json_in_json(tmp_path: Path) -> None:
    """As ``json.dump(tokenizer.to_json(), file)`` writes it."""
    inner = json.dumps({"class_name": "Tokenizer", "config": {"word_index": '{"a": 1}', "oov_token": None}})
    (tmp_path / "t.json").write_text(json.dumps(inner))
    made = read_vocabulary_file(tmp_path / "t.json", 3)
    assert made.rules.unknown == "drop"
    assert made.vocabulary.words.to_pylist()[2:] == ["a"]


def test_unusual_texts_are_deterministic_and_never_blank() -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "good", "day"])
    texts = odd_texts(vocabulary)
    assert texts == odd_texts(vocabulary)
    assert len(texts) == 1000
    assert not any(text.isspace() or not text for text in texts)


def test_padding_matches_keras() -> None:
    made = of_kind("Tokenizer", "as it comes")
    table = made.padded(["i love", "bad bad bad day"], 3, "post", "pre")
    assert table.dtype == np.int32
    assert table.tolist()[0][2] == 0
    assert tf.reduce_all(table[1] != 0)
