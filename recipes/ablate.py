"""What each step of a recipe contributes: the model made without it, evaluated on tweets labeled by people.

::

    python recipes/ablate.py            # tweets; shares models with make_models.py
    python recipes/ablate.py tweets-small

Prints a Markdown table, and writes its figures to ``ablation.json`` next to the models.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from make_models import NETWORKS, STEPS, ModelBuilder, options_of

#: Description of a variant -> the steps that it skips.
VARIANTS: dict[str, Sequence[str]] = {
    "from scratch, on people's labels": STEPS,
    "+ word vectors": ("pretrain", "distill", "calibrate"),
    "+ pre-training": ("distill", "calibrate"),
    "+ distillation": ("calibrate",),
    "+ calibration and int8: what ships": (),
    "all but word vectors": ("vectors",),
    "all but pre-training": ("pretrain",),
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


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
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
    """Make the models, evaluate them, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", default="tweets", choices=[*NETWORKS], help="the model; default tweets"
    )
    options, data, build = options_of(parser)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for variant, skip in VARIANTS.items():
        builder = ModelBuilder(data, build, skip)
        model = builder.make(options.model)
        results[variant] = {name: judged(model, file) for name, file in builder.evaluation_files().items()}
        print(f"{variant}: {results[variant]}", flush=True)
    text = json.dumps(results, indent=1) + "\n"
    (build / options.model / "ablation.json").write_text(text, encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
