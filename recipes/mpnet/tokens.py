"""Token ids of tweets, and a network's probabilities for them, on several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mpnet.tweets import LABELS, Rows, Shares, batches, plain
from tokenizers import Tokenizer

MOST_TOKENS = 64


class Tokens:
    """Token ids of tweets, at most ``MOST_TOKENS`` each.

    Args:
        encoder: The folder with ``tokenizer.json``.
        texts: The tweets.
    """

    def __init__(self, encoder: Path, texts: Sequence[str]) -> None:
        tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MOST_TOKENS)
        encodings = tokenizer.encode_batch([plain(text) for text in texts])
        self._ids = [np.array(one.ids, np.int64) for one in encodings]
        self.lengths: Rows = np.array([len(ids) for ids in self._ids], np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, rows: Rows) -> torch.Tensor:
        """Return ``int64[rows, length]`` for rows of one length."""
        return torch.from_numpy(np.stack([self._ids[row] for row in rows]))


def shares_of(forward: Callable[[torch.Tensor], torch.Tensor], tokens: Tokens, threads: int) -> Shares:
    """Return probabilities, ``float32[rows, labels]``.

    Args:
        forward: Token ids -> logits.
        tokens: The tweets.
        threads: Number of threads.
    """
    return outputs_of(lambda ids: forward(ids).softmax(1), tokens, len(LABELS), threads)


def outputs_of(
    forward: Callable[[torch.Tensor], torch.Tensor], tokens: Tokens, width: int, threads: int
) -> Shares:
    """Return a network's outputs, ``float32[rows, width]``; each thread has its own batches.

    Args:
        forward: Token ids -> outputs.
        tokens: The tweets.
        width: Number of outputs.
        threads: Number of threads.
    """
    result = np.zeros((len(tokens), width), np.float32)

    def one(rows: Rows) -> None:
        with torch.inference_mode():
            result[rows] = forward(tokens.batch(rows)).numpy()

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one, batches(tokens.lengths, 1024, np.arange(len(tokens)))):
            pass
    return result
