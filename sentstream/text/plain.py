"""A plain tweet -> its tokens, in Python: what is quicker where there are only a few.

``scan`` makes some sixty short calls however few its bytes are. For text in ASCII without entities and
masks, most of what people write, a few regular expressions say the same in a tenth of the time. None of
them reads a stretch of the text more than a fixed number of times, so each is linear in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from sentstream.text.rules import LINK, MENTION, TextRules

Tokenizer: TypeAlias = Callable[[str], list[str]]

_SPACES = r"\t-\r\x1c-\x20"  # what str.isspace() says of ASCII
_LETTER = "[A-Za-z0-9_]"
_WORD = f"{_LETTER}+(?:'{_LETTER}+)*"
_LINK = re.compile(rf"(?:https?://|(?<!{_LETTER})www\.(?={_LETTER}))[^{_SPACES}]*")


def is_plain(text: str) -> bool:
    """Whether the tokenizer of ``plain_tokenizer`` may be asked."""
    return text.isascii() and "&" not in text and "<" not in text


def plain_tokenizer(rules: TextRules) -> Tokenizer | None:
    """What gives the tokens of a text that ``is_plain``, as ``scan`` would; None where the rules are others.

    Args:
        rules: Those with punctuation as tokens are served.
    """
    if rules.tokenizer != "tweets" or rules.punctuation != "token":
        return None
    # An apostrophe between letters is part of a word, and any other a mark.
    kinds = [_WORD, "#+", "@+", f"[^{_SPACES}A-Za-z0-9_#@]+"]
    if rules.mentions == "mask":
        kinds[2:3] = [f"@+(?!{_LETTER})", "@"]
        kinds.insert(0, f"(?<!{_LETTER})@{_WORD}")
    find = re.compile("|".join(kinds)).findall
    runs = [
        (re.compile(f"({kind})\\1{{{limit},}}"), r"\1" * limit)
        for kind, limit in (
            ("[A-Za-z_]", rules.letter_repeats),
            (f"[^{_SPACES}A-Za-z0-9_]", rules.symbol_repeats),
        )
        if limit
    ]

    def between_links(text: str) -> list[str]:
        for run, short in runs:
            text = run.sub(short, text)
        found: list[str] = find(text)
        if "@" in text and rules.mentions == "mask":  # of what holds one, only a mention ends otherwise
            return [MENTION if "@" in token and token[-1] != "@" else token for token in found]
        return found

    def tokens(text: str) -> list[str]:
        if rules.lowercase:
            text = text.lower()
        if rules.links != "mask" or not ("http" in text or "www." in text):
            return between_links(text)
        found: list[str] = []
        end = 0
        for link in _LINK.finditer(text):
            found += between_links(text[end : link.start()])
            found.append(LINK)
            end = link.end()
        found += between_links(text[end:])
        return found

    return tokens
