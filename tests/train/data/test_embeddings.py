"""Word vectors from files: GloVe's text, word2vec's text, and .npy with its words."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import DataError, InputFormatError, InputNotFoundError, SentstreamError, UsageError
from sentstream.text import Vocabulary
from sentstream_train.data.embeddings import check_width, open_embeddings

KNOWN = Vocabulary(pa.array(["<pad>", "<unk>", "good", "bad", "<user>", "été", "rare"]))
LINES = ["Good 9 9", "good 1 2", "the 3 4", "good 5 6", "<user> -1e-2 .5", "ÉTÉ 7 8", "<pad> 1 1"]
EXPECTED = {"good": [1, 2], "<user>": [-0.01, 0.5], "été": [7, 8]}


def vectors_of(path: Path, words: Path | None = None) -> dict[str, list[float]]:
    file = open_embeddings(path, words)
    assert file.width == 2
    ids, vectors = file.read(KNOWN)
    assert vectors.dtype == np.float32
    assert ids.tolist() == sorted(ids.tolist())
    names = KNOWN.words.to_pylist()
    return {names[index]: vector for index, vector in zip(ids.tolist(), vectors.tolist(), strict=True)}


@pytest.mark.parametrize("form", ["glove", "word2vec", "tabs", "gz", "npy", "npy of doubles"])
def test_every_format_is_equal(tmp_path: Path, form: str) -> None:
    path, words, lines = tmp_path / "vectors.txt", None, LINES
    if form == "word2vec":
        lines = [f"{len(LINES)} 2", *(f"{line} " for line in LINES)]  # the original tool ends lines so
    elif form == "tabs":
        lines = [line.replace(" ", "\t") for line in LINES]
    data = "".join(f"{line}\n" for line in lines).encode()
    if form.startswith("npy"):
        path, words = tmp_path / "vectors.npy", tmp_path / "words.txt"
        words.write_text("\n".join(line.split()[0] for line in LINES), "utf-8")
        numbers = np.array(
            [line.split()[1:] for line in LINES], np.float64 if "doubles" in form else np.float32
        )
        np.save(path, numbers)
    elif form == "gz":
        path = tmp_path / "vectors.txt.gz"
        path.write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)
    found = vectors_of(path, words)
    assert found.keys() == EXPECTED.keys()
    for word, vector in found.items():
        assert vector == pytest.approx(EXPECTED[word])


words_of = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(words_of, st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1))
def test_round_trip(vectors: dict[str, list[float]]) -> None:
    import tempfile

    vocabulary = Vocabulary(pa.array(["<pad>", "<unk>", *sorted(set(vectors) - {"<pad>", "<unk>"})]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vectors.txt")
        path.write_text("".join(f"{word} {' '.join(map(repr, v))}\n" for word, v in vectors.items()), "utf-8")
        ids, found = open_embeddings(path).read(vocabulary)
    for place, vector in zip(ids.tolist(), found.tolist(), strict=True):
        assert vector == vectors[vocabulary.words[place].as_py()]


def test_words_may_contain_spaces(tmp_path: Path) -> None:
    """glove.840B has some."""
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2\n. . . 3 4\nbad 5 6\n")
    assert vectors_of(path) == {"good": [1, 2], "bad": [5, 6]}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", InputFormatError, "no word vectors"),
        ("good\n", InputFormatError, "no word vectors"),
        ("once upon a time\n", InputFormatError, "no word vectors"),
        ("good 1 2\nbad 3\n", InputFormatError, "line 2: 1 number instead of 2"),
        ("good 1 2\nbad 3 x\n", InputFormatError, "line 2: could not convert"),
        ("good 1 2\nbad 3 nan\n", InputFormatError, "line 2: an invalid number"),
        ("le 1 2\nchat 3 4\n", DataError, "none of the 5 words"),
    ],
)
def test_files_without_vectors_are_rejected(
    tmp_path: Path, text: str, kind: type[SentstreamError], message: str
) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(kind, match=message) as error:
        open_embeddings(path).read(KNOWN)
    assert "\n" not in str(error.value)


def test_npy_and_words_must_match(tmp_path: Path) -> None:
    path, words = tmp_path / "vectors.npy", tmp_path / "words.txt"
    np.save(path, np.zeros((3, 2), np.float32))
    words.write_text("a\nb\n")
    with pytest.raises(UsageError, match="a file with one word per line"):
        open_embeddings(path)
    with pytest.raises(InputFormatError, match=r"2 words, but .* has 3 rows"):
        open_embeddings(path, words).read(KNOWN)
    with pytest.raises(UsageError, match="leave --embeddings-words out"):
        open_embeddings(words, words)
    with pytest.raises(InputNotFoundError, match="does not exist"):
        open_embeddings(path, tmp_path / "none.txt")
    np.save(path, np.zeros(6, np.int64))
    with pytest.raises(InputFormatError, match=r"int64\[6\], not a floating-point matrix"):
        open_embeddings(path, words)
    path.write_bytes(b"not numpy")
    with pytest.raises(InputFormatError, match=r"not a \.npy file"):
        open_embeddings(path, words)


def test_different_width_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2 3\n")
    check_width(open_embeddings(path), 3)
    with pytest.raises(UsageError, match=r"has 3 numbers per word, .* is 96 wide \(give --embedding 3\)"):
        check_width(open_embeddings(path), 96)
