"""Membership and duplicates among very many values, with 8 bytes of memory per value."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

import numpy as np

_Item = TypeVar("_Item")
_Value = TypeVar("_Value", bound=Hashable)


class Values(Generic[_Item, _Value]):
    """The values of some items, stored as hashes; hits are confirmed with the values themselves.

    Args:
        items: The items, which can be iterated repeatedly.
        key: Returns the value of an item.
        hashes: The hashes of the values, in any order, if they are known already.
    """

    def __init__(
        self,
        items: Iterable[_Item],
        key: Callable[[_Item], _Value],
        hashes: array[int] | None = None,
    ) -> None:
        self._items, self._of = items, key
        found = np.fromiter((hash(key(item)) for item in items), np.int64) if hashes is None else hashes
        self._hashes = np.sort(np.asarray(found, np.int64))

    def __contains__(self, value: object) -> bool:
        hashes = self._hashes.data  # in an array, looking up a single value takes longer
        index = bisect_left(hashes, hash(value))
        if index == len(hashes) or hashes[index] != hash(value):
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


def hashes_of(items: Iterable[_Item], *functions: Callable[[_Item], Hashable]) -> tuple[array[int], ...]:
    """Return the hashes of several values of each item, from a single pass.

    >>> [len(hashes) for hashes in hashes_of(["a", "bc"], len, str.upper)]
    [2, 2]
    """
    found = tuple(array("q") for _ in functions)
    for item in items:
        for function, hashes in zip(functions, found, strict=True):
            hashes.append(hash(function(item)))
    return found
