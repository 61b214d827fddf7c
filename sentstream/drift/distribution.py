"""What texts came to, as counts that can be added: labels, scores, words that the model knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sentstream.drift.distances import stability_index
from sentstream.scorer import Scored

#: Cells of equal width in which scores are counted, from 0 to 1.
BINS = 20


@dataclass(frozen=True)
class Distribution:
    """Counts of some texts that got a label.

    Attributes:
        labels: For each label, how many texts got it.
        scores: Of the highest probability of each text: how many are in each of ``BINS`` cells.
        score_sum: The sum of these probabilities.
        words: Words, or other tokens, of the texts.
        unknown: Those of them that the model does not know; None where its rules drop them uncounted.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    scores: tuple[int, ...] = (0,) * BINS
    score_sum: float = 0.0
    words: int = 0
    unknown: int | None = 0

    @classmethod
    def of(cls, scored: Scored) -> Distribution:
        """The counts of a scored batch.

        Args:
            scored: What ``Scorer.score`` gave for one text column, no other column kept: label, score,
                probabilities.
        """
        scores = scored.batch.column(1).drop_null().to_numpy(zero_copy_only=False)
        cells = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        return cls(
            dict(scored.tally.labels),
            tuple(np.bincount(cells, minlength=BINS).tolist()),
            float(scores.sum(dtype=np.float64)),
            scored.words,
            scored.unknown,
        )

    def __add__(self, other: Distribution) -> Distribution:
        names = dict.fromkeys((*self.labels, *other.labels))
        known = self.unknown is not None and other.unknown is not None
        return Distribution(
            {name: self.labels.get(name, 0) + other.labels.get(name, 0) for name in names},
            tuple(one + more for one, more in zip(self.scores, other.scores, strict=True)),
            self.score_sum + other.score_sum,
            self.words + other.words,
            (self.unknown or 0) + (other.unknown or 0) if known else None,
        )

    @property
    def texts(self) -> int:
        """How many texts."""
        return sum(self.scores)

    @property
    def mean_score(self) -> float | None:
        """The mean of the highest probabilities; None of no text."""
        return self.score_sum / self.texts if self.texts else None

    @property
    def unknown_share(self) -> float | None:
        """Of the words, the share that the model does not know; None where that is not at hand."""
        return self.unknown / self.words if self.words and self.unknown is not None else None

    def distances(self, other: Distribution) -> dict[str, float]:
        """The population stability index between this, the reference, and another, by what is compared.

        ``labels``: the labels' shares. ``scores``: those of the cells of the scores. ``words``: known and
        unknown words, where both are at hand.
        """
        names = list(dict.fromkeys((*self.labels, *other.labels)))
        found = {
            "labels": stability_index(
                [self.labels.get(name, 0) for name in names], [other.labels.get(name, 0) for name in names]
            ),
            "scores": stability_index(self.scores, other.scores),
        }
        if self.unknown is not None and other.unknown is not None:
            words = [(one.words - (one.unknown or 0), one.unknown or 0) for one in (self, other)]
            found["words"] = stability_index(*words)
        return found

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**asdict(self), "labels": dict(self.labels), "scores": list(self.scores)}
