"""Additive counts of a model's results on texts: labels, scores, known and unknown words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.drift.distances import stability_index

#: Number of equal-width cells from 0 to 1 in which scores are counted.
BINS = 20
#: Minimum number of texts: with fewer, a population stability index is mostly chance. With this many on both
#: sides, two samples of one distribution in 20 cells differ by about 0.04.
LEAST_TEXTS = 1_000


@dataclass(frozen=True)
class Distribution:
    """Counts of labeled texts.

    Attributes:
        labels: Number of texts for each label.
        scores: Number of texts whose score, the highest probability, is in each of ``BINS`` cells.
        score_sum: The sum of the scores.
        words: Number of tokens in the texts.
        unknown: Number of tokens that are not in the vocabulary; None if the text rules drop them.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    scores: tuple[int, ...] = (0,) * BINS
    score_sum: float = 0.0
    words: int = 0
    unknown: int | None = 0

    @classmethod
    def of(
        cls, labels: Mapping[str, int], scores: npt.NDArray[np.float32], words: int, unknown: int | None
    ) -> Distribution:
        """Count some texts.

        Args:
            labels: Number of texts for each label.
            scores: ``float32[texts]``: the highest probability of each text, from 0 to 1.
            words: As the attribute.
            unknown: As the attribute.
        """
        cells = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        counts = np.bincount(cells, minlength=BINS).tolist()
        return cls(dict(labels), tuple(counts), float(scores.sum(dtype=np.float64)), words, unknown)

    @classmethod
    def from_dict(cls, found: Any) -> Distribution:
        """The inverse of ``to_dict``. Every count is checked, since the data may come from anywhere.

        Raises:
            ValueError: The data is not valid; the message says why.
        """
        if not isinstance(found, Mapping) or set(found) != {field.name for field in fields(cls)}:
            raise ValueError(f"it does not have the keys {', '.join(field.name for field in fields(cls))}")
        labels, scores, total = found["labels"], found["scores"], found["score_sum"]
        words, unknown = found["words"], found["unknown"]
        if not isinstance(labels, Mapping) or not all(map(_is_count, labels.values())):
            raise ValueError("labels are not counts")
        if not isinstance(scores, list) or len(scores) != BINS or not all(map(_is_count, scores)):
            raise ValueError(f"scores are not {BINS} counts")
        if sum(labels.values()) != sum(scores):
            raise ValueError("the numbers of labels and scores differ")
        # Because of float32 rounding, the sum can be slightly larger than the number of probabilities.
        if type(total) not in (int, float) or not 0 <= total <= sum(scores) * 1.001:
            raise ValueError("score_sum is not a sum of that many probabilities")
        if not _is_count(words) or not (unknown is None or (_is_count(unknown) and unknown <= words)):
            raise ValueError("words and unknown are not counts")
        return cls(dict(labels), tuple(scores), float(total), words, unknown)

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
        """Number of texts."""
        return sum(self.scores)

    @property
    def mean_score(self) -> float | None:
        """The mean score; None if there are no texts."""
        return self.score_sum / self.texts if self.texts else None

    @property
    def unknown_share(self) -> float | None:
        """The share of unknown words; None if it is not available."""
        return self.unknown / self.words if self.words and self.unknown is not None else None

    def cells(self, other: Distribution) -> dict[str, tuple[Sequence[int], Sequence[int]]]:
        """The counts of corresponding cells in this and another distribution, by quantity.

        ``labels``: per label. ``scores``: per cell of the scores. ``words``: known and unknown words, if both
        distributions have words and counts of unknown ones.
        """
        names = list(dict.fromkeys((*self.labels, *other.labels)))
        found: dict[str, tuple[Sequence[int], Sequence[int]]] = {
            "labels": (
                [self.labels.get(name, 0) for name in names],
                [other.labels.get(name, 0) for name in names],
            ),
            "scores": (self.scores, other.scores),
        }
        if self.unknown is not None and other.unknown is not None and self.words and other.words:
            found["words"] = (
                (self.words - self.unknown, self.unknown),
                (
                    other.words - other.unknown,
                    other.unknown,
                ),
            )
        return found

    def distances(self, other: Distribution) -> dict[str, float]:
        """The population stability index between this, the reference, and another, for each of ``cells``."""
        return {name: stability_index(*both) for name, both in self.cells(other).items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable data."""
        return {**asdict(self), "labels": dict(self.labels), "scores": list(self.scores)}


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
