"""What a model makes of rows that were held out of what it was last trained on: a bundle keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentstream.drift.distribution import LEAST_TEXTS, Distribution

_LONGEST = 200


@dataclass(frozen=True)
class HeldOut:
    """Counts of rows that a model could have learned from and did not.

    Attributes:
        of: What the rows are: ``validation rows of tweets.parquet``.
        texts: The counts, without a threshold of ``uncertain``.
    """

    of: str
    texts: Distribution

    def __str__(self) -> str:
        return f"{self.texts.texts:,} {self.of}"

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; the sum of the scores in as many digits as other CPUs have, too."""
        counts = self.texts.to_dict()
        return {"of": self.of, **counts, "score_sum": round(counts["score_sum"], 2)}

    @classmethod
    def from_dict(cls, found: Any) -> HeldOut:
        """Read back what ``to_dict`` made.

        Raises:
            ValueError: It is nothing of the kind, or of fewer than 1,000 texts.
        """
        if not isinstance(found, Mapping):
            raise ValueError("it is not an object")
        of = found.get("of")
        if not isinstance(of, str) or not of.isprintable() or of != of.strip() or not 0 < len(of) <= _LONGEST:
            raise ValueError(f"of is not a line of 1 to {_LONGEST} characters")
        texts = Distribution.from_dict({key: value for key, value in found.items() if key != "of"})
        if texts.texts < LEAST_TEXTS:
            raise ValueError(f"{texts.texts:,} texts are too few: at least {LEAST_TEXTS:,} are needed")
        return cls(of, texts)
