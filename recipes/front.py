"""Quality against speed: candidates for the models that ship, each made by the whole recipe.

::

    python recipes/front.py                  # one more candidate, a quarter to three quarters of an hour
    python recipes/front.py --candidates 99  # all that have no figures yet
    python recipes/front.py --draw           # only the chart and the table

A candidate's figures are added to ``front.json`` as soon as it is done, so the work can be split over days
and machines. Its speed is relative to the ``tweets`` that ships, file to file, timed in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from ablate import judged
from figures import add_figures
from make_models import NETWORKS, SEED, SHARED, ModelBuilder, options_of

from benchmarks.machine import machine_line
from benchmarks.process import run
from benchmarks.rows import write_tweets
from sentstream.bundle import load_bundle

FIGURES = Path(__file__).resolve().with_name("front.json")
CHART = FIGURES.parents[1] / "docs/front.svg"
#: Name -> options of ``train``. Those of NETWORKS are the models that ship.
CANDIDATES = {
    "1 × 32": NETWORKS["tweets-small"],
    "1 × 64": f"{SHARED} --units 64 --embedding 64 --dropout 0.2",
    "1 × 128": f"{SHARED} --units 128 --embedding 96 --dropout 0.3",
    "2 × 64": f"{SHARED} --units 64,64 --embedding 64 --dropout 0.3",
    "2 × 96": NETWORKS["tweets"],
    "2 × 32": f"{SHARED} --units 32,32 --embedding 32 --dropout 0.2",
    "2 × 128": f"{SHARED} --units 128,128 --embedding 96 --dropout 0.3",
    "GRU, 1 × 64": f"{SHARED} --activation tanh --cell gru --units 64 --embedding 64 --dropout 0.3",
    "seed, 2 × 128": SEED,
}
_ROWS, _ROUNDS = 400_000, 5


def speedup(bundle: Path) -> tuple[float, float, float]:
    """Return how much faster a bundle is than ``tweets``, file to file: the median, lowest, highest ratio."""
    with tempfile.TemporaryDirectory(prefix="sentstream-front-") as name:
        tweets = Path(name) / "tweets.parquet"
        write_tweets(tweets, _ROWS)

        def seconds(model: str) -> float:
            output = Path(name) / "scored.parquet"
            command = [sys.executable, "-m", "sentstream", "score", str(tweets), "--output", str(output)]
            found = run([*command, "--model", model, "--overwrite", "--json"])
            return float(found["seconds"])

        ratios = sorted(seconds("tweets") / seconds(str(bundle)) for _ in range(_ROUNDS))
    return statistics.median(ratios), ratios[0], ratios[-1]


def measured(name: str, builder: ModelBuilder) -> dict[str, Any]:
    """Make a candidate, and return its figures."""
    shipped = {NETWORKS[one]: one for one in ("tweets", "tweets-small")}
    model = shipped.get(CANDIDATES[name], name.replace(" × ", "x").replace(", ", "-"))
    bundle = builder.make(model, CANDIDATES[name].split())
    median, low, high = speedup(bundle)
    return {
        "network": CANDIDATES[name],
        "bytes": sum(file.stat().st_size for file in bundle.iterdir()),
        "quality": {title: judged(bundle, file) for title, file in builder.evaluation_files().items()},
        "speedup": {"median": median, "low": low, "high": high},
        "machine": machine_line(),
    }


def baseline() -> str:
    """Return the name and version of the model that speeds are compared with."""
    config = load_bundle("tweets").config
    return f"{config['name']} {config['version']}"


def mean_recall(one: Mapping[str, Any]) -> float:
    """Return the mean of a candidate's macro-recalls over the sets."""
    return statistics.fmean(each["macro_recall"] for each in one["quality"].values())


def on_front(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the candidates that no other beats in both quality and speed, fastest first."""
    best, front = 0.0, []
    for name in sorted(figures, key=lambda name: -figures[name]["speedup"]["median"]):
        if mean_recall(figures[name]) > best:
            best = mean_recall(figures[name])
            front.append(name)
    return front


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the figures as a Markdown table, fastest first; those on the front are bold."""
    sets = list(next(iter(figures.values()))["quality"])
    front = on_front(figures)
    lines = [
        f"| | {' | '.join(sets)} | mean | speed | MB |",
        "|---|" + "---:|" * (len(sets) + 3),
    ]
    for name in sorted(figures, key=lambda name: -figures[name]["speedup"]["median"]):
        one = figures[name]
        recalls = [f"{100 * one['quality'][title]['macro_recall']:.1f}" for title in sets]
        shown = f"**{name}**" if name in front else name
        lines.append(
            f"| {shown} | {' | '.join(recalls)} | {100 * mean_recall(one):.1f} |"
            f" {one['speedup']['median']:.2f} | {one['bytes'] / 1e6:.0f} |"
        )
    return "\n".join(lines)


def draw(figures: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    """Draw quality against speed, with the front as a line."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "front", "font.size": 9}):
        canvas = Figure((7.2, 4.2), layout="constrained")
        axes = canvas.subplots()
        for name, one in figures.items():
            at = (one["speedup"]["median"], 100 * mean_recall(one))
            axes.plot(*at, "o", color="#2f6fb2")
            axes.annotate(name, at, (5, -9), textcoords="offset points")
        front = [figures[name] for name in on_front(figures)]
        speeds, recalls = (
            [one["speedup"]["median"] for one in front],
            [100 * mean_recall(one) for one in front],
        )
        axes.plot(speeds, recalls, "-", color="#5a6675", linewidth=1, zorder=0)
        axes.set_xlabel(f"speed, file to file; {baseline()} = 1")
        axes.set_ylabel("macro-recall, mean over the sets, %")
        axes.spines[["top", "right"]].set_visible(False)
        canvas.savefig(target, format="svg", metadata={"Date": None})


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=1, help="maximum number to add; default 1")
    parser.add_argument("--draw", action="store_true", help="only draw the chart and print the table")
    options, data, build = options_of(parser)
    builder, limit = ModelBuilder(data, build), 0 if options.draw else options.candidates
    figures = add_figures(FIGURES, baseline(), CANDIDATES, limit, lambda name: measured(name, builder))
    draw(figures, CHART)
    print(table(figures))


if __name__ == "__main__":
    main()
