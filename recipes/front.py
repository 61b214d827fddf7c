"""Quality against speed: candidates for the models that ship.

::

    python recipes/front.py                  # the quality of one more candidate: half an hour or more
    python recipes/front.py --candidates 99  # of all that have no figures yet
    python recipes/front.py --speed          # the speed of all of them on this machine: ten minutes
    python recipes/front.py --draw           # only the chart and the table

For its quality, a candidate is made by the whole recipe. Figures are added to ``front.json`` as soon as
they are there, so the work can be split over days and machines. Speed does not depend on weights, so it is
measured with random ones, all on one machine, file to file, in turns with the ``tweets`` that ships.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from ablate import judged
from figures import add_figures
from make_models import NETWORKS, SEED, SHARED, ModelBuilder, options_of

from benchmarks.machine import machine_line
from benchmarks.process import run
from benchmarks.rows import write_tweets
from sentstream.bundle import load_bundle, make_config, save_bundle
from sentstream.text import TextPath, Vocabulary

FIGURES = Path(__file__).resolve().with_name("front.json")
SPEED = FIGURES.with_name("front-speed.json")
CHART = FIGURES.parents[1] / "docs/front.svg"
#: Name -> options of ``train``. Those of NETWORKS are the models that ship.
CANDIDATES = {
    "1 × 16": f"{SHARED} --units 16 --embedding 32 --dropout 0.2",
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


def untrained(options: str, folder: Path) -> Path:
    """Write a bundle of a candidate's network with random weights, and the words and pairs of ``tweets``."""
    from sentstream_train.config import ARCHITECTURES
    from sentstream_train.export.parity import draw_rows
    from sentstream_train.network.conversion import from_keras
    from sentstream_train.network.model import build_model
    from sentstream_train.network.onnx_graph import OPSET, to_onnx
    from sentstream_train.network.quantized import quantize, saturates
    from sentstream_train.network.tables import fold, to_int8

    words = options.split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    config = replace(
        ARCHITECTURES[given["--arch"]],  # type: ignore[index]
        units=tuple(map(int, given["--units"].split(","))),
        embedding=int(given["--embedding"]),
        cell=given.get("--cell", "simple"),  # type: ignore[arg-type]
        activation=given.get("--activation", "tanh"),  # type: ignore[arg-type]
    )
    tweets = load_bundle("tweets")
    vocabulary, rules = tweets.text.vocabulary, tweets.text.rules
    if not config.pairs:
        vocabulary = Vocabulary(vocabulary.words)
    model = build_model(
        config, words=len(vocabulary), pairs=vocabulary.pair_count, classes=len(tweets.labels), seed=0
    )
    network = fold(from_keras(model))
    network = to_int8(network, one_scale=saturates(network))
    if config.cell == "simple":
        network = quantize(network, draw_rows(TextPath(rules, vocabulary)))
    about = make_config(
        name=folder.name,
        version="0",
        labels=tweets.labels,
        rules=rules,
        vocabulary=vocabulary,
        opset=OPSET,
        max_chars=tweets.text.max_chars,
        provenance={"network": network.describe()},
    )
    save_bundle(
        folder, model=to_onnx(network), vocabulary=vocabulary, config=about, card="# random weights\n"
    )
    return folder


def speedup(options: str) -> dict[str, float]:
    """Return how many times as fast as ``tweets`` a network is, file to file."""
    with tempfile.TemporaryDirectory(prefix="sentstream-front-") as name:
        tweets, bundle = Path(name) / "tweets.parquet", untrained(options, Path(name) / "untrained")
        write_tweets(tweets, _ROWS)

        def seconds(model: str) -> float:
            output = Path(name) / "scored.parquet"
            command = [sys.executable, "-m", "sentstream", "score", str(tweets), "--output", str(output)]
            found = run([*command, "--model", model, "--overwrite", "--json"])
            return float(found["seconds"])

        ratios = sorted(seconds("tweets") / seconds(str(bundle)) for _ in range(_ROUNDS))
    return {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}


