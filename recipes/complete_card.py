"""Rewrite the model card of a bundle with notes and figures, without training or exporting again::

    python recipes/complete_card.py sentiment140 --notes recipes/cards/sentiment140.md \\
        --evaluate "Sentiment140 official test=test.parquet"

Only ``README.md`` and its line in ``SHA256SUMS`` change, and with them the digest, which covers every file.
``config.json`` stays, so it does not get the figures measured here. The same arguments produce the same
card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentstream.bundle import Bundle, load_bundle, replace_card
from sentstream.errors import ModelFormatError, SentstreamError
from sentstream.session import Session
from sentstream_train.export.card.figures import HELD_OUT, measure_bundle, named_files
from sentstream_train.export.card.sections import read_notes
from sentstream_train.export.card.write import write_card


def complete(name_or_path: str, notes: Path, evaluate: Sequence[str]) -> tuple[Bundle, Bundle]:
    """Complete a bundle's card.

    Args:
        name_or_path: The name of a model that ships, or a directory.
        notes: A Markdown file of ``## `` sections, written by people.
        evaluate: Labeled files to measure on, each ``FILE`` or ``NAME=FILE``.

    Returns:
        The bundle before and after.

    Raises:
        ModelFormatError: It was not exported by ``sentstream export-onnx``.
        SentstreamError: As ``load_bundle``, ``read_notes``, ``named_files``, ``measure_bundle`` and
            ``replace_card``.
    """
    before = load_bundle(name_or_path)
    if "network" not in before.config["provenance"] or "against" not in before.config["parity"]:
        raise ModelFormatError(
            f"{before.path} was not written by sentstream export-onnx",
            hint="export it with sentstream export-onnx first",
        )
    sections, files = read_notes(notes), named_files(evaluate)
    session = Session(before, "cpu")
    measured = {name: measure_bundle(before, session, path) for name, path in files.items()}
    metrics = joined(before.config["metrics"], measured)
    card = write_card({**before.config, "metrics": metrics}, sections)
    if card != before.card:
        replace_card(before.path, card)
    return before, load_bundle(before.path)


def joined(earlier: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return all figures: those of the training first, then the new ones, then the bundle's other ones.

    An earlier entry with a new one's figures is for the same rows under another name; it is dropped.
    """
    kept = {
        name: figures
        for name, figures in earlier.items()
        if name not in measured and not any(_same(figures, new) for new in measured.values())
    }
    held_out = {name: kept.pop(name) for name in (HELD_OUT,) if name in kept}
    return {**held_out, **measured, **kept}


def _same(figures: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Compare row counts and log losses: six digits identify the rows, and another CPU may round the last."""
    if "log_loss" not in figures or figures["n"] != new["n"]:
        return False
    return bool(abs(figures["log_loss"] - new["log_loss"]) < 1e-5)


def main() -> int:
    """Run with the command line's arguments; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="a model that ships, or a directory")
    parser.add_argument("--notes", type=Path, required=True, metavar="FILE", help="Markdown with ## sections")
    parser.add_argument(
        "--evaluate", action="append", default=[], metavar="[NAME=]FILE", help="labeled rows; may be repeated"
    )
    options = parser.parse_args()
    try:
        before, after = complete(options.bundle, options.notes, options.evaluate)
    except SentstreamError as error:
        print(f"complete_card: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{after.path}: {before.digest} -> {after.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
