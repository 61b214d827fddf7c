"""Statistics of a sample by NLTK: collocations, lexical diversity, words seen once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from sentstream.errors import MissingExtraError
from sentstream.text import LINK, MENTION, TextRules, tokenize
from sentstream_train.data.labeled import LabeledData

SAMPLE_ROWS = 50_000
#: Pairs seen less often are left out: the likelihood ratio is unreliable for small counts.
_LEAST = 5


def inspect_with_nltk(
    data: LabeledData,
    *,
    rules: TextRules,
    max_chars: int,
    limit: int = 20,
    sample_rows: int = SAMPLE_ROWS,
    seed: int = 1,
) -> dict[str, Any]:
    """Describe the words of a sample with NLTK.

    Collocations are pairs of neighboring words, ranked by the log-likelihood ratio against chance
    (Dunning 1993); masks, punctuation and pairs seen fewer than five times are left out.

    Args:
        data: The rows.
        rules: The text rules.
        max_chars: How many characters of a row are read.
        limit: How many collocations to list.
        sample_rows: How many rows to draw at random; NLTK needs a Python object for every word.
        seed: Seed of the draw.

    Returns:
        JSON-ready data. ``type_token_ratio`` decreases with the length of the text: compare it only
        between samples of the same size.

    Raises:
        MissingExtraError: NLTK is not installed.
    """
    try:
        from nltk.collocations import BigramCollocationFinder
        from nltk.metrics import BigramAssocMeasures
        from nltk.probability import FreqDist
    except ImportError as error:
        raise MissingExtraError(
            "this part of the inspection uses NLTK, which is not installed",
            extra="nltk",
        ) from error
    chosen = np.arange(len(data))
    if sample_rows < len(data):
        chosen = np.sort(np.random.default_rng(seed).choice(len(data), sample_rows, replace=False))
    tokens, _ = tokenize(data.text.take(pa.array(chosen)), rules, max_chars)
    flat, bounds = tokens.text.to_pylist(), tokens.offsets.tolist()
    frequency = FreqDist(flat)
    finder = BigramCollocationFinder.from_documents(flat[start:stop] for start, stop in pairwise(bounds))
    finder.apply_word_filter(lambda word: word in (MENTION, LINK) or not any(map(str.isalnum, word)))
    finder.apply_freq_filter(_LEAST)
    # The ratio has no sign: pairs that are rarer than by chance score high, too.
    finder.apply_ngram_filter(
        lambda first, second: (
            finder.ngram_fd[first, second] * frequency.N() <= frequency[first] * frequency[second]
        )
    )
    scored = finder.score_ngrams(BigramAssocMeasures.likelihood_ratio)
    return {
        "rows": len(chosen),
        "tokens": frequency.N(),
        "types": frequency.B(),
        "type_token_ratio": round(frequency.B() / max(1, frequency.N()), 6),
        "hapaxes": len(frequency.hapaxes()),
        "collocations": [
            {"words": list(pair), "count": finder.ngram_fd[pair], "log_likelihood": round(ratio, 2)}
            for pair, ratio in scored[:limit]
        ],
    }
