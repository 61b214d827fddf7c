"""Baselines without training: VADER and TextBlob score a text by the words of a lexicon.

Both compute a number from -1 to 1, one text at a time in Python; many texts are distributed to processes.
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

#: Fewer texts than this are done before other processes would have started.
_MANY = 20_000
_TEXTS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Lexicon:
    """A lexicon-based scorer and its rule for labels.

    Attributes:
        name: The scorer's name.
        score: Computes the scores of texts; a module-level function, so that it can be pickled.
        threshold: With a neutral label, a score at least this far from 0 is positive or negative; with a
            threshold of 0, any score but 0 is.
    """

    name: str
    score: Callable[[Sequence[str]], list[float]]
    threshold: float

    def labels(self, scores: npt.NDArray[np.float64], labels: Sequence[str]) -> npt.NDArray[np.int32]:
        """``int32[rows]``: the index of each score's label.

        Args:
            scores: ``float64[rows]``.
            labels: Two or three of negative, neutral and positive (see ``applies_to``). Without neutral,
                the sign of the score decides, and 0 (no word of the lexicon) is positive. If positive or
                negative is missing, neutral replaces it.
        """
        rank = {label: number for number, label in enumerate(labels)}
        if "neutral" not in rank:
            return np.where(scores >= 0, rank["positive"], rank["negative"]).astype(np.int32)
        least = self.threshold or np.nextafter(0.0, 1.0)
        sides = (rank.get("positive", rank["neutral"]), rank.get("negative", rank["neutral"]))
        return np.select([scores >= least, scores <= -least], sides, rank["neutral"]).astype(np.int32)


def vader_scores(texts: Sequence[str]) -> list[float]:
    """VADER's compound scores (Hutto & Gilbert 2014)."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise _missing(error) from error
    analyzer = SentimentIntensityAnalyzer()
    return [analyzer.polarity_scores(text)["compound"] for text in texts]


def textblob_scores(texts: Sequence[str]) -> list[float]:
    """Polarities by TextBlob's default analyzer, which uses the lexicon of the library ``pattern``."""
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


#: 0.05 is the threshold of VADER's authors; for TextBlob most studies use 0.
LEXICONS = (Lexicon("VADER", vader_scores, 0.05), Lexicon("TextBlob", textblob_scores, 0.0))


def applies_to(labels: Sequence[str]) -> bool:
    """Whether lexicons support these labels: at least two of negative, neutral and positive, no others."""
    return len(labels) > 1 and set(labels) <= set(POLARITIES)


def score_texts(lexicon: Lexicon, texts: Sequence[str], many: int = _MANY) -> npt.NDArray[np.float64]:
    """The scores of all texts.

    Args:
        lexicon: The scorer.
        texts: The texts.
        many: With at least this many texts, use every CPU in spawned processes, which import
            ``__main__`` as usual with ``multiprocessing``.

    Returns:
        ``float64[rows]``, from -1 to 1.

    Raises:
        MissingExtraError: The library is not installed.
    """
    if len(texts) < many:
        return np.array(lexicon.score(texts), np.float64)
    parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
    # Not forked: a fork may hang if TensorFlow's threads hold locks.
    with ProcessPoolExecutor(usable_cpus(), get_context("spawn")) as pool:
        return np.array([score for part in pool.map(lexicon.score, parts) for score in part], np.float64)
