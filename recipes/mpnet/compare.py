"""This teacher compared with MiniLM, on the same tweets, labeled by people and used to train neither.

::

    python recipes/mpnet/compare.py --work build/mpnet
    python recipes/mpnet/compare.py --work build/mpnet other.parquet  # also on other labeled tweets

MiniLM's labels exist for rows of the training file. Those rows that repeat a tweet of the validation set were
withheld from both teachers (except three of 1,815, which MiniLM's detection of repeats missed). Both are
compared on these rows, with the same bootstrap resamples for both.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.extend(str(Path(__file__).resolve().parents[2] / part) for part in ("recipes", ".", "train"))

from mpnet.fetch import encoder_of
from mpnet.teach import ADAPTER, data_folder, load, new_teacher
from mpnet.tokens import Tokens, shares_of
from mpnet.tweets import LABELS, Rows, Shares, labeled, macro_recall, read

from sentstream_train.data.same_text import repeats_of, same_text

ROOT = Path(__file__).resolve().parents[2]
DRAWS = 2_000


def resampled(truth: Rows, shares: Shares) -> npt.NDArray[np.float64]:
    """Return macro-recalls of bootstrap resamples; the same ``truth`` gets the same rows on each call."""
    drawn = np.random.default_rng(1)
    samples = []
    for _ in range(DRAWS):
        rows = drawn.integers(0, len(truth), len(truth))
        samples.append(macro_recall(truth[rows], shares[rows]))
    return np.array(samples)


def interval(values: npt.NDArray[np.float64]) -> list[float]:
    """Return the middle 95 %, in percent."""
    return [round(100 * float(one), 1) for one in np.quantile(values, (0.025, 0.975))]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/mpnet"), help="the output folder of fetch.py"
    )
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    parser.add_argument("files", nargs="*", type=Path, help="labeled files to evaluate this teacher on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, encoder = data_folder(), encoder_of(options.work)
    teacher = new_teacher(options.work)
    step = load(teacher, ADAPTER)
    teacher.merge()

    validation = data / "semeval/validation.parquet"
    held = same_text(read(validation, "text")["text"].combine_chunks())
    texts, truth = labeled(data / "semeval/train.parquet")
    theirs = read(
        ROOT / "recipes/minilm/labels/semeval.teacher.parquet", "row", *(f"teacher_{one}" for one in LABELS)
    )
    ours = same_text(read(data / "semeval/train.parquet", "text")["text"].combine_chunks())
    repeats = np.flatnonzero(repeats_of(ours.words, held.words)[theirs["row"].to_numpy()])
    rows = theirs["row"].to_numpy()[repeats]
    minilm = np.stack([theirs[f"teacher_{one}"].to_numpy() for one in LABELS], axis=1)[repeats].astype(
        np.float32
    )
    mpnet = shares_of(teacher, Tokens(encoder, [texts[row] for row in rows]), options.threads)
    result: dict[str, object] = {"step": step, "rows": len(rows)}
    draws = {}
    for name, shares in (("minilm", minilm), ("mpnet", mpnet)):
        draws[name] = resampled(truth[rows], shares)
        result[name] = [round(100 * macro_recall(truth[rows], shares), 1), interval(draws[name])]
    result["mpnet_minus_minilm"] = interval(draws["mpnet"] - draws["minilm"])
    for name, file in {"validation": validation, **{one.stem: one for one in options.files}}.items():
        texts, truth = labeled(file)
        shares = shares_of(teacher, Tokens(encoder, texts), options.threads)
        result[f"mpnet_{name}"] = [
            len(texts),
            round(100 * macro_recall(truth, shares), 1),
            interval(resampled(truth, shares)),
        ]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
