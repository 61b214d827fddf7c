"""How texts became ids where a model was trained: text rules, vocabulary, and the Keras code, rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from sentstream.errors import BundleSchemaError, DataError, UsageError
from sentstream.text import TextRules, Vocabulary
from sentstream.text.rules import KERAS_FILTERS, KERAS_SPACES
from sentstream.text.vocabulary import SPECIAL
from sentstream_train.elsewhere.archive import Front

#: Texts -> the ids of each, from Keras, before padding.
Sequences: TypeAlias = Callable[[Sequence[str]], list[list[int]]]
Side: TypeAlias = Literal["pre", "post"]


@dataclass(frozen=True)
class Preprocessing:
    """How texts became ids.

    Attributes:
        rules: The text rules, without a length.
        vocabulary: Padding, the unknown word, then the tokens.
        shift: How much higher a vocabulary id is than the model's own id: 0 or 1. With 1, padding and the
            unknown word are both the model's id 0.
        made_by: The tool, for users.
        sequences: The same preprocessing in Keras' own code, rebuilt from its settings; None if these are
            not known.
        side: The side where Keras pads and cuts by default.
        length: The number of ids that the tool itself pads or cuts to, or None.
        warnings: Warnings about unknown settings.
    """

    rules: TextRules
    vocabulary: Vocabulary
    shift: int
    made_by: str
    sequences: Sequences | None
    side: Side = "pre"
    length: int | None = None
    warnings: tuple[str, ...] = ()

    def padded(
        self, texts: Sequence[str], length: int | None, padding: Side, truncating: Side
    ) -> npt.NDArray[np.int32]:
        """``int32[texts, length]``: the model's input, padded by ``keras.utils.pad_sequences``."""
        assert self.sequences is not None
        rows = self.sequences(texts)
        length = length or max(1, *map(len, rows))
        table: npt.NDArray[np.int32] = keras.utils.pad_sequences(
            rows, maxlen=length, dtype="int32", padding=padding, truncating=truncating
        )
        return table


def make_vocabulary(tokens: Sequence[str], rules: TextRules, where: str) -> Vocabulary:
    """A vocabulary of tokens after padding and the unknown word.

    Raises:
        DataError: A token is repeated, equals a special one, or cannot be encoded.
    """
    try:
        return Vocabulary(pa.array([*SPECIAL, *tokens], pa.string()), escaped=rules.cuts)
    except (BundleSchemaError, UnicodeEncodeError) as error:
        seen: set[str] = set(SPECIAL)
        again = next((token for token in tokens if token in seen or seen.add(token)), "")  # type: ignore[func-returns-value]
        raise DataError(
            f"{where} has {again!r} more than once, or at the position of another token"
        ) from error


def from_tokenizer(settings: dict[str, Any], index: dict[str, int], rows: int, where: str) -> Preprocessing:
    """The preprocessing of a ``Tokenizer``.

    Args:
        settings: Its ``get_config()``.
        index: Its ``word_index``.
        rows: Rows of the model's embedding.
        where: Its name in errors.

    Raises:
        DataError: A setting is not supported, or there are ids without a row in the embedding.
    """
    split, filters = settings.get("split", " "), settings.get("filters", KERAS_FILTERS + "\t\n")
    lower, characters = settings.get("lower", True), settings.get("char_level", False)
    unknown, limit = settings.get("oov_token"), settings.get("num_words")
    if not isinstance(split, str) or len(split) != 1:
        raise DataError(f"{where} has split={split!r}", hint="only a single character is supported")
    if not isinstance(filters, str | list) or not (limit is None or isinstance(limit, int)):
        raise DataError(f"{where} has invalid filters or num_words")
    rules = TextRules(
        tokenizer="characters" if characters else "split",
        lowercase=bool(lower),
        case="full",
        separators="" if characters else "".join(dict.fromkeys([*filters, split])),
        unknown="token" if unknown is not None else "drop",
        wordless="padding",
    )
    by_id = {number: token for token, number in index.items()}
    if sorted(by_id) != list(range(1, len(index) + 1)):
        raise DataError(f"the IDs of {where} do not run from 1 to {len(index)}")
    if unknown is not None and by_id.get(1) != unknown:
        raise DataError(f"{where} has the oov_token {unknown!r}, which does not have ID 1")
    words = [by_id[number] for number in range(1, min(len(index), (limit or len(index) + 1) - 1) + 1)]
    if len(words) >= rows:
        setting = f"num_words={limit}" if limit else "no num_words"
        raise DataError(
            f"{where} ({setting}) gives IDs up to {len(words)}, but the model's embedding has {rows} rows",
            hint="is it the Tokenizer that the model was trained with?",
        )
    known = words if unknown is None else words[1:]
    return Preprocessing(
        rules=rules,
        vocabulary=make_vocabulary(known, rules, where),
        shift=int(unknown is None),
        made_by="Keras' Tokenizer" + ("" if unknown is not None else " without oov_token"),
        sequences=_tokenizer(settings, index),
    )


