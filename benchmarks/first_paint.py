"""How soon a report with many groups is visible: first paint in a real Chromium, without a network.

The page is built like that of ``sentstream report --by group --top 1000``, and opened anew each time, with
the screen sizes of a desktop and of a phone.

    python benchmarks/first_paint.py
    python benchmarks/first_paint.py --groups 100
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import machine, machine_line  # noqa: E402
from sentstream.analyze import analyze  # noqa: E402
from sentstream.report.sentiment.page import sentiment_page  # noqa: E402
from tools.local_browser import SCREENS, open_browser  # noqa: E402

#: Maximum milliseconds until the first content is visible.
TARGET_MS = 1_000.0
LABELS = ("negative", "neutral", "positive")
_PAINT = """performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)"""


def page(folder: Path, groups: int) -> str:
    """Return a report of 40 random rows per group."""
    random = np.random.default_rng(0)
    rows = 40 * groups
    table = random.dirichlet((0.6, 0.5, 0.7), rows).astype(np.float32)
    columns = {
        "text": [f"text number {row}" for row in range(rows)],
        "group": [f"group number {row % groups}" for row in range(rows)],
        "created_at": pa.array(np.arange(rows) * 60, pa.timestamp("s", "UTC")),
        "sentiment": np.array(LABELS)[table.argmax(axis=1)],
        "sentiment_score": table.max(axis=1),
        **{f"sentiment_prob_{label}": table[:, index] for index, label in enumerate(LABELS)},
    }
    pq.write_table(pa.table(columns), folder / "scored.parquet")
    analysis = analyze(folder / "scored.parquet", by=["group"], top=groups, time_column="created_at")
    return sentiment_page(analysis.to_dict())


def main() -> int:
    """Print the measurements; return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--times", type=int, default=9, help="how often to open the page; the median counts")
    options = parser.parse_args()
    print(machine_line(machine()))
    worst = 0.0
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        path = Path(name, "report.html")
        path.write_text(page(Path(name), options.groups), "utf-8")
        print(f"{options.groups:,} groups, {path.stat().st_size:,} bytes")
        for screen in SCREENS:
            paints = []
            for _ in range(options.times):
                with browser.page(path, screen) as opened:
                    opened.wait_for_function(f"{_PAINT}.length")
                    paints += opened.evaluate(_PAINT)
            median = statistics.median(paints)
            worst = max(worst, median)
            print(f"{screen:8} first paint {median:6.0f} ms (from {min(paints):.0f} to {max(paints):.0f})")
    print(f"target {TARGET_MS:.0f} ms")
    return int(worst > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())
