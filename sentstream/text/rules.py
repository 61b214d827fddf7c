"""The rules that turn a tweet into tokens: data in a bundle's ``config.json``, versioned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sentstream.errors import BundleSchemaError

RULES_VERSION = 1

#: What a mention and a link become. Neither can come out of a text in any other way, because "@"
#: never shares a token with a letter.
MENTION, LINK = "@u", "@url"


@dataclass(frozen=True)
class TextRules:
    """How a text becomes tokens.

    Args:
        version: Version of the rules' meaning; a bundle of a newer one is refused.
        tokenizer: ``"tweets"`` (vectorized over Arrow buffers) or ``"nltk"`` (NLTK's
            ``TweetTokenizer``, one Python object per token: slower, opt-in, needs the extra ``nltk``).
        lowercase: Unicode lower case, one code point to one.
        entities: Decode the HTML entities ``&amp; &lt; &gt; &quot; &#39; &nbsp;``, one level.
        mentions: ``"mask"`` turns ``@name`` into one token, ``"keep"`` leaves it as it is.
        links: ``"mask"`` turns ``http://…``, ``https://…`` and ``www.…`` into one token.
        punctuation: ``"token"`` (a run is a token, so emoticons survive), ``"space"`` (separates, as
            Keras' ``Tokenizer`` does) or ``"strip"`` (is deleted, as ``TextVectorization`` does).
        letter_repeats: A letter is kept at most so many times in a row ("sooooo" → "soo"); 0 is off.
        symbol_repeats: The same for a punctuation mark or an emoji; 0 is off.
        stop_words: Words to leave out (tokenizer ``nltk`` only).
        stemmer: Stem the words with NLTK's Porter stemmer (tokenizer ``nltk`` only).
    """

    version: int = RULES_VERSION
    tokenizer: Literal["tweets", "nltk"] = "tweets"
    lowercase: bool = True
    entities: bool = True
    mentions: Literal["mask", "keep"] = "mask"
    links: Literal["mask", "keep"] = "mask"
    punctuation: Literal["token", "space", "strip"] = "token"
    letter_repeats: int = 2
    symbol_repeats: int = 3
    stop_words: tuple[str, ...] = ()
    stemmer: Literal["none", "porter"] = "none"

    def __post_init__(self) -> None:
        if self.version > RULES_VERSION:
            raise BundleSchemaError(
                f"text rules of version {self.version}; this runtime knows {RULES_VERSION}",
                hint="upgrade sentstream",
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BundleSchemaError(
                    f"text rule {name} is {getattr(self, name)!r}, not one of {', '.join(map(repr, allowed))}"
                )
        for name in ("letter_repeats", "symbol_repeats"):
            if getattr(self, name) < 0:
                raise BundleSchemaError(f"text rule {name} is negative")
        if self.punctuation != "token" and "mask" in (self.mentions, self.links):
            raise BundleSchemaError("masks need punctuation to be a token; use mentions and links: keep")
        if self.tokenizer != "nltk" and (self.stop_words or self.stemmer != "none"):
            raise BundleSchemaError("stop words and stemming belong to the nltk tokenizer")

    @classmethod
    def preset(cls, name: str) -> TextRules:
        """Rules with a name: ``tweets``, ``keras-tokenizer`` or ``text-vectorization``.

        The last two split as Keras' ``Tokenizer`` (default filters) and ``TextVectorization``
        (default standardization) do, for models that were trained with those.

        Raises:
            BundleSchemaError: No such rules.
        """
        if name == "tweets":
            return cls()
        if name not in ("keras-tokenizer", "text-vectorization"):
            raise BundleSchemaError(
                f"no text rules of the name {name!r}", hint="tweets, keras-tokenizer or text-vectorization"
            )
        punctuation: Literal["space", "strip"] = "space" if name == "keras-tokenizer" else "strip"
        return cls(
            entities=False,
            mentions="keep",
            links="keep",
            punctuation=punctuation,
            letter_repeats=0,
            symbol_repeats=0,
        )

    def to_dict(self) -> dict[str, Any]:
        """The rules as JSON-ready data."""
        return {**asdict(self), "stop_words": list(self.stop_words)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TextRules:
        """Read the rules back.

        Raises:
            BundleSchemaError: An unknown rule, a value of the wrong type, or a newer version.
        """
        if not isinstance(data, Mapping):
            raise BundleSchemaError("the text rules are not an object")
        values = dict(data)
        version = values.get("version", RULES_VERSION)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise BundleSchemaError(f"text rule version is {version!r}")
        if version > RULES_VERSION:
            return cls(version=version)  # refuses, with the right words
        defaults = {f.name: f.default for f in fields(cls)}
        for name, value in values.items():
            if name not in defaults:
                raise BundleSchemaError(f"unknown text rule {name!r}")
            if name == "stop_words":
                if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                    raise BundleSchemaError("text rule stop_words is not a list of strings")
                values[name] = tuple(value)
            elif type(value) is not type(defaults[name]):
                raise BundleSchemaError(f"text rule {name} is {value!r}")
        return cls(**values)


_CHOICES: dict[str, tuple[str, ...]] = {
    "tokenizer": ("tweets", "nltk"),
    "mentions": ("mask", "keep"),
    "links": ("mask", "keep"),
    "punctuation": ("token", "space", "strip"),
    "stemmer": ("none", "porter"),
}
