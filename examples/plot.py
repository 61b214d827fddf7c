"""Plot scored tweets over time yourself, with matplotlib (extra train).

    sentstream score tweets.parquet --output scored.parquet
    python examples/plot.py scored.parquet plot.png --time-column created_at

``analyze`` returns the figures with their confidence intervals; a bucket without rows stays a gap.
"""

from __future__ import annotations

import argparse

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentstream.analyze import analyze


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description="Plot the mean value of scored tweets over time.")
    parser.add_argument("scored")
    parser.add_argument("picture")
    parser.add_argument("--time-column", default="created_at")
    args = parser.parse_args()
    time = analyze(args.scored, time_column=args.time_column, texts=0).time
    if time is None or not time.buckets:
        parser.exit(1, "no row has a time\n")
    places = [
        (index, one.figures.value, one.figures.value_interval)
        for index, one in enumerate(time.buckets)
        if one.figures and one.figures.value is not None and one.figures.value_interval is not None
    ]

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for index, value, interval in places:
        axes.plot([index, index], interval, color="#2f6fb2", alpha=0.4)
        axes.plot([index], [value], "o", color="#2f6fb2")
    axes.axhline(0, color="#5a6675", linestyle="--", linewidth=0.8)
    shown = range(0, len(time.buckets), max(1, len(time.buckets) // 6))
    axes.set_xticks(list(shown), [time.buckets[index].label for index in shown])
    axes.set_ylabel("mean value, with its 95 % interval")
    FigureCanvasAgg(figure)
    figure.savefig(args.picture)
    print(f"{len(places)} of {len(time.buckets)} buckets (one per {time.bucket}): {args.picture}")


if __name__ == "__main__":
    main()
