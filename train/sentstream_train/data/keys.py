"""64-bit keys of rows by their tokens, to find repeats without comparing texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.keys import Keys, span_keys, text_keys
from sentstream.text import LINK, MENTION, Tokens


def token_keys(tokens: Tokens) -> Keys:
    """``uint64[rows]``: a key of each row's tokens in order; it does not depend on the other rows."""
    encoded = tokens.text.dictionary_encode()
    return span_keys(text_keys(encoded.dictionary)[encoded.indices.to_numpy()], tokens.offsets)


def word_keys(tokens: Tokens) -> Keys:
    """``uint64[rows]``: a key of each row's words in order; mentions, links and symbols do not count.

    Version 1 of ``same_text``, used by runs that record no version. It reads ``can`t`` as two words.
    """
    encoded = tokens.text.dictionary_encode()
    masks = pc.is_in(encoded.dictionary, value_set=pa.array([MENTION, LINK]))
    words = pc.and_not(pc.match_substring_regex(encoded.dictionary, r"[\pL\pN]"), masks)
    kept = words.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
    running = np.concatenate((np.zeros(1, np.int64), np.cumsum(kept)))
    return token_keys(Tokens(tokens.text.filter(pa.array(kept)), running[tokens.offsets], tokens.blank))
