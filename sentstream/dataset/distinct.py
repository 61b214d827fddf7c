"""Membership and duplicates among very many values, with 8 bytes of memory per value."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

import numpy as np

_Item = TypeVar("_Item")
_Value = TypeVar("_Value", bound=Hashable)


class Values(Generic[_Item, _Value]):
    """The values of some items, stored as hashes; hits are confirmed with the values themselves.

    Args:
        items: The items, which can be iterated repeatedly.
        of: Returns the value of an item.
    """

    def __init__(self, items: Iterable[_Item], key: Callable[[_Item], _Value]) -> None:
        self._items, self._of = items, key
        self._hashes = np.sort(np.fromiter((hash(key(item)) for item in items), np.int64))

    def __contains__(self, value: object) -> bool:
        index = int(np.searchsorted(self._hashes, hash(value)))
        if index == len(self._hashes) or int(self._hashes[index]) != hash(value):
            return False
        return any(self._of(item) == value for item in self._items)

    def repeated(self) -> set[_Value]:
        """Return the values that occur more than once."""
        again = {*self._hashes[1:][self._hashes[1:] == self._hashes[:-1]].tolist()}
        seen: set[_Value] = set()
        found: set[_Value] = set()
        for value in map(self._of, self._items) if again else ():
            if hash(value) in again:
                (found if value in seen else seen).add(value)
        return found
