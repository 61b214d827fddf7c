"""The order of the test files, the slow ones, and what the garbage collector may skip."""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from browsers import browser
from effort import LONG

# One of a process: two at a time get in each other's way.
__all__ = ["browser"]

ROOT = Path(__file__).parent
# No deadline: a machine may be busy with other things.
hypothesis.settings.register_profile("usual", deadline=None, max_examples=50)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("long" if LONG else "usual")

#: What takes a worker a minute or more begins first, or one worker is still at it when the others are done.
#: (`--dist loadfile` hands out whole files; `--no-loadscope-reorder` keeps this order.)
FIRST = (
    *("engines/test_spark.py", "test_docs.py", "kafka/clients/test_clients.py", "train/test_examples.py"),
    *("train/tune/test_tune.py", "engines/test_ray.py", "train/export/test_export.py"),
    *("train/runs/test_calibrate.py", "kafka/consume/test_start_errors.py", "kafka/consume/test_consume.py"),
    *("kafka/consume/test_outages.py", "train/fit/test_distill.py", "kafka/consume/test_loop.py"),
    *("train/runs/test_more.py", "kafka/consume/test_pending.py", "kafka/clients/test_confluent.py"),
    *("kafka/consume/test_faults.py", "train/runs/test_train.py", "train/elsewhere/test_models.py"),
    *("train/evaluate/test_evaluate.py", "kafka/dead_letters/test_commands.py", "kafka/test_local_kafka.py"),
    *("train/runs/test_stages.py", "kafka/sinks/test_dataset.py", "dataset/formats/parquet/test_memory.py"),
    *("cli/test_score.py", "cli/test_streams.py", "kafka/sinks/test_provenance.py"),
)


#: Other files whose tests take seconds each.
SLOW = (
    *("cli/test_completion.py", "cli/test_doctor.py", "cli/test_main.py", "cli/test_models.py"),
    *("cli/test_row_bar.py", "cli/test_score_streams.py", "dataset/test_full_disk.py"),
    *("dataset/test_partitions.py", "engines/test_duckdb.py", "test_examples.py", "test_make.py"),
    *("test_shipped_int8.py", "train/export/test_reference.py", "train/inspect/test_inspection.py"),
    *("train/network/test_quantized.py", "train/report/test_picture.py"),
)
#: What starts a broker or a store: its tests are slow, whatever they do.
SERVERS = {"kafka", "local_kafka", "secure_kafka", "guarded", "s3", "azure"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Freeze objects that live as long as the process: all tests, and what they import.

    Those are three quarters of a million objects. Each full collection would go through them for half a
    second, ten times while tests are collected, and again and again while they run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long files first, marked as slow except the docs; keep the order otherwise."""
    rank = {ROOT / name: index for index, name in enumerate(FIRST)}
    others = {ROOT / name for name in SLOW}
    if gone := [path for path in (*rank, *others) if not path.is_file()]:
        raise pytest.UsageError(f"tests/conftest.py names files that are not there: {gone}")
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        long = item.path in others or (item.path in rank and item.path.name != "test_docs.py")
        if long or SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
