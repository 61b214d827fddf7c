"""The order of the test files."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
#: What takes a worker minutes begins first: a worker that begins with it at the end leaves the others idle.
#: (`--dist loadfile` hands out whole files; `--no-loadscope-reorder` keeps this order.)
LONG = (
    *("test_docs.py", "kafka/clients/test_clients.py", "train/tune/test_tune.py"),
    *("kafka/consume/test_consume.py", "kafka/consume/test_outages.py", "train/fit/test_distill.py"),
    *("kafka/consume/test_loop.py", "kafka/clients/test_confluent.py", "kafka/consume/test_faults.py"),
    *("train/runs/test_train.py", "train/evaluate/test_evaluate.py", "train/export/test_export.py"),
    *("train/runs/test_calibrate.py", "kafka/dead_letters/test_commands.py", "kafka/test_local_kafka.py"),
    "kafka/sinks/test_dataset.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file, and among the others, the order stays."""
    rank = {ROOT / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
