"""Group texts by what they contain (negation, emoji, links …), length and share of unknown words.

It uses Arrow's regular expressions (RE2, linear time) and arrays of tokens, without Python code per row.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.text import TextPath, Tokens, tokenize
from sentstream_train.inspect.run import CONTENTS

Flags: TypeAlias = npt.NDArray[np.bool_]
#: Groups of slices: group name -> slice name -> ``bool[rows]``.
Groups: TypeAlias = dict[str, dict[str, Flags]]

_VERBS = "ai are ca could did do does had has have is might must need sha should was were wo would".split()
#: Tokens that negate; contractions also without the apostrophe.
NEGATIONS = (
    *("no not never none nobody nothing nowhere neither nor without hardly barely cannot").split(),
    *(verb + ending for verb in _VERBS for ending in ("n't", "nt")),
)
PATTERNS = {
    **{name: CONTENTS[name] for name in ("emoji", "emoticons", "hashtags", "mentions", "links")},
    # Not the question marks in links, which a letter or a number follows.
    "questions": r"[?\x{FF1F}\x{61F}](?:[^\pL\pN]|$)",
    # Three letters or more, to exclude RT and OK; no hashtags, no parts of links.
    "words in capitals": r"(?:^|[\s\"'(*\x{2018}\x{201C}])\p{Lu}{3,}(?:[^\pL\pN_@#/]|$)",
}
#: Tokens per row: name, minimum, maximum.
LENGTHS = (("1 to 5", 1, 5), ("6 to 10", 6, 10), ("11 to 20", 11, 20), ("21 and more", 21, 2**31))
#: The share of a row's tokens that the model does not know: name, more than, up to.
UNKNOWN_SHARES = (
    ("none", -1.0, 0.0),
    ("up to 10 %", 0.0, 0.1),
    ("10 to 25 %", 0.1, 0.25),
    ("more than 25 %", 0.25, 1.0),
)

_ROWS_AT_ONCE = 32_768
_NEGATIONS = pa.array(NEGATIONS)


def mark_texts(text: pa.Array, path: TextPath) -> Groups:
    """The slices of each text, as a model reads it.

    Args:
        text: ``string`` or ``large_string`` without nulls or blanks.
        path: The model's text path: its text rules, vocabulary and character cap.
    """
    contents: dict[str, list[Flags]] = {"negation": [], **{name: [] for name in PATTERNS}}
    tokens_a_row, unknown_a_row = [], []
    for start in range(0, len(text), _ROWS_AT_ONCE):
        portion = text.slice(start, _ROWS_AT_ONCE)
        tokens, truncated = tokenize(portion, path.rules, path.max_chars)
        if truncated:
            portion = pc.utf8_slice_codeunits(portion, 0, path.max_chars)
        negating = pc.is_in(pc.utf8_lower(tokens.text), value_set=_NEGATIONS)
        contents["negation"].append(_sums(negating.to_numpy(zero_copy_only=False), tokens) > 0)
        for name, pattern in PATTERNS.items():
            matches = pc.match_substring_regex(portion, pattern)
            contents[name].append(matches.to_numpy(zero_copy_only=False))
        tokens_a_row.append(np.diff(tokens.offsets))
        unknown_a_row.append(_sums(path.is_unknown(tokens), tokens))
    # The model reads a text without tokens as one unknown word.
    length, unknown = np.concatenate(tokens_a_row), np.concatenate(unknown_a_row)
    share = np.where(length == 0, 1.0, unknown / np.maximum(length, 1))
    length = np.maximum(length, 1)
    return {
        "texts with": {name: np.concatenate(parts) for name, parts in contents.items()},
        "length in tokens": {name: (length >= low) & (length <= high) for name, low, high in LENGTHS},
        "words the model does not know": {
            name: (share > low) & (share <= high) for name, low, high in UNKNOWN_SHARES
        },
    }


def _sums(flags: Flags, tokens: Tokens) -> npt.NDArray[np.int64]:
    """``int64[rows]``: how many of each row's tokens are flagged."""
    running = np.concatenate((np.zeros(1, np.int64), np.cumsum(flags)))
    return np.diff(running[tokens.offsets])
