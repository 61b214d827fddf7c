"""The stored word vectors, and the files of them that ``train --embeddings`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: The output of ``vectors.py``.
VECTORS = Path(__file__).resolve().with_name("vectors.npz")
#: Standard deviation of the numbers that a network starts from.
_SPREAD = 0.1


def write_vectors(path: Path, words: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
    """Write vectors, a byte per number.

    Args:
        path: The file.
        words: The words.
        vectors: ``float32[words, n]``, the most important columns first.
    """
    scale = (np.abs(vectors).max(axis=0) / 127).astype(np.float32)
    text = np.frombuffer("\n".join(words).encode(), np.uint8)
    np.savez_compressed(path, words=text, vectors=np.rint(vectors / scale).astype(np.int8), scale=scale)


def stored_words(path: Path) -> list[str]:
    """Return the words of stored vectors."""
    with np.load(path) as stored:
        return str(stored["words"].tobytes(), "utf-8").split("\n")


def initial_vectors(path: Path, width: int, folder: Path) -> tuple[Path, Path]:
    """Write the first columns of stored vectors as a ``.npy`` and its words; return both files.

    Args:
        path: The stored vectors.
        width: Number of columns.
        folder: Where the files are written.
    """
    numbers, names = folder / f"v{width}.npy", folder / "words.txt"
    with np.load(path) as stored:
        vectors = stored["vectors"][:, :width].astype(np.float32) * stored["scale"][:width]
        text = stored["words"].tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(numbers, vectors * np.float32(_SPREAD / vectors.std()))
    names.write_bytes(text + b"\n")
    return numbers, names
