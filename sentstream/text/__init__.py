"""Tweets -> token ids: the text path that training and scoring share."""

from sentstream.text.clean import is_text
from sentstream.text.path import DEFAULT_MAX_CHARS, Encoded, TextPath, tokenize
from sentstream.text.rules import LINK, MENTION, RULES_VERSION, TextRules
from sentstream.text.scan import Tokens
from sentstream.text.vocabulary import PAD, UNKNOWN, Vocabulary

__all__ = [
    "DEFAULT_MAX_CHARS",
    "LINK",
    "MENTION",
    "PAD",
    "RULES_VERSION",
    "UNKNOWN",
    "Encoded",
    "TextPath",
    "TextRules",
    "Tokens",
    "Vocabulary",
    "is_text",
    "tokenize",
]
