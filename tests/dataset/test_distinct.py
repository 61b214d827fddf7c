"""Distinct values: equal hashes are checked by comparing the values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sentstream.dataset.distinct import Values, hashes_of


@dataclass(frozen=True)
class Clashing:
    """Values of few hashes."""

    number: int

    def __hash__(self) -> int:
        return self.number % 3


@given(st.lists(st.integers(0, 30).map(Clashing), max_size=30), st.integers(0, 30).map(Clashing))
def test_hash_collisions_are_resolved(items: list[Clashing], other: Clashing) -> None:
    def same(item: Clashing) -> Clashing:
        return item

    for values in (Values(items, same), Values(items, same, *hashes_of(items, same))):
        assert (other in values) == (other in items)
        assert values.repeated() == {item for item, count in Counter(items).items() if count > 1}
