"""Inspect a labeled data set: size, balance, lengths, vocabulary, duplicates, users, frequent words.

One pass over the rows in chunks. In addition to the texts (about 80 bytes per tweet), memory holds three
64-bit keys and two lengths per row, and a count per distinct token and label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import sentstream
from sentstream.analyze.keys import Keys, text_keys
from sentstream.analyze.word_counts import Ints, WordCounts
from sentstream.analyze.word_odds import frequent_words
from sentstream.errors import UsageError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules, tokenize
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.same_text import TextKeys, same_text
from sentstream_train.inspect.figures import (
    cover_vocabulary,
    describe_lengths,
    describe_repeats,
    describe_users,
    share_of,
)

#: Called with (rows done, total rows).
Progress: TypeAlias = Callable[[int, int], None]

VOCABULARY_SIZES = (5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000)
#: RE2 patterns, which take linear time. A row is counted once for each pattern that it matches.
CONTENTS = {
    "links": r"(?i)https?://|\bwww\.|<url>",
    "mentions": r"(?:^|[^\pL\pN_])@[A-Za-z0-9_]|<user>",
    "hashtags": r"(?:^|[^\pL\pN_&])#\pL",
    "emoji": r"[\x{1F000}-\x{1FAFF}\x{2600}-\x{27BF}\x{2B50}\x{2B55}\x{231A}\x{231B}\x{23E9}-\x{23FA}]",
    # An 8 counts as eyes only before a mouth that is not a digit, and an x only in XD.
    "emoticons": r"(?:^|\s)(?:[:;=][-'o]?[)(DPpOo/\\|\]\[3]+|8-?[)(D]+|[xX]D+)(?:\s|$)|<3",
    "HTML entities": r"&(?:amp|lt|gt|quot|nbsp|#[0-9]{1,5});",
    "UTF-8 read as Latin-1": r"\x{EF}\x{BF}\x{BD}|[\x{C2}\x{C3}][\x{80}-\x{BF}]|\x{E2}\x{80}[\x{80}-\x{BF}]",
}

_ROWS_AT_ONCE = 32_768
#: What pandas writes for missing texts if a column of objects was cast to text.
_WRITTEN_MISSING = pa.array(["nan", "NaN", "None", "<NA>"])
#: Words are counted separately for this many labels; the smaller labels beyond share one count.
_MOST_LABELS = 20


@dataclass
class _Gathered:
    """What the pass over the rows collects; lists have one array per chunk."""

    words: WordCounts
    characters: list[Ints] = field(default_factory=list)
    tokens: list[Ints] = field(default_factory=list)
    exact: list[Keys] = field(default_factory=list)
    same: list[TextKeys] = field(default_factory=list)
    blank: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    contents: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CONTENTS, 0))
    truncated: int = 0

    def add(self, text: pa.Array, columns: Ints, rules: TextRules, max_chars: int) -> None:
        """Process one chunk of rows."""
        tokens, truncated = tokenize(text, rules, max_chars)
        text = text.fill_null("")
        self.truncated += truncated
        self.blank.append(tokens.blank)
        self.characters.append(pc.utf8_length(text).to_numpy().astype(np.int64))
        self.tokens.append(np.diff(tokens.offsets))
        self.exact.append(text_keys(text))
        self.same.append(same_text(text))
        self.words.add(tokens, columns)
        capped = pc.utf8_slice_codeunits(text, 0, max_chars) if truncated else text
        for name, pattern in CONTENTS.items():
            self.contents[name] += pc.sum(pc.match_substring_regex(capped, pattern)).as_py() or 0


def inspect_data(
    data: LabeledData,
    *,
    vocabulary_sizes: Sequence[int] = VOCABULARY_SIZES,
    rules: TextRules | None = None,
    max_chars: int = DEFAULT_MAX_CHARS,
    words_per_label: int = 20,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Describe a data set; 1.6 million tweets take well under a minute.

    Args:
        data: The rows; labels may be absent.
        vocabulary_sizes: Vocabulary sizes (including the two special tokens, as in training) to report
            the coverage of.
        rules: The text rules; None: the default rules.
        max_chars: How many characters of a row are read.
        words_per_label: How many frequent words of each label to list.
        progress: Called after each chunk of rows.

    Returns:
        JSON-ready data with words but no texts; shares are from 0 to 1.

    Raises:
        UsageError: A vocabulary size is not positive.
        MissingExtraError: The rules need NLTK, which is not installed.
    """
    if min(vocabulary_sizes, default=1) < 1:
        raise UsageError(f"vocabulary sizes must be positive integers, not {min(vocabulary_sizes)}")
    rules = rules or TextRules()
    sizes = np.bincount(data.label[data.label >= 0], minlength=len(data.labels))
    apart = np.argsort(-sizes, kind="stable")[:_MOST_LABELS]
    column_of = np.full(len(data.labels) + 1, len(apart), np.int64)  # the last column: other labels, no label
    column_of[apart] = np.arange(len(apart))
    gathered = _Gathered(WordCounts(len(apart) + 1))
    for start in range(0, len(data), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(data))
        portion = data.text.slice(start, stop - start)
        gathered.add(portion, column_of[data.label[start:stop]], rules, max_chars)
        if progress:
            progress(stop, len(data))
    words, per_label = gathered.words.merged()
    blank, lengths = np.concatenate(gathered.blank), np.concatenate(gathered.tokens)
    worded = lengths > 0
    exact = np.concatenate(gathered.exact)
    same = TextKeys(
        np.concatenate([part.words for part in gathered.same]),
        np.concatenate([part.signs for part in gathered.same]),
    )
    return {
        "report": "inspection",
        "sentstream": sentstream.__version__,
        "files": [source.to_dict() for source in data.sources],
        "rows": {
            "read": sum(source.rows for source in data.sources),
            "without_label": sum(source.without_label for source in data.sources),
            "other_labels": sum(count for source in data.sources for _, count in source.other_labels),
            "inspected": len(data),
            "null": data.text.null_count,
            "written_missing": pc.sum(
                pc.is_in(data.text, value_set=_WRITTEN_MISSING.cast(data.text.type))
            ).as_py()
            or 0,
            "empty": int(blank.sum()) - data.text.null_count,
            "wordless": int((~worded & ~blank).sum()),
            "broken_utf8": sum(source.broken for source in data.sources),
            "truncated": gathered.truncated,
        },
        "max_chars": max_chars,
        "labels": [
            {"label": name, "rows": int(size), "share": share_of(size, len(data))}
            for name, size in zip(data.labels, sizes, strict=True)
        ],
        "lengths": {
            "characters": describe_lengths(np.concatenate(gathered.characters)[~blank]),
            "tokens": describe_lengths(lengths[~blank]),
        },
        "vocabulary": cover_vocabulary(words, per_label.sum(axis=1), vocabulary_sizes),
        "duplicates": {
            "exact": describe_repeats(exact[~blank], exact[~blank], data.label[~blank]),
            "same_text": describe_repeats(same.words[~blank], same.signs[~blank], data.label[~blank]),
        },
        "users": describe_users(data.user),
        "contents": {name: share_of(count, len(data)) for name, count in gathered.contents.items()},
        "frequent_words": {
            data.labels[index]: frequent_words(words, per_label, column, words_per_label)
            for column, index in sorted(enumerate(apart.tolist()), key=lambda pair: pair[1])
        }
        if len(data.labels) > 1
        else {},
        "rules": rules.to_dict(),
    }
