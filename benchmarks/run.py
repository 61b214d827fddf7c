"""One command, one table: sentstream compared with its peers and its own upper bounds, on the same tweets.

Contenders run in separate processes, alternating in rounds, so that a busy machine slows all of
them alike; what counts is the ratio within a round. Peers get what speeds them up, and their time excludes
Parquet reading and writing, and startup. Curves follow: rows, row groups, retweets, tokens. A full run is
appended to ``benchmarks/history.jsonl`` and compared with the last one on the same machine.

    python benchmarks/run.py                              # everything, up to 15 minutes
    python benchmarks/run.py --quick                      # 100,000 rows, one round; not saved
    python benchmarks/run.py --only keras --only vader    # only these; not saved
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import history  # noqa: E402
from benchmarks.contenders import KEPT, SMALL, Contender, Files, contenders, module  # noqa: E402
from benchmarks.curves import curve_figures, curves  # noqa: E402
from benchmarks.figures import (  # noqa: E402
    COMPARISONS,
    Comparison,
    Figure,
    accuracy_figures,
    text_share,
)
from benchmarks.machine import commit, machine, machine_line, versions  # noqa: E402
from benchmarks.process import ContenderFailed, run  # noqa: E402
from benchmarks.rows import has_data  # noqa: E402
from benchmarks.table import curve_table, table  # noqa: E402

ACCURACY = "accuracy"
NAMES = (
    *(one.name for one in COMPARISONS),
    ACCURACY,
    *(one.name for one in curves(quick=True)),
)
_QUICK_ROWS, _QUICK_SHARE = 100_000, 5


class Bench:
    """A benchmark run: its contenders and its results.

    Args:
        names: What is measured, out of ``NAMES``.
        rounds: How often each contender runs.
        quick: With fewer rows.
        folder: For files of tweets.

    Attributes:
        left_out: What could not be measured -> why.
        failed: Whether something that is installed failed.
    """

    def __init__(self, names: Sequence[str], rounds: int, quick: bool, folder: Path) -> None:
        self.names, self.rounds, self.quick = names, rounds, quick
        self.files = Files(folder)
        self.all = contenders(self.files)
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.left_out: dict[str, str] = {}
        self.failed = False

    def comparisons(self) -> list[Comparison]:
        """Return the requested comparisons whose contenders can take part."""
        return [
            one
            for one in COMPARISONS
            if one.name in self.names and not {one.ours, one.theirs} & self.left_out.keys()
        ]

    def measure(self) -> tuple[list[Figure], dict[str, list[dict[str, Any]]]]:
        """Return figures and curves."""
        wanted = {name for one in self.comparisons() for name in (one.ours, one.theirs)}
        if ACCURACY in self.names:
            wanted.add("fasttext")  # for its kept model
        for name in sorted(wanted):
            self.prepare(name, self.all[name])
        taking = list(dict.fromkeys(name for one in self.comparisons() for name in (one.theirs, one.ours)))
        self.found = {name: [] for name in taking}
        for number in range(self.rounds):
            for name in taking:
                if name not in self.left_out:
                    report_progress(f"round {number + 1} of {self.rounds}: {name}")
                    self.take_turn(name)
        figures = [one.figure(self.found) for one in self.comparisons()]
        if {"tokenizing", "end-to-end"} <= {one.name for one in self.comparisons()}:
            figures.append(text_share(self.found))
        figures += self.accuracy()
        measured = self.curves()
        return figures + curve_figures(measured), measured

    def prepare(self, name: str, one: Contender) -> None:
        """Check whether a contender can take part, and make its kept file."""
        if one.missing:
            self.left_out[name] = f"{', '.join(one.missing)} not installed: pip install -e '.[train,bench]'"
            return
        if one.kept and not one.kept[0].exists():
            KEPT.mkdir(parents=True, exist_ok=True)
            report_progress(f"{name}: making {one.kept[0].name}, once")
            try:
                run(one.kept[1])
            except ContenderFailed as error:
                self.fail(name, error)

    def rows_of(self, one: Contender) -> int:
        return min(_QUICK_ROWS, max(10_000, one.rows // _QUICK_SHARE)) if self.quick else one.rows

    def take_turn(self, name: str) -> None:
        one = self.all[name]
        try:
            self.found[name].append(run(one.command(self.rows_of(one)), one.env))
        except ContenderFailed as error:
            self.fail(name, error)

    def fail(self, name: str, error: Exception) -> None:
        self.left_out[name], self.failed = str(error), True

    def accuracy(self) -> list[Figure]:
        """Compare accuracy; needs the data and the kept fastText model."""
        kept = self.all["fasttext"].kept
        if ACCURACY not in self.names or "fasttext" in self.left_out or kept is None:
            return []
        if not has_data():
            self.left_out[ACCURACY] = "the data sets are missing (set SENTSTREAM_DATA)"
            return []
        report_progress("accuracy")
        try:
            return accuracy_figures(run(module("fasttext_peer", "accuracy", SMALL, kept[0])))
        except ContenderFailed as error:
            self.fail(ACCURACY, error)
            return []

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        results = {}
        for curve in curves(self.quick):
            if curve.name in self.names:
                try:
                    results[curve.name] = curve.measure(self.files, report_progress)
                except ContenderFailed as error:
                    self.fail(curve.name, error)
        return results


def report_progress(line: str) -> None:
    """Print progress to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def report(info: dict[str, Any], figures: Sequence[Figure], path: Path, quick: bool) -> None:
    """Print the table, the changes and the curves."""
    print(
        f"{machine_line(info['machine'])}, {'real' if info['data'] else 'random'} tweets, medians of ",
        end="",
    )
    print(f"{info['rounds']} round{'s' * (info['rounds'] != 1)}\n")
    changes = history.changes(history.read(path), info, figures)
    print("\n".join(table(figures, changes)))
    for curve in curves(quick):
        if curve.name in info["curves"]:
            print()
            print("\n".join(curve_table(curve, info["curves"][curve.name])))
    for name, change in changes.items():
        if change.worse:
            print(f"\n{name} got worse by more than the spread since {change.commit or 'the last run'}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="100,000 rows, one round; the run is not saved")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, metavar="N", help="number of rounds; default 5, with --quick 1")
    parser.add_argument("--json", action="store_true", help="print the history entry of this run as JSON")
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="compare with this file and append the run; default benchmarks/history.jsonl, for full runs",
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = parse(arguments)
    if not has_data():
        report_progress(
            "no data sets (set SENTSTREAM_DATA): using tweets of random words instead of real ones"
        )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.only or NAMES, options.rounds, options.quick, Path(folder))
        figures, measured = bench.measure()
    info = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "data": has_data(),
        "quick": options.quick,
        "rounds": options.rounds,
        "figures": {figure.name: figure.kept() for figure in figures},
        "curves": measured,
    }
    path: Path = options.history or HERE / "history.jsonl"
    if options.json:
        print(json.dumps(info, ensure_ascii=False))
    else:
        report(info, figures, path, options.quick)
    for name, why in bench.left_out.items():
        print(f"{name} is skipped: {why}", file=sys.stderr)
    if options.history or not (options.quick or options.only or bench.failed):
        history.append(path, info)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
