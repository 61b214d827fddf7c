"""Texts that are likely in another language than the model's: by their letters, and by words that it knows.

Nothing here knows a language. Letters tell scripts apart, and a model that knows few of a text's words was
hardly trained on texts like it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.cells import Ints
from sentstream.text import Tokens

#: What scripts are called, and their letters; what is of none of them is of another.
_SCRIPTS = {
    "Arabic": r"\p{Arabic}",
    "Bengali": r"\p{Bengali}",
    "Chinese or Japanese": r"[\p{Han}\p{Hiragana}\p{Katakana}]",
    "Cyrillic": r"\p{Cyrillic}",
    "Devanagari": r"\p{Devanagari}",
    "Greek": r"\p{Greek}",
    "Hebrew": r"\p{Hebrew}",
    "Korean": r"\p{Hangul}",
    "Tamil": r"\p{Tamil}",
    "Thai": r"\p{Thai}",
}
#: Names and links have Latin letters in every language.
_MARKS = r"(?i)(?:https?://|www\.|@)\S+"
#: Words that begin with a letter, from which a text's share of known ones is looked at.
_LEAST_WORDS = 5
_LETTER = r"^\p{L}"


@dataclass(frozen=True)
class ScriptRows:
    """Texts most of whose letters are of one script."""

    script: str
    rows: int


@dataclass(frozen=True)
class Languages:
    """What letters and known words say of the languages of some texts.

    Attributes:
        rows: Texts that were looked at, drawn by chance where there are very many.
        scripts: Those with mostly letters that are not Latin, by their script; the most frequent first.
        least_words: Words from which a text's known ones are looked at.
        long: Texts in Latin letters with so many words; None where the model is not at hand.
        strange: Those of them of whose words the model knows less than half; None as before.
    """

    rows: int
    scripts: tuple[ScriptRows, ...]
    least_words: int
    long: int | None
    strange: int | None


class LanguageCounts:
    """Counts of texts by what their letters and words say.

    Args:
        with_words: Whether it will be told which words are known.
    """

    def __init__(self, *, with_words: bool) -> None:
        self._with_words = with_words
        self._rows = self._long = self._strange = 0
        self._scripts = dict.fromkeys((*_SCRIPTS, "another"), 0)

    def add(self, texts: pa.Array, tokens: Tokens, known: npt.NDArray[np.bool_] | None) -> None:
        """Count some texts.

        Args:
            texts: ``large_string[rows]`` without nulls.
            tokens: Their tokens.
            known: ``bool[tokens]``: which the model knows; None where it is not at hand.
        """
        self._rows += len(texts)
        other = self._count_scripts(texts)
        if known is None:
            return
        words = pc.match_substring_regex(tokens.text, _LETTER).to_numpy(zero_copy_only=False)
        row = np.repeat(np.arange(len(texts)), np.diff(tokens.offsets))
        count = np.bincount(row[words], minlength=len(texts))
        familiar = np.bincount(row[words & known], minlength=len(texts))
        long = (count >= _LEAST_WORDS) & ~other
        self._long += int(long.sum())
        self._strange += int((long & (2 * familiar < count)).sum())

    def _count_scripts(self, texts: pa.Array) -> npt.NDArray[np.bool_]:
        """``bool[rows]``: which texts have mostly letters that are not Latin."""
        other = np.zeros(len(texts), np.bool_)
        beyond = pc.greater(pc.binary_length(texts), pc.utf8_length(texts)).to_numpy(zero_copy_only=False)
        places = np.flatnonzero(beyond)  # ASCII has Latin letters only
        bare = pc.replace_substring_regex(texts.take(pa.array(places)), pattern=_MARKS, replacement=" ")
        letters = _count(bare, r"\p{L}")
        foreign = 2 * (letters - _count(bare, r"\p{Latin}")) > letters
        other[places[foreign]] = True
        bare = bare.filter(pa.array(foreign))
        counts = np.stack([_count(bare, pattern) for pattern in _SCRIPTS.values()])
        best = np.where(counts.max(axis=0, initial=0) > 0, counts.argmax(axis=0), len(_SCRIPTS))
        for name, number in zip(self._scripts, np.bincount(best, minlength=len(_SCRIPTS) + 1), strict=True):
            self._scripts[name] += int(number)
        return other

    def languages(self) -> Languages:
        """What was counted."""
        found = sorted(self._scripts.items(), key=lambda one: (-one[1], one[0]))
        return Languages(
            self._rows,
            tuple(ScriptRows(name, rows) for name, rows in found if rows),
            _LEAST_WORDS,
            self._long if self._with_words else None,
            self._strange if self._with_words else None,
        )


def _count(texts: pa.Array, pattern: str) -> Ints:
    found: Ints = pc.count_substring_regex(texts, pattern=pattern).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)
