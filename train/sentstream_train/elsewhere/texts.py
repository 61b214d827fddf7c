"""Test texts for comparing two text paths: a model's own words, and odd things that people type."""

from __future__ import annotations

import numpy as np

from sentstream.doctor.tweets import synthetic_tweets
from sentstream.text import Vocabulary

#: Written for this file, to test splitting, lower case, dropped characters and unusual spaces.
_ODD = (
    "I LOVE this!!! :-) @someone http://t.co/abc #BestDay",
    "it's sad... can't, won't & \u2019twasn\u2019t \u201cfine\u201d",
    "caf\u00e9 na\u00efve \u00c9COLE \u0130stanbul \u039f\u0394\u039f\u03a3 \u03a3\u0391\u03a3",
    "no\u00a0break\u3000wide\u2003em\u2009thin spaces",
    "tabs\tand\nlines\r\nand\x0bmore\x0cof\x1cthem\x85here",
    "!!!",
    ":)",
    "\U0001f602\U0001f602 \u2764\ufe0f so good",
    "\U0001f44d",
    "a-b_c/d\\e|f~g`h^i",
    "&amp; &lt;3 &quot;quoted&quot;",
    "100% of $5 is \u00a35 or \u20ac5",
    "zzqqxx yyqqww unknown wordsss",
    "'quoted' \"words\" (and) [more] {of} <them>",
    "\u0634\u0643\u0631\u0627 \u062c\u0632\u064a\u0644\u0627 \u3042\u308a\u304c\u3068\u3046",
    "e\u0301 combining, \ufb01 ligature, \uff21 wide",
    "x" * 300,
    "good " * 120,
    " leading and trailing ",
    "zero\u200bwidth and soft\u00adhyphen",
)
_MARKS = ("!", "...", ", ", " - ", "?!", " :( ", "'s", " #", " @", "\n", "\u00a0", "\u2026", "\U0001f600")


def odd_texts(vocabulary: Vocabulary, count: int = 1000, seed: int = 2) -> list[str]:
    """Texts that are not blank, always the same for the same arguments.

    Args:
        vocabulary: The source of most of the words.
        count: Number of texts.
        seed: Seed of the draws.
    """
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 40, count - len(_ODD)).tolist()
    texts = list(_ODD)
    for plain in synthetic_tweets(vocabulary, lengths, seed).to_pylist():
        words = plain.split(" ")
        index = int(random.integers(len(words)))
        words[index] += _MARKS[random.integers(len(_MARKS))]
        if random.random() < 0.3:
            words[index] = words[index].upper()
        if random.random() < 0.3:
            words.insert(index, f"unseen{random.integers(100)}")
        texts.append(" ".join(words))
    return texts
