"""The order of the test files."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
#: What takes a worker minutes begins first: a worker that begins with it at the end leaves the others idle.
#: (`--dist loadfile` hands out whole files; `--no-loadscope-reorder` keeps this order.)
LONG = (
    *("test_docs.py", "kafka/test_clients.py", "train/test_tune.py", "kafka/test_consume.py"),
    "kafka/test_outages.py",
    *("train/test_distill.py", "kafka/test_loop.py", "kafka/test_confluent.py", "kafka/test_faults.py"),
    *("train/test_training.py", "train/test_evaluate.py", "train/test_export.py", "train/test_calibrate.py"),
    *("kafka/test_dead_letter_commands.py", "kafka/test_local_kafka.py", "kafka/test_dataset.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file, and among the others, the order stays."""
    rank = {ROOT / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
