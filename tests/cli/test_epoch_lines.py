"""Training progress as log lines."""

from __future__ import annotations

from sentstream.cli.terminal.epoch_lines import EpochLines

RECORD = {
    "epoch": 1,
    "loss": 0.51234,
    "accuracy": 0.75,
    "validation_loss": 0.5,
    "validation_accuracy": 0.8,
    "seconds": 61.2,
}


def test_one_line_per_epoch_and_per_minute() -> None:
    lines: list[str] = []
    now = 0.0
    progress = EpochLines(lines.append, lambda: now)
    now = 500.0  # the rows were read
    for done in range(1, 1001):
        now += 0.1
        progress.batch(0, done, 1000, 0.6, 0.7)
    progress.epoch("", RECORD)
    progress.epoch("embedding", RECORD)
    assert lines == [
        "epoch 1, 601 of 1,000 steps: loss 0.6000, accuracy 70.00%",
        "epoch 1: loss 0.5123, accuracy 75.00%; held out: loss 0.5000, accuracy 80.00%; 61 s",
        "stage embedding, epoch 1: loss 0.5123, accuracy 75.00%; held out: loss 0.5000, accuracy 80.00%;"
        " 61 s",
    ]
