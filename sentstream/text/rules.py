"""The rules that turn a tweet into token ids, versioned and stored in a bundle's ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sentstream.errors import BundleSchemaError

#: The newest version of the rules that this runtime supports.
RULES_VERSION = 3

#: The tokens for mentions and links. They cannot result from any other text, because "@" is never in the
#: same token as a letter.
MENTION, LINK = "@u", "@url"
#: Maximum length that the rules can cut or pad a text to, in ids.
MOST_LENGTH = 100_000

#: Characters that Keras' ``Tokenizer`` replaces with a space by default, and that ``TextVectorization``
#: deletes (together with the apostrophe).
KERAS_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'
#: Where ``tf.strings.split`` cuts: ASCII whitespace, as in C's ``isspace``.
KERAS_SPACES = " \t\n\x0b\x0c\r"


@dataclass(frozen=True)
class TextRules:
    """How a text becomes tokens, and the tokens a row of ids.

    Args:
        version: Version of the rules' meaning: the lowest that supports all rules in use. Bundles with a
            newer version than ``RULES_VERSION`` are rejected.
        tokenizer: ``"tweets"`` (vectorized over Arrow buffers); ``"nltk"`` (NLTK's ``TweetTokenizer``,
            one Python object per token: slower, opt-in, needs the extra ``nltk``); since version 2 also
            ``"split"`` (cut at ``separators``) and ``"characters"`` (each code point is a token), as
            Keras' ``Tokenizer`` and ``TextVectorization`` do.
        lowercase: Whether to lowercase letters; ``case`` determines how.
        entities: Whether to decode the HTML entities ``&amp; &lt; &gt; &quot; &#39; &nbsp;``, one level.
        mentions: ``"mask"`` turns ``@name`` into one token, ``"keep"`` leaves it unchanged.
        links: ``"mask"`` turns ``http://…``, ``https://…`` and ``www.…`` into one token.
        punctuation: ``"token"`` (a run is a token, so emoticons survive), ``"space"`` (separates tokens) or
            ``"strip"`` (is deleted).
        letter_repeats: Maximum number of times a letter is kept in a row ("sooooo" → "soo"); 0 is no limit.
        symbol_repeats: The same for a punctuation mark or an emoji; 0 is no limit.
        stop_words: Words to leave out (tokenizer ``nltk`` only).
        stemmer: Stem the words with NLTK's Porter stemmer (tokenizer ``nltk`` only).
        case: ``"simple"`` (one code point to one), ``"full"`` (Python's ``str.lower``: "İ" becomes two
            code points, a final "Σ" becomes "ς") or ``"ascii"`` (A to Z only, as ``tf.strings.lower``).
        deleted: Characters to delete before the text is cut (tokenizers ``split`` and ``characters``).
        separators: Characters at which the text is cut; tokens do not contain them (tokenizer ``split``).
        unknown: ``"token"`` gives tokens that are not in the vocabulary the id of the unknown word,
            ``"drop"`` leaves them out, as a ``Tokenizer`` without ``oov_token`` does.
        wordless: What a text gets that is not blank but has no tokens: the id of the ``"unknown"`` word,
            or of ``"padding"``.
        length: Maximum number of ids per row; 0 is no limit.
        truncating: Where a longer row is cut: ``"pre"``, at the start, or ``"post"``, at the end.
        padding: Where a shorter row is filled up to ``length`` with id 0: ``"none"``, ``"pre"`` or
            ``"post"``.
        entity_levels: 2 also decodes entities that were escaped twice: ``&amp;lt;``.
        styled: ``"fold"`` reads full-width, mathematical, circled and squared letters, digits and marks as
            the ASCII characters they stand for (``sentstream.text.styled``), ``"keep"`` leaves them.
        hashtags: ``"split"`` cuts ``#BestDayEver`` at its capitals, numbers and underscores, and a hashtag
            that is not in the vocabulary into words that are; ``"keep"`` leaves hashtags whole.
        emoji: ``"sequences"`` makes a family, a flag or a keycap one token, looked up as its first emoji if
            it is not in the vocabulary, and shortens all repeated symbols; ``"parts"`` makes each code
            point a token.

    Raises:
        BundleSchemaError: A value is not allowed, or two values are not compatible.
    """

    version: int = 1
    tokenizer: Literal["tweets", "nltk", "split", "characters"] = "tweets"
    lowercase: bool = True
    entities: bool = True
    mentions: Literal["mask", "keep"] = "mask"
    links: Literal["mask", "keep"] = "mask"
    punctuation: Literal["token", "space", "strip"] = "token"
    letter_repeats: int = 2
    symbol_repeats: int = 3
    stop_words: tuple[str, ...] = ()
    stemmer: Literal["none", "porter"] = "none"
    case: Literal["simple", "full", "ascii"] = "simple"
    deleted: str = ""
    separators: str = ""
    unknown: Literal["token", "drop"] = "token"
    wordless: Literal["unknown", "padding"] = "unknown"
    length: int = 0
    truncating: Literal["pre", "post"] = "pre"
    padding: Literal["none", "pre", "post"] = "none"
    entity_levels: int = 1
    styled: Literal["keep", "fold"] = "keep"
    hashtags: Literal["keep", "split"] = "keep"
    emoji: Literal["parts", "sequences"] = "parts"

    def __post_init__(self) -> None:
        if self.version > RULES_VERSION:
            raise BundleSchemaError(
                f"text rules of version {self.version}; this runtime supports {RULES_VERSION}",
                hint="upgrade sentstream",
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BundleSchemaError(
                    f"text rule {name} is {getattr(self, name)!r}, not one of {', '.join(map(repr, allowed))}"
                )
        for name in ("letter_repeats", "symbol_repeats", "length"):
            if getattr(self, name) < 0:
                raise BundleSchemaError(f"text rule {name} is negative")
        if self.cuts:
            self._check_cutting()
        else:
            self._check_scanning()
        if self.length > MOST_LENGTH:
            raise BundleSchemaError(f"text rule length is {self.length}, more than {MOST_LENGTH}")
        if self.padding != "none" and not self.length:
            raise BundleSchemaError("text rule padding needs a length")
        if self.entity_levels not in (1, 2):
            raise BundleSchemaError(f"text rule entity_levels is {self.entity_levels}, not 1 or 2")
        if self._uses(_SINCE_3):
            object.__setattr__(self, "version", max(self.version, 3))
        elif self._uses(_SINCE_2) or self.cuts:
            object.__setattr__(self, "version", max(self.version, 2))

    def _uses(self, names: tuple[str, ...]) -> bool:
        """Whether any of these rules differs from its default."""
        return any(getattr(self, name) != _DEFAULTS[name] for name in names)

    @property
    def cuts(self) -> bool:
        """Whether the tokenizer is ``split`` or ``characters``."""
        return self.tokenizer in ("split", "characters")

    @property
    def padded(self) -> bool:
        """Whether every row has ``length`` ids."""
        return self.padding != "none"

    @property
    def leaves_rows(self) -> bool:
        """Whether each row has exactly the ids of its tokens: nothing dropped, cut or padded."""
        return not self._uses(_OF_ROWS)

    def _check_cutting(self) -> None:
        for name in (*_SCANNING, *_SINCE_3):
            if getattr(self, name) != _DEFAULTS[name]:
                raise BundleSchemaError(
                    f"text rule {name} is not supported by the tokenizer {self.tokenizer}"
                )
        if (self.tokenizer == "split") != bool(self.separators):
            raise BundleSchemaError(
                "text rule separators is required by the tokenizer split, and only allowed with it"
            )

    def _check_scanning(self) -> None:
        if self.deleted or self.separators or self.case != "simple":
            raise BundleSchemaError(
                f"text rules deleted, separators and case are not supported by the tokenizer {self.tokenizer}"
            )
        if self.punctuation != "token" and "mask" in (self.mentions, self.links):
            raise BundleSchemaError("masks need punctuation as tokens; use mentions and links: keep")
        if self.tokenizer != "nltk" and (self.stop_words or self.stemmer != "none"):
            raise BundleSchemaError("stop words and stemming are only for the nltk tokenizer")
        if self._uses(_SINCE_3) and (self.tokenizer != "tweets" or self.punctuation != "token"):
            raise BundleSchemaError(
                f"text rules {', '.join(_SINCE_3)} need the tokenizer tweets with punctuation as tokens"
            )
        if self.entity_levels > 1 and not self.entities:
            raise BundleSchemaError("text rule entity_levels needs entities")

    @classmethod
    def preset(cls, name: str) -> TextRules:
        """Return named rules: ``tweets``, ``tweets-3``, ``keras-tokenizer`` or ``text-vectorization``.

        ``tweets-3`` enables everything new in version 3. The last two match the defaults of Keras'
        ``Tokenizer`` (with an ``oov_token``) and ``TextVectorization``, for models trained with those.

        Raises:
            BundleSchemaError: There are no rules with this name.
        """
        if name == "tweets":
            return cls()
        if name == "tweets-3":
            return cls(entity_levels=2, styled="fold", hashtags="split", emoji="sequences")
        if name == "keras-tokenizer":
            separators = KERAS_FILTERS + "\t\n "
            return cls(tokenizer="split", case="full", separators=separators, wordless="padding")
        if name == "text-vectorization":
            return cls(
                tokenizer="split",
                case="ascii",
                deleted=KERAS_FILTERS + "'",
                separators=KERAS_SPACES,
                wordless="padding",
            )
        raise BundleSchemaError(
            f"no text rules are named {name!r}",
            hint="use tweets, tweets-3, keras-tokenizer or text-vectorization",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data with the rules that the version and the tokenizer support."""
        left_out = _SCANNING if self.cuts else ("case", "deleted", "separators")
        if self.version < 2:
            left_out = _SINCE_2
        if self.version < 3 or self.cuts:
            left_out += _SINCE_3
        result = {name: getattr(self, name) for name in _DEFAULTS if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in result.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TextRules:
        """The inverse of ``to_dict``.

        Raises:
            BundleSchemaError: An unknown rule, a value of the wrong type, or a newer version.
        """
        if not isinstance(data, Mapping):
            raise BundleSchemaError("the text rules are not an object")
        values = dict(data)
        version = values.get("version", 1)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise BundleSchemaError(f"text rule version is {version!r}")
        if version > RULES_VERSION:
            return cls(version=version)  # raises the appropriate error
        for name, value in values.items():
            if name not in _DEFAULTS or version < _since(name):
                raise BundleSchemaError(f"unknown text rule {name!r}")
            if name == "stop_words":
                if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                    raise BundleSchemaError("text rule stop_words is not a list of strings")
                values[name] = tuple(value)
            elif type(value) is not type(_DEFAULTS[name]):
                raise BundleSchemaError(f"text rule {name} is {value!r}")
        rules = cls(**values)
        if rules.version > version:
            raise BundleSchemaError(
                f"text rule tokenizer is {rules.tokenizer!r}, which version {version} does not support"
            )
        return rules


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TextRules)}
_CHOICES: dict[str, tuple[str, ...]] = {
    "tokenizer": ("tweets", "nltk", "split", "characters"),
    "mentions": ("mask", "keep"),
    "links": ("mask", "keep"),
    "punctuation": ("token", "space", "strip"),
    "stemmer": ("none", "porter"),
    "case": ("simple", "full", "ascii"),
    "unknown": ("token", "drop"),
    "wordless": ("unknown", "padding"),
    "truncating": ("pre", "post"),
    "padding": ("none", "pre", "post"),
    "styled": ("keep", "fold"),
    "hashtags": ("keep", "split"),
    "emoji": ("parts", "sequences"),
}
#: Rules that the tokenizers ``split`` and ``characters`` do not support.
_SCANNING = tuple(
    "entities mentions links punctuation letter_repeats symbol_repeats stop_words stemmer".split()
)
#: Rules added in version 2.
_SINCE_2 = tuple("case deleted separators unknown wordless length truncating padding".split())
#: Those of them that concern rows of ids.
_OF_ROWS = _SINCE_2[3:]
#: Rules added in version 3.
_SINCE_3 = tuple("entity_levels styled hashtags emoji".split())


def _since(name: str) -> int:
    """The version in which a rule was added."""
    return 3 if name in _SINCE_3 else 2 if name in _SINCE_2 else 1