def measured(name: str, builder: ModelBuilder) -> dict[str, Any]:
    """Make a candidate, and return its size and quality."""
    shipped = {NETWORKS[one]: one for one in ("tweets", "tweets-small")}
    model = shipped.get(CANDIDATES[name], name.replace(" × ", "x").replace(", ", "-"))
    bundle = builder.make(model, CANDIDATES[name].split())
    return {
        "network": CANDIDATES[name],
        "bytes": sum(file.stat().st_size for file in bundle.iterdir()),
        "quality": {title: judged(bundle, file) for title, file in builder.evaluation_files().items()},
    }


def baseline() -> str:
    """Return the name and version of the model that speeds are compared with."""
    config = load_bundle("tweets").config
    return f"{config['name']} {config['version']}"


def mean_recall(one: Mapping[str, Any]) -> float:
    """Return the mean of a candidate's macro-recalls over the sets."""
    return statistics.fmean(each["macro_recall"] for each in one["quality"].values())


def by_speed(figures: Mapping[str, Any], speed: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the candidates that have a speed, fastest first."""
    return sorted(figures.keys() & speed.keys(), key=lambda name: -speed[name]["median"])


def on_front(figures: Mapping[str, Mapping[str, Any]], speed: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the candidates that no other beats in both quality and speed, fastest first."""
    best, front = 0.0, []
    for name in by_speed(figures, speed):
        if mean_recall(figures[name]) > best:
            best = mean_recall(figures[name])
            front.append(name)
    return front


def table(figures: Mapping[str, Mapping[str, Any]], speed: Mapping[str, Mapping[str, float]]) -> str:
    """Format the figures as a Markdown table, fastest first; those on the front are bold.

    Candidates without a quality come last.
    """
    sets = list(next(iter(figures.values()))["quality"])
    front = on_front(figures, speed)
    lines = [
        f"| | {' | '.join(sets)} | mean | speed | MB |",
        "|---|" + "---:|" * (len(sets) + 3),
    ]
    for name in by_speed(figures, speed):
        one = figures[name]
        recalls = [f"{100 * one['quality'][title]['macro_recall']:.1f}" for title in sets]
        shown = f"**{name}**" if name in front else name
        lines.append(
            f"| {shown} | {' | '.join(recalls)} | {100 * mean_recall(one):.1f} |"
            f" {_shown(speed[name])} | {one['bytes'] / 1e6:.0f} |"
        )
    for name in by_speed(speed, speed):
        if name not in figures:
            lines.append(f"| {name} |{' |' * (len(sets) + 1)} {_shown(speed[name])} | |")
    return "\n".join(lines)


def _shown(speed: Mapping[str, float]) -> str:
    return f"{speed['median']:.2f} ({speed['low']:.2f}–{speed['high']:.2f})"


def draw(
    figures: Mapping[str, Mapping[str, Any]], speed: Mapping[str, Mapping[str, float]], target: Path
) -> None:
    """Draw quality against speed, with the front as a line."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "front", "font.size": 9}):
        canvas = Figure((7.2, 4.2), layout="constrained")
        axes = canvas.subplots()
        at = {
            name: (speed[name]["median"], 100 * mean_recall(figures[name]))
            for name in by_speed(figures, speed)
        }
        for name, place in at.items():
            axes.plot(*place, "o", color="#2f6fb2")
            axes.annotate(name, place, (5, -9), textcoords="offset points")
        axes.plot(
            *zip(*(at[name] for name in on_front(figures, speed)), strict=True),
            color="#5a6675",
            linewidth=1,
            zorder=0,
        )
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
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--speed", action="store_true", help="only measure the speed of all candidates")
    only.add_argument("--draw", action="store_true", help="only draw the chart and print the table")
    options, data, build = options_of(parser)
    if options.speed:
        SPEED.unlink(missing_ok=True)
        add_figures(
            SPEED, machine_line(), CANDIDATES, len(CANDIDATES), lambda name: speedup(CANDIDATES[name])
        )
    builder, limit = ModelBuilder(data, build), 0 if options.draw or options.speed else options.candidates
    figures = add_figures(FIGURES, baseline(), CANDIDATES, limit, lambda name: measured(name, builder))
    ((machine, speed),) = json.loads(SPEED.read_text("utf-8")).items()
    draw(figures, speed, CHART)
    print(f"{table(figures, speed)}\n\nSpeed on {machine}")


if __name__ == "__main__":
    main()
