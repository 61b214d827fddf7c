"""A model's results on rows held out of its last training, stored in its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentstream.drift.distribution import LEAST_TEXTS, Distribution

_LONGEST = 200


@dataclass(frozen=True)
class HeldOut:
    """Counts of a model's results on held-out rows.

    Attributes:
        of: A description of the rows: ``validation rows of tweets.parquet``.
        texts: The counts, without a threshold for ``uncertain``.
    """

    of: str
    texts: Distribution

    def __str__(self) -> str:
        return f"{self.texts.texts:,} {self.of}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable data; the sum of the scores is rounded to the digits that all CPUs agree on."""
        counts = self.texts.to_dict()
        return {"of": self.of, **counts, "score_sum": round(counts["score_sum"], 2)}

    @classmethod
    def from_dict(cls, found: Any) -> HeldOut:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: The data is not valid, or has fewer than 1,000 texts.
        """
        if not isinstance(found, Mapping):
            raise ValueError("it is not an object")
        source = found.get("of")
        if (
            not isinstance(source, str)
            or not source.isprintable()
            or source != source.strip()
            or not 0 < len(source) <= _LONGEST
        ):
            raise ValueError(f"of is not a line of 1 to {_LONGEST} characters")
        texts = Distribution.from_dict({key: value for key, value in found.items() if key != "of"})
        if texts.texts < LEAST_TEXTS:
            raise ValueError(f"{texts.texts:,} texts are too few: at least {LEAST_TEXTS:,} are needed")
        return cls(source, texts)
