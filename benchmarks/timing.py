"""How contenders time themselves: startup (imports, models, a first batch) is not counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(rows: int, work: Callable[[], object]) -> dict[str, Any]:
    """Run ``work``; return rows, seconds, rows per second, and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows": rows, "seconds": wall, "rows_per_second": rows / wall, "cpu_seconds": cpu}