def _tokenizer(settings: dict[str, Any], index: dict[str, int]) -> Sequences:
    from keras.src.legacy.preprocessing.text import Tokenizer

    names = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
    tokenizer = Tokenizer(**{name: settings[name] for name in names if name in settings})
    tokenizer.word_index = dict(index)

    def sequences(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer.texts_to_sequences(list(texts))
        return ids

    return sequences


def from_vectorization(config: dict[str, Any], tokens: Sequence[str], where: str) -> Preprocessing:
    """The preprocessing of a ``TextVectorization``.

    Args:
        config: Its ``get_config()``.
        tokens: Its ``get_vocabulary()``, including padding and the unknown word.
        where: Its name in errors.

    Raises:
        DataError: A setting is not supported.
    """
    for name, allowed in (
        ("output_mode", ("int",)),
        ("ngrams", (None,)),
        ("ragged", (False,)),
        ("split", ("whitespace", "character")),
        ("standardize", (None, "lower", "strip_punctuation", "lower_and_strip_punctuation")),
        ("encoding", ("utf-8", "UTF-8")),
    ):
        if name in config and config[name] not in allowed:
            choices = ", ".join(map(repr, allowed))
            raise DataError(f"{where} has {name}={config[name]!r}", hint=f"supported: {choices}")
    standardize = config.get("standardize", "lower_and_strip_punctuation") or ""
    characters = config.get("split", "whitespace") == "character"
    rules = TextRules(
        tokenizer="characters" if characters else "split",
        lowercase="lower" in standardize,
        case="ascii",
        deleted=KERAS_FILTERS + "'" if "strip" in standardize else "",
        separators="" if characters else KERAS_SPACES,
        wordless="padding",
    )
    return Preprocessing(
        rules=rules,
        vocabulary=make_vocabulary(tokens[len(SPECIAL) :], rules, where),
        shift=0,
        made_by="Keras' TextVectorization",
        sequences=_vectorization(config, tokens),
        side="post",
        length=config.get("output_sequence_length"),
    )


def _vectorization(config: dict[str, Any], tokens: Sequence[str]) -> Sequences:
    names = ("standardize", "split")
    layer = keras.layers.TextVectorization(
        vocabulary=list(tokens[len(SPECIAL) :]), **{name: config[name] for name in names if name in config}
    )

    def sequences(texts: Sequence[str]) -> list[list[int]]:
        table = np.asarray(layer(tf.constant(list(texts))))
        ends = (table != 0).sum(axis=1)  # 0 is padding, at the end
        return [row[:end].tolist() for row, end in zip(table, ends.tolist(), strict=True)]

    return sequences


def from_lookup(tokens: Sequence[str], rules: TextRules | None, where: str) -> Preprocessing:
    """The preprocessing of a ``StringLookup``, which takes texts that were split before.

    Args:
        tokens: Its ``get_vocabulary()``: padding, if there is any, and the unknown word come first.
        rules: How the texts were split.
        where: Its name in errors.

    Raises:
        UsageError: ``rules`` are missing.
    """
    if rules is None:
        raise UsageError(
            f"{where} comes from a StringLookup, which does not say how texts were split",
            hint="give --text-rules",
        )
    masked = tokens[0] == ""
    return Preprocessing(
        rules=rules,
        vocabulary=make_vocabulary(tokens[1 + masked :], rules, where),
        shift=int(not masked),
        made_by="Keras' StringLookup" + ("" if masked else ", the unknown word at 0"),
        sequences=None,
        side="post",
    )


def from_front(front: Front, rules: TextRules | None, path: str) -> Preprocessing:
    """The preprocessing of a layer inside the model.

    Raises:
        DataError: Its vocabulary is not in the file, or a setting is not supported.
        UsageError: Rules are given for a layer that has them, or missing for one that does not.
    """
    where, config = f"the {front.kind} in {path}", front.config
    tokens = front.vocabulary
    if tokens is None:
        vocabulary = config.get("vocabulary")
        if not isinstance(vocabulary, list | tuple) or not all(
            isinstance(token, str) for token in vocabulary
        ):
            raise DataError(
                f"the vocabulary of {where} is not in the file", hint="call adapt, and save the model again"
            )
        settings = {"mask_token": config.get("mask_token")} if front.kind == "StringLookup" else {}
        tokens = getattr(keras.layers, front.kind)(vocabulary=list(vocabulary), **settings).get_vocabulary()
    if front.kind == "TextVectorization":
        if rules is not None:
            raise UsageError(f"{where} already says how texts are split", hint="leave out --text-rules")
        return from_vectorization(config, tokens, where)
    for name, allowed in (("num_oov_indices", 1), ("output_mode", "int"), ("invert", False)):
        if config.get(name, allowed) != allowed:
            raise DataError(f"{where} has {name}={config[name]!r}", hint=f"supported: {allowed!r}")
    return from_lookup(tokens, rules, where)
