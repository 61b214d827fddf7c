"""The transfer set with the teacher's probabilities: what students learn from."""

from __future__ import annotations

import sys
from pathlib import Path

from minilm.join import join
from mpnet.transfer import LABELED, PHRASES, SOURCES, transfer_set

LABELS = Path(__file__).resolve().parent / "labels"


def taught(data: Path, build: Path, labels: Path = LABELS) -> list[Path]:
    """Join each source's texts with the teacher's probabilities, unless that is done, and return the files.

    Args:
        data: The folder of the data.
        build: Where the files are written.
        labels: The output of ``label.py``, without the chunks of sources that are not complete.

    Returns:
        One file per source: tweets labeled by people first, with their labels, then phrases, then the others.
    """
    names = (LABELED, PHRASES, *(name for name in SOURCES if name != LABELED))
    files = {name: build / f"{name}.taught.parquet" for name in names}
    if incomplete := [name for name in names if not (labels / f"{name}.teacher.parquet").exists()]:
        sys.exit(f"not labeled yet: {', '.join(incomplete)}; run recipes/mpnet/label.py")
    if not all(file.exists() for file in files.values()):
        build.mkdir(parents=True, exist_ok=True)
        for source in transfer_set(data, build):
            shares = labels / f"{source.name}.teacher.parquet"
            rows = join(shares, source.file, files[source.name], source.data_sha256)
            print(f"{shares.name}: {rows:,} rows of {source.file.name}", flush=True)
    return list(files.values())
