"""Have libraries reserve less address space where it is limited."""

from __future__ import annotations

import os
import sys


def spare_address_space() -> None:
    """Keep OpenBLAS from reserving memory for each CPU where ``ulimit -v`` or the like sets a limit.

    It does that when NumPy is imported, and scoring never uses it.
    """
    if sys.platform == "win32":
        return
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
