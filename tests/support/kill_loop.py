"""A run that is killed repeatedly, each time in the middle of a disk operation.

As a program: its children score, and SIGKILL themselves before or after some call of ``fsync``, ``link``,
``rename`` or ``unlink``; the next child resumes. The last one is not killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """``kill_loop.py SETTINGS``, a JSON object: inputs, options of ``prepare``, pieces, kills, most, seed."""
    settings = json.loads(sys.argv[1])
    from sentstream.dataset import prepare, score_plan
    from sentstream.dataset.formats import api

    for name, value in settings.get("pieces", {}).items():
        setattr(api, name, value)
    chance = random.Random(settings["seed"])
    killed = 0
    for number in range(settings["kills"] + 1):
        countdown = chance.randrange(1, settings["most"]) if number < settings["kills"] else None
        child = os.fork()
        if not child:
            _kill_at(countdown, chance.random() < 0.5)
            with prepare(settings["inputs"], **settings["options"]) as plan:
                score_plan(plan)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            killed += 1
        elif status:
            sys.exit(f"a run ended with {os.waitstatus_to_exitcode(status)}")
        for parent, _, names in os.walk(settings["options"]["output"]):
            for name in names if "_sentstream" not in parent else ():
                _compare(parent, name, settings)
    print(json.dumps({"killed": killed}))


def _compare(parent: str, name: str, settings: dict[str, Any]) -> None:
    """Check that a file with a final name is complete, at any moment."""
    below = os.path.relpath(os.path.join(parent, name), settings["options"]["output"])
    with (
        open(os.path.join(parent, name), "rb") as actual,
        open(os.path.join(settings["whole"], below), "rb") as expected,
    ):
        if actual.read() != expected.read():
            sys.exit(f"{below} is not what an unbroken run makes")


def _kill_at(countdown: int | None, before: bool) -> None:
    left = countdown

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left is None:
                return function(*args, **options)
            left -= 1
            if not left and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **options)
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in ("fsync", "link", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, counting(getattr(os, name)))


if __name__ == "__main__":
    main()
