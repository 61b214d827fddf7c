"""How much the tests try: ``make test`` finds what breaks often, ``make test-long`` what breaks seldom."""

from __future__ import annotations

import os

LONG = os.environ.get("SENTSTREAM_TESTS") == "long"


def cases(usual: int, long: int | None = None) -> int:
    """How many cases to try; ``make test-long`` tries ``long`` of them, or ten times as many."""
    if not LONG:
        return usual
    return 10 * usual if long is None else long
