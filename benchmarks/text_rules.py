"""The text path with the rules of version 3 compared with version 1, by CPU time of this process.

The vocabulary is that of ``tweets``. Both take turns batch by batch, so that a busy machine slows both. What
counts is the ratio within a round; its median, minimum and maximum are printed.

    python benchmarks/text_rules.py                              # 200,000 tweets, 9 rounds
    python benchmarks/text_rules.py --file FILE.parquet          # other tweets: a column text
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine_line
from benchmarks.rows import has_data, tweets
from sentstream.bundle import DEFAULT_MODEL, load_bundle
from sentstream.model import BATCH_ROWS
from sentstream.text import TextPath, TextRules

#: Maximum time relative to version 1.
TARGET = 1.15


def seconds(paths: list[TextPath], parts: list[pa.Array]) -> list[float]:
    """Return the CPU seconds of each path over the same parts."""
    spent = [0.0] * len(paths)
    for turn, part in enumerate(parts):
        order = range(len(paths)) if turn % 2 else reversed(range(len(paths)))
        for one in order:
            began = time.process_time()
            paths[one].encode(part)
            spent[one] += time.process_time() - began
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--file", type=Path, help="Parquet file with a column text; default: Sentiment140")
    args = parser.parse_args()
    if args.file:
        texts = pq.read_table(args.file, columns=["text"])["text"].slice(0, args.rows).combine_chunks()
        what = args.file.name
    else:
        texts, what = tweets(args.rows).combine_chunks(), "real tweets" if has_data() else "random words"
    pa.set_cpu_count(1)
    words = load_bundle(DEFAULT_MODEL).text.vocabulary
    paths = [TextPath(TextRules.preset(name), words) for name in ("tweets", "tweets-3")]
    parts = [texts.slice(start, BATCH_ROWS) for start in range(0, len(texts), BATCH_ROWS)]
    ratios, rates = [], []
    for _ in range(args.rounds):
        # The words of a hashtag are cached; a new path makes every round include the work of splitting them.
        paths[1] = TextPath(paths[1].rules, words)
        paths[1].encode(pa.array(["#bestdayever"]))
        first, second = seconds(paths, parts)
        ratios.append(second / first)
        rates.append(len(texts) / first)
    print(f"{len(texts):,} texts ({what}), one thread of {machine_line()}")
    print(f"version 1: {statistics.median(rates):,.0f} tweets per CPU second")
    middle = statistics.median(ratios)
    verdict = f"  (target {TARGET}: {'met' if middle <= TARGET else 'missed'})" if not args.file else ""
    print(f"version 3 ÷ version 1: {middle:.2f}, {min(ratios):.2f} to {max(ratios):.2f}{verdict}")


if __name__ == "__main__":
    main()
