"""Add the drift reference to a bundle of ours, without training or exporting again.

The reference is computed from the rows that were held out of the bundle's last training. They are drawn again
from the same files, as its config says::

    python recipes/complete_reference.py my-bundle rows.parquet --without held-out.parquet

Only ``config.json`` and its line in ``SHA256SUMS`` change, and with them the digest, which covers every file.
The files' fingerprints and the row counts of every step of the split prove that the rows are the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sentstream.bundle import Bundle, load_bundle, replace_config, with_reference
from sentstream.errors import DataError, InputNotFoundError, ModelFormatError, SentstreamError
from sentstream.session import Session
from sentstream_train.config import ANY_COLUMNS, DataConfig, FitConfig, from_dict
from sentstream_train.data.labeled import sha256_of
from sentstream_train.export.reference import count_held_out
from sentstream_train.fit.distill import NOBODY
from sentstream_train.runs.preparation import Prepared, prepare
from sentstream_train.store.folder import HeldOutRows
from sentstream_train.store.record import Settings


def complete(name_or_path: str, files: Sequence[Path], without: Sequence[Path] = ()) -> tuple[Bundle, Bundle]:
    """Complete a bundle.

    Args:
        name_or_path: The name of a model that ships, or a directory.
        files: What it was last trained on, in the order of its config.
        without: The files whose rows were left out.

    Returns:
        The bundle before and after.

    Raises:
        ModelFormatError: It does not say how it was trained.
        DataError: The files differ, yield other rows, or hold out fewer than 1,000 rows.
        SentstreamError: As ``load_bundle``, ``prepare`` and ``replace_config``.
    """
    before = load_bundle(name_or_path)
    prepared = _drawn_again(before, files, without)
    rows = before.text.look_up(prepared.split.validation)
    reference = count_held_out(before, Session(before, "cpu"), HeldOutRows(prepared.validation_name, rows))
    if reference is None:
        raise DataError(f"only {len(rows):,} rows were held out of {before.name}, too few for a reference")
    config = with_reference(before.config, reference)
    if config != before.config:
        replace_config(before.path, config)
    return before, load_bundle(before.path)


def _drawn_again(bundle: Bundle, files: Sequence[Path], without: Sequence[Path]) -> Prepared:
    """Return the rows of a bundle's last training, both training and validation."""
    provenance = bundle.config["provenance"]
    missing = {"data", "rows", "preparation", "training"} - provenance.keys()
    if missing:
        raise ModelFormatError(f"{bundle.path} does not record its {', '.join(sorted(missing))}")
    for title, actual, expected in (
        ("trained on", files, provenance["data"]),
        ("kept from", without, provenance.get("held_out", ())),
    ):
        for path in actual:
            if not path.is_file():
                raise InputNotFoundError(f"{path} does not exist")
        if [sha256_of(path) for path in actual] != [one["sha256"] for one in expected]:
            names = ", ".join(f"{one['name']} ({one['sha256'][:12]})" for one in expected)
            raise DataError(f"{bundle.name} was {title} other files: {names or 'none'}")
    settings = Settings(
        None,
        from_dict(FitConfig, provenance["training"]),
        from_dict(DataConfig, provenance["preparation"]),
        ANY_COLUMNS,
        bundle.labels,
    )
    prepared = prepare(
        files,
        settings,
        without=without,
        teachers=NOBODY,
        taught="teachers" in provenance,
        known=bundle.labels,
    )
    counts = {**prepared.split.report.to_dict(), "repeat_held_out": prepared.repeat_held_out}
    for name, count in provenance["rows"].items():
        if counts[name] != count:
            raise DataError(f"{counts[name]:,} rows are {name}, but {count:,} were when it was trained")
    return prepared


def main() -> int:
    """Run with the command line's arguments; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="a model that ships, or a directory")
    parser.add_argument("files", type=Path, nargs="+", help="the files of its last training")
    parser.add_argument(
        "--without", type=Path, action="append", default=[], metavar="FILE", help="held-out rows"
    )
    options = parser.parse_args()
    try:
        before, after = complete(options.bundle, options.files, options.without)
    except SentstreamError as error:
        print(f"complete_reference: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{after.path}: {before.digest} -> {after.digest}")
    print(f"reference: {after.reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
