"""Pretrained word vectors, the initial values of an embedding.

Three formats are read. GloVe text has one word and its numbers per line. word2vec text has the same after a
line with the number of words and the width. ``.npy`` has ``float[words, width]``, and a separate file has the
words, one per line. Text may be compressed (``.gz``, ``.bz2``, ``.zst``, ``.lz4``).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from sentstream.errors import DataError, InputFormatError, InputNotFoundError, UsageError, counted, first_line
from sentstream.text import Vocabulary
from sentstream.text.vocabulary import SPECIAL
from sentstream_train.data.files import open_unpacked, recorded_name
from sentstream_train.data.labeled import sha256_of

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingFile:
    """A file of word vectors whose format is known.

    Attributes:
        path: The file.
        width: Numbers per word.
        words: The file with the words of a ``.npy``; None: the words are in ``path``.
        header: Lines before the first word.
    """

    path: Path
    width: int
    words: Path | None = None
    header: int = 0

    @property
    def name(self) -> str:
        """The file's base name, for records."""
        return recorded_name(self.path)

    def sha256(self) -> str:
        """The hex SHA-256 of the file's bytes."""
        return sha256_of(self.path)

    def read(self, vocabulary: Vocabulary) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Read the vectors of the words that are both in the file and in the vocabulary.

        An exact match wins. Without one, a word of the vocabulary gets the vector of the first word that
        equals it in lower case. If a word occurs twice, the first one counts.

        Args:
            vocabulary: The vocabulary.

        Returns:
            ``int64[n]``, word ids in ascending order, and ``float32[n, width]``, their vectors.

        Raises:
            InputFormatError: A line is not a word with ``width`` numbers.
            DataError: The file has none of the words.
        """
        ids = {word: index for index, word in enumerate(vocabulary.words.to_pylist())}
        for word in SPECIAL:
            del ids[word]
        exact: dict[int, Vectors] = {}
        close: dict[int, Vectors] = {}
        for word, numbers in self._lines():
            index, found = ids.get(word), exact
            if index is None:
                index, found = ids.get(word.lower()), close
            if index is not None and index not in found:
                found[index] = numbers()
        if not (found := {**close, **exact}):
            raise DataError(
                f"{self.path} has none of the {len(ids):,} words in the vocabulary",
                hint="is it in another language, or does --embeddings-words belong to another file?",
            )
        indices = sorted(found)
        return np.array(indices, np.int64), np.stack([found[index] for index in indices])

    def _lines(self) -> Iterator[tuple[str, _Numbers]]:
        return _text_lines(self) if self.words is None else _array_lines(self, self.words)


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a word, parsed only when called: parsing is slow, and most words are not needed."""

    path: Path
    line: int
    fields: list[bytes] | Vectors

    def __call__(self) -> Vectors:
        try:
            numbers = np.array(self.fields, np.float32)
        except ValueError as error:
            raise InputFormatError(f"{self.path} line {self.line:,}: {first_line(error, 80)}") from error
        if not np.isfinite(numbers).all():
            raise InputFormatError(f"{self.path} line {self.line:,}: an invalid number")
        return numbers


def open_embeddings(path: Path, words: Path | None = None) -> EmbeddingFile:
    """Detect the format of a file of word vectors.

    Args:
        path: GloVe or word2vec text, or ``.npy``.
        words: The words of a ``.npy``, one per line.

    Raises:
        InputNotFoundError: A file does not exist.
        InputFormatError: The file has no word vectors.
        UsageError: A ``.npy`` without ``words``, or text with ``words``.
    """
    for name in (path, *([words] if words else [])):
        if not name.is_file():
            raise InputNotFoundError(
                f"{name} does not exist" if not name.exists() else f"{name} is not a file"
            )
    if path.suffix == ".npy":
        if words is None:
            raise UsageError(
                f"{path} has numbers but no words",
                hint="give a file with one word per line: --embeddings-words",
            )
        return EmbeddingFile(path, _array(path).shape[1], words)
    if words is not None:
        raise UsageError(f"{path} already contains the words", hint="leave --embeddings-words out")
    with _lines_of(path) as stream:
        first = _fields(stream.readline())
        second = _fields(stream.readline())
    header = int(len(first) == 2 and all(field.isdigit() for field in first))
    width = int(first[1]) if header else len(first) - 1
    sample = second if header else first
    if width < 2 or len(sample) <= width or not _are_numbers(sample[-width:]):
        raise InputFormatError(
            f"{path} has no word vectors",
            hint="give GloVe or word2vec text (a word and its numbers per line), or a .npy and its words",
        )
    return EmbeddingFile(path, width, header=header)


def check_width(file: EmbeddingFile, width: int) -> None:
    """Raise if the vectors do not fit a network's embedding.

    Raises:
        UsageError: The vectors have another width.
    """
    if file.width != width:
        raise UsageError(
            f"{file.path} has {counted(file.width, 'number')} per word,"
            f" but the network's embedding is {width:,} wide",
            hint=f"give --embedding {file.width}",
        )


def _text_lines(file: EmbeddingFile) -> Iterator[tuple[str, _Numbers]]:
    with _lines_of(file.path) as stream:
        for number, line in enumerate(stream, start=1):
            if number <= file.header:
                continue
            fields = _fields(line)
            if not fields:
                continue
            if len(fields) <= file.width:
                raise InputFormatError(
                    f"{file.path} line {number:,}: {counted(len(fields) - 1, 'number')}"
                    f" instead of {file.width:,}"
                )
            # A word may contain spaces; numbers cannot.
            word = b" ".join(fields[: -file.width])
            yield word.decode("utf-8", "replace"), _Numbers(file.path, number, fields[-file.width :])


def _array_lines(file: EmbeddingFile, words: Path) -> Iterator[tuple[str, _Numbers]]:
    array = _array(file.path)
    with _lines_of(words) as stream:
        names = [line.rstrip(b"\r\n").decode("utf-8", "replace") for line in stream]
    if len(names) != len(array):
        raise InputFormatError(
            f"{words} has {counted(len(names), 'word')}, but {file.path} has {counted(len(array), 'row')}"
        )
    for number, (name, row) in enumerate(zip(names, array, strict=True), start=1):
        yield name, _Numbers(file.path, number, row)


def _array(path: Path) -> Vectors:
    """A ``.npy``, memory-mapped."""
    try:
        array: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputFormatError(f"{path} is not a .npy file: {first_line(error, 120)}") from error
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InputFormatError(
            f"{path} is {array.dtype}{list(array.shape)}, not a floating-point matrix with one row per word"
        )
    return array


def _lines_of(path: Path) -> io.BufferedReader:
    """A stream of the file's decompressed lines."""
    return io.BufferedReader(cast("io.RawIOBase", open_unpacked(path)))


def _fields(line: bytes) -> list[bytes]:
    """A line split at spaces and tabs only: tokens may contain any other white space."""
    return [part for part in line.rstrip(b"\r\n ").replace(b"\t", b" ").split(b" ") if part]


def _are_numbers(fields: list[bytes]) -> bool:
    try:
        [float(field) for field in fields]
    except ValueError:
        return False
    return True
