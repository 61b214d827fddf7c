"""Fine-tune MPNet-base on tweets labeled by people, one step at a time.

::

    python recipes/mpnet/teach.py --step 1 --work build/mpnet    # then 2, then 3

A step is one epoch. It starts from the adapter of the previous step, ``adapter.safetensors`` in this folder,
and replaces it with its own: a few megabytes in float16. A killed step resumes from its last checkpoint in
``--work``. If that folder is new, the optimizer starts without state, and the learning rate warms up again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.extend(str(Path(__file__).resolve().parents[2] / part) for part in ("recipes", ".", "train"))

from mpnet.encoder import Teacher
from mpnet.fetch import encoder_of
from mpnet.tokens import Tokens, shares_of
from mpnet.tweets import (
    LABELS,
    WITHHELD,
    Rows,
    batches,
    labeled,
    macro_recall,
    trainable_rows,
)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ADAPTER = HERE / "adapter.safetensors"
STEPS = 3
RANK, ADAPTED, SCALE, DROPOUT = 16, 8, 2.0, 0.1
RATE, DECAY, WARM, WARM_AGAIN = 4e-4, 0.01, 60, 30
#: The head is new and reads small numbers, so its learning rate is multiplied by this.
HEAD = 3.0
#: An update sums the gradients of two batches, each of one length, so that two cores rarely wait.
BATCHES, BATCH_TOKENS = 2, 512
SEED = 1
SAVE_SECONDS, SAY_SECONDS = 120, 30
JUDGED = 350  # updates between two evaluations on the validation set


def new_teacher(work: Path) -> Teacher:
    """Return the encoder with untrained adapters, which have no effect yet."""
    return Teacher(
        encoder_of(work), labels=len(LABELS), rank=RANK, adapted=ADAPTED, scale=SCALE, dropout=DROPOUT
    )


def load(teacher: Teacher, adapter: Path) -> int:
    """Load a step's adapters and head; return the number of the step."""
    with safe_open(adapter, "pt") as file:
        step = int(file.metadata()["step"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    teacher.load_state_dict(state)
    return step


def finished_teacher(work: Path) -> Teacher:
    """Return the teacher of the last step, ready for inference; exit if there is none."""
    teacher = new_teacher(work)
    if not ADAPTER.exists() or load(teacher, ADAPTER) < STEPS:
        sys.exit(f"{ADAPTER} is not from the last step; run teach.py --step {STEPS} first")
    teacher.merge()
    return teacher


def data_folder() -> Path:
    """Return the folder of the data; exit if it does not exist."""
    data = Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared/data"))
    if not data.is_dir():
        sys.exit(f"{data} does not exist; SENTSTREAM_DATA names the folder of the data (recipes/README.md)")
    return data


def plan(lengths: Rows, step: int) -> list[list[Rows]]:
    """Return the batches of each update of a step; they depend only on its number."""
    drawn = np.random.default_rng([SEED, step])
    each = list(batches(lengths, BATCH_TOKENS, drawn.permutation(len(lengths))))
    shuffled = [each[index] for index in drawn.permutation(len(each))]
    return [shuffled[start : start + BATCHES] for start in range(0, len(shuffled), BATCHES)]


def rate(done: int, total: int, known: int) -> float:
    """Return the learning rate of an update: warm-up while the optimizer is new, cosine decay to zero."""
    warm = min(1.0, (done + 1) / WARM, (known + 1) / WARM_AGAIN)
    return RATE * warm * 0.5 * (1 + math.cos(math.pi * done / total))


def save(path: Path, state: Any) -> None:
    """Write a checkpoint atomically."""
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    os.replace(temporary, path)


class Lesson:
    """One step.

    Args:
        step: Its number, from 1.
        work: The folder of the encoder and of checkpoints.
        threads: Number of threads; each has its own batch.
    """

    def __init__(self, step: int, work: Path, threads: int) -> None:
        self.step, self.threads = step, threads
        self._checkpoint = work / "checkpoint.pt"
        data, encoder = data_folder(), encoder_of(work)
        texts, truth = labeled(data / "semeval/train.parquet")
        rows = trainable_rows(data / "semeval/train.parquet", [data / one for one in WITHHELD])
        print(f"{len(rows):,} of {len(texts):,} tweets kept: the others are repeats or withheld", flush=True)
        self._tokens = Tokens(encoder, [texts[row] for row in rows])
        self._truth = torch.from_numpy(truth[rows])
        texts, self._held_truth = labeled(data / "semeval/validation.parquet")
        self._held = Tokens(encoder, texts)
        self._teacher = new_teacher(work)
        self._learned = list(self._teacher.parameters())
        head = list(self._teacher.head.parameters())
        adapters = list(self._teacher.layers.parameters())
        groups = [{"params": adapters, "times": 1.0}, {"params": head, "times": HEAD}]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
        self._start = 0
        self._known = 0  # updates that the optimizer has seen, up to WARM_AGAIN

    def begin(self) -> None:
        """Resume from a checkpoint or from the previous step."""
        torch.manual_seed(SEED)
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            if (state["step"], state["finished"]) in ((self.step, False), (self.step - 1, True)):
                self._teacher.load_state_dict(state["learned"])
                self._optimizer.load_state_dict(state["optimizer"])
                self._start = 0 if state["finished"] else state["updates"]
                self._known = WARM_AGAIN
                print(f"step {self.step} resumes at update {self._start:,}", flush=True)
                return
        if self.step == 1:
            return
        if not ADAPTER.exists() or load(self._teacher, ADAPTER) != self.step - 1:
            sys.exit(
                f"step {self.step} needs the output of step {self.step - 1} in {ADAPTER}; run that step first"
            )
        print(f"step {self.step} starts from {ADAPTER.name} with a new optimizer", flush=True)

    def _gradients(self, rows: Rows, total: int) -> tuple[tuple[torch.Tensor, ...], float]:
        """Return a batch's part of the gradients and of the loss, in an update of ``total`` tweets."""
        loss = torch.nn.functional.cross_entropy(
            self._teacher(self._tokens.batch(rows)), self._truth[rows], reduction="sum"
        )
        loss = loss / total
        return torch.autograd.grad(loss, self._learned), loss.item()

    def _keep(self, updates: int, *, finished: bool) -> None:
        state = {"learned": self._teacher.state_dict(), "optimizer": self._optimizer.state_dict()}
        save(self._checkpoint, {**state, "step": self.step, "updates": updates, "finished": finished})

    def judge(self) -> float:
        """Return the macro-recall on the validation set."""
        self._teacher.eval()
        return macro_recall(self._held_truth, shares_of(self._teacher, self._held, self.threads))

    def run(self) -> float:
        """Run the remaining updates, write the adapter, and return the macro-recall on the validation set."""
        updates = plan(self._tokens.lengths, self.step)
        self.begin()
        reported = saved = began = time.monotonic()
        worked, tweets = time.process_time(), 0
        losses: list[float] = []
        with ThreadPoolExecutor(self.threads) as pool:
            for number in range(self._start, len(updates)):
                batch = updates[number]
                total = sum(map(len, batch))
                self._teacher.train()
                parts = list(pool.map(lambda rows, total=total: self._gradients(rows, total), batch))
                for one, *gradients in zip(self._learned, *(part[0] for part in parts), strict=True):
                    one.grad = torch.stack(gradients).sum(0) if len(gradients) > 1 else gradients[0]
                torch.nn.utils.clip_grad_norm_(self._learned, 1.0)
                done = (self.step - 1) * len(updates) + number
                for group in self._optimizer.param_groups:
                    known = number - self._start + self._known
                    group["lr"] = group["times"] * rate(done, STEPS * len(updates), known)
                self._optimizer.step()
                losses.append(sum(part[1] for part in parts))
                tweets += total
                now = time.monotonic()
                if now - reported > SAY_SECONDS:
                    reported, cpu = now, time.process_time() - worked
                    print(
                        f"step {self.step}, update {number + 1:,} of {len(updates):,}:"
                        f" loss {np.mean(losses[-200:]):.4f},"
                        f" {tweets / (now - began):.1f} tweets/s, {tweets / cpu:.1f} per CPU second",
                        flush=True,
                    )
                if now - saved > SAVE_SECONDS:
                    saved = now
                    self._keep(number + 1, finished=False)
                if (number + 1) % JUDGED == 0:
                    print(f"step {self.step}: validation macro-recall {self.judge():.4f}", flush=True)
        recall = self.judge()
        self._write(recall)
        self._keep(len(updates), finished=True)
        return recall

    def _write(self, recall: float) -> None:
        state = {name: one.half().contiguous() for name, one in self._teacher.state_dict().items()}
        metadata = {"step": str(self.step), "validation_macro_recall": f"{recall:.4f}"}
        temporary = ADAPTER.with_suffix(".new")
        save_file(state, temporary, metadata=metadata)
        os.replace(temporary, ADAPTER)


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step", type=int, required=True, choices=range(1, STEPS + 1))
    parser.add_argument(
        "--work", type=Path, default=Path("build/mpnet"), help="the output folder of fetch.py"
    )
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if ADAPTER.exists():
        with safe_open(ADAPTER, "pt") as file:
            left = int(file.metadata()["step"])
        if left >= options.step:
            print(f"step {options.step}: done; {ADAPTER.name} is from step {left}")
            return
    recall = Lesson(options.step, options.work, options.threads).run()
    print(json.dumps({"step": options.step, "validation_macro_recall": round(recall, 4)}), flush=True)


if __name__ == "__main__":
    main()
