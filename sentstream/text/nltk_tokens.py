"""The opt-in second tokenizer: NLTK's ``TweetTokenizer``, stop words and stemming, one tweet at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import MissingExtraError
from sentstream.text.rules import LINK, MENTION, TextRules
from sentstream.text.scan import Tokens

if TYPE_CHECKING:
    from nltk.stem.porter import PorterStemmer
    from nltk.tokenize.casual import TweetTokenizer

#: English words without sentiment of their own; negations and intensifiers are not included.
STOP_WORDS = (
    *(
        "a an the this that these those i you he she it we they me him her us them my your his its our"
    ).split(),
    *("their and or of in on at to from for with by as is are was were be been being am do does did").split(),
    *("have has had will would can could should what which who when where there here then than").split(),
)


@lru_cache(maxsize=4)
def _tools(lowercase: bool) -> tuple[TweetTokenizer, PorterStemmer]:
    try:
        from nltk.stem.porter import PorterStemmer
        from nltk.tokenize.casual import TweetTokenizer
    except ImportError as error:
        raise MissingExtraError("these text rules use NLTK, which is not installed", extra="nltk") from error
    return TweetTokenizer(preserve_case=not lowercase, reduce_len=True), PorterStemmer()


def split(column: pa.StringArray, rules: TextRules) -> Tokens:
    """Split valid text of limited length into tokens with NLTK.

    Args:
        column: ``string`` without nulls.
        rules: Rules with the tokenizer ``nltk``; mentions and links are masked after tokenizing.

    Raises:
        MissingExtraError: NLTK is not installed.
    """
    tokenizer, stemmer = _tools(rules.lowercase)
    stop = frozenset(rules.stop_words)
    words: list[str] = []
    offsets = [0]
    for text in column.to_pylist():
        for token in tokenizer.tokenize(text):
            word = token
            if rules.mentions == "mask" and len(word) > 1 and word[0] == "@":
                word = MENTION
            elif rules.links == "mask" and word.lower().startswith(("http://", "https://", "www.")):
                word = LINK
            elif word in stop:
                continue
            elif rules.stemmer == "porter":
                word = stemmer.stem(word, to_lowercase=rules.lowercase)
            words.append("".join(word.split()))  # a token must not contain whitespace: one per line
        offsets.append(len(words))
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0).to_numpy(zero_copy_only=False)
    return Tokens(pa.array(words, pa.string()), np.array(offsets, np.int64), blank.astype(np.bool_))
