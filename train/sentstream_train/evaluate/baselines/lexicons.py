"""Baselines that need no training: VADER and TextBlob score a text by the words of a lexicon.

Both give a number from -1 to 1, one text at a time in Python; many texts are shared out to processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from sentstream.errors import MissingExtraError
from sentstream.session import usable_cpus
from sentstream_train.data.labeled import POLARITIES

#: Fewer texts than this are done before other processes have started.
_MANY = 20_000
_TEXTS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Lexicon:
    """A scorer of texts and how its score becomes a label.

    Attributes:
        name: Its name.
        score: ``float`` scores of some texts; a function of a module, so that processes can share it.
        threshold: Where there is a neutral label, a score that is at least so far from 0 is a side's; of
            a threshold of 0, any score but 0.
    """

    name: str
    score: Callable[[Sequence[str]], list[float]]
    threshold: float

    def labels(self, scores: npt.NDArray[np.float64], labels: Sequence[str]) -> npt.NDArray[np.int32]:
        """``int32[rows]``: the label of each score.

        Args:
            scores: ``float64[rows]``.
            labels: Two or three of negative, neutral and positive (see ``applies_to``). Without neutral
                the score's sign decides, and exactly 0, no word of the lexicon, is positive. A side
                that is not among the labels is neutral.
        """
        place = {label: number for number, label in enumerate(labels)}
        if "neutral" not in place:
            return np.where(scores >= 0, place["positive"], place["negative"]).astype(np.int32)
        least = self.threshold or np.nextafter(0.0, 1.0)
        sides = (place.get("positive", place["neutral"]), place.get("negative", place["neutral"]))
        return np.select([scores >= least, scores <= -least], sides, place["neutral"]).astype(np.int32)


def vader_scores(texts: Sequence[str]) -> list[float]:
    """VADER's compound score (Hutto & Gilbert 2014)."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise _missing(error) from error
    analyzer = SentimentIntensityAnalyzer()
    return [analyzer.polarity_scores(text)["compound"] for text in texts]


def textblob_scores(texts: Sequence[str]) -> list[float]:
    """The polarity by TextBlob's default analyzer, the lexicon of the library pattern."""
    try:
        from textblob.en.sentiments import PatternAnalyzer
    except ImportError as error:
        raise _missing(error) from error
    analyzer = PatternAnalyzer()
    return [analyzer.analyze(text).polarity for text in texts]


def _missing(error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"the baselines need {error.name or 'a package'}, which is not installed",
        extra="train",
    )


#: VADER's authors set 0.05; of TextBlob's scores any but 0 is a side's, as most studies have it.
LEXICONS = (Lexicon("VADER", vader_scores, 0.05), Lexicon("TextBlob", textblob_scores, 0.0))


def applies_to(labels: Sequence[str]) -> bool:
    """Whether a lexicon knows these labels: at least two of negative, neutral and positive."""
    return len(labels) > 1 and set(labels) <= set(POLARITIES)


def score_texts(lexicon: Lexicon, texts: Sequence[str], many: int = _MANY) -> npt.NDArray[np.float64]:
    """The scores of all texts.

    Args:
        lexicon: The scorer.
        texts: The texts.
        many: From so many texts on, every CPU takes part: in fresh processes, which import ``__main__``
            as ``multiprocessing`` does.

    Returns:
        ``float64[rows]``, from -1 to 1.

    Raises:
        MissingExtraError: The library is not installed.
    """
    if len(texts) < many:
        return np.array(lexicon.score(texts), np.float64)
    parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
    # Not forked: a copy of a process in which TensorFlow's threads hold locks may hang.
    with ProcessPoolExecutor(usable_cpus(), get_context("spawn")) as pool:
        return np.array([score for part in pool.map(lexicon.score, parts) for score in part], np.float64)
