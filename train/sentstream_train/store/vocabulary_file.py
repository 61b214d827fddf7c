"""Vocabularies of models that were trained elsewhere, as Keras' own tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from sentstream.errors import DataError
from sentstream.text import Vocabulary
from sentstream.text.vocabulary import SPECIAL


def read_vocabulary_file(path: Path, rows: int) -> Vocabulary:
    """Read a vocabulary.

    Known are a text file with one token a line, its number the id (``TextVectorization``'s
    ``get_vocabulary()``, or a bundle's ``vocabulary.txt``: padding first, then the unknown word), and
    JSON: a ``Tokenizer``'s ``to_json()``, its ``word_index``, or any object of token to id, with the
    unknown word at 1.

    Args:
        path: The file.
        rows: Rows of the model's embedding. A ``Tokenizer``'s rarer words, which it never gives, are cut.

    Raises:
        DataError: It cannot be read, has no unknown word, has gaps, or more tokens than the embedding rows.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the vocabulary {path} cannot be read: {error}") from error
    if text.lstrip().startswith("{"):
        tokens = _of_json(text, path)[:rows]
    else:
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < len(SPECIAL):
            raise DataError(
                f"the vocabulary {path} has {len(lines)} lines", hint="padding, unknown word, then tokens"
            )
        tokens = [*SPECIAL, *lines[len(SPECIAL) :]]
    if len(tokens) > rows:
        raise DataError(
            f"the vocabulary {path} has {len(tokens)} tokens; the model's embedding has {rows} rows"
        )
    return Vocabulary(pa.array(tokens, pa.string()))


def _of_json(text: str, path: Path) -> list[str]:
    try:
        data: Any = json.loads(text)
        settings = data["config"] if isinstance(data.get("config"), dict) else data  # Tokenizer.to_json()
        index = settings.get("word_index")
        if isinstance(index, str):
            index = json.loads(index)
        by_id = {
            int(place): str(token) for token, place in (index if isinstance(index, dict) else data).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"the vocabulary {path} is not an object of token to id: {error}") from error
    by_id.pop(0, None)
    declared, first = settings.get("oov_token"), by_id.get(1, "")
    if not (first == declared if isinstance(declared, str) else first.startswith(("<", "["))):
        raise DataError(
            f"the vocabulary {path} has no unknown word at id 1",
            hint="train with Tokenizer(oov_token='<unk>')",
        )
    if sorted(by_id) != list(range(1, len(by_id) + 1)):
        raise DataError(f"the ids in {path} do not run from 1 to {len(by_id)}")
    return [*SPECIAL, *(by_id[place] for place in range(len(SPECIAL), len(by_id) + 1))]
