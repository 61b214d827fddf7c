"""The simulated jobs: 100 G tweets in a million pieces on a thousand workers, with and without failures."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.scale.driver import Job
from benchmarks.scale.inputs import Inputs
from benchmarks.scale.plan import Batch

ARCHIVE_ROWS, ARCHIVE_CORES = 100e9, 1_000
DAY_ROWS, DAY_CORES = 500e6, 16
#: Failures per node and hour, from the 419 unexpected interruptions in 54 days on 16,384 GPUs, 8 per node, in
#: "The Llama 3 Herd of Models" (2024, section 3.3.4). Most are GPU failures, so for CPU nodes this is high.
NODE_FAILS = 419 / (54 * 24 * 16_384 / 8)
_SPOT = 0.05  # preempted workers per worker and hour


def scenarios(inputs: Inputs, scale: int = 1) -> dict[str, Job]:
    """Return the simulated jobs by name.

    Args:
        inputs: The measurements.
        scale: Divides pieces and workers, for a quick look.
    """
    batch = Batch(ARCHIVE_ROWS, ARCHIVE_CORES, inputs)
    plain = Job(
        pieces=batch.pieces // scale,
        workers=ARCHIVE_CORES // scale,
        piece=batch.piece,
        per_task=10,
        dispatch=batch.assumed.dispatch,
        rescan=inputs.done_seconds,
    )
    slow = replace(plain, slow=0.02, slowness=4.0)
    return {
        "no failures": plain,
        "nodes fail at the Llama 3 rate": replace(plain, failures=NODE_FAILS),
        "1 worker in 20 is preempted per hour": replace(plain, failures=_SPOT),
        "1 worker in 2 is preempted per hour": replace(plain, failures=0.5),
        "1 worker in 50 takes 4 times as long": slow,
        "the same, without copies of late tasks": replace(slow, copies=False),
        "the driver dies halfway and resumes": replace(plain, driver_fails=0.5),
        "1 in 20 preempted, slow workers, driver dies": replace(slow, failures=_SPOT, driver_fails=0.5),
        "1 file per task": replace(plain, per_task=1),
        "1 file per task, 5 ms of driver time each": replace(plain, per_task=1, dispatch=0.005),
        "100 files per task": replace(plain, per_task=100),
        "100 files per task, 1 worker in 50 is slow": replace(slow, per_task=100),
    }
