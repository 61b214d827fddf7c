"""Cost and limits at internet scale, from measurements on this machine: the figures of docs/scale.md.

    python -m benchmarks.scale                # the tables, from the last measurements
    python -m benchmarks.scale --simulate     # rerun the simulation of a million files: minutes
    python -m benchmarks.scale --measure      # measure on this machine, and simulate: a quarter of an hour
    python -m benchmarks.scale --write        # … and write the tables into docs/scale.md

The last measurements and simulations are kept in benchmarks/scale/figures.json. Measuring needs Java for the
broker, and Go for the object store.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.scale.driver import simulate
from benchmarks.scale.inputs import PARTS, Inputs, measure
from benchmarks.scale.scenarios import scenarios
from benchmarks.scale.tables import TABLES, filled

FIGURES = Path(__file__).with_name("figures.json")
PAGE = ROOT / "docs" / "scale.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="repeat the measurements")
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        default=[],
        help="with --measure: only these inputs; may be repeated",
    )
    parser.add_argument("--simulate", action="store_true", help="rerun the simulation of the driver")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scale.md")
    options = parser.parse_args(arguments)
    figures = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    if options.measure or "inputs" not in figures:
        figures["inputs"] = measure(options.only, figures.get("inputs")).to_dict()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    inputs = Inputs(**figures["inputs"])
    if options.measure or options.simulate or "simulated" not in figures:
        figures["simulated"] = {name: simulate(job).to_dict() for name, job in scenarios(inputs).items()}
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    for name, table in TABLES.items():
        print(f"{name}\n\n{table(inputs, figures['simulated'])}\n")
    if options.write:
        PAGE.write_text(filled(PAGE.read_text("utf-8"), inputs, figures["simulated"]), "utf-8")


if __name__ == "__main__":
    main()
