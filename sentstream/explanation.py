"""Why a tweet got its label: the probabilities after each word, and the effect of each word."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import UsageError
from sentstream.model import Model, text_column
from sentstream.session import Probabilities
from sentstream.text import Encoded, tokenize
from sentstream.text.path import Piece
from sentstream.text.vocabulary import UNKNOWN

#: The token shown for a text that is not blank but has no tokens.
NO_WORD = "(no word)"
#: Maximum tokens in a tweet, enough for a thousand characters. Time and memory grow with the square.
MOST_TOKENS = 1000


@dataclass(frozen=True)
class Step:
    """One token of a tweet.

    Attributes:
        token: The token as the text path produces it.
        start: Offset in characters of its start in the tweet, from 0; None if the tokenizer does not
            report it.
        source: The characters of the tweet that it was made from: "#Best" gives "#" and "best". None if
            ``start`` is None.
        known: Whether it is in the vocabulary; all other tokens are one unknown word.
        probabilities: Probability of each label if the tweet ended after this token.
        without: Probability of each label for the tweet without this token; None if no other token is left.
        effect: The label's probability for the whole tweet minus that for the tweet without this token. None
            if ``without`` is None.
    """

    token: str
    start: int | None
    source: str | None
    known: bool
    probabilities: tuple[float, ...]
    without: tuple[float, ...] | None
    effect: float | None


@dataclass(frozen=True)
class Explanation:
    """The label of a tweet and the effect of its tokens.

    Attributes:
        text: The tweet.
        label: Its label; None if the text is null, empty or only whitespace.
        score: The label's probability.
        steps: Its tokens in order; the probabilities of the last are bit for bit those of the tweet.
        truncated: Whether it was cut at the model's character limit.
    """

    text: str | None
    label: str | None
    score: float | None
    steps: tuple[Step, ...]
    truncated: bool

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON-serializable data."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """HTML for notebooks: the label, and the words colored by their effect on its probability."""
        from sentstream.markup import tag
        from sentstream.notebook import show, words

        if self.label is None:
            return show(tag("p", "no text, so no label"))
        cut = [tag("p", "The tweet is longer than the model reads.")] if self.truncated else []
        return show(
            tag("p", tag("strong", f"{self.label}, {self.score:.1%}")),
            words([(step.token, step.effect) for step in self.steps]),
            *cut,
        )


def explain(model: Model, texts: Any) -> list[Explanation]:
    """Explain the labels of some tweets.

    Each prefix of a tweet's tokens is scored as a separate tweet, which shows the state of a left-to-right
    network at that point. Then each token is left out in turn (Li, Monroe and Jurafsky 2016,
    arXiv 1612.08220). The cost of both is quadratic in the length of the tweet.

    Args:
        model: The model.
        texts: The tweets, as for ``Model.score``: a text, an iterable of ``str`` or None, an Arrow array, a
            series, or a table with a column named ``text``. Lone surrogates become U+FFFD.

    Returns:
        One explanation per tweet, in order.

    Raises:
        ColumnTypeError: An item is not text.
        ColumnNotFoundError: The table has no column ``text``.
        UsageError: A tweet has more than ``MOST_TOKENS`` tokens.
        MissingExtraError: The model's text rules need NLTK and it is not installed.
    """
    column = text_column(texts)
    return [_explain(model, column.slice(row, 1)) for row in range(len(column))]


def _explain(model: Model, row: pa.StringArray) -> Explanation:
    path, text = model.bundle.text, row[0].as_py()
    tokens, truncated = tokenize(row, path.rules, path.max_chars)
    words, _ = path.ids_of(tokens)
    if len(words) > MOST_TOKENS:
        raise UsageError(
            f"the tweet has {len(words):,} tokens; at most {MOST_TOKENS:,} can be explained",
            hint=f"lower --max-chars to {MOST_TOKENS:,}: that many characters never have more tokens",
        )
    if not len(words):
        return Explanation(text, None, None, (), truncated > 0)
    pieces = path.pieces(row) or [Piece(NO_WORD, None, None)]
    count = len(words)
    prefixes = [words[: end + 1] for end in range(count)]
    others = [np.delete(words, index) for index in range(count)] if count > 1 else []
    table = _probabilities(model, [*prefixes, *others])
    best = int(table[count - 1].argmax())
    score = table[count - 1, best]
    steps = []
    for index, piece in enumerate(pieces):
        without = table[count + index] if others else None
        steps.append(
            Step(
                token=piece.token,
                start=piece.start,
                source=piece.source,
                known=bool(words[index] > UNKNOWN),
                probabilities=_plain(table[index]),
                without=None if without is None else _plain(without),
                effect=None if without is None else float(score - without[best]),
            )
        )
    return Explanation(text, model.labels[best], float(score), tuple(steps), truncated > 0)


def _probabilities(model: Model, rows: list[npt.NDArray[np.int32]]) -> Probabilities:
    path = model.bundle.text
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum([len(row) for row in rows])))
    words, offsets = path.fit(np.concatenate(rows), offsets)
    vocabulary = path.vocabulary
    pairs = None if vocabulary.pairs is None else vocabulary.pair_ids(words, offsets)
    return model.session.probabilities(Encoded(offsets, words, pairs))


def _plain(shares: npt.NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(share) for share in shares)
