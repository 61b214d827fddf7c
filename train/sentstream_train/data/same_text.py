"""64-bit keys that are equal for texts that a person would call the same.

Only letters and digits count, in order: ``can't``, ``can`t``, ``can’t`` and ``CANT`` are the same text,
whatever mentions and links they have. Punctuation, symbols and white space do not count, so a text stays the
same if it was quoted, tokenized or badly cut out of a CSV. Texts without letters and digits are compared by
their symbols; texts of mentions and links only, character by character.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.keys import Keys, mix, span_keys, text_keys
from sentstream.text import LINK, MENTION, TextRules, Tokens, tokenize
from sentstream.text.clean import buffers_of

#: Key of a text that is null, empty or only white space; such a text repeats nothing.
NO_TEXT = np.uint64(0)

#: The text rules of a new model. A model's own rules do not affect whether two texts are the same.
_RULES = TextRules()
_NO_CAP = 2**29
_ROWS_AT_ONCE = 32_768
_MASKS = pa.array([MENTION, LINK])
#: RE2 patterns of what is dropped. Marks (M) are vowels in many scripts and stay, except variation selectors
#: and the keycap, which carry no meaning.
_NOT_WORDS = r"[^\pL\pM\pN]+|[\x{FE00}-\x{FE0F}\x{20E3}]"
_NOT_SIGNS = r"[\pL\pM\pN\pZ\pC.,!?'\"`_#-]+"


@dataclass(frozen=True)
class TextKeys:
    """The keys of rows; a key is ``NO_TEXT`` if there is nothing to compare.

    Attributes:
        words: ``uint64[rows]``, equal for texts that repeat each other.
        signs: ``uint64[rows]``, equal if emoticons and emoji are the same, too. "good morning :)" and
            "good morning :(" repeat each other but may have different labels.
    """

    words: Keys
    signs: Keys


def same_text(text: pa.Array) -> TextKeys:
    """The keys of texts; a text's keys do not depend on the other rows.

    Letters are compared after NFKC normalization and simple case folding; runs of a repeated letter
    ("sooo") are cut to two. No Python objects are created per text.

    Args:
        text: ``string`` or ``large_string``; nulls count as empty.
    """
    words, signs = np.zeros(len(text), np.uint64), np.zeros(len(text), np.uint64)
    for start in range(0, len(text), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        words[part], signs[part] = _portion(text.slice(start, _ROWS_AT_ONCE).fill_null(""))
    return TextKeys(words, signs)


def _portion(text: pa.Array) -> tuple[Keys, Keys]:
    tokens, _ = tokenize(text, _RULES, _NO_CAP)
    seen = _Seen(tokens)
    words, signs = seen.keys(_NOT_WORDS), seen.keys(_NOT_SIGNS)
    wordless = np.flatnonzero((words == NO_TEXT) & ~tokens.blank)
    if len(wordless):
        bare = text.take(pa.array(wordless))
        symbols = _Seen(tokenize(bare, _RULES, _NO_CAP)[0]).keys("")
        exact = text_keys(pc.utf8_trim_whitespace(pc.utf8_lower(bare)))
        words[wordless] = np.where(symbols == NO_TEXT, exact, symbols)
    return words, words + mix(signs)


class _Seen:
    """The tokens of some rows without mentions and links; each distinct token is processed once."""

    def __init__(self, tokens: Tokens) -> None:
        encoded = tokens.text.dictionary_encode()
        masked = pc.is_in(encoded.dictionary, value_set=_MASKS)
        self._distinct = pc.if_else(masked, "", encoded.dictionary)
        self._indices, self._offsets = encoded.indices, tokens.offsets

    def keys(self, dropped: str) -> Keys:
        """A key of each row's characters without those that match ``dropped``, across token boundaries."""
        left = self._distinct
        if dropped:  # before and after NFKC, which turns a spacing accent into a space and a mark
            left = pc.replace_substring_regex(left, dropped, "")
        left = pc.utf8_normalize(left, "NFKC")
        # Upper case first: "ς" and "σ" are the same letter, and so are "ſ" and "s".
        left = pc.utf8_lower(pc.utf8_upper(left))
        if dropped:
            left = pc.replace_substring_regex(left, dropped, "")
        data, ends = buffers_of(left.take(self._indices))
        return span_keys(data.astype(np.uint64), ends[self._offsets])


def repeats_of(keys: Keys, others: Keys) -> npt.NDArray[np.bool_]:
    """``bool[rows]``: which rows of ``keys`` repeat a row of ``others``."""
    return np.isin(keys, others[others != NO_TEXT])
