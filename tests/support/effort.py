"""How many cases tests try: ``make test`` finds common failures, ``make test-long`` rare ones."""

from __future__ import annotations

import os

LONG = os.environ.get("SENTSTREAM_TESTS") == "long"


def cases(usual: int, long: int | None = None) -> int:
    """Return the number of cases to try; with ``make test-long`` it is ``long``, or ten times as many."""
    if not LONG:
        return usual
    return 10 * usual if long is None else long
