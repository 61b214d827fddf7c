"""The transfer set with the teacher's probabilities: what students learn from."""

from __future__ import annotations

import sys
from pathlib import Path

from minilm.join import join
from mpnet.transfer import LABELED, PHRASES, SOURCES, transfer_set

LABELS = Path(__file__).resolve().parent / "labels"


def taught(data: Path, build: Path, labels: Path = LABELS) -> list[Path]:
    """Join each source's texts with the teacher's probabilities, unless that is done, and return the files.

    Of further samples of a source, what is labeled so far is used.

    Args:
        data: The folder of the data.
        build: Where the files are written.
        labels: The output of ``label.py``.

    Returns:
        The files of tweets labeled by people first, with their labels, then phrases, then the others.
    """
    names = (LABELED, PHRASES, *(name for name in SOURCES if name != LABELED))
    files = {name: _labels_of(name, labels) for name in names}
    if incomplete := [name for name, shares in files.items() if not shares and not _is_further(name)]:
        sys.exit(f"not labeled yet: {', '.join(incomplete)}; run recipes/mpnet/label.py")
    outputs = {
        shares: build / shares.name.replace(".teacher.", ".taught.")
        for name in names
        for shares in files[name]
    }
    if not all(output.exists() for output in outputs.values()):
        build.mkdir(parents=True, exist_ok=True)
        for source in transfer_set(data, build):
            for shares in files[source.name]:
                rows = join(shares, source.file, outputs[shares], source.data_sha256)
                print(f"{shares.name}: {rows:,} rows of {source.file.name}", flush=True)
    return list(outputs.values())


def _labels_of(name: str, labels: Path) -> list[Path]:
    """Return the file of a source's labels; of a further sample that is not complete, those of its chunks."""
    whole = labels / f"{name}.teacher.parquet"
    if whole.exists():
        return [whole]
    return sorted(labels.glob(f"{name}.*.teacher.parquet")) if _is_further(name) else []


def _is_further(name: str) -> bool:
    return name in SOURCES and SOURCES[name].part > 0
