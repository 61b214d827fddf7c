"""What texts came to, as counts that can be added: labels, scores, words that the model knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.drift.distances import stability_index

#: Cells of equal width in which scores are counted, from 0 to 1.
BINS = 20
#: Texts below which a population stability index is mostly chance: with so many on both sides, 20 cells of
#: one distribution are some 0.04 apart.
LEAST_TEXTS = 1_000


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
    def of(
        cls, labels: Mapping[str, int], scores: npt.NDArray[np.float32], words: int, unknown: int | None
    ) -> Distribution:
        """The counts of some texts.

        Args:
            labels: For each label, how many of them got it.
            scores: ``float32[texts]``: the highest probability of each, from 0 to 1.
            words: As the attribute.
            unknown: As the attribute.
        """
        cells = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        counts = np.bincount(cells, minlength=BINS).tolist()
        return cls(dict(labels), tuple(counts), float(scores.sum(dtype=np.float64)), words, unknown)

    @classmethod
    def from_dict(cls, found: Any) -> Distribution:
        """Read back what ``to_dict`` made; every count is looked at, since it may come from anywhere.

        Raises:
            ValueError: It is nothing of the kind; the message says what is wrong.
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
        # Of float32, the sum of some probabilities that are 1 can be a little more than their number.
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

    def cells(self, other: Distribution) -> dict[str, tuple[Sequence[int], Sequence[int]]]:
        """The counts of the same cells in this and in another, by what is compared.

        ``labels``: of each label. ``scores``: of the cells of the scores. ``words``: of known and unknown
        words, where both have words and their unknown ones are at hand.
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
        """The population stability index between this, the reference, and another, by what ``cells`` has."""
        return {of: stability_index(*both) for of, both in self.cells(other).items()}

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**asdict(self), "labels": dict(self.labels), "scores": list(self.scores)}


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
