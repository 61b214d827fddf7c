"""Keep memory that is freed, for a command that asks for as much again at once."""

from __future__ import annotations

import ctypes
import os
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MIB = 1 << 20


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to give memory back between two batches.

    By default arrays of some hundred KiB go back to the system when they are freed, and their pages are
    zeroed anew for the next batch: twice as many page faults, and up to a tenth of the CPU time of scoring
    with the small model. What is kept is bounded by what a batch needs. No-op where there is no glibc.

    Where the address space is limited, all threads share one heap: each of its own would reserve 64 MiB.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    mallopt(_MMAP_THRESHOLD, 32 * _MIB)  # the most that it takes
    mallopt(_TRIM_THRESHOLD, 256 * _MIB)
    mallopt(_TOP_PAD, 16 * _MIB)
    if _is_limited():
        mallopt(_ARENA_MAX, 1)


def spare_address_space() -> None:
    """Have libraries reserve less where the address space is limited, as by ``ulimit -v``.

    OpenBLAS, which scoring never uses, takes some for each of the machine's CPUs when NumPy is imported.
    """
    if _is_limited():
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _is_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
