"""Which texts are the same as people see them, as 64-bit keys, so that no two texts are compared.

Letters and digits decide, in their order: ``can't``, ``can`t``, ``can’t`` and ``CANT`` are one text, whoever
it is sent to and whatever it links to. Marks, symbols and white space do not count, so that a text that was
quoted, tokenized or cut out of a CSV carelessly stays the same. A text without letters and digits is its
symbols; one of mentions and links alone is what it is, to the letter.
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

#: Key of a text that is null, empty or white space only, which repeats nothing.
NO_TEXT = np.uint64(0)

#: Entities, mentions, links and runs of a letter, as in the text rules of a new model; a model's own rules
#: have no say in whether two texts are the same.
_RULES = TextRules()
_NO_CAP = 2**29
_ROWS_AT_ONCE = 32_768
_MASKS = pa.array([MENTION, LINK])
#: RE2 patterns of what falls away. Marks (M) are vowels in many scripts; variation selectors and the keycap
#: are marks that say nothing.
_NOT_WORDS = r"[^\pL\pM\pN]+|[\x{FE00}-\x{FE0F}\x{20E3}]"
_NOT_SIGNS = r"[\pL\pM\pN\pZ\pC.,!?'\"`_#-]+"


@dataclass(frozen=True)
class TextKeys:
    """What makes rows the same; a key is ``NO_TEXT`` where there is nothing to compare.

    Attributes:
        words: ``uint64[rows]``, equal for texts that repeat each other.
        signs: ``uint64[rows]``, equal for those of them that have the same emoticons and emoji, too:
            "good morning :)" and "good morning :(" repeat each other and may well have two labels.
    """

    words: Keys
    signs: Keys


def same_text(text: pa.Array) -> TextKeys:
    """Keys of texts, the same in any portion and in any file.

    Letters are compared after Unicode's NFKC and without case, one code point to one; of a letter that is
    repeated ("sooo") two count. No Python object is made for a text.

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
    """The tokens of some rows, mentions and links masked; each distinct one is looked at once."""

    def __init__(self, tokens: Tokens) -> None:
        encoded = tokens.text.dictionary_encode()
        masked = pc.is_in(encoded.dictionary, value_set=_MASKS)
        self._distinct = pc.if_else(masked, "", encoded.dictionary)
        self._indices, self._offsets = encoded.indices, tokens.offsets

    def keys(self, dropped: str) -> Keys:
        """A key of each row's characters but for those of a pattern, whatever tokens they stand in."""
        left = self._distinct
        if dropped:  # before NFKC makes a space and a mark of an accent that stands alone, and after
            left = pc.replace_substring_regex(left, dropped, "")
        left = pc.utf8_normalize(left, "NFKC")
        # Up and down again: "ς" and "σ" are one letter, and so are "ſ" and "s".
        left = pc.utf8_lower(pc.utf8_upper(left))
        if dropped:
            left = pc.replace_substring_regex(left, dropped, "")
        data, ends = buffers_of(left.take(self._indices))
        return span_keys(data.astype(np.uint64), ends[self._offsets])


def repeats_of(ours: Keys, theirs: Keys) -> npt.NDArray[np.bool_]:
    """``bool[rows]``: which of our rows repeat one of theirs."""
    return np.isin(ours, theirs[theirs != NO_TEXT])
