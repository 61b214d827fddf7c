"""Shards: a data set split into parts, each for its own process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sentstream.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of several parts of about equal size.

    Attributes:
        number: Its number, from 1.
        count: Number of shards.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return "all" if self.count == 1 else f"{self.number}-of-{self.count}"

    def conflicts(self, other: str) -> bool:
        """Return whether the shard of that name cannot run at the same time as this one."""
        return other != str(self) and (self.count == 1 or not other.endswith(f"-of-{self.count}"))

    def share(self, sizes: Sequence[int]) -> list[bool]:
        """Return which pieces belong to this shard: consecutive ones, about the same size for each shard.

        A piece belongs to the shard that contains its midpoint.

        Args:
            sizes: The size in bytes of each piece, in order.

        >>> [Shard(number, 2).share([10, 10, 20, 20]) for number in (1, 2)]
        [[True, True, False, False], [False, False, True, True]]
        """
        total = sum(sizes) or 1
        before, mine = 0, []
        for size in sizes:
            middle = 2 * before + size  # in halves of a byte
            mine.append(min(middle * self.count // (2 * total), self.count - 1) == self.number - 1)
            before += size
        return mine


#: The whole data set.
WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """Parse a shard such as ``2/3``, the second of three.

    Raises:
        UsageError: The text is not a shard.

    >>> parse_shard("2/3")
    Shard(number=2, count=3)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"{text!r} is not a shard", hint="e.g. 2/3 for the second of three")
    return Shard(int(match[1]), int(match[2]))
