"""Run I/O-bound calls concurrently, with their results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Final, TypeVar

_AT_ONCE: Final = 8
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, at_once: int = _AT_ONCE
) -> Iterator[_Result]:
    """Yield the results of a function in the order of the items, while later items are already processed.

    An error is raised in place of its result: the first item's error comes first, whichever occurred first.
    A caller that stops there, or Ctrl-C, does not wait for pending calls.

    Args:
        function: The function to call, in other threads.
        items: Its arguments.
        at_once: Maximum number of concurrent calls.

    >>> list(ahead(len, ["a", "", "ccc"]))
    [1, 0, 3]
    """
    waiting: deque[Future[_Result]] = deque()
    for item in items:
        waiting.append(_begun(function, item))
        if len(waiting) >= at_once:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begun(function: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
    done: Future[_Result] = Future()

    def call() -> None:
        try:
            done.set_result(function(item))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=call, name="ahead", daemon=True).start()
    return done
