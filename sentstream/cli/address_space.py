"""Reserve less address space where it is limited."""

from __future__ import annotations

import os
import sys


def spare_address_space() -> None:
    """Keep OpenBLAS from reserving memory per CPU if ``ulimit -v`` or the like sets a limit.

    OpenBLAS reserves it when NumPy is imported; scoring never uses it.
    """
    if sys.platform == "win32":
        return
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
