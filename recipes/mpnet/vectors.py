"""The teacher's vectors of single words, from which students' word tables start.

::

    python recipes/mpnet/vectors.py --work build/mpnet

A word's vector is the mean of the teacher's last states for the word alone, reduced to ``WIDTH`` numbers by a
principal component analysis, as model2vec does (Tulkens and van Dongen 2024). The output, ``vectors.npz``,
has a byte per number; its words are kept unless others are given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.extend(str(Path(__file__).resolve().parents[2] / part) for part in ("recipes", ".", "train"))

from mpnet import encoder
from mpnet.fetch import encoder_of
from mpnet.initial import VECTORS, stored_words, write_vectors
from mpnet.teach import finished_teacher
from mpnet.tokens import Tokens, outputs_of

from sentstream.text.vocabulary import SPECIAL

WIDTH = 96
#: What the text rules put in place of mentions and links.
_READ_AS = {"@u": "@user", "@url": "http"}


def reduced(states: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Return the first principal components, each over the root of its deviation: ``[words, width]``.

    Args:
        states: ``float32[words, n]``.
        width: Number of components.
    """
    centered = states - states.mean(axis=0)
    spread, directions = np.linalg.eigh(np.cov(centered.T))
    best = np.argsort(-spread)[:width]
    components: npt.NDArray[np.float32] = centered @ directions[:, best] / spread[best] ** 0.25
    return components.astype(np.float32)


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/mpnet"), help="the output folder of fetch.py"
    )
    parser.add_argument(
        "--vocabulary", type=Path, help="the words, one per line; default: those in vectors.npz"
    )
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = finished_teacher(options.work)
    teacher.head = torch.nn.Identity()
    words = stored_words(VECTORS)
    if options.vocabulary:
        lines = options.vocabulary.read_text("utf-8").splitlines()
        words = [word for word in lines if word not in SPECIAL]
    tokens = Tokens(encoder_of(options.work), [_READ_AS.get(word, word) for word in words])
    states = outputs_of(teacher, tokens, encoder.WIDTH, options.threads)
    write_vectors(VECTORS, words, reduced(states, WIDTH))
    print(f"{VECTORS.name}: {len(words):,} words")


if __name__ == "__main__":
    main()
