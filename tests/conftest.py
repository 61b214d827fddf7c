"""The order of the test files, and which are slow."""

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


#: What starts a broker: its tests are slow, whatever they do.
BROKERS = {"kafka", "local_kafka", "secure_kafka"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, marked as slow but for the docs; else the order stays."""
    rank = {ROOT / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        long = item.path in rank and item.path.name != "test_docs.py"
        if long or BROKERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
