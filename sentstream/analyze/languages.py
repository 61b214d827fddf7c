"""Count texts that are probably not in the model's language, by their script and by unknown words.

No language is identified. Letters tell the script, and if the model knows few of a text's words, it was
hardly trained on such texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.cells import Ints
from sentstream.text import Tokens

#: Names of scripts and patterns for their letters; other scripts count as "another".
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
#: Names and links have Latin letters in all languages, so they are removed.
_MARKS = r"(?i)(?:https?://|www\.|@)\S+"
#: Minimum number of words that begin with a letter, for checking a text's share of known words.
_LEAST_WORDS = 5
_LETTER = r"^\p{L}"


@dataclass(frozen=True)
class ScriptRows:
    """The number of texts in a script."""

    script: str
    rows: int


@dataclass(frozen=True)
class Languages:
    """Counts of texts by script and known words.

    Attributes:
        rows: Number of texts examined; a random sample if there are very many.
        scripts: Number of texts with mostly non-Latin letters, by script; most frequent first.
        least_words: Minimum number of words for checking a text's known words.
        long: Number of other texts with at least that many words; None if the model is not available.
        strange: Number of those in which the model knows less than half of the words; None if it is not
            available.
    """

    rows: int
    scripts: tuple[ScriptRows, ...]
    least_words: int
    long: int | None
    strange: int | None


class LanguageCounts:
    """Counts texts by script and known words.

    Args:
        with_words: Whether ``add`` gets the known words.
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
            known: ``bool[tokens]``: whether the model knows each token; None if it is not available.
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
        """``bool[rows]``: whether most of a text's letters are not Latin."""
        other = np.zeros(len(texts), np.bool_)
        beyond = pc.greater(pc.binary_length(texts), pc.utf8_length(texts)).to_numpy(zero_copy_only=False)
        indices = np.flatnonzero(beyond)  # all ASCII letters are Latin
        bare = pc.replace_substring_regex(texts.take(pa.array(indices)), pattern=_MARKS, replacement=" ")
        letters = _count(bare, r"\p{L}")
        foreign = 2 * (letters - _count(bare, r"\p{Latin}")) > letters
        other[indices[foreign]] = True
        bare = bare.filter(pa.array(foreign))
        counts = np.stack([_count(bare, pattern) for pattern in _SCRIPTS.values()])
        best = np.where(counts.max(axis=0, initial=0) > 0, counts.argmax(axis=0), len(_SCRIPTS))
        for name, number in zip(self._scripts, np.bincount(best, minlength=len(_SCRIPTS) + 1), strict=True):
            self._scripts[name] += int(number)
        return other

    def languages(self) -> Languages:
        """The counts."""
        found = sorted(self._scripts.items(), key=lambda one: (-one[1], one[0]))
        return Languages(
            self._rows,
            tuple(ScriptRows(name, rows) for name, rows in found if rows),
            _LEAST_WORDS,
            self._long if self._with_words else None,
            self._strange if self._with_words else None,
        )


def _count(texts: pa.Array, pattern: str) -> Ints:
    counts: Ints = pc.count_substring_regex(texts, pattern=pattern).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64)
