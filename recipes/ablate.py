"""What each part of a recipe contributes: the model made without it, evaluated on tweets labeled by people.

Models are evaluated in fp32, before the export.

::

    python recipes/ablate.py                # one more variant of tweets-small, some ten minutes
    python recipes/ablate.py --variants 99  # all that have no figures yet
    python recipes/ablate.py --variants 0   # only the table

A variant's figures are added to ``ablation.json`` as soon as it is done, so the work can be split over days
and machines. Variants share their steps with each other and with ``make_models.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import add_figures
from make_models import NETWORKS, TEACHERS, VERSIONS, ModelBuilder, options_of

MODEL = "tweets-small"
FIGURES = Path(__file__).resolve().with_name("ablation.json")
COMMON_SENSE = FIGURES.parents[1] / "tests/evaluation/common_sense.csv"


@dataclass(frozen=True)
class Variant:
    """A way to make the model.

    Attributes:
        skip: Steps that it leaves out.
        teachers: The teachers that it learns from.
        network: Options of ``train`` that replace the model's.
    """

    skip: Sequence[str] = ()
    teachers: Sequence[str] = TEACHERS
    network: Sequence[str] = ()


VARIANTS = {
    "everything": Variant(),
    "no second teacher: MiniLM alone, as in versions 1": Variant(teachers=("minilm",)),
    "no texts besides those that people labeled": Variant(("transfer",)),
    "no teacher: people's labels alone": Variant(("distill",)),
    "no initial word vectors": Variant(("vectors",)),
    "no calibration, no balanced labels": Variant(("calibrate",)),
    "no word pairs": Variant(network=("--pairs", "0")),
    "no new text rules: those of versions 1": Variant(network=("--text-rules", "tweets")),
    "no hard_tanh: tanh": Variant(network=("--activation", "tanh")),
}


def judged(model: Path, data: Path) -> dict[str, Any]:
    """Evaluate a model with ``sentstream evaluate``."""
    command = [sys.executable, "-m", "sentstream", "evaluate", str(model), str(data), "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    if done.returncode:
        sys.exit(done.returncode)
    metrics = json.loads(done.stdout)["metrics"]
    return {
        "rows": metrics["rows"],
        "macro_recall": metrics["macro_recall"],
        "interval": metrics["macro_recall_interval"],
        "calibration_error": metrics["calibration"]["ece"],
    }


def measured(variant: Variant, data: Path, build: Path) -> dict[str, dict[str, Any]]:
    """Make a variant, and evaluate it on each set."""
    alone = "" if variant.teachers == TEACHERS else "-".join(variant.teachers)
    builder = ModelBuilder(data, build / alone, variant.skip, variant.teachers)
    network = NETWORKS[MODEL].split()
    for option, value in zip(variant.network[::2], variant.network[1::2], strict=True):
        network[network.index(option) + 1] = value
    tag = "".join(variant.network).replace("--", "-")
    model = builder.train(f"{MODEL}{tag}", network)
    files = builder.evaluation_files() | {"common sense": COMMON_SENSE}
    return {name: judged(model, file) for name, file in files.items()}


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Format macro-recall, its 95 % interval and the calibration error as a Markdown table."""
    first = next(iter(results.values()))
    lines = [
        "| | " + " | ".join(f"{name}, {one['rows']:,}" for name, one in first.items()) + " |",
        "|---|" + "---:|" * len(first),
    ]
    for variant, figures in results.items():
        cells = [
            f"{100 * one['macro_recall']:.1f} ({100 * one['interval'][0]:.1f}–{100 * one['interval'][1]:.1f})"
            f", {100 * one['calibration_error']:.1f} %"
            for one in figures.values()
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", type=int, default=1, help="maximum number to add; default 1")
    options, data, build = options_of(parser)
    about = f"{MODEL} {VERSIONS[MODEL]}"
    results = add_figures(
        FIGURES, about, VARIANTS, options.variants, lambda name: measured(VARIANTS[name], data, build)
    )
    print(table(results))


if __name__ == "__main__":
    main()
