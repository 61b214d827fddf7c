"""Read vocabularies as Keras' own tools write them, or refuse with a hint what to write instead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sentstream.errors import DataError, UsageError, counted
from sentstream.text import TextRules
from sentstream.text.vocabulary import SPECIAL
from sentstream_train.elsewhere.preprocessing import (
    Preprocessing,
    from_lookup,
    from_tokenizer,
    from_vectorization,
    make_vocabulary,
)

_UNKNOWN = re.compile(r"[<\[](unk|oov|unknown)[>\]]|unk", re.IGNORECASE)
_PADDING = re.compile(r"([<\[]pad[>\]])?", re.IGNORECASE)
_TO_JSON = "open('tokenizer.json', 'w').write(tokenizer.to_json())"


def read_vocabulary_file(path: Path, rows: int, rules: TextRules | None = None) -> Preprocessing:
    """Read how a model's texts became ids.

    Supported are the ``to_json()`` of a ``Tokenizer``, which has everything; a ``word_index`` alone, or any
    JSON object from tokens to ids; and a text file with one token per line, where the line number is the
    id: ``get_vocabulary()`` of ``TextVectorization`` or ``StringLookup``, or a bundle's ``vocabulary.txt``.

    Args:
        path: The file.
        rows: Rows of the model's embedding.
        rules: How texts were split, for files that do not say it.

    Raises:
        DataError: The file cannot be read, its first tokens are not Keras' special ones, its ids have gaps,
            or there are more ids than rows in the embedding.
        UsageError: Rules are given for a file that has them, or missing for one that does not.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"the vocabulary {path} cannot be read: {error.strerror or error}") from error
    if data[:1] == b"\x80" or path.suffix.lower() in (".pickle", ".pkl", ".joblib"):
        raise DataError(f"{path} is a pickle, which can run any code and is never opened", hint=_TO_JSON)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"the vocabulary {path} is not UTF-8: {error}") from error
    if text.lstrip().startswith(("{", '"{')):
        return _from_json(text, path, rows, rules)
    text = text.replace("\r\n", "\n").removesuffix("\n")
    return _from_lines(text.split("\n"), path, rows, rules)


def _from_lines(lines: list[str], path: Path, rows: int, rules: TextRules | None) -> Preprocessing:
    where = f"the vocabulary {path}"
    if len(lines) < len(SPECIAL):
        raise DataError(
            f"{where} has {counted(len(lines), 'line')}",
            hint="it needs padding, the unknown word, then tokens",
        )
    first, second = lines[:2]
    if _UNKNOWN.fullmatch(first):
        found = from_lookup(lines, rules, where)
    elif not (_PADDING.fullmatch(first) and _UNKNOWN.fullmatch(second)):
        raise DataError(
            f"{where} starts with {first[:30]!r} and {second[:30]!r}, not with padding and the unknown word",
            hint="save all of get_vocabulary(include_special_tokens=True)",
        )
    elif first == "" and rules in (None, TextRules.preset("text-vectorization")):
        found = from_vectorization({}, lines, where)
    else:
        rules = rules or TextRules()
        vocabulary = make_vocabulary(lines[len(SPECIAL) :], rules, where)
        found = Preprocessing(rules, vocabulary, 0, f"the rules {_name(rules)}", None)
    count = len(found.vocabulary) - found.shift
    if count > rows:
        raise DataError(f"{where} has {count} tokens, but the model's embedding has {rows} rows")
    return found


def _name(rules: TextRules) -> str:
    names = ("tweets", "keras-tokenizer", "text-vectorization")
    return next((name for name in names if TextRules.preset(name) == rules), "that were given")


def _from_json(text: str, path: Path, rows: int, rules: TextRules | None) -> Preprocessing:
    where = f"the vocabulary {path}"
    try:
        data: Any = json.loads(text)
        data = json.loads(data) if isinstance(data, str) else data  # json.dump(tokenizer.to_json())
        settings = data["config"] if isinstance(data.get("config"), dict) else data
        index = settings.get("word_index")
        index = json.loads(index) if isinstance(index, str) else index
        whole = isinstance(index, dict)
        ids = {str(token): int(number) for token, number in (index if whole else data).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} is not a JSON object that maps tokens to IDs: {error}") from error
    if whole:
        if rules is not None:
            raise UsageError(f"{where} already says how texts are split", hint="leave out --text-rules")
        return from_tokenizer(settings, ids, rows, f"the Tokenizer in {path}")
    return _from_index(ids, path, rows, rules)


def _from_index(ids: dict[str, int], path: Path, rows: int, rules: TextRules | None) -> Preprocessing:
    """The preprocessing of a bare ``word_index``, which lacks all settings."""
    where = f"the vocabulary {path}"
    if rules is None:
        raise UsageError(
            f"{where} is a word_index, which does not say how texts were split",
            hint=f"save the whole Tokenizer: {_TO_JSON}; or give --text-rules",
        )
    ids = {token: number for token, number in ids.items() if number}
    first = next((token for token, number in ids.items() if number == 1), "")
    unknown = first if _UNKNOWN.fullmatch(first) else None
    if rules == TextRules.preset("keras-tokenizer"):
        found = from_tokenizer({"oov_token": unknown, "num_words": rows}, ids, rows, where)
    elif unknown is None:
        raise DataError(
            f"{where} has no unknown word at ID 1",
            hint="--text-rules keras-tokenizer drops such words",
        )
    else:
        if sorted(ids.values()) != list(range(1, len(ids) + 1)):
            raise DataError(f"the IDs in {path} do not run from 1 to {len(ids)}")
        tokens = sorted(ids, key=lambda token: ids[token])[1 : rows - 1]
        found = Preprocessing(
            rules, make_vocabulary(tokens, rules, where), 0, f"the rules {_name(rules)}", None
        )
    missing = "a word_index lacks num_words, filters and oov_token: if they were not "
    missing += (
        f"{rows} (or none), the default and {unknown or 'none'}, results will differ; to_json() has them"
    )
    return Preprocessing(**{**vars(found), "warnings": (missing,)})
