"""TensorFlow without the lines that its libraries print when they are loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hushed() -> Iterator[None]:
    """Around imports that load TensorFlow: keeps what its libraries say off standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only, from then on
    if sys.stderr is None:  # there is nothing to keep them off
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
