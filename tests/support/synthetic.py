"""Made-up labeled tweets: the label follows from a few words, so that a network can learn it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GOOD, BAD, EMPTY = (
    ["love", "great", "happy", "thanks", "win", "sunny"],
    ["hate", "awful", "sad", "broken", "lost", "rain"],
    ["today", "the", "bus", "phone", "coffee", "monday", "game", "work", "school", "again", "really"],
)


def synthetic_table(rows: int, *, neutral: bool = False, seed: int = 0) -> pa.Table:
    """Return ``text``, ``label`` and ``user`` of ``rows`` made-up tweets."""
    random = np.random.default_rng(seed)
    names = ["negative", "positive", "neutral"] if neutral else ["negative", "positive"]
    texts, labels, users = [], [], []
    for row in range(rows):
        label = names[random.integers(len(names))]
        words = list(random.choice(EMPTY, random.integers(1, 9)))
        if label != "neutral":
            words.insert(random.integers(len(words) + 1), random.choice(GOOD if label == "positive" else BAD))
            if random.random() < 0.2:  # "not good" is what word pairs are for
                words.append("not " + random.choice(BAD if label == "positive" else GOOD))
        texts.append(f"{' '.join(words)} {row}")
        labels.append(label)
        users.append(f"user{random.integers(rows // 4 + 1)}" if random.random() < 0.5 else None)
    return pa.table({"text": texts, "label": labels, "user": pa.array(users, pa.string())})


def write_synthetic(path: Path, rows: int, *, neutral: bool = False, seed: int = 0) -> Path:
    """Write the same as a Parquet file."""
    pq.write_table(synthetic_table(rows, neutral=neutral, seed=seed), path)
    return path
