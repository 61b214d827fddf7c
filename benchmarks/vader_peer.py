"""VADER, which is single-threaded: it gets one process per core.

python -m benchmarks.vader_peer FILE ROWS
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.rows import read_texts
from benchmarks.timing import timed
from sentstream.session import usable_cpus


def polarity(texts: list[str]) -> list[float]:
    """Return the compound score of each text."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return [analyzer.polarity_scores(text)["compound"] for text in texts]


def vader(texts: pa.ChunkedArray) -> dict[str, Any]:
    """Time the scores of all texts."""
    rows = texts.fill_null("").to_pylist()
    parts = [rows[start : start + 2000] for start in range(0, len(rows), 2000)]
    cores = usable_cpus()
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(polarity, [["warm up"]] * cores))
        return timed(len(rows), lambda: list(pool.map(polarity, parts)))


if __name__ == "__main__":
    print(json.dumps(vader(read_texts(Path(sys.argv[1]), int(sys.argv[2])))))
